"""Where runs are kept, and the key that names each: config, data, starting weights, arithmetic.

Starting weights are named by the digest of their content, never by the config that made them. The
key of a run that starts from another run is therefore known only when that one is finished.
"""

import hashlib
import json
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gcnlab import data, files
from gcnlab.errors import UserError
from gcnlab.experiments import records
from gcnlab.experiments.config import (
    CrfEvaluation,
    Evaluation,
    PreTraining,
    Run,
    Training,
    deviations,
    to_json,
)
from gcnlab.experiments.environment import arithmetic
from gcnlab.experiments.records import Record
from gcnlab.models.weights import published_name
from gcnlab.training import TRAINING_VERSION

# Raise it when a change of inference or metrics gives other scores for the same weights. Runs are
# then measured again, not trained again.
EVALUATION_VERSION = 1
WEIGHT_FILES = (".npz", ".pt", ".pth")


class Store:
    """The runs below the folder ``out``, on the data below ``data_root``.

    ``rules``: digest of the rules that were registered when a run was made; records carry it.
    """

    def __init__(self, out: Path, data_root: Path | None = None, rules: str | None = None):
        self.out, self.data_root, self.rules = out, data_root, rules

    def identity(self, run: Run) -> dict[str, Any] | None:
        """All that decides the numbers of ``run`` besides its config; None if its start is not
        finished."""
        start = self.start_digest(run)
        if start is None and run.start is not None:
            return None
        return {
            "data": data.fingerprint(run.data, self.data_root),
            "start": start,
            **arithmetic(),
            "training_version": TRAINING_VERSION,
        }

    def key(self, run: Run) -> str | None:
        """12 hex digits: same key, same numbers. None if what the run starts from is not
        finished."""
        identity = self.identity(run)
        return None if identity is None else key_of(run, identity)

    def start_digest(self, run: Run) -> str | None:
        """Digest of the weights (of a CRF: of the evaluation) that ``run`` starts from, if it is
        there."""
        if isinstance(run.start, str):
            path = weights_file(run, self.data_root)
            return published_name(run.start, run.backbone) if path is None else _file_digest(path)
        if run.start is None:
            return None
        record = self.record(run.start)
        if record is None:
            return None
        return record["key"] if isinstance(run.start, Evaluation) else record["weights"]

    def record(self, run: Run) -> Record | None:
        """The record of ``run`` if it is complete, measured as this version measures."""
        record = self._any_record(run)
        return record if record and record["evaluation_version"] == EVALUATION_VERSION else None

    def outdated(self, run: Run) -> Record | None:
        """The record of ``run`` if another version of the metrics has measured it."""
        record = self._any_record(run)
        return record if record and record["evaluation_version"] != EVALUATION_VERSION else None

    def _any_record(self, run: Run) -> Record | None:
        path = self.record_path(run)
        return records.read(path) if path is not None and path.is_file() else None

    def has_diverged(self, run: Run) -> bool:
        """Whether ``run`` is complete, and has left nothing that others could start from."""
        return bool((self.record(run) or {}).get("diverged"))

    def header(self, run: Run) -> Record:
        """How every record of ``run`` begins: what it is of, and all that decides its numbers."""
        return {"format": records.FORMAT, "kind": run.kind, "key": self.key(run), "name": run.name,
                "config": to_json(run), "identity": self.identity(run),
                "evaluation_version": EVALUATION_VERSION}  # fmt: skip

    def record_path(self, run: Run, folder: str = "runs") -> Path | None:
        """Where the record of ``run`` is kept, or in ``fields`` that of its receptive fields."""
        key = self.key(run)
        return key and self.out / run.profile / folder / f"{run.name}-{key}.json"

    def output(self, run: Run) -> Path | None:
        """What a finished run leaves for others: its weights, or the folder of its
        probabilities."""
        key = self.key(run)
        if key is None or isinstance(run, CrfEvaluation):
            return None
        folder, ending = ("scores", "") if isinstance(run, Evaluation) else ("weights", ".pt")
        return self.out / run.profile / folder / f"{run.name}-{key}{ending}"

    def is_complete(self, run: Run, with_output: bool = False) -> bool:
        """Whether the record of ``run``, and with ``with_output`` what others start from, is
        there; a run that diverged leaves nothing."""
        if self.record(run) is None:
            return False
        leaves_none = isinstance(run, CrfEvaluation) or self.has_diverged(run)
        return not with_output or leaves_none or self.output(run).exists()

    def adopt(self, run: PreTraining, study: Path) -> bool:
        """Copy the pre-training ``run`` from the committed ``study``; False if that has not got it,
        or it is here already."""
        other = Store(study, self.data_root)
        whole = other.is_complete(run) and other.output(run).exists()
        if self.is_complete(run, with_output=True) or not whole:
            return False
        # the record last: it says that the run is complete
        for source, target in ((other.output(run), self.output(run)),
                               (other.record_path(run), self.record_path(run))):  # fmt: skip
            files.write(source.read_bytes(), target)
        return True

    def checkpoint(self, run: Run) -> Path:
        """Where an unfinished training keeps its state; ``UserError`` if its start is not
        finished."""
        key = self.key(run)
        if key is None:
            lost = self.has_diverged(run.start)
            state = "diverged" if lost else "is not finished: run that first"
            raise UserError(f"{run.name} starts from {run.start.name}, which {state}")
        return self.out / run.profile / "checkpoints" / f"{key}.pt"

    def is_interrupted(self, run: Run) -> bool:
        """Whether a checkpoint of ``run`` waits to be resumed."""
        return self.key(run) is not None and self.checkpoint(run).is_file()

    def note(self, run: Run) -> Path:
        """Where a run at work keeps its name and the last line of its log, for others to read."""
        return self.checkpoint(run).with_suffix(".txt")

    def notes(self, profile: str, since: float = 0) -> dict[str, str]:
        """Name of a run at work, or interrupted → last line; those written after ``since``."""
        texts = {}
        for path in (self.out / profile / "checkpoints").glob("*.txt"):
            with suppress(OSError):  # it has just ended
                if path.stat().st_mtime >= since:
                    name, _, line = path.read_text(encoding="utf-8").partition(" ")
                    texts[name] = " ".join(line.split())
        return texts

    def lock(self, run: Run) -> AbstractContextManager[None]:
        """Keep other processes from ``run``."""
        return files.lock(self._lock_file(run))

    def is_running(self, run: Run) -> bool:
        """Whether a process is at ``run``, on any machine that shares the folder and its locks."""
        return self.key(run) is not None and files.is_locked(self._lock_file(run))

    def _lock_file(self, run: Run) -> Path:
        return self.checkpoint(run).with_suffix(".lock")


def key_of(run: Run, identity: dict[str, Any]) -> str:
    """12 hex digits from the config of ``run`` and what else decides its numbers."""
    text = json.dumps([deviations(run), identity], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@cache
def _file_digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """A digest of a state dict's names, shapes, types and values, whatever file it is kept in."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def weights_file(run: PreTraining | Training, data_root: Path | None) -> Path | None:
    """The local file that ``run.start`` names, if it names one; ``UserError`` if it is not
    there."""
    if not isinstance(run.start, str) or Path(run.start).suffix not in WEIGHT_FILES:
        return None
    path = run.data.root(data_root) / run.start
    if not path.is_file():
        raise UserError(
            f"{path} is missing: profile {run.profile!r} starts from these weights; put them there "
            "(docs/data.md)"
        )
    return path
