"""Properties of metrics, transforms, keys and readers for whatever hypothesis can think of.

A reader gives what it promises or one line; which examples are tried is fixed.
"""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from made import SYNTHETIC, made
from made_data import CAT, PERSON, box, forget, write_coco
from PIL import Image
from test_config import CRF_RUN

from gcnlab.data import coco, transforms, voc
from gcnlab.data.coco_masks import decode_mask
from gcnlab.data.readers import read_image, read_label, read_list
from gcnlab.data.transforms import MEAN_COLOUR, VOID
from gcnlab.errors import UserError
from gcnlab.evaluation import ConfusionMatrix, boundary_region
from gcnlab.experiments import records
from gcnlab.experiments.config import from_json, to_json
from gcnlab.experiments.store import key_of
from gcnlab.experiments.variants import Variant

CLASSES = 4
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=60,
                          suppress_health_check=list(HealthCheck))  # fmt: skip
settings.load_profile("fixed")
SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
IDS = st.integers(0, CLASSES - 1)
LABELS = SIDES.flatmap(lambda shape: arrays(np.uint8, shape, elements=IDS | st.just(VOID)))
PAIRS = SIDES.flatmap(lambda shape: st.tuples(
    arrays(np.uint8, shape, elements=IDS), arrays(np.uint8, shape, elements=IDS | st.just(VOID))
))  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
NESTED = lambda inner: (  # noqa: E731
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
JSON = st.recursive(LEAVES, NESTED, max_leaves=6)


def matrix(*pairs):
    counts = ConfusionMatrix(CLASSES)
    for pair in pairs:
        counts.update(*pair)
    return counts


# --- metrics ---


@given(PAIRS, PAIRS, st.permutations(range(CLASSES)))
def test_scores_add_up_and_know_no_order_of_classes(first, second, order):
    together = matrix(first, second)
    assert np.array_equal(together.matrix, matrix(first).matrix + matrix(second).matrix)
    new = np.array([*order, *[VOID] * (256 - CLASSES)], np.uint8)
    renamed = matrix(*[(new[prediction], new[target]) for prediction, target in (first, second)])
    assert np.array_equal(renamed.matrix[np.ix_(order, order)], together.matrix)
    assert renamed.miou() == pytest.approx(together.miou(), nan_ok=True)
    counted = first[1] != VOID
    perfect = bool((first[0] == first[1])[counted].all())
    alone = matrix(first)
    assert np.isnan(alone.miou()) if not counted.any() else 0 <= alone.miou() <= 1
    assert (alone.miou() == 1) == (perfect and counted.any())
    assert np.all((alone.iou() <= 1) | np.isnan(alone.iou()))


@given(LABELS, st.floats(0, 9), st.floats(0, 9))
def test_boundary_regions_grow_turn_with_the_map_and_see_no_names(label, one, other):
    small, large = (boundary_region(label, distance) for distance in sorted((one, other)))
    assert not (small & ~large).any() and not large[label == VOID].any()
    for turn in (np.transpose, np.flipud, np.fliplr):
        assert np.array_equal(boundary_region(turn(label), one), turn(boundary_region(label, one)))
    renamed = np.where(label == VOID, VOID, CLASSES - 1 - label)
    assert np.array_equal(boundary_region(renamed, one), boundary_region(label, one))


# --- transforms ---


@given(LABELS, st.integers(0, 9), st.integers(0, 9), st.integers(1, 30))
def test_padding_and_scaling_keep_what_is_there(label, below, beside, long_side):
    height, width = label.shape
    image = np.stack([label] * 3, -1)
    pixels, labels = transforms.pad(image, label, height + below, width + beside)
    assert labels.shape == (height + below, width + beside)
    assert np.array_equal(labels[:height, :width], label)
    assert np.array_equal(pixels[:height, :width], image)
    outside = np.ones(labels.shape, bool)
    outside[:height, :width] = False
    assert (labels[outside] == VOID).all() and (pixels[outside] == MEAN_COLOUR).all()
    scaled, ids = transforms.resize_long_side(Image.fromarray(image), label, long_side)
    assert scaled.size == ids.shape[::-1] and max(scaled.size) == long_side
    assert set(np.unique(ids)) <= set(np.unique(label)), "no class is made up between two others"
    shorter = long_side * min(label.shape) / max(label.shape)
    assert abs(min(scaled.size) - max(1, shorter)) <= 0.5
    assert long_side != max(label.shape) or np.array_equal(ids, label)


@given(LABELS, st.integers(0, 2**32), st.integers(1, 40), st.floats(0.01, 1))
def test_image_and_label_are_cropped_and_flipped_together(label, seed, side, least_area):
    seeded = lambda: torch.Generator().manual_seed(seed)  # noqa: E731
    labels = torch.from_numpy(label)
    image = labels.expand(3, *label.shape)
    part, ids = transforms.crop_part(image, labels, seeded(), min(label.shape))
    assert ids.shape == (min(label.shape),) * 2 and torch.equal(part, ids.expand(3, *ids.shape))
    images, maps = transforms.random_flip(image[None], labels[None], seeded())
    assert torch.equal(images[:, 0], maps)
    twice, again = transforms.random_flip(images, maps, seeded())
    assert torch.equal(twice, image[None]) and torch.equal(again, labels[None])
    cropped = transforms.random_crop(image, side, least_area, seeded())
    assert cropped.shape == (3, side, side) and image.min() <= cropped.min()
    assert cropped.max() <= image.max()


# --- keys ---

GCN = Variant("gcn", 15).config(SYNTHETIC, 0)
IDENTITY = made(GCN)["identity"]
CHANGES = st.fixed_dictionaries({}, optional={
    "seed": st.integers(0, 10**10), "k": st.integers(1, 99), "m": st.none() | st.integers(1, 999),
    "refine": st.booleans(), "boundary_distance": st.integers(1, 20) | st.floats(1, 20),
    "head": st.text(), "batch_norm": st.text(), "normalization": st.text(),
})  # fmt: skip


@given(CHANGES, CHANGES, st.text(), st.text())
def test_a_key_is_of_what_changes_the_numbers_and_of_nothing_else(one, other, label, profile):
    first, second = replace(GCN, **one), replace(GCN, **other)
    assert from_json(json.loads(json.dumps(to_json(first)))) == first
    same = key_of(first, IDENTITY) == key_of(second, IDENTITY)
    assert same == (first == second)
    renamed = replace(first, label=label, profile=profile)
    assert key_of(renamed, IDENTITY) == key_of(first, IDENTITY)
    assert key_of(first, IDENTITY | {"threads": 2}) != key_of(first, IDENTITY)


# --- readers ---


def replaced(value, data):
    """``value`` with one of its parts, at any depth, replaced by any JSON."""
    if isinstance(value, dict | list) and value and data.draw(st.integers(0, 5)):
        keys = sorted(value) if isinstance(value, dict) else range(min(3, len(value)))
        key, copy = data.draw(st.sampled_from(keys)), value.copy()
        copy[key] = replaced(value[key], data)
        return copy
    return data.draw(JSON)


def result(read, *arguments):
    """What a reader gives, or None after checking that its refusal is one line."""
    try:
        return read(*arguments)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("properties")


@given(st.data())
def test_a_config_is_a_run_or_one_line(data):
    run = result(from_json, replaced(to_json(CRF_RUN), data))
    assert run is None or (hash(run) and key_of(run, IDENTITY))


@given(data=st.data())
def test_a_record_is_as_its_readers_expect_or_one_line(data, folder):
    record = made(GCN)
    path = folder / f"{record['name']}-{record['key']}.json"
    path.write_text(json.dumps(replaced(record, data)), encoding="utf-8")
    records._read.cache_clear()
    read = result(records.read, path)
    if read is not None:
        assert read["environment"]["finished"] + read["identity"]["data"]
        assert {type(v) for n, v in read["metrics"].items() if n != "iou"} <= {
            int, float, bool, type(None)}  # fmt: skip


@given(data=st.data())
def test_an_image_is_rgb_or_one_line(data, folder):
    content = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(
        content, data.draw(st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff", "webp"]))
    )
    damaged = bytearray(content.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = folder / "picture"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] or damaged)
    image = result(read_image, path)
    assert image is None or (image.mode, np.array(image).ndim) == ("RGB", 3)


@given(label=SIDES.flatmap(lambda shape: arrays(np.uint8, shape)), classes=st.integers(1, 255))
def test_a_label_is_what_was_written_or_one_line(label, classes, folder):
    Image.fromarray(label).save(folder / "label.png")
    read = result(read_label, folder / "label.png", classes)
    legal = ((label < classes) | (label == VOID)).all()
    assert np.array_equal(read, label) if legal else read is None


@given(names=st.lists(st.text(st.characters(codec="utf-8"), max_size=4)))
def test_a_list_has_each_name_once_or_is_one_line(names, folder):
    (folder / "list.txt").write_text("\n".join(names), encoding="utf-8")
    read = result(read_list, folder / "list.txt", "copy it")
    assert read is None or (len(set(read)) == len(read) and all(map(str.strip, read)))


@given(data=st.data())
def test_annotations_are_label_maps_or_one_line(data, folder):
    path = write_coco(folder, [box(PERSON, 3, 3, 2, 2), box(CAT, 0, 0, 4, 4, crowd=1)])
    path.write_text(json.dumps(replaced(json.loads(path.read_text()), data)))
    forget()
    for sample in result(coco.samples, folder, voc.CLASSES) or []:
        assume(max(sample.size) < 1000)  # compared with the image before it is drawn
        label = result(sample.read_label, 21)
        assert label is None or label.shape == sample.size
    numbers = st.integers(-9, 400) | st.floats(-50, 500)
    shapes = st.lists(st.lists(numbers, max_size=9), max_size=3) | st.fixed_dictionaries({
        "counts": st.lists(numbers, max_size=5) | st.text(max_size=9),
        "size": st.just([16, 20]) | st.lists(numbers, max_size=3)})  # fmt: skip
    try:
        mask = decode_mask(data.draw(shapes), (16, 20))
    except Exception:  # whatever pycocotools raises, as the caller expects
        return
    assert mask.shape == (16, 20) and mask.dtype == bool
