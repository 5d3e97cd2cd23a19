"""Scores by the size of the object that a pixel belongs to: at which sizes a model gains."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.ndimage import label as connected_components

from gcnlab.evaluation.metrics import VOID, ConfusionMatrix, boundary_region


def connected_objects(label: ArrayLike) -> NDArray[np.int64]:
    """Instance ids 1, 2, … of the 4-connected regions of one class; 0: background and void.

    In place of an instance map, from an (H, W) label map: touching objects of one class count as
    one, and an object that another one cuts in two counts as two.
    """
    label = np.asarray(label)
    instances = np.zeros(label.shape, np.int64)
    for class_id in np.setdiff1d(np.unique(label), [0, VOID]):
        regions, _ = connected_components(label == class_id)
        instances[regions > 0] = regions[regions > 0] + instances.max()
    return instances


def object_sizes(instances: ArrayLike) -> dict[int, int]:
    """Instance id → longer side in pixels of its bounding box; (H, W) map with 0 = no object."""
    boxes = enumerate(find_objects(np.asarray(instances).astype(np.int64)), 1)
    return {i: max(s.stop - s.start for s in box) for i, box in boxes if box is not None}


def innermost_point(mask: ArrayLike) -> tuple[int, int]:
    """(row, column) of the pixel of a bool (H, W) mask farthest from its edge or the image's."""
    padded = np.pad(np.asarray(mask), 1)
    row, column = np.unravel_index(distance_transform_edt(padded).argmax(), padded.shape)
    return int(row) - 1, int(column) - 1


# Of an object's pixels: all; those outside the boundary region; those that lie more than half as
# deep in it as its deepest.
REGIONS = ("accuracy", "internal_accuracy", "centre_accuracy")


class ScoresBySize:
    """Scores of the pixels of objects, in bins of the objects' sizes, over a data set.

    Args:
        edges: ascending sizes in pixels (see :func:`object_sizes`); bin i holds sizes in
            [edges[i], edges[i + 1]).
        num_classes: with background as 0.
        distance: of the boundary region; the internal pixels of an object are the others.
    """

    def __init__(self, edges: Sequence[float], num_classes: int, distance: float):
        self.edges, self.distance = tuple(edges), distance
        bins = range(len(self.edges) - 1)
        self.objects = np.zeros(len(bins), np.int64)
        self._matrices = {name: [ConfusionMatrix(num_classes) for _ in bins] for name in REGIONS}

    def update(self, prediction: ArrayLike, target: ArrayLike, instances: ArrayLike) -> None:
        """Count one image: (H, W) class maps and instance map, unpadded."""
        prediction, target, instances = (np.asarray(a) for a in (prediction, target, instances))
        counted = (target != VOID) & (target != 0)
        inside = counted & ~boundary_region(target, self.distance)
        for number, size in object_sizes(instances).items():
            bin_ = int(np.searchsorted(self.edges, size, side="right")) - 1
            pixels = counted & (instances == number)
            if not 0 <= bin_ < len(self.objects) or not pixels.any():
                continue
            self.objects[bin_] += 1
            depth = distance_transform_edt(np.pad(pixels, 1))[1:-1, 1:-1]
            regions = (pixels, pixels & inside, pixels & (depth > depth.max() / 2))
            for matrices, region in zip(self._matrices.values(), regions, strict=True):
                matrices[bin_].update(prediction[region], target[region])

    def scores(self) -> dict[str, list[float]]:
        """Per bin: ``objects``; ``miou`` over the object classes; and of each of ``REGIONS`` the
        share of pixels with the right class. nan where there is none.

        IoU is counted on the pixels of the bin's objects alone: one of an object of another bin, or
        of the background, is in no union.
        """
        shares = {n: [m.pixel_accuracy() for m in ms] for n, ms in self._matrices.items()}
        whole = self._matrices["accuracy"]
        miou = [float(np.nanmean(m.iou()[1:])) if m.matrix.any() else np.nan for m in whole]
        return {"objects": self.objects.tolist(), "miou": miou, **shares}
