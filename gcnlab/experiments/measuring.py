"""What a record says of a trained model: counts, and the scores that follow from them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gcnlab import data
from gcnlab.data import DataSpec
from gcnlab.evaluation import SegmentationCounts
from gcnlab.evaluation.inference import Batch, score_segmentation, topk_wrong
from gcnlab.evaluation.kernels import gcn_share, spectrum
from gcnlab.experiments.config import PreTraining, Training
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.store import Store
from gcnlab.models.segmenter import Segmenter
from gcnlab.training import autocast, best_precision, distributed

DISTANCES = (3, 5, 7, 9)  # of the boundary region in pixels, besides the one of the run
CURVE_IMAGES = 200  # validation images behind each point of a learning curve
TRAINING_IMAGES = 250  # training images on which a trained model's fit is measured


def inference_context():
    """Autocast as every model is measured in."""
    device = pick_device()
    return autocast(device, best_precision(device))


def evenly_spaced(most: int | None, total: int) -> list[int]:
    """At most ``most`` positions, evenly spaced over ``total``; all for None."""
    count = total if most is None else min(most, total)
    return [i * total // count for i in range(count)]


def batches_of(
    spec: DataSpec, split: str, store: Store, most: int | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:  # fmt: skip
    """Batches of ``split`` for evaluation, all of it or ``most`` images, evenly spaced.

    ``part`` (i, n): only the batches i, i + n, …
    """
    loaded = data.load(spec, split, store.data_root)
    numbers = evenly_spaced(most, len(loaded))
    size = data.evaluation_batch_size(spec)
    starts = range(part[0] * size, len(numbers), part[1] * size)
    return loaded.batches((numbers[i : i + size] for i in starts), loaded.__getitem__)


def curve_point(
    model: torch.nn.Module, run: PreTraining | Training, store: Store
) -> dict[str, float]:
    """The numbers of one point of the learning curve of ``run``, on some validation images."""
    if isinstance(run, PreTraining):
        wrong, images = _wrong(model, run, store, (1,), CURVE_IMAGES)
        return {"top1_error": (wrong / images).item()}
    return {"miou": _counted(model, run, store, "val", CURVE_IMAGES).confusion.miou()}


def _wrong(
    model: torch.nn.Module, run: PreTraining, store: Store, ks: tuple[int, ...],
    most: int | None = None,
) -> tuple[torch.Tensor, int]:  # fmt: skip
    """Images that are wrong among the top k, per k, and all images; each process looks at its part
    of the batches."""
    batches = batches_of(run.data, "val", store, most, distributed.part())
    parts = distributed.gathered(topk_wrong(model, batches, ks, inference_context()))
    return tuple(map(sum, zip(*parts, strict=True)))


def _counted(
    model: torch.nn.Module, run: Training, store: Store, split: str, most: int | None = None,
    limits: Sequence[float] = (),
) -> SegmentationCounts:  # fmt: skip
    """Counts of a segmenter; each process looks at its part of the batches."""
    batches = batches_of(run.data, split, store, most, distributed.part())
    classes, context = len(run.data.class_names), inference_context()
    own = score_segmentation(model, batches, classes, limits, context, run.test_time)
    first, *others = distributed.gathered(own)
    if others:
        first.add(others, data.evaluation_batch_size(run.data))
    return first


def classifier_scores(model: torch.nn.Module, run: PreTraining, store: Store) -> dict[str, Any]:
    """Metrics and counts of a classifier on the whole validation split."""
    wrong, images = _wrong(model, run, store, (1, 5))
    top1, top5 = (wrong / images).tolist()
    counts = dict(zip(("top1_wrong", "top5_wrong"), map(int, wrong), strict=True))
    metrics = {"top1_error": top1, "top5_error": top5}
    return {"metrics": metrics, "counts": counts | {"images": images}}


def distances(run: Training) -> list[float]:
    """The boundary distances, in pixels, that a record has."""
    return sorted({*DISTANCES, run.boundary_distance})


def segmenter_scores(model: Segmenter, run: Training, store: Store) -> dict[str, Any]:
    """Metrics and counts of a segmenter on the whole validation split, and its fit to training
    images."""
    result = from_counts(_counted(model, run, store, "val", limits=distances(run)), run)
    fitted = _counted(model, run, store, "train", TRAINING_IMAGES)
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
