"""Every data set in its official layout: what is read, what a check says, damage as one line."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision.datasets import Cityscapes

from gcnlab import data
from gcnlab.data import DataSpec, camvid, catalog, cityscapes, sources, voc
from gcnlab.data.check import check, describe
from gcnlab.data.class_folders import ClassFolders
from gcnlab.data.synthetic import cityscapes as streets
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError


def write_camvid(root):
    """3, 1 and 2 images of 24×20: pixels hold row and column, labels a function of them."""
    rows, columns = np.mgrid[:20, :24]
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        for folder in (part, f"{part}annot"):
            (root / "camvid" / folder).mkdir(parents=True)
        for i in range(count):
            image = np.stack([5 * rows, 5 * columns, np.full_like(rows, i)], -1).astype(np.uint8)
            Image.fromarray(image).save(root / f"camvid/{part}/{part}{i}.png")
            label = ((3 * rows + 7 * columns + i) % 12).astype(np.uint8)
            Image.fromarray(label).save(root / f"camvid/{part}annot/{part}{i}.png")


def write_folders(root):
    """Three classes with 2 and 1 images of 56×40 and 56×48."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("val", 1)):
        for name in ("n03", "n01", "n02"):
            folder = root / "tiny-imagenet" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (40 + 8 * i, 56, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{part}{i}.JPEG")


def forget():
    """As a new process: nothing is known of any folder."""
    for cached in (catalog.samples, catalog.fingerprint, catalog.load):
        cached.cache_clear()


@pytest.fixture
def root(layout, tmp_path, monkeypatch):
    """All layouts in one data root that a test may damage; the catalogue is told their sizes."""
    shutil.copytree(layout, tmp_path, dirs_exist_ok=True)
    streets.write(tmp_path, streets.Sizes(fine=3, val=2, coarse=4, test=1))
    write_camvid(tmp_path)
    write_folders(tmp_path)
    sizes = {"camvid": (24, 20), "cityscapes": streets.SIZE, "cityscapes-coarse": streets.SIZE}
    for name, size in sizes.items():
        monkeypatch.setitem(sources.SOURCES, name, replace(sources.SOURCES[name], size=size))
    tiny = ClassFolders("tiny-imagenet", ("a", "b", "c"), {"train": 6, "val": 4})
    monkeypatch.setitem(sources.SOURCES, "tiny-imagenet", tiny)
    forget()
    return tmp_path


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
    with open(voc_lists / "train.txt", "a") as file:
        file.write(f"{val[1]}\n")
    with pytest.raises(UserError, match=rf"{val[1]}, are in train\.txt and val\.txt"):
        voc.train_aug_samples(root)


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
    (folder / "val/val_annotations.txt").write_text("val0.JPEG\tn99\t0")
    forget()
    with pytest.raises(UserError, match="names the class 'n99'"):
        catalog.samples(spec, "val", root)


def test_the_same_picture_in_train_and_val_is_an_overlap(root):
    folder = root / "tiny-imagenet"
    shutil.copy(folder / "train/n01/n01_train0.JPEG", folder / "val/n01/x.JPEG")
    report = check("tiny-imagenet", root)
    assert report["overlap"] == ["n01/n01_train0.JPEG"] and report["largest"] == 56


# --- damage ---


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def unlink(path):
    path.unlink()


def empty(path):
    for file in path.rglob("*.*"):
        file.unlink()


def write(content):
    return lambda path: path.write_bytes(content)


def picture(mode, size=(64, 64), value=0):
    return lambda path: Image.new(mode, size, value).save(path)


def mat(array, key="GTcls"):
    return lambda path: scipy.io.savemat(path, {key: {"Segmentation": array}})


def filled(value, dtype=np.uint8, height=64):
    return np.full((height, 64), value, dtype)


VOC, SBD, LISTS = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset", "ImageSets/Segmentation"
JPEG, PNG = f"{VOC}/JPEGImages/2007_000000.jpg", f"{VOC}/SegmentationClass/2007_000000.png"
MAT, CITY, ROAD = f"{SBD}/cls/2009_000004.mat", "cityscapes", "train/aachen/aachen_000000_000019"
FINE = f"{CITY}/gtFine/{ROAD}_gtFine_labelIds.png"
COARSE = f"{CITY}/gtCoarse/train_extra/augsburg/augsburg_000000_000019_gtCoarse_labelIds.png"
TINY = "tiny-imagenet"
MISSING = "is missing: complete the data set"


@pytest.mark.parametrize(("name", "path", "damage", "says"), [
    ("voc", VOC, shutil.rmtree, "unpack VOC 2012 there, or correct the data root"),
    ("voc", f"{VOC}/{LISTS}/train.txt", unlink, "unpack VOC 2012 completely"),
    ("voc", f"{VOC}/{LISTS}/val.txt", write(b"\xff\xfe"), "cannot be read as a list"),
    ("voc", f"{SBD}/train.txt", unlink, "unpack SBD"),
    ("voc", f"{SBD}/val.txt", unlink, "unpack SBD"),
    ("voc", JPEG, truncate, "truncated"),
    ("voc", JPEG, write(b"<html>404</html>"), "cannot be read as an image"),
    ("voc", JPEG, unlink, MISSING),
    ("voc", f"{SBD}/img/2009_000004.jpg", truncate, "truncated"),
    ("voc", PNG, unlink, MISSING),
    ("voc", PNG, truncate, "cannot be read as a label map"),
    ("voc", PNG, picture("RGB"), "mode RGB"),
    ("voc", PNG, picture("L", value=21), "values [21]"),
    ("voc", PNG, picture("L", value=254), "values [254]"),
    ("voc", PNG, picture("L", (64, 63)), "64×63"),
    ("voc", MAT, unlink, MISSING),
    ("voc", MAT, truncate, "cannot be read as an SBD label"),
    ("voc", MAT, write(b""), "cannot be read as an SBD label"),
    ("voc", MAT, mat(filled(0), "other"), "cannot be read as an SBD label"),
    ("voc", MAT, mat(filled(33)), "values [33]"),
    ("voc", MAT, mat(filled(256, np.int16)), "values [256]"),
    ("voc", MAT, mat(filled(-1, np.int16)), "values [-1]"),
    ("voc", MAT, mat(filled(0, height=32)), "64×32"),
    ("cityscapes-coarse", CITY, shutil.rmtree, "is missing: unpack "),
    ("cityscapes-coarse", f"{CITY}/gtCoarse/train_extra", shutil.rmtree, "unpack gtCoarse.zip"),
    ("cityscapes", f"{CITY}/gtFine/val", shutil.rmtree, "unpack gtFine_trainvaltest.zip"),
    ("cityscapes-coarse", f"{CITY}/leftImg8bit/train_extra", shutil.rmtree, "bit_trainextra.zip"),
    ("cityscapes", f"{CITY}/leftImg8bit/val", empty, "has no */*_leftImg8bit.png"),
    ("cityscapes-coarse", COARSE, unlink, MISSING),
    ("cityscapes", FINE, picture("RGBA", (128, 64)), "is a colour picture"),
    ("cityscapes", FINE, picture("L", (64, 64)), "is 64×64 but aachen_0"),
    ("cityscapes", FINE, picture("L", (128, 64), 34), "values [34]"),
    ("camvid", "camvid/train", shutil.rmtree, "copy CamVid"),
    ("camvid", "camvid/testannot", shutil.rmtree, "copy CamVid"),
    ("camvid", "camvid/val", empty, "has no images"),
    ("camvid", "camvid/trainannot/train0.png", unlink, MISSING),
    ("camvid", "camvid/trainannot/train0.png", picture("L", (24, 20), 12), "values [12]"),
    ("camvid", "camvid/train/train0.png", picture("RGB", (24, 21)), "train0.png is 24×21"),
    (TINY, f"{TINY}/val", shutil.rmtree, "expected tiny-imagenet/val/<class>/<image>"),
    (TINY, f"{TINY}/val/n02", shutil.rmtree, "the class 'n02' is in only one of"),
    (TINY, f"{TINY}/train/n02", shutil.rmtree, "has 2 class folders, not 3: expected"),
    (TINY, f"{TINY}/train/n01/n01_train0.JPEG", write(b"no image"), "cannot be read as an image"),
    (TINY, f"{TINY}/val", empty, "the val split has no images"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_file(name, path, damage, says, root, caught):
    damage(root / path)
    with pytest.raises(UserError) as info:
        check(name, root)
    assert says in caught(info)
    parent = str((root / path).parent) if damage is shutil.rmtree else (root / path).name
    assert parent in caught(info) or "has no images" in says


@pytest.mark.parametrize(("make", "says"), [
    (lambda root: DataSpec("coco-stuff", side=64), "unknown data set 'coco-stuff'.*voc"),
    (lambda root: DataSpec("tiny-imagenet", side=32, resize=36), "resize and crop_area"),
    (lambda root: DataSpec("imagenet", side=32, holdout=True), "holdout is for segmentation"),
    (lambda root: DataSpec("camvid", side=28, height=22, crop=23), "crop 23 .* into 28×22"),
    (lambda root: DataSpec("camvid", side=28, crop=29), "crop 29 does not fit into 28×28"),
    (lambda root: data.load(DataSpec("voc", side=64), "val"), "needs a data root.* VOCdevkit/ and"),
    (lambda root: data.samples(DataSpec("camvid", side=64), "test", root), "no test split"),
    (lambda root: data.samples(DataSpec("coco", side=64), "val", root), "no val split"),
    (lambda root: data.load(DataSpec("voc", side=48), "val", root)[0], "larger than the 48×48"),
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
    with pytest.raises(UserError, match="the val split has no images"):
        check("voc", root)
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
