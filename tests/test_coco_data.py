"""COCO: its instance annotations become label maps of VOC's classes, or a one-line error."""

import json
import shutil

import numpy as np
import pytest
from made_data import CAT, HEIGHT, PERSON, TRUCK, WIDTH, box, write_coco
from pycocotools import mask
from pycocotools.coco import COCO

from gcnlab import data
from gcnlab.data import DataSpec, coco, voc
from gcnlab.data.check import check, describe
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

# torchvision's reference training: COCO's category ids in the order of VOC's classes, background
# first: references/segmentation/coco_utils.py of https://github.com/pytorch/vision
CATEGORY_IDS = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)


def packed(pixels):
    """COCO's compressed run lengths."""
    return mask.encode(np.asfortranarray(pixels, np.uint8))["counts"].decode()


def labels(root):
    return [sample.read_label(21) for sample in coco.samples(root, voc.CLASSES)]


def painted(*boxes):
    """The expected map: (class, rows, columns) painted one over the other on background."""
    label = np.zeros((HEIGHT, WIDTH), int)
    for class_id, rows, columns in boxes:
        label[slice(*rows), slice(*columns)] = class_id
    return label


# --- from objects to a label map ---


def test_categories_are_vocs_classes_by_name(tmp_path):
    write_coco(tmp_path, [box(c, i, 0, 1, 16) for i, c in enumerate(CATEGORY_IDS[1:])])
    assert np.array_equal(labels(tmp_path)[0][3], range(1, 21))


@pytest.mark.parametrize("order", [1, -1])
def test_the_smaller_object_lies_on_top(tmp_path, order):
    write_coco(
        tmp_path,
        [box(PERSON, 0, 0, 10, 10), box(CAT, 5, 5, 10, 9)][::order],
        # COCO's area decides, not the outline
        [box(PERSON, 0, 0, 10, 10, area=80), box(CAT, 5, 5, 10, 9)][::order],
    )
    person, cat = (15, (0, 10), (0, 10)), (8, (5, 14), (5, 15))
    first, second = labels(tmp_path)
    assert np.array_equal(first, painted(person, cat))
    assert np.array_equal(second, painted(cat, person))


@pytest.mark.parametrize("order", [1, -1])
def test_a_crowd_is_void_but_for_the_single_objects_on_it(tmp_path, order):
    objects = [
        box(PERSON, 2, 2, 12, 12, crowd=1), box(CAT, 0, 0, 18, 8), box(PERSON, 3, 10, 2, 2),
        box(TRUCK, 4, 4, 9, 9), box(TRUCK, 16, 10, 3, 3, crowd=1), box(TRUCK, 1, 1, 2, 2),
    ]  # fmt: skip
    write_coco(tmp_path, objects[::order])
    expected = painted((VOID, (2, 14), (2, 14)), (8, (0, 8), (0, 18)), (15, (10, 12), (3, 5)))
    assert np.array_equal(labels(tmp_path)[0], expected), "the crowd lies below, trucks nowhere"


def test_images_without_a_single_object_of_a_class_are_left_out(tmp_path):
    crowd, person = box(PERSON, 0, 0, 9, 9, crowd=1), box(PERSON, 3, 3, 2, 2)
    truck = box(TRUCK, 9, 9, 2, 2)
    images = [], [truck], [crowd], [truck, person], [crowd, truck], [crowd, person], [person]
    write_coco(tmp_path, *images)
    samples = coco.samples(tmp_path, voc.CLASSES)
    assert [sample.name[-1] for sample in samples] == ["4", "6", "7"], "in order of image id"
    assert all(sample.image.is_file() for sample in samples)
    assert coco.unused(tmp_path, voc.CLASSES) == 4


def test_masks_are_those_of_pycocotools(tmp_path):
    """Polygons of several parts, run lengths plain and packed, against ``COCO.annToMask``."""
    rng = np.random.default_rng(0)
    forms = []
    for number in range(12):
        counts = (3, 5, 9)[: 1 + number % 3]
        parts = [np.round(rng.uniform(-3, 22, 2 * n), 2).tolist() for n in counts]
        runs = rng.multinomial(HEIGHT * WIDTH, rng.dirichlet(np.ones(9))).tolist()
        for counts in (runs, packed(rng.random((HEIGHT, WIDTH)) < 0.4)):
            forms.append({"size": [HEIGHT, WIDTH], "counts": counts})
        forms.append(parts)
    cat = box(CAT, 0, 0, 1, 1)
    path = write_coco(tmp_path, *([{**cat, "segmentation": form}] for form in forms))
    theirs = COCO(path)
    for label, shape in zip(labels(tmp_path), theirs.loadAnns(theirs.getAnnIds()), strict=True):
        assert np.array_equal(label, 8 * theirs.annToMask(shape))


def test_parts_that_are_present_are_used_and_2017_wins(tmp_path):
    for part, place in (
        ("train2014", "train2014"), ("train2017", "images/train2017"), ("val2017", "val2017"),
    ):  # fmt: skip
        write_coco(tmp_path, [box(PERSON, 3, 3, 2, 2)], part=part, place=f"coco/{place}")

    def names():
        coco._part.cache_clear()
        return [sample.name for sample in coco.samples(tmp_path, voc.CLASSES)]

    assert names() == ["train2017_1", "val2017_1"]
    shutil.rmtree(tmp_path / "coco/val2017")  # the archive of annotations holds train and val
    assert names() == ["train2017_1"]
    shutil.rmtree(tmp_path / "coco/images")
    assert names() == ["train2014_1"]
    shutil.rmtree(tmp_path / "coco/train2014")
    with pytest.raises(UserError, match=r"train2017\.zip"):
        names()


def test_real_coco_labels_show_the_smallest_object(real_data):
    theirs = COCO(real_data / "coco/annotations/instances_train2017.json")
    class_of = {i: n for n, i in enumerate(CATEGORY_IDS)}
    single = theirs.loadAnns(theirs.getAnnIds(iscrowd=False, catIds=list(class_of)))
    samples = coco.samples(real_data, voc.CLASSES)
    assert {int(s.name) for s in samples} == {a["image_id"] for a in single}
    for sample in samples[::10]:
        ids = theirs.getAnnIds(imgIds=int(sample.name), catIds=list(class_of))
        objects = theirs.loadAnns(ids)
        crowds = [theirs.annToMask(a) for a in objects if a["iscrowd"]]
        objects = [a for a in objects if not a["iscrowd"]]
        areas = np.stack([np.where(theirs.annToMask(a), a["area"], np.inf) for a in objects])
        label = np.array([class_of[a["category_id"]] for a in objects])[areas.argmin(0)]
        below = VOID * np.any(crowds, 0) if crowds else 0
        expected = np.where(np.isinf(areas).all(0), below, label)
        assert np.array_equal(sample.read_label(21), expected)


def test_the_fingerprint_follows_every_object_but_not_the_spelling_of_the_file(tmp_path):
    spec = DataSpec("coco", side=32)
    objects = [box(PERSON, 3, 3, 2, 2), box(CAT, 9, 9, 3, 3)]
    for name in ("first", "same", "moved", "other"):
        write_coco(tmp_path / name, objects)
    path = tmp_path / "same/coco/annotations/instances_train2017.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    write_coco(tmp_path / "moved", [objects[0], box(CAT, 9, 9, 3, 4, area=9)])
    write_coco(tmp_path / "other", [objects[0], box(PERSON, 9, 9, 3, 3)])
    names = ("first", "same", "moved", "other")
    first, same, *others = (data.fingerprint(spec, tmp_path / name) for name in names)
    assert first == same and len({first, *others}) == 3


def test_checking_coco(tmp_path):
    objects = [box(PERSON, 0, 0, 5, 4), box(CAT, 8, 8, 4, 4, crowd=1)]
    write_coco(tmp_path, objects, [box(TRUCK, 0, 0, 3, 3)], [])
    report = check("coco", tmp_path)
    assert report["splits"] == {"train": {"images": 1, "official": 99_310}}
    assert not report["complete"] and report["unused"] == 2 and report["largest"] == 20
    assert report["labels"] == {0: 320 - 20 - 16, 15: 20, VOID: 16}
    text = describe(report)
    assert "1 images of 99310 in the paper: a subset" in text
    assert "classes is on them: 2 images" in text and "255 void           5.00 %" in text
    assert "without a pixel: aeroplane, bicycle, bird" in text
    assert "overlap" not in text, "there is no val"
    more = report | {"splits": {"train": {"images": 1, "official": 0}}}
    assert "1 images of 0 in the paper: 1 more" in describe(more)
