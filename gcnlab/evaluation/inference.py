"""From a model and batches of a data set to predictions and scores."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from gcnlab.evaluation.metrics import BoundaryAccuracy, ConfusionMatrix

Batch = tuple[Tensor, Tensor, Sequence[tuple[int, int]]]


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, autocast: AbstractContextManager | None = None) -> Tensor:
    """Class of the highest logit: images (N, 3, H, W) → (N, H, W) uint8, or (N,) for a classifier."""
    model.eval()
    device = next(model.parameters()).device
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    with autocast or nullcontext():
        return model(images).argmax(1).to(torch.uint8)


def score_segmentation(
    model: nn.Module,
    batches: Iterable[Batch],
    num_classes: int,
    distances: Sequence[float] = (),
    autocast: AbstractContextManager | None = None,
) -> tuple[ConfusionMatrix, BoundaryAccuracy]:
    """Score a segmenter on whole images.

    Each batch is (images, labels, unpadded sizes); predictions are cropped to the unpadded size before they count.
    ``distances`` in pixels are those of the boundary regions; none skips that measurement.
    """
    confusion, boundary = ConfusionMatrix(num_classes), BoundaryAccuracy(distances)
    for images, labels, sizes in batches:
        predictions = predict(model, images, autocast).cpu()
        for prediction, label, (height, width) in zip(predictions, labels, sizes, strict=True):
            prediction, label = prediction[:height, :width], label[:height, :width]
            confusion.update(prediction, label)
            if distances:
                boundary.update(prediction, label)
    return confusion, boundary


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
