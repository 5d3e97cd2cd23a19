"""From COCO's objects (polygons, run lengths) to a label map.

- An object of a category without a class is ignored: it keeps what lies below, or background.
- Where objects overlap, the smaller one (by COCO's ``area``) lies on top: else it would vanish.
- A crowd (``iscrowd`` = 1) of a class is void, but for single objects on it: its mask covers the
  gaps in the crowd.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gcnlab.data.readers import Sample
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

REMEDY = "use COCO's original annotation file"


@dataclass(frozen=True)
class CocoSample(Sample):
    """One image and its objects."""

    objects: tuple[tuple[int, float, bool, Any], ...] = ()  # class, area, crowd?, segmentation
    size: tuple[int, int] = (0, 0)  # height, width

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.image,)

    @property
    def annotated_size(self) -> tuple[int, int]:
        return self.size[::-1]

    @property
    def annotation(self) -> bytes:
        return json.dumps([self.objects, self.size]).encode()

    def read_label(self, num_classes: int) -> np.ndarray:
        """The label map (H, W) uint8; ``UserError`` names the image with a damaged annotation."""
        label = np.zeros(self.size, np.uint8)
        # crowds first, then from large to small: what is painted later lies on top
        objects = sorted(self.objects, key=lambda o: (not o[2], -o[1]))
        for class_id, _, crowd, segmentation in objects:
            try:
                mask = decode_mask(segmentation, self.size)
            except Exception as error:  # pycocotools raises many kinds, also bare Exception
                problem = f"the objects of {self.image.name} cannot be drawn ({error})"
                raise UserError(f"{self.label}: {problem}: {REMEDY}") from None
            label[mask] = VOID if crowd else class_id
        return label


def decode_mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The pixels of polygons or run lengths: (height, width) bool.

    Raises whatever is wrong with them, checked before pycocotools can crash or read stray memory.
    """
    from pycocotools import mask

    if not isinstance(segmentation, dict):
        # pycocotools crashes on corners that are no numbers, or far away
        if any(len(p) % 2 or not (np.abs(np.asarray(p, float)) < 1e5).all() for p in segmentation):
            raise ValueError("a polygon with corners that are no points")
        return mask.decode(mask.merge(mask.frPyObjects(segmentation, *size))).astype(bool)
    counts = segmentation["counts"]
    packed = isinstance(counts, str)
    if not packed and not all(isinstance(run, int) for run in counts):
        raise ValueError("run lengths that are no whole numbers")
    runs = segmentation if packed else mask.frPyObjects(segmentation, *size)
    if tuple(runs["size"]) != size:
        raise ValueError(f"a mask of {runs['size'][1]}×{runs['size'][0]} pixels")
    pixels = mask.decode(runs)
    # pycocotools leaves pixels beyond the last run undefined
    if packed:
        complete = mask.encode(np.asfortranarray(pixels))["counts"] == counts.encode()
    else:
        complete = sum(counts) == pixels.size
    if not complete:
        raise ValueError("run lengths that do not cover the mask")
    return pixels.astype(bool)
