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
from gcnlab.data.source import Source
from gcnlab.data.spec import DataSpec
from gcnlab.data.synthetic.drawing import write_list
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


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write_voc(folder: Path, side: int) -> None:
    """One image of VOC train and of val, and one that only SBD has."""
    size = (side, side * 3 // 4)
    picture, label = _picture(*size), _blocks(*size, [*range(len(voc.CLASSES)), 255])
    main, sbd = folder / voc.VOC_FOLDER, folder / voc.SBD_FOLDER
    for inner in (main / "ImageSets" / "Segmentation", sbd / "cls"):
        inner.mkdir(parents=True)
    for split, extra in (("train", "extra"), ("val", "val")):
        _save(picture, main / "JPEGImages" / f"{split}.jpg")
        _save(label, main / "SegmentationClass" / f"{split}.png")
        write_list(main / "ImageSets" / "Segmentation" / f"{split}.txt", [split])
        write_list(sbd / f"{split}.txt", [extra])
    _save(picture, sbd / "img" / "extra.jpg")
    save_mat(np.where(label == 255, 0, label), sbd / "cls" / "extra.mat")


def _write_coco(folder: Path, side: int) -> None:
    """One image with one person."""
    width, height = side, side * 3 // 4
    _save(_picture(width, height), folder / "coco" / "train2017" / "1.jpg")
    outline = [0, 0, width / 2, 0, width / 2, height / 2, 0, height / 2]
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [outline]}
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": width, "height": height}],
        "annotations": [person | {"area": width * height / 4}],
        "categories": [{"id": 1, "name": "person"}],
    }
    path = folder / "coco" / "annotations" / "instances_train2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_cityscapes(folder: Path) -> None:
    """One image of train, of val and of the coarse set."""
    picture, label = _picture(*cityscapes.SIZE), _blocks(*cityscapes.SIZE, range(34))
    for split, kind in (("train", "gtFine"), ("val", "gtFine"), ("train_extra", "gtCoarse")):
        name = Path(split, "city", "city_000000_000000_")
        _save(picture, folder / "cityscapes" / "leftImg8bit" / f"{name}leftImg8bit.png")
        _save(label, folder / "cityscapes" / kind / f"{name}{kind}_labelIds.png")


def _write_classes(folder: Path, source: Source) -> None:
    """One image of each class and split."""
    first = folder / source.holds / "first.JPEG"
    _save(_picture(500, 375), first)
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
        writers_of_spec = {
            "voc": partial(_write_voc, side=spec.val_side or spec.side),
            "coco": partial(_write_coco, side=spec.side),
            "cityscapes": _write_cityscapes,
            "imagenet": partial(_write_classes, source=spec.source),
        }
        for part in [] if spec.source.default_root else spec.name.split("+"):
            part = part.removesuffix("-alone").removesuffix("-coarse")
            if part not in writers_of_spec:
                problem = f"a dry run makes up no {part!r}"
                raise UserError(f"{problem}: use profile paper or a synthetic one")
            writers.setdefault(part, writers_of_spec[part])
    for write_part in writers.values():
        write_part(folder)
