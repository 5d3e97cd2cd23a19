"""Mean IoU over a data set, and accuracy near and away from boundaries (Table 5), with counts."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

VOID = 255  # in a label map: belongs to no class and does not count


def _array(values: ArrayLike | Tensor) -> NDArray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _ratio(correct: int, counted: int) -> float:
    return float(correct / counted) if counted else float("nan")


class ConfusionMatrix:
    """One int64 confusion matrix over a whole data set: rows are true classes, columns predictions.

    Per-image averages are not mean IoU: accumulate every image, then ask.
    """

    def __init__(self, num_classes: int, ignore_index: int = VOID):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> None:
        """Count integer class maps of equal shape; targets of ``ignore_index`` do not count.

        Raises ``ValueError`` for different shapes or for a class outside 0 … num_classes − 1.
        """
        prediction, target = _array(prediction), _array(target)
        if prediction.shape != target.shape:
            shapes = f"prediction {prediction.shape} and target {target.shape}"
            raise ValueError(f"{shapes} differ in shape")
        counted = target != self.ignore_index
        true, predicted = target[counted].astype(np.int64), prediction[counted].astype(np.int64)
        for name, values in (("target", true), ("prediction", predicted)):
            if values.size and not (values.min() >= 0 and values.max() < self.num_classes):
                raise ValueError(f"{name} has classes outside 0 … {self.num_classes - 1}")
        pairs = np.bincount(true * self.num_classes + predicted, minlength=self.num_classes**2)
        self.matrix += pairs.reshape(self.num_classes, self.num_classes)

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union per class in [0, 1]; nan if neither present nor predicted."""
        hits = np.diag(self.matrix).astype(float)
        union = self.matrix.sum(0) + self.matrix.sum(1) - hits
        return np.divide(hits, union, out=np.full(self.num_classes, np.nan), where=union > 0)

    def miou(self) -> float:
        """Mean of :meth:`iou` over the classes that occur, in [0, 1]; nan if there are none."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    def pixel_accuracy(self) -> float:
        """Share of correct non-void pixels in [0, 1]; nan if there are none."""
        return _ratio(np.trace(self.matrix), self.matrix.sum())


def boundary_distance(label: ArrayLike | Tensor, limit: float = np.inf) -> NDArray[np.float64]:
    """Distance in pixels from each pixel of an (H, W) label map to the nearest boundary pixel.

    Euclidean. A boundary pixel has a 4-neighbour with another label. Void is a label here: the
    pixels on both sides of VOC's void ring are boundary pixels, and so is the rim of a void region.
    The image edge is no boundary. Without a boundary every distance is infinite; above ``limit``
    too, and a small one is found many times faster.
    """
    label = _array(label)
    edge = np.zeros(label.shape, bool)
    for labels, edges in ((label, edge), (label.T, edge.T)):
        different = labels[1:] != labels[:-1]
        edges[1:] |= different
        edges[:-1] |= different
    if not edge.any():
        return np.full(label.shape, np.inf)
    return distance_transform_edt(~edge) if limit == np.inf else _distance_within(limit, edge)


def _distance_within(limit: float, edge: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Exact distances to ``edge`` up to ``limit``: squares add up, so one axis after the other."""
    reach = min(int(limit), max(edge.shape))
    far = min((int(limit) + 1) ** 2, 2 * max(edge.shape) ** 2)  # above the limit, or any distance
    squared = np.where(edge, 0, far).astype(np.min_scalar_type(far + reach**2))
    for _ in edge.shape:
        nearest = squared.copy("K")
        for step in range(1, reach + 1):
            np.minimum(nearest[step:], squared[:-step] + step**2, out=nearest[step:])
            np.minimum(nearest[:-step], squared[step:] + step**2, out=nearest[:-step])
        squared = nearest.T
    return np.where(squared <= limit**2, np.sqrt(squared, dtype=np.float64), np.inf)


def boundary_region(
    label: ArrayLike | Tensor, distance: float = 7, ignore_index: int = VOID
) -> NDArray[np.bool_]:
    """The boundary region of Table 5: (H, W) bool, non-void pixels within ``distance`` pixels.

    The internal region is the other non-void pixels. ``distance`` 0 gives the boundary pixels
    themselves, see :func:`boundary_distance`. Section 4.1.1: "distance ≤ 7".
    """
    label = _array(label)
    return (boundary_distance(label, distance) <= distance) & (label != ignore_index)


class BoundaryAccuracy:
    """Pixel accuracy in the boundary and the internal region, for several distances at once."""

    def __init__(self, distances: Sequence[float]):
        self.distances = tuple(distances)
        # per distance: (correct, counted) pixels of the boundary region
        self._boundary = np.zeros((len(self.distances), 2), np.int64)
        self._all = np.zeros(2, np.int64)

    def update(self, prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> None:
        """Count one image: (H, W) class maps, unpadded (a padded border would be a boundary)."""
        prediction, target = _array(prediction), _array(target)
        counted = target != VOID
        correct = (prediction == target) & counted
        distance = boundary_distance(target, max(self.distances))
        self._all += (np.count_nonzero(correct), np.count_nonzero(counted))
        for i, limit in enumerate(self.distances):
            region = distance <= limit
            inside = (correct & region, counted & region)
            self._boundary[i] += list(map(np.count_nonzero, inside))

    def add(self, other: "BoundaryAccuracy") -> None:
        """Add the counts of ``other``, which has the same distances."""
        self._boundary += other._boundary
        self._all += other._all

    def counts(self) -> dict[str, list[int]]:
        """[correct, counted] non-void pixels of ``"all"`` and of each boundary region, by distance.

        Keys are the distances as text, ``"3"`` for 3; every accuracy follows from these numbers.
        """
        regions = zip(self.distances, self._boundary.tolist(), strict=True)
        return {"all": self._all.tolist(), **{f"{d:g}": counts for d, counts in regions}}

    def boundary(self, distance: float) -> float:
        """Accuracy in [0, 1] within ``distance`` of a boundary; nan if no pixel is."""
        return _ratio(*self._boundary[self.distances.index(distance)])

    def internal(self, distance: float) -> float:
        """Accuracy in [0, 1] of the other non-void pixels; nan if there are none."""
        return _ratio(*self._all - self._boundary[self.distances.index(distance)])


class SegmentationCounts:
    """All counts of one evaluation, from which every score and its bootstrap can be derived.

    ``confusion`` and ``boundary`` (None without ``distances``, in pixels) are over all images;
    ``images`` has per image, in order, flat [class, hits, predicted, true, …] of every class that
    occurs in or is predicted on its non-void pixels, by class.
    """

    def __init__(self, num_classes: int, distances: Sequence[float] = ()):
        self.confusion = ConfusionMatrix(num_classes)
        self.boundary = BoundaryAccuracy(distances) if distances else None
        self.images: list[list[int]] = []

    def add(self, others: Sequence["SegmentationCounts"], batch_size: int) -> None:
        """Add those of other processes: with n in all, process i counted batches i, i + n, …"""
        parts = []
        for other in (self, *others):
            starts = range(0, len(other.images), batch_size)
            parts.append([other.images[start : start + batch_size] for start in starts])
            if other is not self:
                self.confusion.matrix += other.confusion.matrix
                if self.boundary is not None:
                    self.boundary.add(other.boundary)
        rounds = zip_longest(*parts, fillvalue=[])
        self.images = [image for batches in rounds for batch in batches for image in batch]

    def update(self, prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> None:
        """Count one image: (H, W) integer class maps, unpadded; errors as of the matrix."""
        prediction, target = _array(prediction), _array(target)
        before = self.confusion.matrix.copy()
        self.confusion.update(prediction, target)
        if self.boundary is not None:
            self.boundary.update(prediction, target)
        matrix = self.confusion.matrix - before
        counts = np.stack([np.diag(matrix), matrix.sum(0), matrix.sum(1)], 1)
        classes = np.flatnonzero(counts.any(1))
        self.images.append(np.column_stack([classes, counts[classes]]).ravel().tolist())
