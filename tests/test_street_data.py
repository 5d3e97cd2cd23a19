"""Cityscapes and CamVid in their official layouts, whole data sets, and what their runs need: crops and canvases."""

import shutil
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.datasets import Cityscapes

from gcnlab import data
from gcnlab.data import DataSpec, camvid, catalog, cityscapes, sources, streets
from gcnlab.data.check import check, describe
from gcnlab.data.transforms import VOID, crop_part
from gcnlab.errors import UserError

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
    every = np.resize(np.array([*range(34), VOID], np.uint8), streets.SIZE[::-1])
    Image.fromarray(every).save(path)
    label = cityscapes.samples(town, "train")[0].read_label(19)
    assert set(every[label == VOID].tolist()) == {*range(7), 9, 10, 14, 15, 16, 18, 29, 30, VOID}
    assert np.unique(label[label != VOID]).tolist() == list(range(19))
    Image.fromarray(np.where(every == 33, 34, every)).save(path)
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
    (lambda root: shutil.rmtree(root / "cityscapes"), "is missing: unpack "),
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
        assert "leftImg8bit.png is 128×64, not 2048×1024: use the images of that size" in caught(info)


# --- CamVid --------------------------------------------------------------------------------------


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """CamVid's layout with 3, 1 and 2 images of 24×20. Pixels hold row and column, labels a function of them."""
    monkeypatch.setitem(sources.SOURCES, "camvid", replace(sources.SOURCES["camvid"], size=(24, 20)))
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


def test_images_of_another_size_are_not_camvid(tmp_path, caught):
    assert sources.SOURCES["camvid"].size == (480, 360)
    for part in ("train", "val", "test"):
        for place, mode in ((part, "RGB"), (f"{part}annot", "L")):
            (tmp_path / "camvid" / place).mkdir(parents=True)
            Image.new(mode, (960, 720)).save(tmp_path / "camvid" / place / f"{part}.png")
    with pytest.raises(UserError) as info:
        check("camvid", tmp_path)
    assert "is 960×720, not 480×360" in caught(info)


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
    spec = DataSpec(name, side=128)
    assert not data.is_subset(spec, data.counts(spec)) and " a subset" not in describe(report)


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
        top, left = divmod(int(label[0, 0]), 7)
        assert torch.equal(image[0], label) and torch.equal(label, picture[0, top : top + 4, left : left + 4])
        corners[top, left] += 1
    assert len(corners) == 3 * 4 and stats.chisquare(list(corners.values())).pvalue > 0.01


def test_a_crop_is_a_function_of_seed_and_position(drive):
    # of one image, so that seeds do not differ in the order of images alone
    split = catalog.load(DataSpec("camvid", side=28, height=22, crop=16, images=1), "train", drive)
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
    assert data.fingerprint(some) != data.fingerprint(every)
    assert data.is_subset(some, data.counts(some)) and not data.is_subset(every, data.counts(every))
    assert data.fingerprint(replace(every, images=48)) == data.fingerprint(every), "all 48 are the whole set"
    with pytest.raises(UserError) as info:
        catalog.samples(replace(every, images=49), "train")
    assert "48 training images, not 49" in caught(info)
