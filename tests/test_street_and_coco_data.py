"""COCO, Cityscapes and CamVid in their official layouts, their checks, and what their runs need: crops and parts."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO
from scipy import stats
from torchvision.datasets import Cityscapes

from gcnlab import data
from gcnlab.data import DataSpec, camvid, catalog, cityscapes, coco, sources, streets, voc
from gcnlab.data.check import check, describe
from gcnlab.data.transforms import VOID, crop_part
from gcnlab.errors import UserError

# torchvision's reference training: COCO's category ids in the order of VOC's classes, background first.
# https://github.com/pytorch/vision/blob/main/references/segmentation/coco_utils.py
CATEGORY_IDS = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
CATEGORIES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow", 44: "bottle", 62: "chair", 63: "couch",
    64: "potted plant", 67: "dining table", 72: "tv", 90: "toothbrush",
}  # fmt: skip
PERSON, CAT, TRUCK = 1, 17, 8
HEIGHT, WIDTH = 16, 20


def box(category, x, y, width, height, crowd=0, area=None):
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {"category_id": category, "iscrowd": crowd, "area": area or width * height, "segmentation": [corners]}


def packed(pixels):
    """COCO's compressed run lengths."""
    return mask.encode(np.asfortranarray(pixels, np.uint8))["counts"].decode()


def write_coco(root, *images, part="train2017", place="coco/train2017"):
    """One image per list of objects; → the annotation file. Image ids are 7, 14, …, listed from the last one."""
    path = root / "coco/annotations" / f"instances_{part}.json"
    for folder in (path.parent, root / place):
        folder.mkdir(parents=True, exist_ok=True)
    listed, annotations = [], []
    for number, objects in enumerate(images, 1):
        name = f"{part}_{number}.jpg"
        Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(root / place / name)
        listed.append({"id": 7 * number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for found in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": 7 * number, **found})
    categories = [{"id": i, "name": name} for i, name in CATEGORIES.items()]
    path.write_text(json.dumps({"images": listed[::-1], "annotations": annotations, "categories": categories}))
    return path


def labels(root):
    return [sample.read_label(21) for sample in coco.samples(root, voc.CLASSES)]


def painted(*boxes):
    """The expected map: (class, rows, columns) painted one over the other on background."""
    label = np.zeros((HEIGHT, WIDTH), int)
    for class_id, rows, columns in boxes:
        label[slice(*rows), slice(*columns)] = class_id
    return label


# --- COCO: from objects to a label map -----------------------------------------------------------


def test_categories_are_vocs_classes_by_name(tmp_path):
    write_coco(tmp_path, [box(c, i, 0, 1, 16) for i, c in enumerate(CATEGORY_IDS[1:])])
    assert np.array_equal(labels(tmp_path)[0][3], range(1, 21))
    assert sum(CATEGORIES[c] != name for c, name in zip(CATEGORY_IDS[1:], voc.CLASSES[1:], strict=True)) == 6


@pytest.mark.parametrize("order", [1, -1])
def test_the_smaller_object_lies_on_top(tmp_path, order):
    write_coco(
        tmp_path,
        [box(PERSON, 0, 0, 10, 10), box(CAT, 5, 5, 10, 9)][::order],
        [box(PERSON, 0, 0, 10, 10, area=80), box(CAT, 5, 5, 10, 9)][::order],  # COCO's area decides, not the outline
    )
    person, cat = (15, (0, 10), (0, 10)), (8, (5, 14), (5, 15))
    first, second = labels(tmp_path)
    assert np.array_equal(first, painted(person, cat)) and np.array_equal(second, painted(cat, person))


@pytest.mark.parametrize("order", [1, -1])
def test_a_crowd_is_void_but_for_the_single_objects_on_it(tmp_path, order):
    objects = [
        box(PERSON, 2, 2, 12, 12, crowd=1), box(CAT, 0, 0, 18, 8), box(PERSON, 3, 10, 2, 2),
        box(TRUCK, 4, 4, 9, 9), box(TRUCK, 16, 10, 3, 3, crowd=1),
    ]  # fmt: skip
    write_coco(tmp_path, objects[::order])
    expected = painted((VOID, (2, 14), (2, 14)), (8, (0, 8), (0, 18)), (15, (10, 12), (3, 5)))
    assert np.array_equal(labels(tmp_path)[0], expected), "the crowd lies below, trucks are no class"


def test_images_without_a_single_object_of_a_class_are_left_out(tmp_path):
    crowd, person, truck = box(PERSON, 0, 0, 9, 9, crowd=1), box(PERSON, 3, 3, 2, 2), box(TRUCK, 9, 9, 2, 2)
    write_coco(tmp_path, [], [truck], [crowd], [truck, person], [crowd, truck], [crowd, person], [person])
    found = coco.samples(tmp_path, voc.CLASSES)
    assert [sample.name[-1] for sample in found] == ["4", "6", "7"], "in order of image id"
    assert all(sample.image.is_file() for sample in found)


def test_masks_are_those_of_pycocotools(tmp_path):
    """Polygons of several parts, run lengths plain and packed, against ``COCO.annToMask``."""
    rng = np.random.default_rng(0)
    forms = []
    for number in range(12):
        parts = [np.round(rng.uniform(-3, 22, 2 * n), 2).tolist() for n in (3, 5, 9)[: 1 + number % 3]]
        runs = rng.multinomial(HEIGHT * WIDTH, rng.dirichlet(np.ones(9))).tolist()
        for counts in (runs, packed(rng.random((HEIGHT, WIDTH)) < 0.4)):
            forms.append({"size": [HEIGHT, WIDTH], "counts": counts})
        forms.append(parts)
    path = write_coco(tmp_path, *([{**box(CAT, 0, 0, 1, 1), "segmentation": form}] for form in forms))
    theirs = COCO(path)
    for label, found in zip(labels(tmp_path), theirs.loadAnns(theirs.getAnnIds()), strict=True):
        assert np.array_equal(label, 8 * theirs.annToMask(found))


def test_parts_that_are_there_are_used_and_2017_wins(tmp_path):
    person = [box(PERSON, 3, 3, 2, 2)]
    for part, place in (("train2014", "train2014"), ("train2017", "images/train2017"), ("val2017", "val2017")):
        write_coco(tmp_path, person, part=part, place=f"coco/{place}")
    assert [s.name for s in coco.samples(tmp_path, voc.CLASSES)] == ["train2017_1", "val2017_1"]
    for path in tmp_path.glob("coco/annotations/*2017.json"):
        path.unlink()
    assert [s.name for s in coco.samples(tmp_path, voc.CLASSES)] == ["train2014_1"]


def test_real_coco_labels_show_the_smallest_object(real_data):
    theirs = COCO(real_data / "coco/annotations/instances_train2017.json")
    wanted = {i: n for n, i in enumerate(CATEGORY_IDS)}
    single = [a for a in theirs.loadAnns(theirs.getAnnIds(iscrowd=False)) if a["category_id"] in wanted]
    found = coco.samples(real_data, voc.CLASSES)
    assert {int(s.name) for s in found} == {a["image_id"] for a in single} and len(found) == 271
    for sample in found[::10]:
        objects = theirs.loadAnns(theirs.getAnnIds(imgIds=int(sample.name), catIds=list(wanted)))
        crowds = [theirs.annToMask(a) for a in objects if a["iscrowd"]]
        objects = [a for a in objects if not a["iscrowd"]]
        areas = np.stack([np.where(theirs.annToMask(a), a["area"], np.inf) for a in objects])
        label = np.array([wanted[a["category_id"]] for a in objects])[areas.argmin(0)]
        below = VOID * np.any(crowds, 0) if crowds else 0
        assert np.array_equal(sample.read_label(21), np.where(np.isinf(areas).all(0), below, label))


def test_the_fingerprint_follows_every_object_but_not_the_spelling_of_the_file(tmp_path):
    spec = DataSpec("coco", side=32)
    objects = [box(PERSON, 3, 3, 2, 2), box(CAT, 9, 9, 3, 3)]
    for name in ("first", "same", "moved", "other"):
        write_coco(tmp_path / name, objects)
    path = "coco/annotations/instances_train2017.json"
    (tmp_path / "same" / path).write_text(json.dumps(json.loads((tmp_path / "first" / path).read_text()), indent=1))
    write_coco(tmp_path / "moved", [objects[0], box(CAT, 9, 9, 3, 4, area=9)])
    write_coco(tmp_path / "other", [objects[0], box(PERSON, 9, 9, 3, 3)])
    first, same, *others = (data.fingerprint(spec, tmp_path / name) for name in ("first", "same", "moved", "other"))
    assert first == same and len({first, *others}) == 3


# --- COCO: faults --------------------------------------------------------------------------------


def rewrite(**changes):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


@pytest.mark.parametrize(("damage", "says"), [
    (lambda path: path.write_text(path.read_text()[:-40]), ["{annotations}", "JSONDecodeError", "copy it again"]),
    (lambda path: path.write_bytes(b"\xff\xfe\x00PK"), ["{annotations}", "UnicodeDecodeError", "copy it again"]),
    (lambda path: path.write_text("[]"), ["{annotations}", "no readable COCO annotation file", "copy it again"]),
    (rewrite(annotations=[{"id": 1}]), ["{annotations}", "'category_id'", "copy it again"]),
    (rewrite(annotations=[box(91, 0, 0, 1, 1)]), ["{annotations}", "91", "copy it again"]),
    (rewrite(images=[]), ["{annotations}", "7", "copy it again"]),
    (lambda path: path.unlink(), ["{annotations} is missing", "unpack COCO's annotations"]),
    (lambda path: shutil.rmtree(path.parents[1] / "train2017"), ["{images} is missing", "train2017.zip"]),
    (lambda path: shutil.rmtree(path.parents[1]), ["{images} is missing", "train2017.zip"]),
    (lambda path: (path.parents[1] / "train2017/train2017_1.jpg").unlink(), ["{images}/train2017_1.jpg is missing"]),
    (lambda path: Image.new("RGB", (9, 8)).save(path.parents[1] / "train2017/train2017_1.jpg"),
     ["{annotations}", "20×16", "train2017_1.jpg is 9×8"]),
])  # fmt: skip
def test_damaged_coco(damage, says, tmp_path, caught):
    path = write_coco(tmp_path, [box(PERSON, 3, 3, 2, 2)])
    damage(path)
    with pytest.raises(UserError) as info:
        check("coco", tmp_path)
    for part in says:
        assert part.format(annotations=path, images=tmp_path / "coco/train2017") in caught(info)


@pytest.mark.parametrize("broken", [
    None, [], [[]], [[1, 1, 9]], [[1, 1, 9, 1]], ["corners"], [[1, 1, 9, 1, 9, "x"]], {"counts": [100, 220]},
    {"size": [HEIGHT, WIDTH]}, {"size": [WIDTH, HEIGHT], "counts": [100, 220]},
    {"size": [HEIGHT, WIDTH], "counts": [100, 221]}, {"size": [HEIGHT, WIDTH], "counts": [-1, 321]},
    {"size": [HEIGHT, WIDTH], "counts": "no run lengths~~"},
    # what pycocotools takes, and draws from memory that nobody wrote, or dies of
    [[1, 1, 9, 1, 9, 9, 1]], [[1, 1, 9, 1, 9, 9], [4]], [[1, 1, 9, 1, 9, 1e9]], [[1, 1, 9, 1, 9, float("nan")]],
    {"size": [HEIGHT, WIDTH], "counts": [100, 20]}, {"size": [HEIGHT, WIDTH], "counts": packed(np.eye(9, WIDTH))},
])  # fmt: skip
def test_objects_that_cannot_be_drawn(broken, tmp_path, caught):
    path = write_coco(tmp_path, [box(CAT, 0, 0, 2, 2)], [{**box(PERSON, 3, 3, 2, 2), "segmentation": broken}])
    with pytest.raises(UserError) as info:
        check("coco", tmp_path)
    assert str(path) in caught(info) and "train2017_2.jpg" in caught(info) and "original annotation" in caught(info)


# --- Cityscapes ----------------------------------------------------------------------------------


@pytest.fixture
def town(tmp_path, monkeypatch):
    """A data root in Cityscapes' layout: 3 fine, 2 val, 4 coarse, 1 test, small; the catalogue is told of the size."""
    streets.write(tmp_path, streets.Sizes(fine=3, val=2, coarse=4, test=1))
    for name in ("cityscapes", "cityscapes-coarse"):
        monkeypatch.setitem(sources.SOURCES, name, replace(sources.SOURCES[name], size=streets.SIZE))
    return tmp_path


def first(root, pattern):
    return min(root.glob(f"cityscapes/{pattern}"))


def test_class_ids_are_the_official_ones():
    official = [c for c in Cityscapes.classes if c.id >= 0]  # the licence plate, -1, is in no label file
    assert {c.id: VOID if c.ignore_in_eval else c.train_id for c in official} == cityscapes.TRAIN_IDS
    scored = sorted((c.train_id, c.name) for c in official if not c.ignore_in_eval)
    assert list(enumerate(cityscapes.CLASSES)) == scored


@pytest.mark.parametrize(("split", "mode"), [("train", "fine"), ("val", "fine"), ("train_extra", "coarse")])
def test_torchvision_reads_our_streets(town, split, mode):
    theirs = Cityscapes(town / "cityscapes", split=split, mode=mode, target_type="semantic")
    ours = cityscapes.samples(town, split, f"gt{mode.title()}")
    assert [str(s.image) for s in ours] == sorted(theirs.images) and len(ours) in (2, 3, 4)
    table = {c.id: c.train_id if 0 <= c.train_id < 19 else VOID for c in Cityscapes.classes}
    by_file = dict(zip(theirs.images, theirs, strict=True))
    for sample in ours:
        image, label = by_file[str(sample.image)]
        assert np.array_equal(np.vectorize(table.get)(label), sample.read_label(19))
        assert image.size == streets.SIZE


def test_ids_that_are_not_scored_are_void_and_others_are_refused(town, caught):
    path = first(town, "gtFine/train/*/*")
    every = np.resize(np.arange(34, dtype=np.uint8), streets.SIZE[::-1])
    Image.fromarray(every).save(path)
    label = cityscapes.samples(town, "train")[0].read_label(19)
    assert set(every[label == VOID].tolist()) == {*range(7), 9, 10, 14, 15, 16, 18, 29, 30}
    assert np.unique(label[label != VOID]).tolist() == list(range(19))
    Image.fromarray(every + 1).save(path)
    with pytest.raises(UserError) as info:
        check("cityscapes", town)
    assert str(path) in caught(info) and "[34]" in caught(info) and "original label files" in caught(info)


def test_stage_1_is_the_coarse_set_and_train(town):
    fine, coarse = (DataSpec(name, side=128, height=64) for name in ("cityscapes", "cityscapes-coarse"))
    assert data.counts(fine, town) == {"train": 3, "val": 2}
    assert data.counts(coarse, town) == {"train": 4 + 3, "val": 2}
    cities = Counter(sample.image.parent.name for sample in catalog.samples(coarse, "train", town))
    assert cities == {"augsburg": 4, "aachen": 3}
    assert [path.parent.name for path in fine.source.test(town)] == ["berlin"]


@pytest.mark.parametrize(("damage", "says"), [
    (lambda root: shutil.rmtree(root / "cityscapes/gtCoarse"), "gtCoarse/train_extra is missing: unpack gtCoarse.zip"),
    (lambda root: shutil.rmtree(root / "cityscapes/gtFine/val"), "gtFine/val is missing: unpack gtFine_trainvaltest"),
    (lambda root: shutil.rmtree(root / "cityscapes/leftImg8bit/train_extra"), "unpack leftImg8bit_trainextra.zip"),
    (lambda root: shutil.rmtree(root / "cityscapes"), "unpack leftImg8bit_train"),
    (lambda root: [p.unlink() for p in root.glob("cityscapes/leftImg8bit/val/*/*")], "leftImg8bit/val has no */*_left"),
    (lambda root: first(root, "gtCoarse/*/*/*").unlink(), "000000_000019_gtCoarse_labelIds.png is missing"),
    (lambda root: Image.new("RGBA", (128, 64)).save(first(root, "gtFine/train/*/*")), "labelIds.png is a colour pic"),
    (lambda root: Image.new("L", (64, 64)).save(first(root, "gtFine/train/*/*")), "labelIds.png is 64×64 but aachen_0"),
])  # fmt: skip
def test_damaged_cityscapes(damage, says, town, caught):
    damage(town)
    with pytest.raises(UserError) as info:
        check("cityscapes-coarse", town)
    assert str(town / "cityscapes") in caught(info) and says in caught(info)


def test_images_of_another_size_are_not_cityscapes(tmp_path, caught):
    streets.write(tmp_path, streets.Sizes(fine=1, val=1, coarse=0, test=0))
    for use in (partial(check, "cityscapes"), partial(catalog.load, DataSpec("cityscapes", side=2048), "val")):
        with pytest.raises(UserError) as info:
            use(data_root=tmp_path)
        assert "leftImg8bit.png is 128×64, not 2048×1024: use the original images" in caught(info)


# --- CamVid --------------------------------------------------------------------------------------


@pytest.fixture
def drive(tmp_path):
    """CamVid's layout with 3, 1 and 2 images of 24×20. Pixels hold row and column, labels a function of them."""
    rows, columns = np.mgrid[:20, :24]
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        for place in (part, f"{part}annot"):
            (tmp_path / "camvid" / place).mkdir(parents=True)
        for i in range(count):
            image = np.stack([5 * rows, 5 * columns, np.full_like(rows, i)], -1).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / f"camvid/{part}/{part}{i}.png")
            label = ((3 * rows + 7 * columns + i) % 12).astype(np.uint8)
            Image.fromarray(label).save(tmp_path / f"camvid/{part}annot/{part}{i}.png")
    return tmp_path


def test_class_11_of_camvid_is_void(drive, caught):
    sample = camvid.samples(drive, "train")[1]
    raw, label = np.array(Image.open(sample.label)), sample.read_label(11)
    assert np.array_equal(label, np.where(raw == 11, VOID, raw)) and np.unique(raw).tolist() == list(range(12))
    Image.fromarray(raw + 1).save(sample.label)
    with pytest.raises(UserError) as info:
        check("camvid", drive)
    assert str(sample.label) in caught(info) and "[12]" in caught(info)


@pytest.mark.parametrize("part", ["train", "trainannot", "val", "testannot"])
def test_damaged_camvid(part, drive, caught):
    place = drive / "camvid" / part
    lost = min(place.iterdir())
    for path in [lost] if "annot" in part else list(place.iterdir()):
        path.unlink()
    expected = f"{lost} is missing" if "annot" in part else f"{place} has no images"
    for message in (expected, f"{place} is missing: copy CamVid"):
        with pytest.raises(UserError) as info:
            check("camvid", drive)
        assert message in caught(info)
        shutil.rmtree(place, ignore_errors=True)


def test_real_camvid(real_data):
    names = [line.split("\t")[1] for line in (real_data / "camvid/classes.txt").read_text().splitlines()]
    assert [n.lower() for n in names] == [n.replace(" ", "") for n in camvid.CLASSES] + ["unlabelled"]
    report = check("camvid", real_data)
    assert {s: n["images"] for s, n in report["splits"].items()} == {"train": 367, "CamVid val": 101, "val": 233}
    assert report["complete"] and not report["overlap"] and report["largest"] == 480
    pixels = sum(report["labels"].values())
    assert pixels == 600 * 480 * 360 and {*report["labels"]} == {*range(11), VOID}
    raw = [real_data / f"camvid/{part}annot" for part in ("train", "test")]
    unlabelled = sum((np.array(Image.open(path)) == 11).sum() for folder in raw for path in folder.iterdir())
    assert report["labels"][VOID] == unlabelled


# --- is a data set whole? ------------------------------------------------------------------------


def test_checking_coco(tmp_path):
    write_coco(tmp_path, [box(PERSON, 0, 0, 5, 4), box(CAT, 8, 8, 4, 4, crowd=1)], [box(TRUCK, 0, 0, 3, 3)])
    report = check("coco", tmp_path)
    assert report["splits"] == {"train": {"images": 1, "official": 99_310}} and not report["complete"]
    assert report["labels"] == {0: 320 - 20 - 16, 15: 20, VOID: 16} and report["largest"] == 20
    text = describe(report)
    assert "1 images of 99310 official: a subset" in text and "255 void           5.00 %" in text
    assert "without a pixel: aeroplane, bicycle, bird" in text and "sheep" in text and "background," not in text


def test_checking_sbd_alone(layout):
    report = check("sbd", layout)
    counts = {"train": {"images": 4 + 1, "official": 8498}, "val": {"images": 1 + 1, "official": 2857}}
    assert report["splits"] == counts and not report["complete"]
    assert report["overlap"] == [] and report["left_out"] is None and VOID not in report["labels"]


def test_checking_cityscapes(town):
    fine, coarse = check("cityscapes", town), check("cityscapes-coarse", town)
    assert fine["splits"] == {"train": {"images": 3, "official": 2975}, "val": {"images": 2, "official": 500}}
    assert VOID not in fine["labels"] and sum(fine["labels"].values()) == (3 + 2) * 128 * 64
    raw = np.concatenate([np.array(Image.open(p)) for p in town.glob("cityscapes/gtCoarse/*/*/*")])
    assert coarse["labels"][VOID] == (raw == 0).sum() > 0, "streets leave nothing but outlines unlabelled"
    assert "coarse         4 images of 19998 official: a subset" in describe(coarse)
    assert "train          7 images of 22973 official: a subset" in describe(coarse)


@pytest.mark.parametrize("name", [
    "shapes-tiny", "voc-alone:shapes-tiny", "coco+voc:shapes-tiny", "streets-tiny", "coarse:streets-tiny",
])  # fmt: skip
def test_the_embedded_data_are_whole(name):
    report = check(name)
    assert report["complete"] and report["overlap"] == [] and report["labels"].keys() - {VOID}
    assert {split: n["images"] for split, n in report["splits"].items()} == sources.SOURCES[name].official_counts
    assert not data.is_subset(DataSpec(name, side=128)) and " a subset" not in describe(report)


# --- crops, canvases, fewer images ---------------------------------------------------------------


def test_training_crops_are_the_same_part_of_image_and_label(drive):
    spec = DataSpec("camvid", side=28, height=22, crop=16)
    split, places = catalog.load(spec, "train", drive), set()
    for images, labels in split.shuffled(2, 0, 0, 60):
        assert images.shape == (2, 3, 16, 16) and labels.shape == (2, 16, 16)
        for (rows, columns, number), label in zip(images.int(), labels.int(), strict=True):
            inside = rows != 124  # the mean colour is no multiple of 5
            rows, columns = rows // 5, columns // 5
            expected = (3 * rows + 7 * columns + number) % 12
            expected[expected == 11] = VOID
            assert torch.equal(label[inside], expected[inside]) and (label[~inside] == VOID).all()
            seen, step = columns[0][inside[0]].diff().unique().tolist(), rows[inside].diff().unique().tolist()
            assert seen in ([1], [-1]) and set(step) <= {0, 1}, "every row and column once, flipped or not"
            places.add((int(rows[inside].min()), int(columns[inside].min())))
    assert {row for row, _ in places} == set(range(7)) and {column for _, column in places} == set(range(13))


def test_every_place_is_cropped_alike():
    picture = torch.arange(6 * 7).view(1, 6, 7)
    corners = Counter()
    for seed in range(1200):
        image, label = crop_part(picture, picture[0], torch.Generator().manual_seed(seed), 4)
        assert torch.equal(image[0], label) and torch.equal(
            label, picture[0][label[0, 0] // 7 :, label[0, 0] % 7 :][:4, :4]
        )
        corners[int(label[0, 0])] += 1
    assert len(corners) == 3 * 4 and stats.chisquare(list(corners.values())).pvalue > 0.01


def test_a_crop_is_a_function_of_seed_and_position(drive):
    split = catalog.load(DataSpec("camvid", side=28, height=22, crop=16), "train", drive)
    whole, again, other = (list(split.shuffled(2, seed, 0, 12)) for seed in (5, 5, 6))
    for stream, start in ((again, 0), (list(split.shuffled(2, 5, 7, 12)), 7)):
        for (images, labels), (same, same_labels) in zip(whole[start:], stream, strict=True):
            assert torch.equal(images, same) and torch.equal(labels, same_labels)
    assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(whole, other, strict=True))


def test_evaluation_sees_whole_images(drive):
    spec = DataSpec("camvid", side=28, height=22, crop=16)
    cropped, plain = (catalog.load(s, "val", drive) for s in (spec, replace(spec, crop=None)))
    for (images, labels, sizes), (same, same_labels, _) in zip(cropped.in_order(2), plain.in_order(2), strict=True):
        assert images.shape == (2, 3, 22, 28) and sizes == [(20, 24)] * 2
        assert torch.equal(images, same) and torch.equal(labels, same_labels)


def test_a_crop_must_fit_into_the_canvas(caught):
    assert DataSpec("camvid", side=28, height=22, crop=22).canvas == (22, 28)
    for spec in ({"side": 28, "height": 22, "crop": 23}, {"side": 28, "crop": 29}):
        with pytest.raises(UserError) as info:
            DataSpec("camvid", **spec)
        assert f"crop {spec['crop']} does not fit into 28×" in caught(info)


@pytest.mark.parametrize("height", [64, 70])
def test_a_canvas_may_be_wider_than_high(height, caught):
    image, label, size = catalog.load(DataSpec("streets-tiny", side=128, height=height), "train")[3]
    assert image.shape == (3, height, 128) and label.shape == (height, 128) and size == (64, 128)
    assert (label[64:] == VOID).all() and (label[:64] != VOID).all()
    with pytest.raises(UserError) as info:
        catalog.load(DataSpec("streets-tiny", side=128, height=63), "train")
    assert "128×64, larger than the 128×63" in caught(info)


@pytest.mark.parametrize("count", [1, 5, 12, 47])
def test_fewer_training_images_are_evenly_spaced(count, caught):
    every, some = DataSpec("shapes-tiny", side=64), DataSpec("shapes-tiny", side=64, images=count)
    whole, part = catalog.samples(every, "train"), catalog.samples(some, "train")
    gaps = np.diff([*map(whole.index, part), len(whole)])
    assert len(part) == count and part[0] == whole[0] and np.ptp(gaps) <= 1
    assert catalog.samples(some, "val") == catalog.samples(every, "val")
    assert data.fingerprint(some) != data.fingerprint(every) and data.is_subset(some)
    assert data.fingerprint(replace(every, images=48)) == data.fingerprint(every), "all 48 are the whole set"
    with pytest.raises(UserError) as info:
        catalog.samples(replace(every, images=49), "train")
    assert "48 training images, not 49" in caught(info)
