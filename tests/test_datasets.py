"""Every data set in its official layout: what is read, what a check says, damage as one line."""

import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_data import forget
from PIL import Image
from torchvision.datasets import Cityscapes

from gcnlab import data
from gcnlab.data import DataSpec, camvid, catalog, cityscapes, sources, voc
from gcnlab.data.check import check, describe
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

# --- what is read ---


@pytest.mark.parametrize(("name", "counts"), [
    ("voc", {"VOC train": 4, "SBD": 7, "train": 9, "val": 3}),
    ("voc-alone", {"train": 4, "val": 3}),
    ("sbd", {"train": 5, "val": 2}),
    ("cityscapes", {"train": 3, "val": 2}),
    ("cityscapes-coarse", {"coarse": 4, "train": 7, "val": 2}),
    ("camvid", {"CamVid val": 1, "train": 3, "val": 2}),
    ("tiny-imagenet", {"train": 6, "val": 3}),
])  # fmt: skip
def test_checking_a_subset(name, counts, root):
    report, spec = check(name, root), DataSpec(name, side=128)
    assert {split: entry["images"] for split, entry in report["splits"].items()} == counts
    assert not report["complete"] and report["overlap"] == [] and "a subset" in describe(report)
    assert data.is_subset(spec, data.counts(spec, root))
    assert report["fingerprint"] == data.fingerprint(spec, root) in describe(report)
    if "labels" in report:
        scored = DataSpec(name, side=128, classes=(0, 1))
        official = sources.SOURCES[name].official_counts
        assert data.is_subset(scored, official) and not data.is_subset(spec, official)
        assert f"{VOID} void" in describe(report) or VOID not in report["labels"]
    else:
        assert report["per_class"] == {"train": [2, 2], "val": [1, 1]}


@pytest.mark.parametrize("name", [n for n, s in sources.SOURCES.items() if not s.default_root])
def test_a_root_without_the_data_set_is_told_what_it_must_hold(name, tmp_path, caught):
    source = sources.SOURCES[name]
    assert source.holds and "train" in source.official_counts
    assert source.official_counts.keys() <= set(source.splits)
    assert len(set(source.classes)) == len(source.classes)
    with pytest.raises(UserError) as info:
        check(name, tmp_path)
    assert str(tmp_path) in caught(info)
    with pytest.raises(UserError) as info:
        check(name)
    assert source.holds in caught(info)


@pytest.mark.parametrize("name", [n for n in sources.SOURCES if n.endswith("-tiny")])
def test_synthetic_data_are_complete(name):
    report, spec = check(name), DataSpec(name, side=128)
    counts = {split: entry["images"] for split, entry in report["splits"].items()}
    assert counts == spec.source.official_counts and report["complete"]
    assert report["overlap"] == [] and " a subset" not in describe(report)
    for scored in (spec, replace(spec, classes=(0, 1))):  # the other classes are not drawn
        assert not data.is_subset(scored, data.counts(scored))


def test_train_aug_is_voc_train_and_what_sbd_adds(root):
    voc_lists = root / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    sbd_lists = root / "benchmark_RELEASE/dataset"
    train, val = ((voc_lists / f"{split}.txt").read_text().split() for split in ("train", "val"))
    sbd = [n for s in ("train", "val") for n in (sbd_lists / f"{s}.txt").read_text().split()]
    assert set(sbd) & set(train) and set(sbd) & set(val), "or nothing is tested"
    samples = voc.train_aug_samples(root)
    names = [sample.name for sample in samples]
    assert len(names) == len(set(names)) and set(names) == (set(train) | set(sbd)) - set(val)
    png = {s.name for s in samples if s.label.suffix == ".png"}
    assert png == set(train), "VOC's labels are finer than SBD's"


def test_cityscapes_classes_and_files_are_torchvisions(root):
    official = [c for c in Cityscapes.classes if c.id >= 0]  # -1, the licence plate, is in no file
    ids = {c.id: VOID if c.ignore_in_eval else c.train_id for c in official}
    assert ids == cityscapes.TRAIN_IDS
    scored = sorted((c.train_id, c.name) for c in official if not c.ignore_in_eval)
    assert list(enumerate(cityscapes.CLASSES)) == scored
    for split, mode in (("train", "fine"), ("val", "fine"), ("train_extra", "coarse")):
        theirs = Cityscapes(root / "cityscapes", split=split, mode=mode, target_type="semantic")
        ours = cityscapes.samples(root, split, f"gt{mode.title()}")
        assert [str(s.image) for s in ours] == sorted(theirs.images)
        by_file = dict(zip(theirs.images, theirs, strict=True))
        for sample in ours:
            _, label = by_file[str(sample.image)]
            assert np.array_equal(np.vectorize(ids.get)(label), sample.read_label(19))
    stage_1 = catalog.samples(DataSpec("cityscapes-coarse", side=128, height=64), "train", root)
    cities = Counter(sample.image.parent.name for sample in stage_1)
    assert cities == {"augsburg": 4, "aachen": 3}
    assert [path.parent.name for path in cityscapes.test_images(root)] == ["berlin"]


def test_class_11_of_camvid_is_void(root):
    sample = camvid.samples(root, "train")[1]
    raw = np.array(Image.open(sample.label))
    assert np.unique(raw).tolist() == list(range(12))
    assert np.array_equal(sample.read_label(11), np.where(raw == 11, VOID, raw))


def test_classes_are_numbered_in_the_order_of_their_folders(root):
    spec, folder = DataSpec("tiny-imagenet", side=64), root / "tiny-imagenet"
    expected = [(name, i) for i, name in enumerate(("n01", "n02", "n03")) for _ in range(2)]
    listed = {part: catalog.samples(spec, part, root) for part in ("train", "val")}
    assert [(path.parent.name, number) for path, number in listed["train"]] == expected
    # Tiny-ImageNet's archive: train/<class>/images/*, val/images/* and val_annotations.txt
    for class_folder in (folder / "train").iterdir():
        (class_folder / "images").mkdir()
        for image in class_folder.glob("*.JPEG"):
            image.rename(class_folder / "images" / image.name)
        (class_folder / f"{class_folder.name}_boxes.txt").touch()
    (folder / "val/images").mkdir()
    lines = []
    for image in sorted((folder / "val").glob("n*/*"), reverse=True):
        lines.append(f"{image.name}\t{image.parent.name}\t0\t32\t44\t62")
        image.rename(folder / "val/images" / image.name)
        image.parent.rmdir()
    (folder / "val/val_annotations.txt").write_text("\n".join(lines))
    (folder / "train/.ipynb_checkpoints").mkdir()  # hidden folders are no classes
    forget()
    for part, before in listed.items():
        unpacked = catalog.samples(spec, part, root)
        assert all(path.is_file() for path, _ in unpacked)
        names = (sorted((path.name, i) for path, i in samples) for samples in (before, unpacked))
        assert len({tuple(n) for n in names}) == 1


def test_the_same_picture_in_train_and_val_is_an_overlap(root):
    folder = root / "tiny-imagenet"
    shutil.copy(folder / "train/n01/n01_train0.JPEG", folder / "val/n01/x.JPEG")
    report = check("tiny-imagenet", root)
    assert report["overlap"] == ["n01/n01_train0.JPEG"] and report["largest"] == 56


# --- faults ---

VOC, SBD, LISTS = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset", "ImageSets/Segmentation"
JPEG, PNG = f"{VOC}/JPEGImages/2007_000000.jpg", f"{VOC}/SegmentationClass/2007_000000.png"
MAT, TINY = f"{SBD}/cls/2009_000004.mat", "tiny-imagenet"


@pytest.mark.parametrize(("make", "says"), [
    (lambda root: DataSpec("tiny-imagenet", side=32, resize=36), "resize and crop_area"),
    (lambda root: DataSpec("imagenet", side=32, holdout=True), "holdout is for segmentation"),
    (lambda root: DataSpec("camvid", side=28, height=22, crop=23), "crop 23 .* into 28×22"),
    (lambda root: DataSpec("camvid", side=28, crop=29), "crop 29 does not fit into 28×28"),
    (lambda root: data.samples(DataSpec("camvid", side=64), "test", root), "no test split"),
    (lambda root: data.samples(DataSpec("coco", side=64), "val", root), "no val split"),
    (lambda root: data.load(DataSpec("voc", side=48), "val", root)[0], "larger than the 48×48"),
    (lambda root: data.load(DataSpec("tiny-imagenet", side=48), "val", root)[0], "than the 48×48"),
    (lambda root: data.samples(DataSpec("voc", side=64, images=10), "train", root), "not 10"),
])  # fmt: skip
def test_impossible_requests(make, says, root, caught):
    with pytest.raises(UserError, match=says) as info:
        make(root)
    caught(info)


def test_an_empty_list_and_a_wrong_size_are_refused(root, monkeypatch):
    monkeypatch.setitem(
        sources.SOURCES, "cityscapes", replace(sources.SOURCES["cityscapes"], size=cityscapes.SIZE)
    )
    with pytest.raises(UserError, match="128×64, not 2048×1024: use the images of that size"):
        data.load(DataSpec("cityscapes", side=2048), "val", root)[0]
    (root / VOC / LISTS / "val.txt").write_text("\n")
    with pytest.raises(UserError, match="empty list"):
        data.load(DataSpec("voc", side=64), "val", root)


# --- fingerprints ---


def test_the_fingerprint_follows_every_byte(root, tmp_path):
    spec = DataSpec("voc", side=64)
    fingerprints = [data.fingerprint(spec, root)]
    forget()
    assert data.fingerprint(spec, root) == fingerprints[0]
    for path in (JPEG, PNG, MAT, f"{SBD}/img/2009_000004.jpg"):
        content = bytearray((root / path).read_bytes())
        content[-9] ^= 1
        (root / path).write_bytes(content)
        forget()
        fingerprints.append(data.fingerprint(spec, root))
    names = root / VOC / LISTS / "val.txt"
    names.write_text("\n".join(names.read_text().split()[:-1]))
    forget()
    fingerprints.append(data.fingerprint(spec, root))
    assert len(set(fingerprints)) == 6


def test_a_large_set_is_known_by_names_and_sizes(root, monkeypatch):
    spec, fingerprints = DataSpec(TINY, side=64), [data.fingerprint(DataSpec(TINY, side=64), root)]
    monkeypatch.setattr(catalog, "LARGE", 0)
    path = root / TINY / "val/n02/n02_val0.JPEG"
    content = bytearray(path.read_bytes())
    for change in (0, 1):
        content[-3] ^= change
        path.write_bytes(content)
        forget()
        fingerprints.append(data.fingerprint(spec, root))
    path.write_bytes(content + b"0")
    forget()
    fingerprints.append(data.fingerprint(spec, root))
    whole, names, same_size, longer = fingerprints
    assert names == same_size and len({whole, names, longer}) == 3


# --- the real subsets, where they are ---


def test_real_voc(real_data):
    spec = DataSpec("voc", side=256, long_side=256, classes=(0, 8, 10, 12, 13, 15, 17))
    assert data.counts(spec, real_data) == {"train": 3131, "val": 445}
    train, val = (catalog.samples(spec, split, real_data) for split in ("train", "val"))
    assert not {s.name for s in train} & {s.name for s in val}
    for split, step in (("train", 600), ("val", 200)):
        prepared = data.load(spec, split, real_data)
        for index in range(0, len(prepared), step):
            image, label, (height, width) = prepared[index]
            assert image.shape == (3, 256, 256) and max(height, width) == 256
            assert set(label.unique().tolist()) <= {*range(7), VOID}
            assert (label[height:] == VOID).all() and (label[:, width:] == VOID).all()


def test_real_camvid(real_data):
    lines = (real_data / "camvid/classes.txt").read_text().splitlines()
    names = [line.split("\t")[1].lower() for line in lines]
    assert names == [n.replace(" ", "") for n in camvid.CLASSES] + ["unlabelled"]
    report = check("camvid", real_data)
    assert report["complete"] and not report["overlap"] and report["largest"] == 480
    folders = [real_data / f"camvid/{part}annot" for part in ("train", "test")]
    labels = [np.array(Image.open(path)) for folder in folders for path in folder.iterdir()]
    counts = {int(v): int(n) for v, n in enumerate(np.bincount(np.concatenate(labels, None)))}
    assert report["labels"] == {**{v: counts[v] for v in range(11)}, VOID: counts[11]}


def test_the_guides_data_set_of_ones_own_can_be_added(monkeypatch, tmp_path):
    guide = (Path(__file__).resolve().parents[1] / "docs/extending.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", guide, re.S) if "SOURCES[" in b)
    monkeypatch.setattr("gcnlab.data.sources.SOURCES", sources := {})
    exec(block, {})
    with pytest.raises(UserError, match="copy the data set there"):
        sources["dots"].samples(tmp_path, "val")
