"""The embedded stand-in for COCO (Stage-1 of Table 7), and images without labels for a test server.

As COCO's, the images are many, larger than VOC's, and coarsely labelled: the outline of an object is a polygon of 16
corners, and some objects are crowds (run-length coded, ``iscrowd`` = 1). Category ids have gaps, as COCO's have.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcnlab.data import shapes

VERSION = 1  # of the drawing; part of the folder's name
SIDE = 80  # pixels, against 64 of the embedded VOC, as 640 against 512
CORNERS = 16
CROWDS = 50  # one image in so many has the first of its objects marked as a crowd


@dataclass(frozen=True)
class Sizes:
    """How many images: the embedded COCO, and the embedded VOC test split."""

    coco: int
    test: int


FULL = Sizes(coco=2000, test=20)
TINY = Sizes(coco=24, test=4)


def _polygon(mask: np.ndarray) -> list[float]:
    """x and y of ``CORNERS`` points: along each ray from the centre of ``mask``, the last pixel of it."""
    rows, columns = np.nonzero(mask)
    y, x = rows.mean() + 0.5, columns.mean() + 0.5
    reach = np.arange(0, max(mask.shape) * 1.5, 0.5)
    corners: list[float] = []
    for angle in 2 * np.pi * np.arange(CORNERS) / CORNERS:
        along_x, along_y = x + reach * np.cos(angle), y + reach * np.sin(angle)
        inside = (along_x >= 0) & (along_y >= 0) & (along_x < mask.shape[1]) & (along_y < mask.shape[0])
        on = np.zeros(len(reach), bool)
        on[inside] = mask[along_y[inside].astype(int), along_x[inside].astype(int)]
        last = np.flatnonzero(on)[-1] if on.any() else 0
        corners += [round(float(along_x[last]), 1), round(float(along_y[last]), 1)]
    return corners


def _run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run-length code: column by column, beginning with the zeros."""
    pixels = np.concatenate([[0], mask.ravel(order="F").astype(int), [0]])
    changes = np.flatnonzero(np.diff(pixels))
    edges = np.concatenate([[0], changes, [mask.size]])
    return {"size": list(mask.shape), "counts": np.diff(edges).tolist()}


def write(folder: Path, sizes: Sizes) -> None:
    """Write ``coco`` (annotations and images) and the images of ``VOCdevkit``'s test list below ``folder``."""
    images, voc = folder / "coco" / "train2017", folder / "VOCdevkit" / "VOC2012"
    for place in (images, folder / "coco" / "annotations", voc / "JPEGImages", voc / "ImageSets" / "Segmentation"):
        place.mkdir(parents=True)
    category = {class_id: 3 * class_id + 1 for class_id in range(1, len(shapes.CLASSES))}
    listed, annotations = [], []
    for index in range(sizes.coco):
        rng = np.random.default_rng([VERSION, 100, index])
        scene = shapes.draw(rng, shapes.DIAMETER, count=int(rng.integers(1, 4)), side=SIDE)
        name = f"{index:012d}.jpg"
        shapes.save_jpeg(scene.image, images / name)
        listed.append({"id": index, "file_name": name, "width": SIDE, "height": SIDE})
        for number, (class_id, _) in enumerate(scene.objects, 1):
            mask = scene.instances == number
            crowd = index % CROWDS == 0 and number == 1 < len(scene.objects)
            annotations.append({
                "id": len(annotations), "image_id": index, "category_id": category[class_id], "iscrowd": int(crowd),
                "area": int(mask.sum()), "segmentation": _run_lengths(mask) if crowd else [_polygon(mask)],
            })  # fmt: skip
    categories = [{"id": i, "name": shapes.CLASSES[class_id]} for class_id, i in category.items()]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (folder / "coco" / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    names = [f"2012_{index:06d}" for index in range(sizes.test)]
    for index, name in enumerate(names):
        rng = np.random.default_rng([VERSION, 101, index])
        scene = shapes.draw(rng, shapes.DIAMETER, count=int(rng.integers(1, 4)))
        shapes.save_jpeg(scene.image, voc / "JPEGImages" / f"{name}.jpg")
    shapes.write_list(voc / "ImageSets" / "Segmentation" / "test.txt", names)


def root(sizes: Sizes = FULL) -> Path:
    """The folder of the generated data, written on first use (about 15 s for ``FULL``)."""
    return shapes.generated(f"twins-v{VERSION}-{sizes.coco}-{sizes.test}", lambda folder: write(folder, sizes))
