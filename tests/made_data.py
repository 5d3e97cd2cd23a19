"""Tiny data sets in the official layouts, written by the tests."""

import json
from dataclasses import replace

import numpy as np
from PIL import Image

from gcnlab.data import catalog, coco, sources
from gcnlab.data.class_folders import class_folders
from gcnlab.data.synthetic import cityscapes as streets
from gcnlab.data.synthetic import voc

CATEGORIES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow",
    44: "bottle", 62: "chair", 63: "couch", 64: "potted plant", 67: "dining table", 72: "tv",
    90: "toothbrush",
}  # fmt: skip
PERSON, CAT, TRUCK = 1, 17, 8
SIZE = HEIGHT, WIDTH = [16, 20]


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
    for cached in (catalog.samples, catalog.fingerprint, catalog.load, coco._part):
        cached.cache_clear()


def box(category, x, y, width, height, crowd=0, area=None):
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    shape = {"area": area or width * height, "segmentation": [corners]}
    return {"category_id": category, "iscrowd": crowd, **shape}


def write_coco(root, *images, part="train2017", place="coco/train2017"):
    """One image per list of objects → the annotation file. Ids are 7, 14, …, the last one first."""
    path = root / "coco/annotations" / f"instances_{part}.json"
    for folder in (path.parent, root / place):
        folder.mkdir(parents=True, exist_ok=True)
    listed, annotations = [], []
    for number, objects in enumerate(images, 1):
        name = f"{part}_{number}.jpg"
        Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(root / place / name)
        listed.append({"id": 7 * number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for shape in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": 7 * number, **shape})
    categories = [{"id": i, "name": name} for i, name in CATEGORIES.items()]
    content = {"images": listed[::-1], "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    coco._part.cache_clear()
    return path


def write_all(root):
    """VOC 4 + 3, SBD 5, Cityscapes 3 + 2 and 4 coarse, CamVid 3 + 2, Tiny-ImageNet, COCO 1."""
    voc.write(root, voc.Sizes(train=4, extra=5, val=3, single_train=30, single_val=2))
    streets.write(root, streets.Sizes(fine=3, val=2, coarse=4, test=1))
    write_camvid(root)
    write_folders(root)
    write_coco(root, [box(PERSON, 3, 3, 2, 2)])


def catalogue():
    """The data sets of :func:`write_all` as the catalogue has to know them: name → source."""
    sizes = {"camvid": (24, 20), "cityscapes": streets.SIZE, "cityscapes-coarse": streets.SIZE}
    known = {name: replace(sources.SOURCES[name], size=size) for name, size in sizes.items()}
    folders = class_folders("tiny-imagenet", ("a", "b", "c"), {"train": 6, "val": 4})
    return known | {"tiny-imagenet": folders}
