"""The data sets by name: their splits, classes, official counts, and where they lie."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcnlab.data import camvid, cityscapes, coco, shapes, streets, twins, voc
from gcnlab.data.readers import Sample, read_list
from gcnlab.errors import UserError


@dataclass(frozen=True)
class Source:
    """A segmentation data set.

    Args:
        splits: root folder → samples. ``train`` and ``val`` are what runs use; further splits are parts that a check
            counts.
        classes: names, in the order of the ids.
        official_counts: images of each split as published.
        holds: what the data root must hold, for messages.
        layout: the folders in full, for messages.
        default_root: generated data know their own place.
        size: (width, height) that every image has, or None if they differ.
        official: whose counts those are.
        unused: how many listed images are left out because they show no object, where that can be.
        test: the images without labels of which a test server wants predictions, or None.
        official_test: how many those are.
    """

    splits: dict[str, Callable[[Path], list[Sample]]]
    classes: tuple[str, ...]
    official_counts: dict[str, int]
    holds: str
    layout: str = ""
    default_root: Callable[[], Path] | None = None
    size: tuple[int, int] | None = None
    official: str = "official"
    unused: Callable[[Path], int] | None = None
    test: Callable[[Path], list[Path]] | None = None
    official_test: int = 0


@dataclass(frozen=True)
class ClassFolders:
    """A classification data set in the ImageNet layout: ``<root>/<folder>/{train,val}/<class>/<image>``.

    Tiny-ImageNet's own layout is read too: ``train/<class>/images/<image>``, ``val/images/<image>`` and
    ``val/val_annotations.txt``.
    """

    folder: str
    classes: tuple[str, ...]
    official_counts: dict[str, int]
    default_root: Callable[[], Path] | None = None
    layout: str = ""

    @property
    def holds(self) -> str:
        return f"{self.folder}/"


def _voc_val(root: Path) -> list[Sample]:
    return voc.voc_samples(root, "val")


def _voc_train(root: Path) -> list[Sample]:
    return voc.voc_samples(root, "train")


_VOC_SPLITS = {"VOC train": _voc_train, "SBD": voc.sbd_samples, "train": voc.train_aug_samples, "val": _voc_val}
_SBD_SPLITS = {split: lambda root, split=split: voc.sbd_samples(root, (split,)) for split in ("train", "val")}


def _stage1(coco_root: Callable[[Path], Path], classes: tuple[str, ...]) -> dict[str, Callable]:
    """Stage-1 of Table 7: COCO, SBD and VOC train together."""

    def from_coco(root: Path) -> list[Sample]:
        return coco.samples(coco_root(root), classes)

    return {"COCO": from_coco, "train": lambda root: from_coco(root) + voc.train_aug_samples(root), "val": _voc_val}


def _street_splits(train: Callable[[Path], list[Sample]]) -> dict[str, Callable]:
    return {"train": train, "val": lambda root: cityscapes.samples(root, "val")}


def _coarse(root: Path) -> list[Sample]:
    return cityscapes.samples(root, "train_extra", "gtCoarse")


def _fine(root: Path) -> list[Sample]:
    return cityscapes.samples(root, "train")


def _cityscapes_test(root: Path) -> list[Path]:
    return cityscapes.images(root, "test")


_COARSE_SPLITS = {"coarse": _coarse, **_street_splits(cityscapes.with_coarse)}


def _generated(name: str, sizes: shapes.Sizes, extra: twins.Sizes, street: streets.Sizes) -> dict:
    """The embedded data: one set in VOC's layout, and its stand-ins for ImageNet, COCO and Cityscapes."""
    tail = name.removeprefix("shapes")
    # SBD lists one image of VOC train and one of VOC val besides its own, see shapes.write
    counts = {"VOC train": sizes.train, "SBD": sizes.extra + 2, "train": sizes.train + sizes.extra, "val": sizes.val}
    singles = {"train": sizes.single_train, "val": sizes.single_val}
    with_coco = {"COCO": extra.coco, "train": extra.coco + sizes.train + sizes.extra, "val": sizes.val}
    fine = {"train": street.fine, "val": street.val}
    coarse = {"coarse": street.coarse, "train": street.coarse + street.fine, "val": street.val}
    own, towns = (lambda: shapes.root(sizes)), (lambda: streets.root(street))

    def voc_like(splits: dict, official: dict, **more: Any) -> Source:
        def test(_: Path) -> list[Path]:
            return voc.test_images(twins.root(extra))

        return Source(splits, shapes.CLASSES, official, "", default_root=own, test=test, official_test=extra.test,
                      **more)  # fmt: skip

    def unused(_: Path) -> int:
        return coco.unused(twins.root(extra), shapes.CLASSES)

    def street_like(splits: dict, official: dict) -> Source:
        return Source(splits, cityscapes.CLASSES, official, "", default_root=towns, size=streets.SIZE,
                      test=_cityscapes_test, official_test=street.test)  # fmt: skip

    return {
        name: voc_like(_VOC_SPLITS, counts),
        f"voc-alone:{name}": voc_like({"train": _voc_train, "val": _voc_val}, {"train": sizes.train, "val": sizes.val}),
        f"coco+voc:{name}": voc_like(_stage1(lambda _: twins.root(extra), shapes.CLASSES), with_coco, unused=unused),
        f"imagenet:{name}": ClassFolders("imagenet", shapes.CLASSES[1:], singles, own),
        f"streets{tail}": street_like(_street_splits(_fine), fine),
        f"coarse:streets{tail}": street_like(_COARSE_SPLITS, coarse),
    }


_VOC_FOLDERS = "VOCdevkit/ and benchmark_RELEASE/"
_CITYSCAPES = {
    "classes": cityscapes.CLASSES, "holds": "cityscapes/", "layout": cityscapes.LAYOUT, "size": cityscapes.SIZE,
    "test": _cityscapes_test, "official_test": 1525,
}  # fmt: skip

_FROM_COCO = {"official": "in the paper", "unused": lambda root: coco.unused(root, voc.CLASSES)}

# The counts of VOC are those of section 4 of the paper, of SBD those of its release; train is VOC train ∪ SBD − val.
# That of COCO is what the paper's total of 109,892 leaves for it.
SOURCES: dict[str, Source | ClassFolders] = {
    "voc": Source(_VOC_SPLITS, voc.CLASSES, {"VOC train": 1464, "SBD": 11355, "train": 10582, "val": 1449},
                  _VOC_FOLDERS, voc.LAYOUT, test=voc.test_images, official_test=1456),
    "voc-alone": Source({"train": _voc_train, "val": _voc_val}, voc.CLASSES, {"train": 1464, "val": 1449},
                        "VOCdevkit/", voc.LAYOUT, test=voc.test_images, official_test=1456),
    "sbd": Source(_SBD_SPLITS, voc.CLASSES, {"train": 8498, "val": 2857}, "benchmark_RELEASE/", voc.LAYOUT),
    "coco+voc": Source(_stage1(lambda root: root, voc.CLASSES), voc.CLASSES,
                       {"COCO": 99_310, "train": 109_892, "val": 1449}, f"coco/, {_VOC_FOLDERS}",
                       f"{coco.LAYOUT}\n{voc.LAYOUT}", test=voc.test_images, official_test=1456, **_FROM_COCO),
    "coco": Source({"train": lambda root: coco.samples(root, voc.CLASSES)}, voc.CLASSES, {"train": 99_310}, "coco/",
                   coco.LAYOUT, **_FROM_COCO),
    "cityscapes": Source(_street_splits(_fine), official_counts={"train": 2975, "val": 500}, **_CITYSCAPES),
    "cityscapes-coarse": Source(
        _COARSE_SPLITS, official_counts={"coarse": 19_998, "train": 22_973, "val": 500}, **_CITYSCAPES
    ),
    # As is usual, models are measured on CamVid's test split. Like val it shares a sequence with train (62 frames).
    "camvid": Source(
        {"CamVid val": lambda root: camvid.samples(root, "val"), "train": lambda root: camvid.samples(root, "train"),
         "val": lambda root: camvid.samples(root, "test")},
        camvid.CLASSES, {"CamVid val": 101, "train": 367, "val": 233}, "camvid/", camvid.LAYOUT,
        size=camvid.SIZE),
    "imagenet": ClassFolders("imagenet", tuple(map(str, range(1000))), {"train": 1_281_167, "val": 50_000}),
    "tiny-imagenet": ClassFolders("tiny-imagenet", tuple(map(str, range(200))), {"train": 100_000, "val": 10_000}),
    **_generated("shapes", shapes.FULL, twins.FULL, streets.FULL),
    **_generated("shapes-tiny", shapes.TINY, twins.TINY, streets.TINY),
}  # fmt: skip


def classification_samples(source: ClassFolders, folder: Path, split: str) -> list[tuple[Path, int]]:
    """(image, class) in order; classes are numbered by their sorted names in the training split."""
    layout = f"expected {folder.name}/{split}/<class>/<image>"

    def entries(place: Path, folders: bool) -> list[str]:
        if not place.is_dir():
            raise UserError(f"{place} is missing: {layout}")
        with os.scandir(place) as found:  # far faster than pathlib for a million files
            return sorted(e.name for e in found if not e.name.startswith(".") and e.is_dir() == folders)

    classes = entries(folder / "train", folders=True)
    if len(classes) != len(source.classes):
        raise UserError(f"{folder / 'train'} has {len(classes)} class folders, not {len(source.classes)}: {layout}")
    annotations = folder / split / "val_annotations.txt"
    if annotations.is_file():
        number = {name: i for i, name in enumerate(classes)}
        lines = [line.split("\t")[:2] for line in read_list(annotations, layout)]
        unknown = [line[-1] for line in lines if line[-1] not in number]
        if unknown:
            raise UserError(f"{annotations} names the class {unknown[0]!r}, which {folder / 'train'} does not have")
        return [(folder / split / "images" / image, number[name]) for image, name in lines]
    different = set(entries(folder / split, folders=True)) ^ set(classes)
    if different:
        raise UserError(
            f"the class {min(different)!r} is in only one of {folder / 'train'} and {folder / split}: {layout}"
        )
    found = []
    for i, name in enumerate(classes):
        place = folder / split / name
        place = place / "images" if (place / "images").is_dir() else place
        found += [(place / file, i) for file in entries(place, folders=False)]
    return found
