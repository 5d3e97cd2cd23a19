"""One run: a frozen config in, one record out."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from gcnlab import data, files
from gcnlab.experiments import records
from gcnlab.experiments.building import initialise, load_weights
from gcnlab.experiments.config import CrfEvaluation, Evaluation, PreTraining, Run, Training
from gcnlab.experiments.environment import (
    environment,
    fixed_threads,
    pick_device,
    provenance,
    reset_peak_memory,
)
from gcnlab.experiments.measuring import classifier_scores, curve_point, segmenter_scores
from gcnlab.experiments.probabilities import evaluate, refine
from gcnlab.experiments.records import Record
from gcnlab.experiments.store import Store, weights_digest
from gcnlab.training import Diverged, distributed, make_step, save_atomically, train

Log = Callable[[str], None]


def execute(run: Run, store: Store, log: Log = print) -> Record:
    """Train and measure ``run`` and write its record; resumes an interrupted attempt.

    What ``run`` starts from must be finished (the scheduler sees to it). The record is written last
    and atomically: nothing else says that a run is complete. If another process is at the same run,
    this one waits for it and returns its record. A run whose weights are there but were measured by
    another version of the metrics is measured again, not trained.
    """
    first = distributed.is_first()
    with fixed_threads(), store.lock(run) if first else nullcontext():
        # The first looks when it has the lock, and decides for all.
        if distributed.gathered(store.is_complete(run, with_output=True))[0]:
            return store.record(run)
        provenance()  # of the code that this process has read
        reset_peak_memory()
        started = time.monotonic()
        if not first and not isinstance(run, PreTraining | Training):
            distributed.barrier()  # the first evaluates alone
            return store.record(run)
        perform = {Evaluation: evaluate, CrfEvaluation: refine}.get(type(run), _train)
        with _noted(run, store, log) if first else nullcontext(log) as tell:
            result = perform(run, store, tell)
        seconds = result.pop("seconds", time.monotonic() - started)
        record = {
            **store.header(run),
            "images": data.counts(run.data, store.data_root),
            **result,
            "environment": environment(seconds) | {"rules": store.rules},
        }
        if first:
            records.write(record, store.record_path(run))
            store.checkpoint(run).unlink(missing_ok=True)
            store.note(run).unlink(missing_ok=True)
        distributed.barrier()
        return store.record(run)


@contextmanager
def _noted(run: Run, store: Store, log: Log) -> Iterator[Log]:
    """A log whose last line, or why the run failed, stands in the note of ``run``."""

    def tell(line: str) -> None:
        files.write(f"{run.name} {line}", store.note(run))
        log(line)

    files.write(f"{run.name} starts", store.note(run))
    try:
        yield tell
    except Exception as error:
        if not files.is_full(error):
            files.write(f"{run.name} failed: {error}", store.note(run))
        raise


def _train(run: PreTraining | Training, store: Store, log: Log) -> dict[str, Any]:
    scores = classifier_scores if isinstance(run, PreTraining) else segmenter_scores
    before = store.outdated(run)
    if before is not None and store.output(run).is_file():
        log(f"{run.name}: its metrics are of another version; measuring again")
        model = load_weights(run, store.output(run), before["weights"]).to(pick_device())
        kept = {"seconds": before["environment"]["seconds"], "history": before["history"]}
        return {"weights": before["weights"], **kept, **scores(model, run, store)}
    training = data.load(run.data, "train", store.data_root)
    size, classes = run.schedule.batch_size, len(run.data.class_names)
    step = make_step(initialise(run, store), classes, run.schedule, pick_device())

    def batches(first: int, last: int):
        return training.shuffled(size, run.seed, first, last, distributed.part())

    point = partial(curve_point, run=run, store=store)
    try:
        progress = train(step, batches, point, store.checkpoint(run), log=log)
    except Diverged as error:
        what = {"history": error.history, "diverged": str(error)}
        return {"weights": None, "metrics": {}, "counts": {}, **what}
    if distributed.is_first():
        save_atomically(step.model.state_dict(), store.output(run))
    return {
        "weights": weights_digest(step.model.state_dict()),
        **progress,
        **scores(step.model, run, store),
    }
