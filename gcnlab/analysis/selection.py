"""Which records count: those of a profile as it is today, of one state of data, code and machine.

No cell averages over different experiments: records of another schedule, training version or state
of the data are stale, and runs on CPU and GPU, or in another precision, never share a profile's
tables.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gcnlab import data
from gcnlab.errors import UserError
from gcnlab.experiments.config import Run, Training, from_json
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record
from gcnlab.experiments.store import EVALUATION_VERSION
from gcnlab.experiments.variants import Variant
from gcnlab.training import TRAINING_VERSION

LEAST_STEPS = 100
AT_CHANCE = 0.01  # mIoU above that of the commonest class everywhere: not more learned nothing


def run_of(record: Record) -> Run:
    """The config of ``record``; ``UserError`` naming the record if this version does not know
    it."""
    try:
        return from_json(record["config"])
    except UserError as error:
        file = f"{record['name']}-{record['key']}.json"
        remedy = "delete it, or use the version of gcnlab that wrote it"
        raise UserError(f"record {file}: {error}; {remedy}") from None


def seed_of(record: Record) -> int:
    """The seed of the run."""
    return run_of(record).seed


def metric(record: Record, name: str) -> float:
    """A score or error of ``record`` in percent; nan if it is undefined."""
    return percent(record["metrics"].get(name))


def percent(value: float | None) -> float:
    """A stored share in [0, 1] in percent; nan for null, which is stored where it is undefined."""
    return float("nan") if value is None else 100 * float(value)


def is_diverged(record: Record) -> bool:
    """Whether the loss exploded, or the segmenter does no better than the most frequent class.

    A training of fewer than ``LEAST_STEPS`` steps is not asked to have learned anything.
    """
    if record.get("diverged"):
        return True
    if "confusion" not in record["counts"] or run_of(record).training.schedule.steps < LEAST_STEPS:
        return False
    matrix = confusion(record)
    chance = matrix.sum(1).max() / max(1, matrix.sum()) / len(matrix)
    return metric(record, "miou") / 100 <= chance + AT_CHANCE


def confusion(record: Record) -> NDArray[np.int64]:
    """The confusion matrix (true class, prediction) of ``record``."""
    return np.array([row.split() for row in record["counts"]["confusion"]], np.int64)


def per_image_counts(record: Record) -> NDArray[np.int64]:
    """Hits, predicted and true pixels: (images, classes, 3)."""
    rows = record["counts"]["per_image"]
    counts = np.zeros((len(rows), len(record["counts"]["confusion"]), 3), np.int64)
    for image, row in enumerate(rows):
        values = np.array(row.split(), np.int64).reshape(-1, 4)
        counts[image, values[:, 0]] = values[:, 1:]
    return counts


def boundary_accuracies(record: Record, distance: str) -> tuple[float, float]:
    """Boundary and internal accuracy (percent) at a distance that the record has, such as
    ``"5"``."""
    counts = record["counts"]["boundary"]
    correct, counted = np.array(counts[distance])
    all_correct, all_counted = np.array(counts["all"])
    inside = (all_correct - correct) / (all_counted - counted) if all_counted > counted else np.nan
    return 100 * correct / counted if counted else np.nan, 100 * inside


def is_subset(record: Record) -> bool:
    """Whether ``record`` is of a part of the official data; low-data ablations are meant so."""
    spec = run_of(record).data
    return spec.images is None and data.is_subset(spec, record["images"])


def current(records: Sequence[Record], runs_of_profile: Iterable[Run]) -> list[Record]:
    """The ``records`` of ``runs_of_profile`` that are of one state of code, data and machine.

    Of several states of one data set only that of the newest record counts; of several kinds of
    arithmetic (device, precision, threads) the one with most records. A run counts only if what it
    starts from does.
    """
    runs_of_profile = set(runs_of_profile)
    candidates = [
        (run, record)
        for record in records
        if (run := run_of(record)) in runs_of_profile
        and record["identity"]["training_version"] == TRAINING_VERSION
        and record["evaluation_version"] == EVALUATION_VERSION
    ]
    candidates.sort(key=lambda pair: pair[1]["environment"]["finished"])
    arithmetics = Counter(_arithmetic(record) for _, record in candidates)
    most = max(arithmetics, key=arithmetics.get, default=None)
    state = {run.data: record["identity"]["data"] for run, record in candidates}
    kept = [
        (run, record)
        for run, record in candidates
        if _arithmetic(record) == most and record["identity"]["data"] == state[run.data]
    ]
    return _with_current_start(kept)


def _arithmetic(record: Record) -> tuple:
    return tuple(record["identity"][name] for name in ("device", "precision", "threads"))


def _with_current_start(kept: list[tuple[Run, Record]]) -> list[Record]:
    """Of each run the newest record, if what the run starts from counts too."""
    newest = dict(kept)

    def counts(run: Run) -> bool:
        if not isinstance(run.start, Run):
            return True
        if run.start not in newest or not counts(run.start):
            return False
        start = newest[run.start]
        return newest[run]["identity"]["start"] == (start.get("weights") or start["key"])

    return [record for run, record in newest.items() if counts(run)]


def by_variant(
    profile: Profile, records: Sequence[Record], variants: Iterable[Variant]
) -> dict[Variant, list[Record]]:
    """Records by variant in order of seeds; variants without any are left out."""
    by_run = {run_of(record): record for record in records}
    seeds = sorted({run.seed for run in by_run})
    groups = {}
    for variant in variants:
        runs = [variant.config(profile, seed) for seed in seeds]
        if group := [by_run[run] for run in runs if run in by_run]:
            groups[variant] = group
    return groups


def field_records_of(fields: Sequence[Record], records: Sequence[Record]) -> list[Record]:
    """The measurements of receptive fields that are of ``records``, by their trained weights."""
    weights = {record.get("weights") for record in records
               if isinstance(run_of(record), Training) and not is_diverged(record)}  # fmt: skip
    return [
        field
        for field in fields
        if field["identity"]["weights"] in weights
        and field["evaluation_version"] == EVALUATION_VERSION
    ]
