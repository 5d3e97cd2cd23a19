"""What trained networks see: receptive fields and scores by object size, one JSON file per run below ``fields``."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from gcnlab import data
from gcnlab.data.transforms import VOID
from gcnlab.evaluation.inference import predict
from gcnlab.evaluation.objects import ScoresBySize, connected_objects, innermost_point, object_sizes
from gcnlab.evaluation.receptive_field import gradient_map, occlusion_map, square_side, theoretical_field
from gcnlab.study import results
from gcnlab.study.experiment import pick_device
from gcnlab.study.run import Run, build_model, load_model, run_key
from gcnlab.training import autocast, best_precision

VERSION = 2  # of what is measured
# Bounds of the size bins as shares of the image's side; the last bin holds what exceeds the baseline's theoretical
# field. What is smaller than the first bound is no object that one could tell: a speck of a label.
EDGES = (4 / 64, 12 / 64, 20 / 64, 30 / 64)
WINDOW, STRIDE = 7 / 64, 3 / 64  # of the occlusion, as shares of the image's side: 11 and 5 of 100 pixels
THOROUGH = (20, tuple(range(3, 17, 2)))  # objects of each size, and values of k, of the committed study
SHARES = (0.5, 0.95)  # of the mass of a map, whose smallest square gives its side


def edges(run: Run) -> list[int]:
    """Bounds of the size bins in pixels of the prepared image."""
    side = run.data.side
    bounds = [*(round(edge * side) for edge in EDGES), theoretical_side(replace(run, head="conv1x1", k=None))]
    return [*bounds, max(side, bounds[-1]) + 1]


@cache
def theoretical_side(run: Run) -> int:
    """Side in pixels of the theoretical field of the model of ``run``, on an image where no edge cuts it off."""
    with torch.random.fork_rng(devices=[]):
        model, side = build_model(run).eval(), run.data.side
    while True:
        found = theoretical_field(model, (side, side), (side // 2, side // 2)).any(0)
        if not (found[0] or found[-1]):
            return int(found.sum())
        side *= 2


def instances(run: Run, index: int, label: np.ndarray, data_root: Path | None) -> tuple[np.ndarray, str]:
    """The object map (H, W) of a validation image, and where it is from.

    VOC's own ``SegmentationObject`` where it is there, scaled as the label, else connected components of one class.
    """
    sample = data.samples(run.data, "val", data_root)[index]
    path = sample.label.parent.parent / "SegmentationObject" / sample.label.name
    if path.is_file():
        with Image.open(path) as image:
            found = np.array(image.resize(label.shape[::-1], Image.Resampling.NEAREST))
        return np.where(label == VOID, 0, found), "SegmentationObject"
    return connected_objects(label), "connected components"


def _objects(run: Run, per_bin: int, data_root: Path | None) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """(image, bin, size, innermost point) of the first ``per_bin`` objects of every bin, in the order of the list."""
    split, bounds = data.load(run.data, "val", data_root), edges(run)
    left = [per_bin] * (len(bounds) - 1)
    for index in range(len(split)):
        if not any(left):
            return
        _, label, (height, width) = split[index]
        found, _ = instances(run, index, label[:height, :width].numpy(), data_root)
        for number, size in object_sizes(found).items():
            place = int(np.searchsorted(bounds, size, side="right")) - 1
            if 0 <= place < len(left) and left[place]:
                left[place] -= 1
                # the object's pixels have a class: ``instances`` leaves void out
                yield index, place, size, innermost_point(found == number)


def measure(run: Run, out: Path, data_root: Path | None, per_bin: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure the trained ``run``, or read what was measured of it with at least ``per_bin`` objects.

    Returns a record: ``theoretical`` (side in pixels, see :func:`theoretical_side`); ``fields``, one row per object
    with its bin, size, and the sides of its valid and effective fields at 50 and 95 % of their mass; ``by_size``,
    scores of all validation objects by bin. The receptive fields are those of the true class's score at the object's
    innermost point. ``UserError`` if the run was not trained below ``out``.
    """
    key = run_key(run, data_root)
    path = results.fields_path(out, run.profile, run.name, key)
    if path.is_file():
        known = _read(path)
        if known["version"] == VERSION and known["per_bin"] >= per_bin:
            return known
    device = pick_device()
    model = load_model(run, out, data_root).to(device)
    split = data.load(run.data, "val", data_root)
    log(f"{run.name}: fields of {per_bin} objects in each of {len(edges(run)) - 1} sizes")
    window, stride = (max(1, round(share * run.data.side)) for share in (WINDOW, STRIDE))
    rows = []
    for index, place, size, point in _objects(run, per_bin, data_root):
        image, label, (height, width) = split[index]
        image, class_id = image[:, :height, :width], int(label[point])
        valid = occlusion_map(model, image, point, window, stride, class_id, log=None).clamp(min=0)
        effective = gradient_map(model, image[None], point, class_id)
        rows.append({"bin": place, "size": size, **{
            f"{name}{100 * share:g}": square_side(values, point, share)
            for name, values in (("valid", valid), ("effective", effective)) for share in SHARES
        }})  # fmt: skip
    scores, origins = ScoresBySize(edges(run), len(run.data.class_names), run.boundary_distance), set()
    context = autocast(device, best_precision(device))
    for index in range(len(split)):
        image, label, (height, width) = split[index]
        label = label[:height, :width].numpy()
        prediction = predict(model, image[None], context)[0, :height, :width].cpu().numpy()
        found, origin = instances(run, index, label, data_root)
        origins.add(origin)
        scores.update(prediction, label, found)
    record = {
        "version": VERSION,
        "key": key,
        "name": run.name,
        "config": run.config(),
        "per_bin": per_bin,
        "settings": {
            "window": window,
            "stride": stride,
            "fill": "mean",
            "edges": edges(run),
            "objects_from": ", ".join(sorted(origins)),
        },
        "theoretical": theoretical_side(run),
        "fields": rows,
        "by_size": {
            "objects": scores.objects.tolist(),
            "miou": scores.miou().tolist(),
            "accuracy": scores.accuracy().tolist(),
            "internal_accuracy": scores.internal_accuracy().tolist(),
            "centre_accuracy": scores.centre_accuracy().tolist(),
        },
    }
    results.write_json(record, path)
    return record


_CONTENT = {"version", "key", "name", "config", "per_bin", "settings", "theoretical", "fields", "by_size"}


def _read(path: Path) -> dict[str, Any]:
    return results.read_json(path, lambda record: _CONTENT - record.keys())


def read(out: Path, profile: str) -> list[dict[str, Any]]:
    """All measurements of this version below ``out``; ``UserError`` names a file that is none."""
    found = map(_read, sorted(results.fields_path(out, profile, "", "").parent.glob("*.json")))
    return [record for record in found if record["version"] == VERSION]


def _model(config: dict[str, Any]) -> dict[str, Any]:
    k = config["k"] or 1
    return {"model": "1×1" if k == 1 else f"GCN {k}", "k": k, "seed": config["seed"]}


def field_frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per run and object: model, k, seed, theoretical, bin, from, to, size, and the sides of its fields."""

    def rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
        bounds = record["settings"]["edges"]
        for row in record["fields"]:
            place = {"from": bounds[row["bin"]], "to": bounds[row["bin"] + 1]}
            yield _model(record["config"]) | {"theoretical": record["theoretical"]} | place | row

    return pd.DataFrame([row for record in records for row in rows(record)])


def size_frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per run and bin: model, k, seed, bin, from, to (pixels), objects, and scores in percent."""
    rows = []
    for record in records:
        bounds, by_size = record["settings"]["edges"], record["by_size"]
        for i, objects in enumerate(by_size["objects"]):
            scores = {n: 100 * np.nan if v[i] is None else 100 * v[i] for n, v in by_size.items() if n != "objects"}
            rows.append(_model(record["config"])
                        | {"bin": i, "from": bounds[i], "to": bounds[i + 1], "objects": objects} | scores)  # fmt: skip
    return pd.DataFrame(rows)
