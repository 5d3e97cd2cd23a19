"""The synthetic stand-in for COCO (Stage-1 of Table 7), and images for VOC's test server.

As COCO's, the images are many, larger than VOC's, and coarsely labelled: the outline of an object
is a polygon of 16 corners, and some objects are crowds (run-length coded, ``iscrowd`` = 1).
Category ids have gaps, as COCO's have.
"""

import json
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gcnlab.data.synthetic.cache import draw_all, generated
from gcnlab.data.synthetic.drawing import CLASSES, draw, save_jpeg, write_list

VERSION = 1  # of the drawing; part of the folder's name and of every seed
SIDE = 80  # pixels, against 64 of the synthetic VOC, as 640 against 512
CORNERS = 16
CROWDS = 50  # one image in so many has the first of its objects marked as a crowd
CATEGORIES = {class_id: 3 * class_id + 1 for class_id in range(1, len(CLASSES))}


class Sizes(NamedTuple):
    """How many images: the synthetic COCO, and the synthetic VOC test split."""

    coco: int
    test: int


FULL = Sizes(coco=2000, test=20)
TINY = Sizes(coco=24, test=4)


def _polygon(mask: np.ndarray) -> list[float]:
    """x and y of ``CORNERS`` points: along each ray from the centre, the last pixel of ``mask``."""
    rows, columns = np.nonzero(mask)
    y, x = rows.mean() + 0.5, columns.mean() + 0.5
    reach = np.arange(0, max(mask.shape) * 1.5, 0.5)
    corners: list[float] = []
    for angle in 2 * np.pi * np.arange(CORNERS) / CORNERS:
        along_x, along_y = x + reach * np.cos(angle), y + reach * np.sin(angle)
        inside = (along_x >= 0) & (along_x < mask.shape[1])
        inside &= (along_y >= 0) & (along_y < mask.shape[0])
        on = np.zeros(len(reach), bool)
        on[inside] = mask[along_y[inside].astype(int), along_x[inside].astype(int)]
        last = np.flatnonzero(on)[-1] if on.any() else 0
        corners += [round(float(along_x[last]), 1), round(float(along_y[last]), 1)]
    return corners


def _run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run-length code: column by column, beginning with the zeros."""
    pixels = np.concatenate([[0], mask.ravel(order="F").astype(int), [0]])
    edges = np.concatenate([[0], np.flatnonzero(np.diff(pixels)), [mask.size]])
    return {"size": list(mask.shape), "counts": np.diff(edges).tolist()}


def _draw_coco(folder: Path, index: int) -> list[dict[str, Any]]:
    """Draw and write one image; the annotations of its objects, not yet numbered."""
    rng = np.random.default_rng([VERSION, 100, index])
    scene = draw(rng, side=SIDE)
    save_jpeg(scene.image, folder / f"{index:012d}.jpg")
    annotations = []
    for number, (class_id, _) in enumerate(scene.objects, 1):
        mask = scene.instances == number
        crowd = index % CROWDS == 0 and number == 1 < len(scene.objects)
        what = {"image_id": index, "category_id": CATEGORIES[class_id], "iscrowd": int(crowd)}
        shape = _run_lengths(mask) if crowd else [_polygon(mask)]
        annotations.append({**what, "area": int(mask.sum()), "segmentation": shape})
    return annotations


def _write_coco(folder: Path, count: int) -> None:
    images = folder / "train2017"
    for part in (images, folder / "annotations"):
        part.mkdir(parents=True)
    drawn = chain.from_iterable(draw_all(partial(_draw_coco, images), range(count)))
    size = {"width": SIDE, "height": SIDE}
    content = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", **size} for i in range(count)],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(drawn)],
        "categories": [{"id": i, "name": CLASSES[c]} for c, i in CATEGORIES.items()],
    }
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


def write(folder: Path, sizes: Sizes) -> None:
    """Write ``coco`` and the images of ``VOCdevkit``'s test list below ``folder``."""
    _write_coco(folder / "coco", sizes.coco)
    voc = folder / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "ImageSets/Segmentation"):
        (voc / part).mkdir(parents=True)
    names = [f"2012_{index:06d}" for index in range(sizes.test)]
    for index, name in enumerate(names):
        scene = draw(np.random.default_rng([VERSION, 101, index]))
        save_jpeg(scene.image, voc / "JPEGImages" / f"{name}.jpg")
    write_list(voc / "ImageSets" / "Segmentation" / "test.txt", names)


def root(sizes: Sizes) -> Path:
    """The folder of the drawn data, written on first use (``FULL``: 15 s of one core)."""
    return generated(f"coco-v{VERSION}", sizes, write)
