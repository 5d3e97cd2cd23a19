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
from gcnlab.evaluation.metrics import BoundaryAccuracy, ConfusionMatrix

Batch = tuple[Tensor, Tensor, Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class TestTime:
    """How a trained model looks at an image. Class probabilities of all views are averaged.

    Args:
        scales: factors by which the image is resized; 1 leaves it untouched.
        flip: also look at the mirror image.
        crop: look at square crops of this many pixels instead of the whole image.
        stride: with ``crop``: neighbouring crops are at most so far apart. They are spread evenly from edge to edge.
    """

    __test__ = False  # no test class, whatever its name begins with

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    crop: int | None = None
    stride: int | None = None

    def __post_init__(self):
        if not self.scales or not all(scale > 0 for scale in self.scales):
            raise UserError(f"scales {self.scales} must be positive numbers")
        if (self.crop is None) != (self.stride is None):
            raise UserError(f"crop {self.crop} and stride {self.stride} belong together: set both or none")
        if self.crop is not None and not 0 < self.stride <= self.crop:
            raise UserError(f"crop {self.crop} needs a stride of 1 … crop pixels, not {self.stride}")


def crop_starts(size: int, crop: int, stride: int) -> list[int]:
    """Where crops begin along ``size`` pixels: evenly spread, every pixel covered; one crop if all fits into it."""
    count = 1 + max(0, ceil((size - crop) / stride))
    return [round(i * (size - crop) / max(1, count - 1)) for i in range(count)] if count > 1 else [0]


def _view(model: nn.Module, images: Tensor, how: TestTime, autocast: AbstractContextManager | None) -> Tensor:
    """Probabilities of ``images`` as they are: of the whole, or of crops, averaged where they overlap."""
    height, width = images.shape[-2:]
    crop = how.crop or max(height, width)
    total, covered = None, torch.zeros(height, width, device=images.device)
    for top in crop_starts(height, crop, how.stride or crop):
        for left in crop_starts(width, crop, how.stride or crop):
            place = (..., slice(top, top + crop), slice(left, left + crop))
            part = images[place].contiguous(memory_format=torch.channels_last)
            with autocast or nullcontext():
                scores = model(part)
            if total is None:
                total = torch.zeros(len(images), scores.shape[1], height, width, device=images.device)
            total[place] += scores.float().softmax(1)
            covered[place] += 1
    return total / covered


@torch.inference_mode()
def probabilities(
    model: nn.Module, images: Tensor, how: TestTime, autocast: AbstractContextManager | None = None
) -> Tensor:
    """Class probabilities averaged over all views: images (N, 3, H, W) → (N, classes, H, W) float32 on the CPU.

    Images are uint8, or float in [0, 1]. Scores of a resized image are resized back before they are averaged.
    """
    model.eval()
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
            total = total + (view if scale == 1 else F.interpolate(view, size, mode="bilinear")).cpu()
    return total / (len(how.scales) * (1 + how.flip))


@torch.inference_mode()
def predict(
    model: nn.Module,
    images: Tensor,
    autocast: AbstractContextManager | None = None,
    how: TestTime | None = None,
) -> Tensor:
    """Most likely class: images (N, 3, H, W) → (N, H, W) uint8, or (N,) for a classifier.

    ``how`` None: the class of the highest logit in the whole image as it is.
    """
    if how is not None:
        return probabilities(model, images, how, autocast).argmax(1).to(torch.uint8)
    model.eval()
    device = next(model.parameters()).device
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    with autocast or nullcontext():
        return model(images).argmax(1).to(torch.uint8)


def score_predictions(
    pairs: Iterable[tuple[np.ndarray | Tensor, np.ndarray | Tensor]], num_classes: int, distances: Sequence[float] = ()
) -> tuple[ConfusionMatrix, BoundaryAccuracy]:
    """Score (prediction, label) pairs, each (H, W) integer maps without padding.

    ``distances`` in pixels are those of the boundary regions; none skips that measurement.
    """
    confusion, boundary = ConfusionMatrix(num_classes), BoundaryAccuracy(distances)
    for prediction, label in pairs:
        confusion.update(prediction, label)
        if distances:
            boundary.update(prediction, label)
    return confusion, boundary


def score_segmentation(
    model: nn.Module,
    batches: Iterable[Batch],
    num_classes: int,
    distances: Sequence[float] = (),
    autocast: AbstractContextManager | None = None,
    how: TestTime | None = None,
) -> tuple[ConfusionMatrix, BoundaryAccuracy]:
    """Score a segmenter.

    Each batch is (images, labels, unpadded sizes); predictions are cropped to the unpadded size before they count.
    ``distances`` as in :func:`score_predictions`, ``how`` as in :func:`predict`.
    """

    def pairs():
        for images, labels, sizes in batches:
            predictions = predict(model, images, autocast, how).cpu()
            for prediction, label, (height, width) in zip(predictions, labels, sizes, strict=True):
                yield prediction[:height, :width], label[:height, :width]

    return score_predictions(pairs(), num_classes, distances)


@torch.inference_mode()
def topk_errors(
    model: nn.Module,
    batches: Iterable[Batch],
    ks: Sequence[int] = (1, 5),
    autocast: AbstractContextManager | None = None,
) -> list[float]:
    """Share in [0, 1] of images whose class is not among the k highest logits, for every k of ``ks``."""
    model.eval()
    device = next(model.parameters()).device
    wrong, total = torch.zeros(len(ks)), 0
    for images, labels, _ in batches:
        with autocast or nullcontext():
            logits = model(images.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
        ranked = logits.topk(min(max(ks), logits.shape[1]), 1).indices == labels[:, None]
        wrong += torch.tensor([(~ranked[:, :k].any(1)).sum() for k in ks])
        total += len(labels)
    return (wrong / total).tolist()
