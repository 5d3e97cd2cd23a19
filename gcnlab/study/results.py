"""Records on disk ↔ pandas: one JSON file per run below ``<out>/<profile>/runs``, and where all else is kept."""

import fcntl
import json
import math
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from gcnlab.errors import UserError

COMMITTED = Path(__file__).resolve().parents[2] / "results"
LOCAL = COMMITTED / "local"
# What every record has; see gcnlab.study.experiment.execute.
_SEGMENTATION = {"miou", "boundary_accuracy", "internal_accuracy"}
METRICS = {
    "segmentation": _SEGMENTATION,
    "evaluation": _SEGMENTATION,
    "pretraining": {"top1_error", "top5_error"},
}
FIELDS = {"key", "name", "config", "metrics", "history", "data", "seconds", "device", "precision", "versions",
          "training_version", "commit", "dirty", "finished"}  # fmt: skip


def record_path(out: Path, profile: str, name: str, key: str) -> Path:
    return out / profile / "runs" / f"{name}-{key}.json"


def weights_path(out: Path, profile: str, name: str, key: str) -> Path:
    return out / profile / "weights" / f"{name}-{key}.pt"


def scores_path(out: Path, profile: str, name: str, key: str) -> Path:
    return out / profile / "scores" / f"{name}-{key}"


def fields_path(out: Path, profile: str, name: str, key: str) -> Path:
    return out / profile / "fields" / f"{name}-{key}.json"


def trials_path(out: Path, profile: str, name: str, key: str) -> Path:
    return out / profile / "trials" / f"{name}-{key}.json"


def checkpoint_path(out: Path, profile: str, key: str) -> Path:
    return out / profile / "checkpoints" / f"{key}.pt"


def write_atomically(text: str, path: Path) -> None:
    """Write ``text`` so that ``path`` is always a whole file, the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f"{path.name}.{platform.node()}-{os.getpid()}.part")
    try:
        work.write_text(text, encoding="utf-8")
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def without_nan(value: Any) -> Any:
    """JSON has no nan: an undefined score is null."""
    if isinstance(value, dict):
        return {name: without_nan(v) for name, v in value.items()}
    if isinstance(value, list):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def lock(out: Path, profile: str, key: str) -> Iterator[None]:
    """Hold the lock of one run, so that two processes do not train it at the same time: the second one waits."""
    path = checkpoint_path(out, profile, key).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed; the empty file stays
        yield


def write_record(record: dict[str, Any], out: Path) -> Path:
    """Write one record; its presence is what says that the run is complete."""
    path = record_path(out, record["config"]["profile"], record["name"], record["key"])
    write_json(record, path)
    return path


def write_json(record: dict[str, Any], path: Path) -> None:
    write_atomically(json.dumps(without_nan(record), indent=1, ensure_ascii=False) + "\n", path)


def read_json(path: Path, lacks: Callable[[dict[str, Any]], set[str]]) -> dict[str, Any]:
    """The JSON object in ``path``; ``UserError`` naming the file if it is none, or ``lacks`` finds fields missing."""
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        if missing := lacks(record):
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
    except (ValueError, KeyError, TypeError, OSError) as error:
        remedy = "delete it, and it is made again"
        raise UserError(f"{path} is no readable record ({error!r}): {remedy}") from None
    return record


def _read(path: Path) -> dict[str, Any]:
    def lacks(record: dict[str, Any]) -> set[str]:
        return FIELDS - record.keys() or METRICS[record["config"]["study"]] - record["metrics"].keys()

    return read_json(path, lacks)


def read_record(out: Path, profile: str, name: str, key: str) -> dict[str, Any]:
    """One record; ``UserError`` naming the file if it is missing or no record."""
    return _read(record_path(out, profile, name, key))


def read_records(out: Path, profile: str) -> list[dict[str, Any]]:
    """All records of ``profile`` below ``out``, sorted by file name; none if there is no such folder.

    Raises ``UserError`` naming a file that is no record.
    """
    return [_read(path) for path in sorted((out / profile / "runs").glob("*.json"))]


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Records as a flat table, one row per run: config and metrics side by side, scores in [0, 1]."""
    rows = []
    for record in records:
        config, metrics = record["config"], record["metrics"]
        row = {n: config[n] for n in ("study", "profile", "head", "k", "m", "refine", "backbone", "seed")}
        row |= {n: v for n, v in metrics.items() if not isinstance(v, dict)}
        rows.append({"key": record["key"], "name": record["name"], **row, "seconds": record["seconds"]})
    return pd.DataFrame(rows)
