"""Classification data in the ImageNet layout: class folders in, crops out, one-line errors."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gcnlab.data import DataSpec, catalog, sources
from gcnlab.data.check import check, describe
from gcnlab.data.readers import read_image
from gcnlab.data.transforms import random_crop
from gcnlab.errors import UserError

TINY = DataSpec("tiny-imagenet", side=32, resize=36, crop_area=0.25)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A tiny-imagenet of three classes, with images of two sizes; the catalogue is told of three."""
    source = sources.ClassFolders("tiny-imagenet", ("a", "b", "c"), {"train": 6, "val": 4})
    monkeypatch.setitem(sources.SOURCES, "tiny-imagenet", source)
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("val", 1)):
        for name in ("n03", "n01", "n02"):
            place = tmp_path / "tiny-imagenet" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (40 + 8 * i, 56, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{name}_{part}{i}.JPEG")
    return tmp_path


def test_classes_are_numbered_in_the_order_of_their_folders(folders):
    split = catalog.load(TINY, "train", folders)
    assert [(path.parent.name, int(split[i][1])) for i, (path, _) in enumerate(split.samples)] == [
        (name, number) for number, name in enumerate(("n01", "n02", "n03")) for _ in range(2)
    ]
    assert TINY.class_names == ("a", "b", "c")


def test_evaluation_takes_the_centre_and_training_a_random_part(folders):
    split = catalog.load(TINY, "val", folders)
    image, _, size = split[0]
    assert image.shape == (3, 32, 32) and image.dtype == torch.uint8 and size == (40, 56)
    # PIL's own scaling: the shorter side to 36, then the middle
    scaled = read_image(split.samples[0][0]).resize((50, 36), Image.Resampling.BILINEAR).crop((9, 2, 41, 34))
    difference = image.float() - torch.from_numpy(np.array(scaled).transpose(2, 0, 1).copy()).float()
    assert difference.abs().max() <= 2 and torch.equal(image, split[0][0])
    batches = [list(split.shuffled(3, seed, 0, 4)) for seed in (0, 0, 1)]
    for (images, labels), (again, same) in zip(*batches[:2], strict=True):
        assert images.shape == (3, 3, 32, 32) and torch.equal(images, again) and torch.equal(labels, same)
    assert not torch.equal(batches[0][0][0], batches[2][0][0])


def test_every_epoch_shows_another_part_of_an_image(folders):
    path = catalog.samples(TINY, "val", folders)[0]
    split = catalog.Split(
        [path],
        lambda sample: (torch.arange(3 * 48 * 48).view(3, 48, 48).float(), torch.tensor(sample[1]), (48, 48)),
        training=lambda image, label, generator: (random_crop(image, 32, 0.25, generator), label),
    )
    # One image: every step is an epoch. A flip keeps the mean of a crop; another part has another mean.
    means = {round(float(images.mean()), 2) for images, _ in split.shuffled(1, 0, 0, 12)}
    assert len(means) == 12


def test_a_resumed_run_sees_the_parts_it_would_have_seen(folders):
    split = catalog.load(TINY, "train", folders)
    whole, rest = list(split.shuffled(4, 7, 0, 6)), list(split.shuffled(4, 7, 3, 6))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[3:], rest, strict=True))


@pytest.mark.parametrize("size", [(64, 64), (40, 100), (300, 20)])
@pytest.mark.parametrize("least", [0.08, 0.25, 1.0])
def test_random_crops_are_as_large_as_asked_and_no_smaller_than_allowed(size, least):
    """On an image whose two channels hold the row and the column, a crop shows which part it is."""
    height, width = size
    rows = torch.linspace(0, 1, height).view(1, -1, 1).expand(1, height, width)
    columns = torch.linspace(0, 1, width).view(1, 1, -1).expand(1, height, width)
    areas, shapes_seen = [], []
    for seed in range(200):
        crop = random_crop(torch.cat([rows, columns]), 32, least, torch.Generator().manual_seed(seed))
        assert crop.shape == (2, 32, 32)
        spans = [(c.max() - c.min()).item() for c in crop]
        areas.append(spans[0] * spans[1])
        shapes_seen.append((spans[1] * (width - 1) / (spans[0] * (height - 1)), *(c.mean().item() for c in crop)))
    square = min(size) ** 2 / (height * width)  # of the part that is taken when nothing fits
    assert min(areas) > 0.8 * min(least, square) - 0.02 and max(areas) <= 1
    if least < 1 and size == (64, 64):
        assert np.mean(areas) == pytest.approx((1 + least) / 2, abs=0.12) and np.std(areas) > 0.1
        ratios, rows_seen, columns_seen = np.array(shapes_seen).T
        assert 0.7 < ratios.min() < 0.8 and 1.25 < ratios.max() < 1.45, "from 3/4 to 4/3"
        for seen in (rows_seen, columns_seen):
            assert seen.mean() == pytest.approx(0.5, abs=0.05) and seen.std() > 0.05, "anywhere in the image"


def test_decoding_as_it_goes_gives_the_same_batches(folders, monkeypatch):
    def batches(split):
        return [images for images, _ in split.shuffled(4, 0, 0, 3)] + [images for images, _, _ in split.in_order(4)]

    kept = catalog.load(TINY, "train", folders)
    monkeypatch.setattr(catalog, "MEMORY_LIMIT", 0)
    catalog.load.cache_clear()
    decoded = catalog.load(TINY, "train", folders)
    assert kept._kept is not None and decoded._kept is None
    assert all(torch.equal(a, b) for a, b in zip(batches(kept), batches(decoded), strict=True))


def test_a_large_set_is_known_by_names_and_sizes(folders, monkeypatch):
    whole = catalog.fingerprint(TINY, folders)
    monkeypatch.setattr(catalog, "LARGE", 0)
    catalog.fingerprint.cache_clear()
    names = catalog.fingerprint(TINY, folders)
    assert names != whole
    path = next((folders / "tiny-imagenet/val/n02").iterdir())
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    catalog.fingerprint.cache_clear()
    assert catalog.fingerprint(TINY, folders) == names, "the same size"
    path.write_bytes(content + b"0")
    catalog.fingerprint.cache_clear()
    assert catalog.fingerprint(TINY, folders) != names


def test_wrong_class_folders_are_an_error_that_tells_the_layout(folders, caught):
    shutil.rmtree(folders / "tiny-imagenet/val/n02")
    with pytest.raises(UserError) as info:
        catalog.load(TINY, "val", folders)
    assert "the class 'n02' is in only one of" in caught(info), "or all later classes would have wrong numbers"
    (folders / "tiny-imagenet/val/n04").mkdir()
    with pytest.raises(UserError) as info:
        catalog.load(TINY, "val", folders)
    assert "the class 'n02' is in only one of" in caught(info)
    (folders / "tiny-imagenet/train/n04").mkdir()
    with pytest.raises(UserError) as info:
        catalog.load(TINY, "train", folders)
    assert "has 4 class folders, not 3: expected tiny-imagenet/train/<class>/<image>" in caught(info)
    (folders / "tiny-imagenet/train/n04").rmdir()
    (folders / "tiny-imagenet/train/.ipynb_checkpoints").mkdir()
    assert len(catalog.load(TINY, "train", folders)) == 6, "hidden folders are no classes"
    shutil.rmtree(folders / "tiny-imagenet/val")
    with pytest.raises(UserError) as info:
        catalog.load(TINY, "val", folders)
    assert "tiny-imagenet/val is missing" in caught(info)
    with pytest.raises(UserError) as info:
        catalog.load(TINY, "train", None)
    assert "needs --data-root DIR, the folder that holds tiny-imagenet/" in caught(info)
    with pytest.raises(UserError) as info:
        DataSpec("tiny-imagenet", side=32, resize=36)
    assert "resize and crop_area" in caught(info)


def test_checking_classification_data(folders, caught):
    report = check("tiny-imagenet", folders)
    assert report["splits"] == {"train": {"images": 6, "official": 6}, "val": {"images": 3, "official": 4}}
    assert (report["complete"], report["overlap"], report["largest"]) == (False, [], 56)
    assert report["per_class"] == {"train": [2, 2], "val": [1, 1]}
    assert "a subset" in describe(report) and "3 classes" in describe(report)
    image = folders / "tiny-imagenet/train/n01/n01_train0.JPEG"
    shutil.copy(image, folders / "tiny-imagenet/val/n01/another.JPEG")
    catalog.samples.cache_clear()
    assert check("tiny-imagenet", folders)["overlap"] == ["n01/n01_train0.JPEG"]
    for path in (folders / "tiny-imagenet/val/n03").iterdir():
        path.unlink()
    catalog.samples.cache_clear()
    assert check("tiny-imagenet", folders)["per_class"]["val"] == [0, 2]
    image.write_bytes(b"no image")
    with pytest.raises(UserError) as info:
        check("tiny-imagenet", folders)
    assert "n01_train0.JPEG cannot be read" in caught(info)
    for path in (folders / "tiny-imagenet/val").glob("*/*"):
        path.unlink()
    catalog.samples.cache_clear()
    with pytest.raises(UserError) as info:
        check("tiny-imagenet", folders)
    assert "the val split has no images" in caught(info)


def test_tiny_imagenet_is_read_as_its_archive_unpacks(folders, caught):
    """train/<class>/images/*.JPEG, val/images/*.JPEG and val_annotations.txt."""
    flat = {part: [(p.name, c) for p, c in catalog.samples(TINY, part, folders)] for part in ("train", "val")}
    root = folders / "tiny-imagenet"
    for place in (root / "train").iterdir():
        images = [*place.iterdir()]
        (place / "images").mkdir()
        for image in images:
            image.rename(place / "images" / image.name)
        (place / f"{place.name}_boxes.txt").touch()
    (root / "val/images").mkdir()
    lines = []
    for image in sorted((root / "val").glob("n*/*"), reverse=True):
        lines.append(f"{image.name}\t{image.parent.name}\t0\t32\t44\t62")
        image.rename(root / "val/images" / image.name)
        image.parent.rmdir()
    (root / "val/val_annotations.txt").write_text("\n".join(lines))
    catalog.samples.cache_clear()
    for part in ("train", "val"):
        assert sorted((p.name, c) for p, c in catalog.samples(TINY, part, folders)) == sorted(flat[part])
        assert all(p.is_file() for p, _ in catalog.samples(TINY, part, folders))
    (root / "val/val_annotations.txt").write_text("val0.JPEG\tn99\t0")
    catalog.samples.cache_clear()
    with pytest.raises(UserError) as info:
        catalog.samples(TINY, "val", folders)
    assert "names the class 'n99'" in caught(info)
