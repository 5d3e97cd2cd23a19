"""How long runs take: as equal runs took, else in proportion to the pixels that they see."""

from collections.abc import Iterable
from math import prod
from statistics import median

from gcnlab.experiments.config import CrfEvaluation, Evaluation, Run, from_json, input_size
from gcnlab.experiments.records import Record


def work(run: Run) -> float:
    """Pixels that a training sees; what trains nothing counts as a tenth of what it starts from."""
    if isinstance(run, Evaluation | CrfEvaluation):
        return work(run.start) / 10
    return run.schedule.steps * run.schedule.batch_size * prod(input_size(run))


def expected(runs: Iterable[Run], records: Iterable[Record]) -> dict[Run, float]:
    """Seconds per run, from ``records`` of the same profile; without any, only ratios hold."""
    done = [(from_json(r["config"]), r["environment"]["seconds"]) for r in records]
    took = {run.variant: seconds for run, seconds in done}
    rate = median([seconds / work(run) for run, seconds in done] or [1])
    return {run: took.get(run.variant) or rate * work(run) for run in runs}
