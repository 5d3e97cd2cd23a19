"""What a record says of a trained model: counts, and the scores that follow from them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gcnlab import data
from gcnlab.data import DataSpec
from gcnlab.evaluation import SegmentationCounts
from gcnlab.evaluation.inference import score_segmentation, topk_wrong
from gcnlab.evaluation.kernels import gcn_share, spectrum
from gcnlab.experiments.config import PreTraining, Training
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.store import Store
from gcnlab.models.segmenter import Segmenter
from gcnlab.training import autocast, best_precision, distributed

DISTANCES = (3, 5, 7, 9)  # of the boundary region in pixels, besides the one of the run
CURVE_IMAGES = 200  # validation images behind each point of a learning curve
TRAINING_IMAGES = 250  # training images on which a trained model's fit is measured

Batches = Iterator[tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]]


def inference_context():
    """Autocast as every model is measured in."""
    device = pick_device()
    return autocast(device, best_precision(device))


def evenly_spaced(count: int, total: int) -> list[int]:
    """At most ``count`` positions, evenly spaced over ``total``."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def batches_of(
    spec: DataSpec, split: str, store: Store, positions: list[int] | None = None,
    part: tuple[int, int] = (0, 1),
) -> Batches:  # fmt: skip
    """Batches of ``split`` for evaluation, all of it or the images at ``positions``.

    ``part`` (i, n): only the batches i, i + n, …
    """
    loaded = data.load(spec, split, store.data_root)
    numbers = list(range(len(loaded))) if positions is None else positions
    size = data.evaluation_batch_size(spec)
    starts = range(part[0] * size, len(numbers), part[1] * size)
    return loaded.batches((numbers[i : i + size] for i in starts), loaded.__getitem__)


def curve_score(
    run: PreTraining | Training, store: Store
) -> Callable[[torch.nn.Module], dict[str, float]]:
    """model → the numbers of one point of its learning curve, on some validation images."""
    total = len(data.samples(run.data, "val", store.data_root))
    positions = evenly_spaced(CURVE_IMAGES, total)

    def score(model: torch.nn.Module) -> dict[str, float]:
        if isinstance(run, PreTraining):
            return {"top1_error": _errors(model, run, store, (1,), positions)[0]}
        return {"miou": _counted(model, run, store, "val", positions).confusion.miou()}

    return score


def _errors(
    model: torch.nn.Module, run: PreTraining, store: Store, ks: tuple[int, ...],
    positions: list[int] | None = None,
) -> list[float]:  # fmt: skip
    """Top-k errors; each process looks at its part of the batches."""
    batches = batches_of(run.data, "val", store, positions, distributed.part())
    parts = distributed.gathered(topk_wrong(model, batches, ks, inference_context()))
    wrong, images = map(sum, zip(*parts, strict=True))
    return (wrong / images).tolist()


def _counted(
    model: torch.nn.Module, run: Training, store: Store, split: str, positions: list[int] | None,
    limits: Sequence[float] = (),
) -> SegmentationCounts:  # fmt: skip
    """Counts of a segmenter; each process looks at its part of the batches."""
    batches = batches_of(run.data, split, store, positions, distributed.part())
    classes, context = len(run.data.class_names), inference_context()
    own = score_segmentation(model, batches, classes, limits, context, run.test_time)
    first, *others = distributed.gathered(own)
    if others:
        first.add(others, data.evaluation_batch_size(run.data))
    return first


def classifier_scores(model: torch.nn.Module, run: PreTraining, store: Store) -> dict[str, Any]:
    """Metrics and counts of a classifier on the whole validation split."""
    top1, top5 = _errors(model, run, store, (1, 5))
    total = len(data.samples(run.data, "val", store.data_root))
    wrong = {"top1_wrong": round(top1 * total), "top5_wrong": round(top5 * total), "images": total}
    return {"metrics": {"top1_error": top1, "top5_error": top5}, "counts": wrong}


def distances(run: Training) -> list[float]:
    """The boundary distances, in pixels, that a record has."""
    return sorted({*DISTANCES, run.boundary_distance})


def segmenter_scores(model: Segmenter, run: Training, store: Store) -> dict[str, Any]:
    """Metrics and counts of a segmenter on the whole validation split, and its fit to training
    images."""
    result = from_counts(_counted(model, run, store, "val", None, distances(run)), run)
    total = len(data.samples(run.data, "train", store.data_root))
    positions = evenly_spaced(TRAINING_IMAGES, total)
    fitted = _counted(model, run, store, "train", positions)
    result["metrics"]["training_miou"] = fitted.confusion.miou()
    result["counts"]["training_confusion"] = _rows(fitted.confusion.matrix)
    return result | {"kernel": kernel_statistics(model, run)}


def from_counts(scored: SegmentationCounts, run: Training) -> dict[str, Any]:
    """``metrics`` (in [0, 1]) and the ``counts`` that they follow from, as a record keeps them.

    Counts: ``confusion`` (a row per true class), ``boundary`` (per distance the correct and the
    counted pixels of the boundary region, and of ``all``), ``per_image`` (a line per image: class,
    hits, predicted and true pixels of each class on it).
    """
    confusion, boundary = scored.confusion, scored.boundary
    names = run.data.class_names
    return {
        "metrics": {
            "miou": confusion.miou(),
            "iou": dict(zip(names, confusion.iou().tolist(), strict=True)),
            "pixel_accuracy": confusion.pixel_accuracy(),
            "boundary_accuracy": boundary.boundary(run.boundary_distance),
            "internal_accuracy": boundary.internal(run.boundary_distance),
        },
        "counts": {
            "confusion": _rows(confusion.matrix),
            "boundary": boundary.counts(),
            "per_image": _rows(scored.images),
        },
    }


def _rows(values: Any) -> list[str]:
    """Rows of integers as text, one line of a JSON file each."""
    return [" ".join(map(str, np.asarray(row).tolist())) for row in values]


def kernel_statistics(model: Segmenter, run: Training) -> dict[str, Any] | None:
    """Of the head on the coarsest feature map, as a dense kernel: its spectrum, and for a trivial
    convolution the share of its energy that a GCN can express, beside that of noise of its
    shape."""
    if run.head not in ("gcn", "conv"):
        return None
    head = model.heads[-1]
    dense = (head.weight if run.head == "conv" else head.kernel()).detach().float().cpu()
    statistics = {"spectrum": [round(float(v), 5) for v in spectrum(dense)[:40]]}
    if run.head == "conv":
        noise = torch.randn(dense.shape, generator=torch.Generator().manual_seed(0))
        statistics |= {"gcn_share": gcn_share(dense), "chance_share": gcn_share(noise)}
    return statistics
