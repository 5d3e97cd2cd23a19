"""What runs need before they start: data, weights, a writable folder with room, a CRF."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from gcnlab import data
from gcnlab.errors import UserError
from gcnlab.evaluation import count_parameters
from gcnlab.experiments.building import build_model, initialise
from gcnlab.experiments.config import CrfEvaluation, Evaluation, Run
from gcnlab.experiments.probabilities import TUNING_IMAGES
from gcnlab.experiments.store import Store, weights_file

STATES = 3  # of a model in a checkpoint: its weights, and two moments of each
SPARE = 64 << 20  # bytes, for records, tables and figures


def check_writable(out: Path) -> None:
    """Make the folder ``out``; ``UserError`` if that, or writing into it, is not possible."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # which leaves nothing if the process is killed
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror}): choose another folder"
        ) from None


def chain(run: Run) -> Iterator[Run]:
    """``run`` and all runs that it starts from."""
    yield run
    if isinstance(run.start, Run):
        yield from chain(run.start)


def check_present(runs: list[Run], store: Store) -> None:
    """``UserError`` if data or weights that ``runs``, and those they start from, need are
    missing, or the weights damaged."""
    checked = set()
    for run in dict.fromkeys(link for each in runs for link in chain(each)):
        if weights_file(run, store.data_root) and (run.backbone, run.start) not in checked:
            checked.add((run.backbone, run.start))
            initialise(run, store)
        for split in ("train", "val"):
            data.samples(run.data, split, store.data_root)


def without_backend(runs: list[Run]) -> dict[Run, str]:
    """Those of ``runs`` whose CRF is not installed, and what to do. No other run needs them."""
    reasons = {}
    for run in runs:
        try:
            if isinstance(run, CrfEvaluation):
                run.crf.check_backend()
        except UserError as error:
            reasons[run] = str(error)
    return reasons


def disk_needed(runs: list[Run], store: Store, jobs: int = 1) -> int:
    """Bytes that ``runs`` leave below the store's folder, and need while ``jobs`` of them are at
    work.

    A training keeps its weights. While it is at work it has a checkpoint too, and for a moment the
    old one and the new one. An evaluation keeps probabilities in float16.
    """
    weights, scores = [], []
    with torch.device("meta"):
        for run in runs:
            if isinstance(run, Evaluation):
                images = data.counts(run.data, store.data_root)["val"] + TUNING_IMAGES
                height, width = run.data.canvas
                scores.append(2 * images * len(run.data.class_names) * height * width)
            elif not isinstance(run, CrfEvaluation):
                weights.append(4 * count_parameters(build_model(run)))
    checkpoints = 2 * STATES * sum(sorted(weights)[-jobs:])
    return sum(weights) + sum(scores) + checkpoints + SPARE


def check_ready(runs: list[Run], store: Store, jobs: int = 1) -> None:
    """``UserError`` before any work: data missing or damaged, the folder not writable or the disk
    full."""
    check_writable(store.out)
    check_present(runs, store)
    needed, free = disk_needed(runs, store, jobs), shutil.disk_usage(store.out).free
    if free < needed:
        raise UserError(
            f"{store.out} has {free / 1e9:.1f} GB free and these runs need {needed / 1e9:.1f} GB: "
            "free some space or choose another folder"
        )
    for spec in dict.fromkeys(run.data for run in runs):
        data.fingerprint(spec, store.data_root)  # refuses drawn data that were altered
        for split in ("train", "val"):
            data.load(spec, split, store.data_root).check()
