"""COCO's instance annotations in the official layout, as segmentation labels of VOC's classes (Stage-1 of Table 7).

``ROOT/coco/annotations/instances_<part>.json`` and the images in ``ROOT/coco/<part>`` or ``ROOT/coco/images/<part>``;
the parts are those that are there of train2014, val2014, train2017 and val2017 (the 2017 split wins).

From objects to a label map:

- Categories are matched with VOC's classes by name; six are spelled differently. An object of another category is
  ignored: what it covers keeps the class that lies below, or background.
- Where objects overlap, the smaller one (by COCO's ``area``) lies on top: it would else vanish in what surrounds it.
- A crowd (``iscrowd`` = 1) of a class is void, but for single objects on it: its mask covers the gaps in the crowd.
- Used are images with at least one single object of the classes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gcnlab.data.readers import Sample
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

SPELLING = {
    "airplane": "aeroplane", "motorcycle": "motorbike", "dining table": "diningtable", "potted plant": "pottedplant",
    "couch": "sofa", "tv": "tvmonitor",
}  # fmt: skip
PARTS = (("train2017", "val2017"), ("train2014", "val2014"))

LAYOUT = """expected below the data root:
  coco/annotations/instances_train2017.json              from annotations_trainval2017.zip
  coco/train2017/*.jpg  (or coco/images/train2017)       from train2017.zip
  and the same of val2017, if it is to be used"""


@dataclass(frozen=True)
class CocoSample(Sample):
    """One image and its objects: (class, area, is a crowd, segmentation) each; ``size`` is (height, width)."""

    objects: tuple[tuple[int, float, bool, Any], ...] = ()
    size: tuple[int, int] = (0, 0)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.image,)

    @property
    def annotation(self) -> bytes:
        return json.dumps([self.objects, self.size]).encode()

    def read_label(self, num_classes: int) -> np.ndarray:
        """The label map (H, W) uint8; ``UserError`` names the image whose annotation is damaged."""
        label = np.zeros(self.size, np.uint8)
        # crowds first, then from large to small: what is painted later lies on top
        for class_id, _, crowd, segmentation in sorted(self.objects, key=lambda o: (not o[2], -o[1])):
            label[self._mask(segmentation)] = VOID if crowd else class_id
        return label

    def _mask(self, segmentation: Any) -> np.ndarray:
        from pycocotools import mask

        try:
            if isinstance(segmentation, dict):
                counts = segmentation["counts"]
                packed = isinstance(counts, str)
                rle = segmentation if packed else mask.frPyObjects(segmentation, *self.size)
                if tuple(rle["size"]) != self.size:
                    raise ValueError(f"a mask of {rle['size'][1]}×{rle['size'][0]} pixels")
                pixels = mask.decode(rle)
                # pycocotools leaves pixels beyond the last run as it found them
                if packed:
                    whole = mask.encode(np.asfortranarray(pixels))["counts"] == counts.encode()
                else:
                    whole = sum(counts) == pixels.size
                if not whole:
                    raise ValueError("run lengths that do not cover the mask")
                return pixels.astype(bool)
            # pycocotools dies of corners that are no numbers, or far away
            if any(len(p) % 2 or not (np.abs(np.asarray(p, float)) < 1e5).all() for p in segmentation):
                raise ValueError("a polygon with corners that are no places")
            return mask.decode(mask.merge(mask.frPyObjects(segmentation, *self.size))).astype(bool)
        except Exception as error:  # pycocotools raises many kinds, also bare Exception
            raise UserError(f"{self.label}: the objects of {self.image.name} cannot be drawn ({error}): "
                            "use COCO's original annotation file") from None  # fmt: skip


def part_samples(root: Path, part: str, classes: Sequence[str]) -> list[CocoSample]:
    """The samples of ``part``, such as ``train2017``, that show ``classes`` (background first), in order of image id.

    Raises ``UserError`` if the annotation file or the image folder is missing, or the file is damaged.
    """
    return _part(root, part, tuple(classes))[0]


def _annotations(root: Path, part: str) -> Path:
    return root / "coco" / "annotations" / f"instances_{part}.json"


def _folder(root: Path, part: str) -> Path | None:
    folders = (root / "coco" / part, root / "coco" / "images" / part)
    return next((folder for folder in folders if folder.is_dir()), None)


@cache  # reading the official file takes half a minute
def _part(root: Path, part: str, classes: tuple[str, ...]) -> tuple[list[CocoSample], int]:
    """The samples, and how many images are listed."""
    path, folder = _annotations(root, part), _folder(root, part)
    if folder is None:
        place = root / "coco"
        raise UserError(f"{place / part} is missing (nor is there {place / 'images' / part}): unpack COCO's {part}.zip "
                        "there")  # fmt: skip
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        number = {name: i for i, name in enumerate(classes)}
        category = {c["id"]: number.get(SPELLING.get(c["name"], c["name"])) for c in content["categories"]}
        objects: dict[int, list] = {image["id"]: [] for image in content["images"]}
        for a in content["annotations"]:
            if (class_id := category[a["category_id"]]) is not None:
                found = (class_id, float(a["area"]), bool(a["iscrowd"]), a["segmentation"])
                objects[a["image_id"]].append(found)
        for image in content["images"]:
            if min(image["height"], image["width"]) < 1:
                raise ValueError(f"{image['file_name']} of {image['width']}×{image['height']} pixels")
        used = [
            CocoSample(Path(image["file_name"]).stem, folder / image["file_name"], path,
                       objects=tuple(objects[image["id"]]), size=(int(image["height"]), int(image["width"])))
            for image in sorted(content["images"], key=lambda image: image["id"])
            if any(not crowd for _, _, crowd, _ in objects[image["id"]])
        ]  # fmt: skip
        return used, len(content["images"])
    except FileNotFoundError:
        raise UserError(f"{path} is missing: unpack COCO's annotations into {root / 'coco'}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no readable COCO annotation file ({error!r}): copy it again") from None


def _parts(root: Path) -> list[str]:
    """The parts that are there; of one that is listed without its folder of images only if there is no other."""
    listed = [[part for part in parts if _annotations(root, part).is_file()] for parts in PARTS]
    for parts in listed:
        there = [part for part in parts if _folder(root, part) is not None]
        if there:
            return there
    return [*listed[0], *listed[1], PARTS[0][0]][:1]  # reading it says what is missing


def samples(root: Path, classes: Sequence[str]) -> list[CocoSample]:
    """All samples of the parts that are there; ``UserError`` if there is none."""
    return [sample for part in _parts(root) for sample in part_samples(root, part, classes)]


def unused(root: Path, classes: Sequence[str]) -> int:
    """How many images of those parts show no single object of ``classes``, and are left out."""
    found = (_part(root, part, tuple(classes)) for part in _parts(root))
    return sum(listed - len(used) for used, listed in found)
