"""Preparation, batches and memory: what training and evaluation see of a data set."""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from gcnlab import data
from gcnlab.data import DataSpec, Split, catalog, evaluation_batch_size, prefetch
from gcnlab.data import split as split_module
from gcnlab.data.decode import decode_segmentation
from gcnlab.data.readers import class_map, read_image, read_label
from gcnlab.data.split import Memory
from gcnlab.data.transforms import MEAN_COLOUR, VOID, crop_part, pad

from gcnlab.data.transforms import random_crop, random_flip, resize_long_side  # isort: skip
from gcnlab.errors import UserError

SPEC = DataSpec("shapes-tiny", side=64)
STREET = DataSpec("streets-tiny", side=128, height=70)


def in_order(split, size):
    """All samples once, in batches for evaluation."""
    numbers = list(range(len(split)))
    return split.batches((numbers[i : i + size] for i in numbers[::size]), split.__getitem__)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# --- reading ---


def test_palette_labels_are_ids_not_colours(tmp_path):
    ids = np.array([[0, 1, 20, VOID]], np.uint8).repeat(3, 0)
    image = Image.fromarray(ids)
    image.save(tmp_path / "grey.png")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    for name in ("grey.png", "palette.png"):
        assert np.array_equal(read_label(tmp_path / name, 21), ids)
    with pytest.raises(UserError, match=r"palette\.png has label values \[20\]"):
        read_label(tmp_path / "palette.png", 20)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB", "RGBA"])
def test_images_of_any_mode_become_rgb_and_photographs_are_turned(mode, tmp_path):
    path = tmp_path / ("image.tif" if mode in ("P", "RGBA") else "image.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # it lies on its side
    Image.new(mode, (5, 4)).save(path, **({} if path.suffix == ".tif" else {"exif": exif}))
    upright = (5, 4) if path.suffix == ".tif" else (4, 5)
    for read, size in ((read_image, (5, 4)), (partial(read_image, upright=True), upright)):
        image = read(path)
        assert (image.mode, image.size) == ("RGB", size)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_a_photograph_whose_orientation_is_damaged_is_named(name, tmp_path, caught):
    Image.new("RGB", (5, 4)).save(tmp_path / name, exif=b"Exif\0\0this is no TIFF")
    assert read_image(tmp_path / name).size == (5, 4), "which images of data sets do not need"
    with pytest.raises(UserError) as info:
        read_image(tmp_path / name, upright=True)
    assert f"{name} cannot be read as an image" in caught(info)


def test_class_map():
    kept = class_map((0, 8, 15))
    others = np.setdiff1d(np.arange(256), [0, 8, 15])
    assert kept[[0, 8, 15]].tolist() == [0, 1, 2] and (kept[others] == VOID).all()
    assert np.array_equal(class_map(None), np.arange(256))


# --- transforms ---


def test_the_mean_colour_is_imagenets_and_nothing_is_padded_to_less():
    assert np.abs(np.array(MEAN_COLOUR) / 255 - [0.485, 0.456, 0.406]).max() < 0.5 / 255 + 1e-9
    image, label = np.zeros((5, 7, 3), np.uint8), np.zeros((5, 7), np.uint8)
    for height, width in ((9, 6), (4, 9)):
        with pytest.raises(ValueError, match=f"7×5 does not fit into {width}×{height}"):
            pad(image, label, height, width)


def test_resizing_moves_image_and_label_together():
    label = np.zeros((64, 96), np.uint8)
    label[16:48, 24:60] = 1
    image, small = resize_long_side(Image.fromarray(label * 255).convert("RGB"), label, 48)
    white = np.asarray(image)[..., 0] / 255
    assert np.abs(white - small).mean() < 0.04, "only the antialiased outline may differ"
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    image, _ = resize_long_side(Image.fromarray(board).convert("RGB"), board, 32)
    assert np.ptp(image) < 20 and 110 < np.mean(image) < 145, "antialiased"


@pytest.mark.parametrize(
    ("cores", "gpus", "workers"), [(1, 0, 0), (4, 0, 3), (2, 4, 0), (64, 4, 8)]
)
def test_workers_are_the_cores_that_no_gpus_run_needs(cores, gpus, workers, monkeypatch):
    monkeypatch.setattr(prefetch, "cores", lambda: cores)
    monkeypatch.setattr(prefetch.torch.cuda, "device_count", lambda: gpus)
    assert prefetch.workers_that_pay(1) == (workers if sys.platform == "linux" else 0)


def test_flips_move_image_and_label_together():
    labels = torch.randint(0, 9, (64, 6, 8), generator=seeded(0)).to(torch.uint8)
    flipped, flipped_labels = random_flip(labels[:, None].repeat(1, 3, 1, 1), labels, seeded(1))
    assert torch.equal(flipped, flipped_labels[:, None].repeat(1, 3, 1, 1))
    turned = [torch.equal(b, a.flip(-1)) for a, b in zip(labels, flipped_labels, strict=True)]
    kept = [torch.equal(b, a) for a, b in zip(labels, flipped_labels, strict=True)]
    assert 16 < sum(turned) == 64 - sum(kept) < 48, "about half of the images"
    _, class_ids = random_flip(torch.rand(8, 3, 4, 4), torch.arange(8), seeded(1))
    assert torch.equal(class_ids, torch.arange(8))


def test_every_place_is_cropped_alike():
    image, corners = torch.arange(6 * 7).view(1, 6, 7), Counter()
    for seed in range(1200):
        part, label = crop_part(image, image[0], seeded(seed), 4)
        top, left = divmod(int(label[0, 0]), 7)
        assert torch.equal(part[0], label)
        assert torch.equal(label, image[0, top : top + 4, left : left + 4])
        corners[top, left] += 1
    assert len(corners) == 3 * 4 and stats.chisquare(list(corners.values())).pvalue > 0.01


@pytest.mark.parametrize("size", [(64, 64), (40, 100), (300, 20)])
@pytest.mark.parametrize("least", [0.08, 0.25, 1.0])
def test_random_crops_are_as_large_as_asked_and_no_smaller_than_allowed(size, least):
    """On an image whose channels hold the row and the column, a crop shows which part it is."""
    height, width = size
    rows, columns = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    image = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    areas, ratios, centres = [], [], []
    for seed in range(200):
        crop = random_crop(image, 32, least, seeded(seed))
        tall, wide = (crop.amax((1, 2)) - crop.amin((1, 2))).tolist()
        assert crop.shape == (2, 32, 32)
        areas.append(tall * wide)
        ratios.append(wide * (width - 1) / (tall * (height - 1)))
        centres.append(crop.mean((1, 2)).tolist())
    square = min(size) ** 2 / (height * width)  # of the part that is taken when nothing fits
    assert min(areas) > 0.8 * min(least, square) - 0.02 and max(areas) <= 1
    if least < 1 and size == (64, 64):
        assert np.mean(areas) == pytest.approx((1 + least) / 2, abs=0.12) and np.std(areas) > 0.1
        assert 0.7 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.45, "from 3/4 to 4/3"
        assert np.mean(centres, 0) == pytest.approx([0.5, 0.5], abs=0.05)
        assert np.std(centres, 0).min() > 0.05, "anywhere in the image"


# --- prepared splits ---


def test_the_image_in_a_batch_is_the_file(layout):
    for spec, split in ((DataSpec("voc", side=80), "val"), (STREET, "val")):
        prepared = data.load(spec, split, layout)
        image, label, (height, width) = prepared[1]
        assert image.shape == (3, *spec.canvas) and image.dtype == label.dtype == torch.uint8
        picture = read_image(prepared.samples[1].image)
        assert np.array_equal(image[:, :height, :width].permute(1, 2, 0), picture)
        expected = prepared.samples[1].read_label(len(spec.class_names))
        assert np.array_equal(label[:height, :width], expected)
        assert (label[height:] == VOID).all() and (label[:, width:] == VOID).all()


def test_validation_images_can_have_a_size_of_their_own(layout):
    """Stage-1 trains at 640 pixels and is scored at 512, as all rows of its table."""
    spec = DataSpec("voc", side=96, val_side=64)
    assert [tuple(data.load(spec, s, layout)[0][0].shape) for s in ("train", "val")] == [
        (3, 96, 96), (3, 64, 64)]  # fmt: skip
    assert data.fingerprint(spec, layout) == data.fingerprint(DataSpec("voc", side=96), layout)


def test_only_the_chosen_classes_are_scored(layout):
    chosen = DataSpec("voc", side=64, classes=(0, 3, 5))
    every = data.load(replace(chosen, classes=None), "train", layout)
    some = data.load(chosen, "train", layout)
    assert chosen.class_names == ("background", "bird", "bottle")
    before, after = (torch.stack([s[i][1] for i in range(len(s))]) for s in (every, some))
    expected = torch.from_numpy(class_map((0, 3, 5)))[before.long()]
    assert torch.equal(after, expected) and set(after.unique().tolist()) == {0, 1, 2, VOID}


def test_classification_is_centred_for_evaluation_and_cropped_for_training():
    padded = data.load(DataSpec("imagenet:shapes-tiny", side=64), "val")
    spec = DataSpec("imagenet:shapes-tiny", side=32, resize=36, crop_area=0.25)
    split = data.load(spec, "val")
    for i, (path, class_id) in enumerate(split.samples[:5]):
        assert split[i][1] == padded[i][1] == class_id == int(path.parent.name[1:]) - 1
        image = read_image(path).resize((36, 36), Image.Resampling.BILINEAR).crop((2, 2, 34, 34))
        difference = split[i][0].permute(1, 2, 0).numpy().astype(int) - np.array(image)
        assert np.abs(difference).max() <= 2
    one = Split(split.samples[:1], split._decode, training=split._training)
    parts = [images for images, _ in one.shuffled(1, 0, 0, 8)]  # of one image a step is an epoch
    assert parts[0].shape == (1, 3, 32, 32)
    assert len({images.float().mean().item() for images in parts}) == 8, "another part each time"


def numbered(count):
    """A split whose image i is (i, 100) in every row, and whose label is i."""

    def decode(i):
        return torch.tensor([i, 100]).view(1, 1, 2).repeat(3, 1, 1), torch.tensor(i), (1, 2)

    return Split(range(count), decode)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 13])
def test_in_order_gives_everything_once(size):
    batches = list(in_order(numbered(10), size))
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == list(range(10))
    assert all(len(x) == len(y) == len(s) <= size for x, y, s in batches)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 25])
def test_every_epoch_is_a_permutation_with_its_own_flips(batch_size):
    steps = 100 // batch_size
    batches = list(numbered(10).shuffled(batch_size, 0, 0, steps))
    order = torch.cat([labels for _, labels in batches]).tolist()
    epochs = [tuple(order[i : i + 10]) for i in range(0, len(order) - 9, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(epochs)) == len(epochs) > 8, "each epoch has its own order"
    flipped = Counter()
    for images, labels in batches:
        flipped.update(labels[images[:, 0, 0, 0] == 100].tolist())
    assert all(0 < flipped[i] < 10 for i in range(10)), "drawn anew in every epoch"


CROPPED = replace(STREET, crop=16)
RESIZED = DataSpec("imagenet:shapes-tiny", side=32, resize=36, crop_area=0.25)


@pytest.mark.parametrize("spec", [SPEC, CROPPED, RESIZED])
def test_a_batch_is_a_function_of_seed_and_step(spec):
    split = data.load(spec, "train")

    def stream(seed, first, last=12):
        batches = split.shuffled(5, seed, first, last)
        return torch.cat([images.flatten(1) for images, _ in batches])

    whole = stream(3, 0)
    for first in (0, 1, 9):
        assert torch.equal(stream(3, first), whole[5 * first :])
    assert not torch.equal(stream(4, 0), whole)
    assert {len(images) for images, *_ in in_order(split, 1)} == {1}


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_make_the_same_bytes_in_order(workers, monkeypatch):
    def stream(ahead):
        monkeypatch.setattr(split_module, "workers_that_pay", lambda _: ahead)
        monkeypatch.setattr(split_module, "MEMORY", Memory(0))
        split = Split(range(10), picture_of, training=lambda x, y, g: crop_part(x, y, g, side=5))
        state = torch.get_rng_state()
        batches = [*split.shuffled(3, 0, 2, 9), *in_order(split, 4)]
        assert torch.equal(torch.get_rng_state(), state), "other random numbers stay as they were"
        return [tensor for batch in batches for tensor in batch[:2]]

    assert all(map(torch.equal, stream(workers), stream(0)))


def picture_of(number):
    if number == 12:
        raise UserError("12.png is damaged: copy it again")
    image = torch.arange(3 * 6 * 8).view(3, 6, 8).byte() + number
    return image, image[0] % 5, (6, 8)


def test_a_damaged_file_in_a_worker_is_told_in_one_line(monkeypatch, caught):
    monkeypatch.setattr(split_module, "workers_that_pay", lambda _: 2)
    monkeypatch.setattr(split_module, "MEMORY", Memory(0))
    with pytest.raises(UserError) as info:
        list(in_order(Split(range(20), picture_of), 2))
    assert caught(info) == "12.png is damaged: copy it again"


# --- which images ---


@pytest.mark.parametrize("count", [1, 5, 12, 47])
def test_fewer_training_images_are_evenly_spaced(count):
    some = replace(SPEC, images=count)
    whole, part = data.samples(SPEC, "train"), data.samples(some, "train")
    gaps = np.diff([*map(whole.index, part), len(whole)])
    assert len(part) == count and part[0] == whole[0] and np.ptp(gaps) <= 1
    assert data.samples(some, "val") == data.samples(SPEC, "val")
    assert data.fingerprint(some) != data.fingerprint(SPEC)
    assert data.is_subset(some, data.counts(some)) and not data.is_subset(SPEC, data.counts(SPEC))


def test_a_holdout_is_every_fifth_training_image_and_val_is_not_looked_at(monkeypatch):
    held = replace(SPEC, holdout=True)
    whole, official_val = data.samples(SPEC, "train"), data.samples(SPEC, "val")
    train, val = (data.samples(held, split) for split in ("train", "val"))
    assert val == whole[::5] and train == [s for i, s in enumerate(whole) if i % 5]
    assert not {s.name for s in (*train, *val)} & {s.name for s in official_val}
    few = replace(held, images=3)
    assert data.samples(few, "val") == val and set(data.samples(few, "train")) < set(train)
    assert len({data.fingerprint(spec) for spec in (SPEC, held, few)}) == 3
    assert data.is_subset(held, data.counts(held))


@pytest.mark.parametrize(("spec", "size"), [
    (DataSpec("voc", side=64), 64), (DataSpec("voc", side=256), 8), (DataSpec("voc", side=512), 2),
    (DataSpec("cityscapes", side=2048, height=1024), 1), (DataSpec("imagenet", side=224), 10),
])  # fmt: skip
def test_evaluation_batches_hold_half_a_million_pixels(spec, size):
    assert evaluation_batch_size(spec) == size


# --- memory ---


@pytest.fixture
def memory(monkeypatch):
    """``memory(limit)`` → the budget of this process, empty."""

    def limited(limit):
        monkeypatch.setattr(split_module, "MEMORY", Memory(limit))
        return split_module.MEMORY

    return limited


def decoding(spec, split):
    """A split, and the list of samples that it has decoded."""
    decoder, decoded = partial(decode_segmentation, spec), []

    def decode(sample):
        decoded.append(sample)
        return decoder(sample)

    return Split(data.samples(spec, split), decode), decoded


def test_nothing_is_read_before_the_first_access_and_checking_keeps_nothing(memory):
    budget = memory(1 << 30)
    split, decoded = decoding(SPEC, "train")
    assert decoded == []
    split.check()
    assert len(decoded) == len(split) and budget.reserved == 0 and split._kept == {}
    for _ in range(2):
        list(in_order(split, 7))
    assert len(decoded) == 2 * len(split), "decoded once more, and kept"
    assert budget.reserved == sum(image.nbytes + label.nbytes for image, label, _ in split)
    del split
    assert budget.reserved == 0, "what is dropped is free again"


def test_all_splits_of_a_process_together_stay_below_the_limit(memory, monkeypatch):
    monkeypatch.setattr(split_module, "workers_that_pay", lambda _: 0)  # they decode unseen
    one = 4 * 64 * 64  # bytes of an image and its label
    budget = memory(50 * one)
    train, val = decoding(SPEC, "train"), decoding(SPEC, "val")
    batches = [list(in_order(split, 5)) for split, _ in (train, val, train, val)]
    assert len(train[0]._kept) == 48 and val[0]._kept == {} and budget.reserved == 48 * one
    assert (len(train[1]), len(val[1])) == (48, 2 * 16), "what does not fit is read as it is used"
    for first, again in ((batches[0], batches[2]), (batches[1], batches[3])):
        for (images, labels, _), (same, same_labels, _) in zip(first, again, strict=True):
            assert torch.equal(images, same) and torch.equal(labels, same_labels)


def test_images_larger_than_the_first_do_not_exceed_what_was_reserved(memory):
    budget = memory(100)
    image = torch.zeros(8, dtype=torch.uint8)
    split = Split(range(1, 9), lambda i: (image[:i].clone(), torch.zeros(0), (1, i)))
    split[0]  # of threads any could be the first, whose image tells what to reserve
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(split.__getitem__, [*range(8)] * 4))
    assert sum(item[0].nbytes for item in split._kept.values()) <= budget.reserved == 8


def test_damage_is_found_by_a_check_and_by_the_run_that_meets_it(layout, tmp_path, memory):
    memory(0)
    spec = DataSpec("voc", side=64)
    samples = list(catalog.samples(spec, "train", layout))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(samples[-1].image.read_bytes()[:300])
    split = Split(
        [*samples[:-1], replace(samples[-1], image=broken)], partial(decode_segmentation, spec)
    )
    for read in (split.check, lambda: list(in_order(split, 4))):
        with pytest.raises(UserError, match=r"broken\.jpg cannot be read"):
            read()
