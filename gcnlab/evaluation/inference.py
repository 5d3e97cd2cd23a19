"""From a model and batches of a data set to predictions and scores."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcnlab.errors import UserError
from gcnlab.evaluation.metrics import SegmentationCounts

Batch = tuple[Tensor, Tensor, Sequence[tuple[int, int]]]  # images, labels, unpadded sizes
Autocast = AbstractContextManager | None


@dataclass(frozen=True)
class TestTime:
    """How a trained model looks at an image. Class probabilities of all views are averaged.

    Raises ``UserError`` for values that no image can be looked at with.
    """

    __test__ = False  # no test class, whatever its name begins with

    scales: tuple[float, ...] = (1.0,)  # by which the image is resized; 1 leaves it untouched
    flip: bool = False  # also look at the mirror image
    crop: int | None = None  # pixels: look at square crops instead of the whole image
    stride: int | None = None  # pixels that neighbouring crops are apart at most

    def __post_init__(self):
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise UserError(f"scales {self.scales} must be positive numbers")
        both = f"crop {self.crop} and stride {self.stride}"
        if (self.crop is None) != (self.stride is None):
            raise UserError(f"{both} belong together: set both or none")
        if self.crop is not None and not 0 < self.stride <= self.crop:
            raise UserError(f"{both} do not fit: use a stride of 1 … crop pixels")


def crop_starts(size: int, crop: int, stride: int) -> list[int]:
    """Where crops begin along ``size`` pixels: spread evenly, covering all, as few as can be."""
    count = 1 + max(0, ceil((size - crop) / stride))
    return [round(i * (size - crop) / (count - 1)) for i in range(count)] if count > 1 else [0]


def _view(model: nn.Module, images: Tensor, how: TestTime, autocast: Autocast) -> Tensor:
    """Probabilities of ``images`` at their size, whole or by crops, averaged where they overlap."""
    height, width = images.shape[-2:]
    crop = how.crop or max(height, width)
    total, covered = None, images.new_zeros(height, width, dtype=torch.float32)
    for top in crop_starts(height, crop, how.stride or crop):
        for left in crop_starts(width, crop, how.stride or crop):
            window = (..., slice(top, top + crop), slice(left, left + crop))
            scores = _logits(model, images[window], autocast).float().softmax(1)
            if total is None:
                total = scores.new_zeros(*scores.shape[:2], height, width)
            total[window] += scores
            covered[window] += 1
    return total / covered


@torch.inference_mode()
def probabilities(
    model: nn.Module, images: Tensor, how: TestTime, autocast: Autocast = None
) -> Tensor:
    """Class probabilities averaged over all views: float32 (N, classes, H, W) on the CPU.

    Images (N, 3, H, W) are uint8, or float in [0, 1]. Probabilities of a resized image are resized
    back before they are averaged.
    """
    images = images.to(next(model.parameters()).device)
    size = tuple(images.shape[-2:])
    total = torch.zeros(())
    for scale in how.scales:
        scaled = images
        if scale != 1:
            target = [max(1, round(side * scale)) for side in size]
            pixels = images.float() / 255 if images.dtype == torch.uint8 else images
            scaled = F.interpolate(pixels, target, mode="bilinear", antialias=True)
        views = [_view(model, scaled, how, autocast)]
        if how.flip:
            views.append(_view(model, scaled.flip(-1), how, autocast).flip(-1))
        for view in views:
            view = view if scale == 1 else F.interpolate(view, size, mode="bilinear")
            total = total + view.cpu()
    return total / (len(how.scales) * (1 + how.flip))


@torch.inference_mode()
def predict(
    model: nn.Module, images: Tensor, autocast: Autocast = None, how: TestTime | None = None
) -> Tensor:
    """Most likely class: images (N, 3, H, W) → (N, H, W), or (N,) for a classifier.

    uint8, or int64 if the model has more than 256 classes. ``how`` None: the class of the highest
    logit in the whole image as it is.
    """
    if how is None:
        scores = _logits(model, images, autocast)
    else:
        scores = probabilities(model, images, how, autocast)
    return scores.argmax(1).to(torch.uint8 if scores.shape[1] <= 256 else torch.int64)


def _logits(model: nn.Module, images: Tensor, autocast: Autocast) -> Tensor:
    model.eval()
    device = next(model.parameters()).device
    with autocast or nullcontext():
        return model(images.to(device).contiguous(memory_format=torch.channels_last))


def score_predictions(
    pairs: Iterable[tuple[np.ndarray | Tensor, np.ndarray | Tensor]],
    num_classes: int,
    distances: Sequence[float] = (),
) -> SegmentationCounts:
    """Score (prediction, label) pairs, each (H, W) integer maps without padding.

    ``distances`` in pixels are those of the boundary regions; none skips that measurement.
    """
    counts = SegmentationCounts(num_classes, distances)
    for prediction, label in pairs:
        counts.update(prediction, label)
    return counts


def score_segmentation(
    model: nn.Module,
    batches: Iterable[Batch],
    num_classes: int,
    distances: Sequence[float] = (),
    autocast: Autocast = None,
    how: TestTime | None = None,
) -> SegmentationCounts:
    """Score a segmenter; predictions are cropped to the unpadded size before they count.

    ``distances`` as in :func:`score_predictions`, ``how`` as in :func:`predict`.
    """

    def pairs():
        for images, labels, sizes in batches:
            predictions = predict(model, images, autocast, how).cpu()
            for prediction, label, (height, width) in zip(predictions, labels, sizes, strict=True):
                yield prediction[:height, :width], label[:height, :width]

    return score_predictions(pairs(), num_classes, distances)


@torch.inference_mode()
def topk_wrong(
    model: nn.Module, batches: Iterable[Batch], ks: Sequence, autocast: Autocast = None
) -> tuple[Tensor, int]:
    """Images whose class is not among the k highest logits, per k of ``ks``, and all images."""
    wrong, total = torch.zeros(len(ks)), 0
    for images, labels, _ in batches:
        logits = _logits(model, images, autocast).float().cpu()
        ranked = logits.topk(min(max(ks), logits.shape[1]), 1).indices == labels[:, None]
        wrong += torch.tensor([(~ranked[:, :k].any(1)).sum() for k in ks])
        total += len(labels)
    return wrong, total
