"""Every run of a profile in miniature: one step, a few made-up images of full size, one record.

It shows before the first GPU-hour that all readers, networks, checkpoints and records work at their
size, and how much memory each takes.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gcnlab.data.synthetic import official
from gcnlab.experiments import scheduler
from gcnlab.experiments.config import PreTraining, Run, Training
from gcnlab.experiments.execute import execute
from gcnlab.experiments.queue import RunQueue
from gcnlab.experiments.resources import chain
from gcnlab.experiments.store import WEIGHT_FILES, Store
from gcnlab.models import build_backbone

MOST_IMAGES = 8  # of a batch, so that it fits into main memory


def shortened(run: Run) -> Run:
    """``run``, and what it starts from, with one step of at most ``MOST_IMAGES`` images."""
    changes = {"start": shortened(run.start)} if isinstance(run.start, Run) else {}
    if isinstance(run, PreTraining | Training):
        size = min(MOST_IMAGES, run.schedule.batch_size)
        changes["schedule"] = replace(
            run.schedule, steps=1, evaluations=1, warmup=0, batch_size=size
        )
    return replace(run, **changes)


def make_up(folder: Path, runs: Sequence[Run]) -> None:
    """Write the data and the starting weights of ``runs`` below ``folder``."""
    links = list(dict.fromkeys(link for run in runs for link in chain(run)))
    official.write(folder, dict.fromkeys(link.data for link in links))
    for start, backbone in {(r.start, r.backbone) for r in links if isinstance(r.start, str)}:
        if not start.endswith(WEIGHT_FILES):
            continue
        arrays = {n: t.numpy() for n, t in build_backbone(backbone).state_dict().items()}
        # Residual blocks begin as the identity: features of untrained ones grow beyond all bounds.
        arrays |= {n: 0 * a for n, a in arrays.items() if n.endswith("bn3.weight")}
        (folder / start).parent.mkdir(parents=True, exist_ok=True)
        np.savez(folder / start, **arrays)


def perform(runs: Sequence[Run], folder: Path, log: Callable[[str], None] = print) -> list[str]:
    """Execute ``runs`` in miniature below the empty ``folder``; one line per failure.

    A run that has no more followers leaves its record alone.
    """
    runs = list(dict.fromkeys(map(shortened, runs)))
    make_up(folder / "data", runs)
    store = Store(folder / "out", folder / "data")
    queue = RunQueue(scheduler.plan(runs, store), log)
    while (run := queue.take()) is not None:
        try:
            record = execute(run, store, log=lambda _: None)
        except Exception as error:  # whatever ended a run ends only that run
            queue.finished(run, error)
        else:
            memory, seconds = (record["environment"][n] for n in ("peak_memory", "seconds"))
            text = f"{_size(run)}, {memory / 1e9:.1f} GB at most, {seconds:.0f} s"
            queue.finished(run, text=text)
        followers = {other.start for other in queue.waiting}
        for done in {run, run.start} - followers - {None}:
            if isinstance(done, Run) and (output := store.output(done)):
                shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    return list(queue.failures.values())


def _size(run: Run) -> str:
    """What its images are, in words."""
    spec = run.data
    height, width = spec.canvas
    crop = f", crops of {spec.crop}" if spec.crop else ""
    return f"{spec.name} {width}×{height}{crop}"
