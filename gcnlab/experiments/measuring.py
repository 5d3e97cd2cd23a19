"""What a record says of a trained model: counts, and the scores that follow from them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from gcnlab import data
from gcnlab.data import DataSpec
from gcnlab.evaluation import SegmentationCounts
from gcnlab.evaluation.inference import score_segmentation, topk_errors
from gcnlab.evaluation.kernels import gcn_share, spectrum
from gcnlab.experiments.config import PreTraining, Training
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.store import Store
from gcnlab.models.segmenter import Segmenter
from gcnlab.training import autocast, best_precision

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
    spec: DataSpec, split: str, store: Store, positions: list[int] | None = None
) -> Batches:
    """Batches of ``split`` for evaluation, all of it or the images at ``positions``."""
    loaded = data.load(spec, split, store.data_root)
    numbers = list(range(len(loaded))) if positions is None else positions
    size = data.evaluation_batch_size(spec)
    starts = range(0, len(numbers), size)
    return loaded.batches((numbers[i : i + size] for i in starts), loaded.__getitem__)


def curve_score(
    run: PreTraining | Training, store: Store
) -> Callable[[torch.nn.Module], dict[str, float]]:
    """model → the numbers of one point of its learning curve, on some validation images."""
    total = len(data.samples(run.data, "val", store.data_root))
    positions, context = evenly_spaced(CURVE_IMAGES, total), inference_context()

    def score(model: torch.nn.Module) -> dict[str, float]:
        batches = batches_of(run.data, "val", store, positions)
        if isinstance(run, PreTraining):
            return {"top1_error": topk_errors(model, batches, (1,), context)[0]}
        classes = len(run.data.class_names)
        counts = score_segmentation(model, batches, classes, (), context, run.test_time)
        return {"miou": counts.confusion.miou()}

    return score


def classifier_scores(model: torch.nn.Module, run: PreTraining, store: Store) -> dict[str, Any]:
    """Metrics and counts of a classifier on the whole validation split."""
    batches = batches_of(run.data, "val", store)
    top1, top5 = topk_errors(model, batches, (1, 5), inference_context())
    total = len(data.samples(run.data, "val", store.data_root))
    wrong = {"top1_wrong": round(top1 * total), "top5_wrong": round(top5 * total), "images": total}
    return {"metrics": {"top1_error": top1, "top5_error": top5}, "counts": wrong}


def distances(run: Training) -> list[float]:
    """The boundary distances, in pixels, that a record has."""
    return sorted({*DISTANCES, run.boundary_distance})


def segmenter_scores(model: Segmenter, run: Training, store: Store) -> dict[str, Any]:
    """Metrics and counts of a segmenter on the whole validation split, and its fit to training
    images."""
    classes, context = len(run.data.class_names), inference_context()
    batches = batches_of(run.data, "val", store)
    scored = score_segmentation(model, batches, classes, distances(run), context, run.test_time)
    result = from_counts(scored, run)
    total = len(data.samples(run.data, "train", store.data_root))
    positions = evenly_spaced(TRAINING_IMAGES, total)
    fitted = score_segmentation(
        model, batches_of(run.data, "train", store, positions), classes, (), context, run.test_time
    )
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
