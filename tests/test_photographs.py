"""The photographs of the committed study, made anew from official archives."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcnlab.data import DataSpec, catalog, photographs, voc
from gcnlab.data.palette import PALETTE
from gcnlab.data.readers import read_label
from gcnlab.data.synthetic.voc import save_mat
from gcnlab.errors import UserError

SIZES = {  # of the original → of the copy
    "2007_000001": ((640, 427), (320, 214)),  # 213.5: to even
    "2007_000002": ((333, 500), (213, 320)),
    "2007_000003": ((300, 200), (300, 200)),  # never enlarged
    "2007_000004": ((500, 500), (320, 320)),
}
NOT_OURS = "0" * 16


def write_listing(path: Path, digests: dict[str, tuple[str, str]]) -> None:
    lists = ("VOC", "VOC", "SBD", "SBD"), ("train", "val", "train", "val")
    images = zip(*lists, SIZES, strict=True)
    rows = [(*image, *digests.get(image[-1], (NOT_OURS,) * 2)) for image in images]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([photographs.Listed._fields, *rows])


@pytest.fixture
def official(tmp_path, monkeypatch) -> Path:
    """Made-up images in the official layout, and a listing that knows none of them."""
    root, rng = tmp_path / "official", np.random.default_rng(0)
    monkeypatch.setattr(photographs, "LISTING", tmp_path / "listing.csv")
    write_listing(photographs.LISTING, {})
    for listed in photographs.listed("VOC", "SBD"):
        sample, (width, height) = listed.sample(root), SIZES[listed.name][0]
        for path in sample.files:
            path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 255, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(sample.image)
        ids = rng.choice([0, 8, 15], (height, width)).astype(np.uint8)
        if listed.data == "SBD":
            save_mat(ids, sample.label)
        else:
            ids[:5] = 255
            label = Image.fromarray(ids)
            label.putpalette(PALETTE)
            label.save(sample.label)
    return root


def test_copies_are_scaled_listed_and_read_like_the_originals(official, tmp_path):
    out = tmp_path / "data"
    other = photographs.scale(official, out)
    assert len(other) == 8
    for listed in photographs.listed("VOC", "SBD"):
        original, copy = listed.sample(official), listed.sample(out)
        with Image.open(copy.image) as image:
            assert image.size == SIZES[listed.name][1]
        before, after = (read_label(s.label, len(voc.CLASSES)) for s in (original, copy))
        assert after.shape == SIZES[listed.name][1][::-1]
        assert set(np.unique(after)) == set(np.unique(before))
    names = {split: [s.name for s in catalog.samples(DataSpec("voc", side=320), split, out)]
             for split in catalog.SPLITS}  # fmt: skip
    assert names == {
        "train": ["2007_000001", "2007_000003", "2007_000004"],
        "val": ["2007_000002"],
    }


def test_files_with_other_bytes_are_named(official, tmp_path):
    photographs.scale(official, tmp_path / "first")
    samples = [one.sample(tmp_path / "first") for one in photographs.listed("VOC", "SBD")]
    known = {sample.name: tuple(map(photographs.digest, sample.files)) for sample in samples}
    write_listing(photographs.LISTING, known)
    assert photographs.scale(official, tmp_path / "second") == []
    known["2007_000003"] = (known["2007_000003"][0], NOT_OURS)
    write_listing(photographs.LISTING, known)
    changed = tmp_path / "third" / voc.SBD_FOLDER / "cls" / "2007_000003.mat"
    assert photographs.scale(official, tmp_path / "third") == [changed]


def test_the_command_tells_people_and_machines(official, tmp_path, call):
    options = ("data", "scale", "voc", "--data-root", official, "--out")
    code, out, _ = call(*options, tmp_path / "one")
    assert code == 1 and "8 files are in" in out and "8 have other bytes" in out
    code, out, _ = call(*options, tmp_path / "two", "--json")
    assert code == 1 and len(json.loads(out)["other_bytes"]) == 8


def test_nothing_is_overwritten_and_nothing_half_made_is_left(official, tmp_path, caught):
    mine = tmp_path / "mine" / "file"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError) as info:
        photographs.scale(official, mine.parent)
    assert "name a new folder" in caught(info) and mine.read_text() == "mine"
    voc.sbd_sample(official, "2007_000003").label.unlink()
    with pytest.raises(UserError) as info:
        photographs.scale(official, tmp_path / "data")
    assert "2007_000003.mat is missing" in caught(info)
    assert not (tmp_path / "data").exists() and not list(tmp_path.glob(".writing-*"))


def test_the_listing_names_every_image_once():
    images = photographs.listed("VOC", "SBD", "COCO", "CamVid")
    assert len({(i.data, i.name) for i in images}) == len(images) == 4548
    counts = Counter((image.data, image.split) for image in images)
    assert counts["VOC", "val"] == 445  # as the records of photographs say, like 3,131 for training
    assert counts["VOC", "train"] + counts["SBD", "train"] + counts["SBD", "val"] == 3131
    names = {i.name for i in images if i.data == "VOC"}
    assert names.isdisjoint(i.name for i in images if i.data == "SBD")


def test_the_studys_labels_come_out_byte_for_byte(real_data, tmp_path, monkeypatch):
    """Ours as originals: none is scaled, so that only JPEG, which is lossy, gives other bytes."""
    some = photographs.listed("VOC", "SBD")[::60]
    monkeypatch.setattr(photographs, "listed", lambda *_: some)
    other = photographs.scale(real_data, tmp_path / "data")
    assert len(some) > 40 and {path.suffix for path in other} == {".jpg"}
    for listed in some:
        ours, anew = (Image.open(listed.sample(r).image) for r in (real_data, tmp_path / "data"))
        assert ours.size == anew.size and ours.quantization == anew.quantization
