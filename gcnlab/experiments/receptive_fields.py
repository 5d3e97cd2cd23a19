"""What a trained network sees: receptive fields at objects and scores by size, as a record."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from gcnlab import data
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError
from gcnlab.evaluation import gradient_map, occlusion_map, square_side, theoretical_field
from gcnlab.evaluation.inference import predict
from gcnlab.evaluation.objects import ScoresBySize, connected_objects, innermost_point, object_sizes
from gcnlab.experiments import records
from gcnlab.experiments.building import build_model, trained_model
from gcnlab.experiments.config import Training
from gcnlab.experiments.environment import environment, fixed_threads, pick_device
from gcnlab.experiments.measuring import inference_context
from gcnlab.experiments.records import Record
from gcnlab.experiments.store import EVALUATION_VERSION, Store
from gcnlab.processes import in_parallel

# Bounds of the size bins as shares of the image's side; the last bin holds what exceeds the
# theoretical field of the baseline. Smaller than the first bound is no object that one could tell.
EDGES = (4 / 64, 12 / 64, 20 / 64, 30 / 64)
WINDOW, STRIDE = 7 / 64, 3 / 64  # of the occlusion, as shares of the side: 11 and 5 of 100 pixels
SHARES = (0.5, 0.95)  # of the mass of a map, whose smallest square gives its side
THOROUGH = 20  # objects of each size in the committed study
Log = Callable[[str], None]


class ObjectToMeasure(NamedTuple):
    """One object of the validation split: where it is, how large, and its innermost pixel."""

    image: int
    instance: int
    size_bin: int
    size: int
    point: tuple[int, int]


def edges(run: Training) -> list[int]:
    """Bounds of the size bins in pixels of the prepared image."""
    side = run.data.side
    baseline = theoretical_side(replace(run, head="conv1x1", k=None, refine=False))
    bounds = sorted({*(round(edge * side) for edge in EDGES), baseline})
    return [*bounds, max(side, bounds[-1]) + 1]


@cache
def theoretical_side(run: Training) -> int:
    """Side in pixels of the theoretical field, on an image that is wide enough to hold it."""
    with torch.random.fork_rng(devices=[]):
        model, width = build_model(run).eval(), run.data.side
    height = 2 * model.backbone.strides[-1]  # a strip will do: every path along its rows is there
    while True:
        columns = theoretical_field(model, (height, width), (height // 2, width // 2)).any(0)
        if not (columns[0] or columns[-1]):
            return int(columns.sum())
        width *= 2


def instances(run: Training, index: int, label: np.ndarray, store: Store) -> tuple[np.ndarray, str]:
    """The object map (H, W) of a validation image, and where it is from.

    VOC's own ``SegmentationObject`` where it is there, scaled as the label, else connected
    components.
    """
    sample = data.samples(run.data, "val", store.data_root)[index]
    path = sample.label.parent.parent / "SegmentationObject" / sample.label.name
    if path.is_file():
        with Image.open(path) as image:
            objects = np.array(image.resize(label.shape[::-1], Image.Resampling.NEAREST))
        return np.where(label == VOID, 0, objects), "SegmentationObject"
    return connected_objects(label), "connected components"


def validation_image(run: Training, index: int, store: Store) -> tuple[torch.Tensor, np.ndarray]:
    """A validation image (3, H, W) and its label (H, W), unpadded."""
    image, label, (height, width) = data.load(run.data, "val", store.data_root)[index]
    return image[:, :height, :width], label[:height, :width].numpy()


def objects_to_measure(run: Training, per_bin: int, store: Store) -> Iterator[ObjectToMeasure]:
    """The first ``per_bin`` objects of every size bin, in the order of the list."""
    bounds = edges(run)
    left = [per_bin] * (len(bounds) - 1)
    for index in range(len(data.load(run.data, "val", store.data_root))):
        if not any(left):
            return
        _, label = validation_image(run, index, store)
        objects, _ = instances(run, index, label, store)
        for number, size in object_sizes(objects).items():
            size_bin = int(np.searchsorted(bounds, size, side="right")) - 1
            if 0 <= size_bin < len(left) and left[size_bin]:
                left[size_bin] -= 1
                point = innermost_point(objects == number)
                yield ObjectToMeasure(index, number, size_bin, size, point)


def measure(run: Training, store: Store, per_bin: int, log: Log = print) -> Record:
    """Measure a trained run, or read what was measured with at least ``per_bin`` objects of each
    size.

    The record has ``theoretical`` (side in pixels), ``objects`` (per object its image and instance,
    bin, size, and the sides of its valid and effective fields) and ``by_size`` (scores of all
    validation objects by bin). Fields are those of the true class's score at the object's innermost
    point. ``UserError`` if the run was not trained below the store's folder.
    """
    if known := _known(run, store, per_bin):
        return known
    started, header = time.monotonic(), store.header(run)
    with fixed_threads():
        model = trained_model(run, store).to(pick_device())
        log(f"{run.name}: fields of {per_bin} objects in each of {len(edges(run)) - 1} sizes")
        objects = [_fields(model, run, o, store) for o in objects_to_measure(run, per_bin, store)]
        by_size, origins = _scores_by_size(model, run, store)
    window, stride = _occlusion(run)
    settings = {"per_bin": per_bin, "window": window, "stride": stride, "fill": "mean",
                "edges": edges(run), "objects_from": ", ".join(sorted(origins))}  # fmt: skip
    record = {
        **header,
        "kind": "receptive-field",
        "identity": header["identity"] | {"weights": store.record(run)["weights"]},
        "settings": settings,
        "theoretical": theoretical_side(run),
        "objects": objects,
        "by_size": by_size,
        "environment": environment(time.monotonic() - started) | {"rules": store.rules},
    }
    path = store.record_path(run, "fields")
    records.write(record, path)
    return records.read(path)


def _known(run: Training, store: Store, per_bin: int) -> Record | None:
    trained, path = store.record(run), store.record_path(run, "fields")
    if trained is None:
        raise UserError(f"{run.name} was not trained below {store.out}: train it first")
    record = records.read(path) if path.is_file() else {"evaluation_version": None}
    current = record["evaluation_version"] == EVALUATION_VERSION
    current = current and record["identity"]["weights"] == trained["weights"]
    return record if current and record["settings"]["per_bin"] >= per_bin else None


def measure_all(
    runs: Sequence[Training], store: Store, per_bin: int, jobs: int, log: Log = print
) -> list[Record]:
    """:func:`measure` of ``runs`` but those that diverged, ``jobs`` at a time."""
    runs = [run for run in runs if not store.has_diverged(run)]
    missing = [run for run in runs if _known(run, store, per_bin) is None]
    work, of = partial(measure, store=store, per_bin=per_bin, log=str), len(missing)
    in_parallel(work, missing, jobs, lambda n, run: log(f"({n}/{of}) {run.name} measured"))
    return [_known(run, store, per_bin) for run in runs]


def _occlusion(run: Training) -> tuple[int, int]:
    return tuple(max(1, round(share * run.data.side)) for share in (WINDOW, STRIDE))


def _fields(
    model: torch.nn.Module, run: Training, object_: ObjectToMeasure, store: Store
) -> dict[str, Any]:
    """Sides of the valid and the effective field at one object."""
    image, label = validation_image(run, object_.image, store)
    class_id, point = int(label[object_.point]), object_.point
    valid = occlusion_map(model, image, point, *_occlusion(run), class_id, log=None).clamp(min=0)
    effective = gradient_map(model, image[None], point, class_id)
    sides = {
        f"{name}{100 * share:g}": square_side(values, point, share)
        for name, values in (("valid", valid), ("effective", effective))
        for share in SHARES
    }
    name = data.samples(run.data, "val", store.data_root)[object_.image].name
    where = {"image": name, "instance": object_.instance}
    return where | {"bin": object_.size_bin, "size": object_.size} | sides


def _scores_by_size(model: torch.nn.Module, run: Training, store: Store) -> tuple[dict, set[str]]:
    scores = ScoresBySize(edges(run), len(run.data.class_names), run.boundary_distance)
    origins, context = set(), inference_context()
    for index in range(len(data.load(run.data, "val", store.data_root))):
        image, label = validation_image(run, index, store)
        prediction = predict(model, image[None], context, run.test_time)[0].cpu().numpy()
        objects, origin = instances(run, index, label, store)
        origins.add(origin)
        scores.update(prediction, label, objects)
    return scores.scores(), origins
