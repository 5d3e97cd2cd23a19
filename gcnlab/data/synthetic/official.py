"""A few made-up images at the size of real ones in the official layouts, for a dry run.

They show nothing: blocks of one colour, a class for each block.
"""

import json
import shutil
from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from gcnlab.data import cityscapes, voc
from gcnlab.data.class_folders import ClassFolders
from gcnlab.data.palette import PALETTE
from gcnlab.data.spec import DataSpec
from gcnlab.data.synthetic.drawing import save_jpeg, write_list
from gcnlab.data.synthetic.voc import save_mat
from gcnlab.errors import UserError

BLOCK = 64  # pixels


def _blocks(width: int, height: int, values: Iterable[int]) -> np.ndarray:
    """(height, width) uint8: blocks that take turns with ``values``."""
    chosen = np.array(list(values), np.uint8)
    rows, columns = np.mgrid[:height, :width] // BLOCK
    return chosen[(rows * 5 + columns) % len(chosen)]


def _picture(width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8."""
    return np.stack([_blocks(width, height, range(20 * c, 240, 37)) for c in range(3)], -1)


def _save_label(label: np.ndarray, path: Path) -> None:
    image = Image.fromarray(label)
    image.putpalette(PALETTE)
    image.save(path)


def _write_voc(folder: Path, side: int) -> None:
    """One image of VOC train and of val, and one that only SBD has."""
    size = (side, side * 3 // 4)
    picture, label = _picture(*size), _blocks(*size, [*range(len(voc.CLASSES)), 255])
    main, extra = folder / "VOCdevkit" / "VOC2012", folder / "benchmark_RELEASE" / "dataset"
    lists = main / "ImageSets" / "Segmentation"
    for part in (main / "JPEGImages", main / "SegmentationClass", lists, extra / "img",
                 extra / "cls"):  # fmt: skip
        part.mkdir(parents=True)
    for split in ("train", "val"):
        save_jpeg(picture, main / "JPEGImages" / f"{split}.jpg")
        _save_label(label, main / "SegmentationClass" / f"{split}.png")
        write_list(lists / f"{split}.txt", [split])
    save_jpeg(picture, extra / "img" / "extra.jpg")
    save_mat(np.where(label == 255, 0, label), extra / "cls" / "extra.mat")
    write_list(extra / "train.txt", ["extra"])
    write_list(extra / "val.txt", ["val"])


def _write_coco(folder: Path, side: int) -> None:
    """One image with one person."""
    images = folder / "coco" / "train2017"
    for part in (images, folder / "coco" / "annotations"):
        part.mkdir(parents=True)
    width, height = side, side * 3 // 4
    save_jpeg(_picture(width, height), images / "1.jpg")
    outline = [0, 0, width / 2, 0, width / 2, height / 2, 0, height / 2]
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [outline]}
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": width, "height": height}],
        "annotations": [person | {"area": width * height / 4}],
        "categories": [{"id": 1, "name": "person"}],
    }
    path = folder / "coco" / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_cityscapes(folder: Path) -> None:
    """One image of train, of val and of the coarse set."""
    picture = Image.fromarray(_picture(*cityscapes.SIZE))
    label = Image.fromarray(_blocks(*cityscapes.SIZE, range(34)))
    for split, kind in (("train", "gtFine"), ("val", "gtFine"), ("train_extra", "gtCoarse")):
        for inner, what in (("leftImg8bit", picture), (kind, label)):
            part = folder / "cityscapes" / inner / split / "city"
            part.mkdir(parents=True)
            ending = f"{kind}_labelIds" if inner == kind else inner
            what.save(part / f"city_000000_000000_{ending}.png")


def _write_classes(folder: Path, source: ClassFolders) -> None:
    """One image of each class and split."""
    first = folder / source.folder / "first.JPEG"
    first.parent.mkdir(parents=True)
    save_jpeg(_picture(500, 375), first)
    for split, number in product(source.splits, range(len(source.classes))):
        part = first.parent / split / f"n{number:08d}"
        part.mkdir(parents=True)
        shutil.copyfile(first, part / "1.JPEG")


def write(folder: Path, specs: Iterable[DataSpec]) -> None:
    """Write what ``specs`` read below ``folder``; drawn sets have their own folder.

    ``UserError`` for a set that is not made up here.
    """
    writers = {}
    for spec in specs:
        if spec.source.default_root is not None:
            continue
        parts = spec.name.split("-")[0].split("+")
        for part in [spec.source.folder] if spec.is_classification else parts:
            known = {
                "voc": partial(_write_voc, side=spec.val_side or spec.side),
                "coco": partial(_write_coco, side=spec.side),
                "cityscapes": _write_cityscapes,
                "imagenet": partial(_write_classes, source=spec.source),
            }
            if part not in known:
                raise UserError(
                    f"a dry run makes up no {part!r}: use profile paper or a synthetic one"
                )
            writers.setdefault(part, known[part])
    for write_part in writers.values():
        write_part(folder)
