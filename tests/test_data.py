"""Readers, preparation and the catalogue: official layouts in, checked batches out, one-line errors."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from gcnlab import data
from gcnlab.data import DataSpec, catalog, shapes, voc
from gcnlab.data.readers import class_map, read_image, read_label
from gcnlab.data.transforms import VOID, pad, random_flip, resize_long_side
from gcnlab.errors import UserError

MEAN_COLOUR = np.round(np.array([0.485, 0.456, 0.406]) * 255)
SPEC = DataSpec("voc", side=64)


@pytest.fixture
def root(layout, tmp_path):
    """A data root that a test may damage."""
    return shutil.copytree(layout, tmp_path / "data")


def load_all(root, spec=SPEC):
    return [catalog.load(spec, split, root) for split in ("train", "val")]


# --- splits --------------------------------------------------------------------------------------


def listed(path):
    return path.read_text().split()


def test_train_aug_is_voc_train_and_what_sbd_adds(layout):
    folders = layout / "VOCdevkit/VOC2012/ImageSets/Segmentation", layout / "benchmark_RELEASE/dataset"
    train, val = (listed(folders[0] / f"{split}.txt") for split in ("train", "val"))
    sbd = listed(folders[1] / "train.txt") + listed(folders[1] / "val.txt")
    assert set(sbd) & set(train) and set(sbd) & set(val), "SBD must hold VOC images, or nothing is tested"
    samples = voc.train_aug_samples(layout)
    names = [sample.name for sample in samples]
    assert len(names) == len(set(names)) == 4 + 5
    assert set(names) == (set(train) | set(sbd)) - set(val)
    assert {s.name for s in samples if s.label.suffix == ".png"} == set(train), "VOC's labels are finer than SBD's"
    assert [s.name for s in voc.voc_samples(layout, "val")] == val


def test_an_image_in_train_and_val_is_refused(root, caught):
    lists = root / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    leaked = listed(lists / "val.txt")[1]
    (lists / "train.txt").write_text("\n".join([*listed(lists / "train.txt"), leaked]))
    with pytest.raises(UserError) as info:
        catalog.samples(SPEC, "train", root)
    assert leaked in caught(info) and "train.txt" in caught(info)


def test_counts_and_subsets(layout):
    assert data.counts(SPEC, layout) == {"train": 9, "val": 3}
    voc = DataSpec("voc", side=64)
    official = {"train": 10582, "val": 1449}
    assert data.is_subset(voc, data.counts(SPEC, layout)) and not data.is_subset(voc, official)
    assert data.is_subset(replace(voc, classes=(0, 1)), official), "other classes are left out"
    tiny = DataSpec("shapes-tiny", side=64)
    assert data.counts(tiny) == {"train": 48, "val": 16}
    assert not data.is_subset(tiny, data.counts(tiny))
    assert not data.is_subset(replace(tiny, classes=(0, 1)), data.counts(tiny)), "the others are not drawn"


@pytest.mark.parametrize(("name", "split"), [("coco", "val"), ("camvid", "test")])
def test_a_split_that_a_set_does_not_have(name, split, layout, caught):
    with pytest.raises(UserError) as info:
        data.samples(DataSpec(name, side=64), split, layout)
    assert f"{name!r} has no {split} split" in caught(info)


def test_real_subset(real_data):
    assert len(voc.voc_samples(real_data, "train")) == 437
    assert len(voc.sbd_samples(real_data)) == 2694
    assert data.counts(SPEC, real_data) == {"train": 3131, "val": 445}
    train, val = ({s.name for s in catalog.samples(SPEC, split, real_data)} for split in ("train", "val"))
    assert not train & val
    assert data.is_subset(SPEC, data.counts(SPEC, real_data))


def test_real_images_are_read_and_fingerprinted(real_data):
    catalog.fingerprint.cache_clear()
    once = data.fingerprint(SPEC, real_data)
    catalog.fingerprint.cache_clear()
    assert data.fingerprint(SPEC, real_data) == once
    spec = DataSpec("voc", side=256, long_side=256, classes=(0, 8, 10, 12, 13, 15, 17))
    decode = catalog._decode_segmentation(spec)
    for sample in catalog.samples(spec, "train", real_data)[::600] + catalog.samples(spec, "val", real_data)[::200]:
        image, label, (height, width) = decode(sample)
        assert image.shape == (3, 256, 256) and max(height, width) == 256
        assert set(label.unique().tolist()) <= {*range(7), VOID}
        assert (label[height:] == VOID).all() and (label[:, width:] == VOID).all()


def test_fingerprint_follows_every_byte(layout, tmp_path):
    def copy(name):
        return shutil.copytree(layout, tmp_path / name)

    original = data.fingerprint(SPEC, layout)
    assert data.fingerprint(SPEC, copy("same")) == original
    prints = {original}
    for number, (sample, part) in enumerate([(0, "label"), (0, "image"), (-1, "label"), (-1, "image")]):
        root = copy(f"changed{number}")
        path = getattr(voc.train_aug_samples(root)[sample], part)
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(content)
        prints.add(data.fingerprint(SPEC, root))
    shorter = copy("shorter")
    names = shorter / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
    names.write_text("\n".join(listed(names)[:-1]))
    prints.add(data.fingerprint(SPEC, shorter))
    assert len(prints) == 6


# --- faults: one line that names the file --------------------------------------------------------


def test_missing_root(tmp_path, caught):
    with pytest.raises(UserError) as info:
        load_all(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere" / "VOCdevkit" / "VOC2012") in caught(info)


def test_no_root(caught):
    with pytest.raises(UserError) as info:
        load_all(None)
    assert "--data-root" in caught(info)


def test_unknown_data_set(caught):
    with pytest.raises(UserError) as info:
        DataSpec("coco-stuff", side=64)
    assert "'coco-stuff'" in caught(info) and "voc" in caught(info)


@pytest.mark.parametrize("lost", [
    "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt",
    "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt",
    "benchmark_RELEASE/dataset/train.txt",
    "benchmark_RELEASE/dataset/val.txt",
])  # fmt: skip
def test_missing_list(lost, root, caught):
    (root / lost).unlink()
    with pytest.raises(UserError) as info:
        load_all(root)
    assert str(root / lost) in caught(info)


def test_empty_list(root, caught):
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(UserError) as info:
        catalog.load(SPEC, "val", root)
    assert "empty list" in caught(info)


def test_missing_classification_folder(monkeypatch, tmp_path, caught):
    monkeypatch.setattr(DataSpec, "root", lambda self, data_root: data_root)
    with pytest.raises(UserError) as info:
        catalog.samples(DataSpec("imagenet:shapes", side=64), "train", tmp_path)
    assert str(tmp_path / "imagenet" / "train") in caught(info)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def save_rgb_label(path):
    Image.new("RGB", (64, 64)).save(path)


def save_label(value):
    return lambda path: Image.fromarray(np.full((64, 64), value, np.uint8)).save(path)


def save_mat(array, key="GTcls"):
    return lambda path: scipy.io.savemat(path, {key: {"Segmentation": array}})


@pytest.mark.parametrize(
    ("sample", "part", "damage", "says"),
    [
        (0, "image", truncate, "truncated"),
        (0, "image", lambda path: path.write_bytes(b"<html>404</html>"), "cannot be read as an image"),
        (0, "image", lambda path: path.unlink(), "is missing"),
        (-1, "image", truncate, "truncated"),
        (0, "label", lambda path: path.unlink(), "is missing"),
        (-1, "label", lambda path: path.unlink(), "is missing"),
        (0, "label", truncate, "cannot be read as a label map"),
        (0, "label", save_rgb_label, "mode RGB"),
        (0, "label", save_label(21), "values [21]"),
        (0, "label", save_label(254), "values [254]"),
        (-1, "label", truncate, "cannot be read as an SBD label"),
        (-1, "label", lambda path: path.write_bytes(b""), "cannot be read as an SBD label"),
        (-1, "label", save_mat(np.zeros((64, 64), np.uint8), key="other"), "cannot be read as an SBD label"),
        (-1, "label", save_mat(np.full((64, 64), 33, np.uint8)), "values [33]"),
        (-1, "label", save_mat(np.full((64, 64), 256, np.int16)), "values [256]"),
        (-1, "label", save_mat(np.full((64, 64), -1, np.int16)), "values [-1]"),
        (0, "label", lambda path: Image.new("L", (64, 63)).save(path), "64×63"),
        (-1, "label", save_mat(np.zeros((32, 64), np.uint8)), "64×32"),
    ],
)
def test_damaged_files(sample, part, damage, says, root, caught):
    path = getattr(voc.train_aug_samples(root)[sample], part)
    damage(path)
    with pytest.raises(UserError) as info:
        load_all(root)
    assert str(path) in caught(info) and says in caught(info)


def test_image_larger_than_the_input(root, caught):
    with pytest.raises(UserError) as info:
        load_all(root, DataSpec("voc", side=48))
    assert ".jpg" in caught(info) and "64×64" in caught(info) and "48" in caught(info)
    with pytest.raises(UserError, match="larger"):
        load_all(root, DataSpec("voc", side=48, long_side=50))
    assert load_all(root, DataSpec("voc", side=48, long_side=48))[0][0][2] == (48, 48)


def test_damage_is_found_even_if_files_are_read_as_they_are_used(root, monkeypatch):
    monkeypatch.setattr(catalog, "MEMORY_LIMIT", 0)
    truncate(voc.train_aug_samples(root)[-1].image)
    train = catalog.load(SPEC, "train", root)  # too large to keep: read as it is used
    for read in (train.check, lambda: list(train.in_order(4))):
        with pytest.raises(UserError, match="truncated"):
            read()


# --- reading -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB"])
def test_images_of_any_mode_become_rgb(mode, tmp_path):
    Image.new(mode, (5, 4)).save(tmp_path / "image.tif")
    image = read_image(tmp_path / "image.tif")
    assert (image.mode, image.size) == ("RGB", (5, 4))


# --- preparation ---------------------------------------------------------------------------------


def test_padding_is_void_and_becomes_zero():
    image = np.full((5, 7, 3), 200, np.uint8)
    label = np.full((5, 7), 3, np.uint8)
    padded, padded_label = pad(image, label, 9, 8)
    assert (padded[:5, :7] == 200).all() and (padded_label[:5, :7] == 3).all()
    outside = np.ones((9, 8), bool)
    outside[:5, :7] = False
    assert (padded[outside] == MEAN_COLOUR).all() and (padded_label[outside] == VOID).all()
    for height, width in ((9, 6), (4, 9)):
        with pytest.raises(ValueError, match=f"7×5 does not fit into {width}×{height}"):
            pad(image, label, height, width)


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (9, 11), (200, 3)])
def test_resizing_keeps_label_values_and_the_aspect(size):
    rng = np.random.default_rng(0)
    label = rng.choice(np.array([0, 7, 20, VOID], np.uint8), size[::-1])
    image, small = resize_long_side(Image.new("RGB", size, (9, 8, 7)), label, 20)
    assert image.size == small.shape[::-1] and max(image.size) == 20
    assert image.size[0] / image.size[1] == pytest.approx(size[0] / size[1], rel=0.1) or min(image.size) == 1
    assert set(np.unique(small)) <= {0, 7, 20, VOID} and small.dtype == np.uint8


def test_resizing_moves_image_and_label_together():
    label = np.zeros((64, 96), np.uint8)
    label[16:48, 24:60] = 1
    image, small = resize_long_side(Image.fromarray(label * 255).convert("RGB"), label, 48)
    white = np.asarray(image)[..., 0] / 255
    assert np.abs(white - small).mean() < 0.04, "only the antialiased outline may differ"


def test_resizing_to_the_same_size_changes_nothing():
    label = np.random.default_rng(0).integers(0, 20, (30, 40)).astype(np.uint8)
    image = Image.fromarray(label)
    same = resize_long_side(image, label, 40)
    assert np.array_equal(np.asarray(same[0]), label) and np.array_equal(same[1], label)


def test_class_map():
    kept = class_map((0, 8, 15))
    assert kept[[0, 8, 15]].tolist() == [0, 1, 2]
    others = np.setdiff1d(np.arange(256), [0, 8, 15])
    assert (kept[others] == VOID).all()
    assert np.array_equal(class_map(None), np.arange(256))


def test_only_the_chosen_classes_are_scored(layout):
    every, some = (catalog.load(DataSpec("voc", side=64, classes=c), "train", layout) for c in (None, (0, 3, 5)))
    assert DataSpec("voc", side=64, classes=(0, 3, 5)).class_names == ("background", "bird", "bottle")
    seen = set()
    for i in range(len(every)):
        before, after = every[i][1], some[i][1]
        for old, new in ((0, 0), (3, 1), (5, 2)):
            assert torch.equal(before == old, after == new)
        assert (after == VOID).sum() == (~torch.isin(before, torch.tensor([0, 3, 5]))).sum()
        seen |= set(after.unique().tolist())
    assert seen == {0, 1, 2, VOID}


def test_flips_move_image_and_label_together():
    labels = torch.randint(0, 9, (64, 6, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = labels[:, None].repeat(1, 3, 1, 1)
    flipped, flipped_labels = random_flip(images, labels, torch.Generator().manual_seed(1))
    assert torch.equal(flipped, flipped_labels[:, None].repeat(1, 3, 1, 1))
    turned = [not torch.equal(a, b) for a, b in zip(labels, flipped_labels, strict=True)]
    assert 16 < sum(turned) < 48, "about half of the images"
    for was, now, turn in zip(labels, flipped_labels, turned, strict=True):
        assert torch.equal(now, was.flip(-1) if turn else was)


def test_flips_leave_class_ids_alone():
    images, labels = torch.rand(8, 3, 4, 4), torch.arange(8)
    flipped, same = random_flip(images, labels, torch.Generator().manual_seed(1))
    assert torch.equal(same, labels) and not torch.equal(flipped, images)


# --- samples and batches -------------------------------------------------------------------------


def test_a_split_kept_in_memory_is_the_split_on_disk(layout, monkeypatch):
    kept = catalog.load(SPEC, "train", layout)
    monkeypatch.setattr(catalog, "MEMORY_LIMIT", 0)
    read = catalog.Split(catalog.samples(SPEC, "train", layout), catalog._decode_segmentation(SPEC))
    assert len(kept) == len(read) == 9
    for i in range(9):
        assert torch.equal(kept[i][0], read[i][0]) and torch.equal(kept[i][1], read[i][1]) and kept[i][2] == read[i][2]
    assert kept[0][0].shape == (3, 64, 64) and kept[0][0].dtype == kept[0][1].dtype == torch.uint8


def test_the_image_in_a_batch_is_the_file(layout):
    sample = catalog.samples(SPEC, "val", layout)[1]
    image, label, size = catalog.load(DataSpec("voc", side=80), "val", layout)[1]
    assert np.array_equal(image[:, :64, :64].permute(1, 2, 0), Image.open(sample.image))
    assert np.array_equal(label[:64, :64], Image.open(sample.label))
    assert size == (64, 64) and label.shape == (80, 80)


@pytest.mark.parametrize("part", ["train", "val"])
def test_classification_ids_are_the_number_of_lobes(part):
    spec = DataSpec("imagenet:shapes-tiny", side=64)
    assert spec.class_names == shapes.CLASSES[1:]
    split = catalog.load(spec, part)
    assert len(split) == {"train": 56, "val": 28}[part]
    for i, (path, class_id) in enumerate(split.samples):
        assert int(path.parent.name[1:]) == class_id + 1
        assert split[i][1] == class_id


def numbered(count):
    """A split whose image i is full of i and whose label is i."""

    def decode(i):
        return torch.full((3, 2, 2), i, dtype=torch.uint8), torch.tensor(i), (2, 2)

    return catalog.Split(range(count), decode)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 13])
def test_in_order_gives_everything_once(size):
    batches = list(numbered(10).in_order(size))
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == list(range(10))
    assert all(len(images) == len(labels) == len(sizes) <= size for images, labels, sizes in batches)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 25])
def test_every_epoch_is_a_permutation(batch_size):
    split = numbered(10)
    steps = 50 // batch_size
    order = torch.cat([labels for _, labels in split.shuffled(batch_size, 0, 0, steps)]).tolist()
    epochs = [order[i : i + 10] for i in range(0, len(order) - 9, 10)]
    assert len(epochs) == (steps * batch_size) // 10
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs), "each epoch has its own order"


def test_a_batch_does_not_depend_on_where_training_started():
    split = catalog.load(DataSpec("shapes-tiny", side=64), "train")
    whole = list(split.shuffled(5, 3, 0, 21))
    assert len(whole) == 21
    for first in (1, 9, 20):
        rest = list(split.shuffled(5, 3, first, 21))
        assert len(rest) == 21 - first
        for (images, labels), (again, labels_again) in zip(whole[first:], rest, strict=True):
            assert torch.equal(images, again) and torch.equal(labels, labels_again)


def test_seeds_differ_in_order_and_flips():
    split = catalog.load(DataSpec("shapes-tiny", side=64), "train")
    streams = [torch.cat([images for images, _ in split.shuffled(8, seed, 0, 6)]) for seed in (0, 1, 0)]
    assert torch.equal(streams[0], streams[2]) and not torch.equal(streams[0], streams[1])
    orders = [torch.cat([labels for _, labels in numbered(40).shuffled(8, seed, 0, 5)]).tolist() for seed in (0, 1, 2)]
    assert len(set(map(tuple, orders))) == 3


def test_flips_are_drawn_anew_in_every_epoch():
    def decode(i):
        return torch.tensor([i, 100]).view(1, 1, 2).repeat(3, 1, 1), torch.tensor(i), (1, 2)

    split = catalog.Split(range(16), decode)
    flipped = Counter()
    for images, labels in split.shuffled(4, 0, 0, 40):  # ten epochs
        flipped.update({int(i): int(image[0, 0, 0] == 100) for i, image in zip(labels, images, strict=True)})
    assert all(0 < flipped[i] < 10 for i in range(16))
    assert 50 < sum(flipped.values()) < 110


def test_seeds_of_neighbours_are_unrelated():
    seeds = {catalog.hash_seed(a, b, c) for a in range(5) for b in range(20) for c in range(2)}
    assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)
    assert catalog.hash_seed(1, 11) != catalog.hash_seed(11, 1)
