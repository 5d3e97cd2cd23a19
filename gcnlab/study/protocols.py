"""Staged training (Tables 7 and 9) as data: which sets in which order, and what follows the last stage."""

from dataclasses import dataclass, replace

from gcnlab.data import DataSpec
from gcnlab.evaluation.crf import Crf
from gcnlab.evaluation.inference import TestTime
from gcnlab.study.run import Run
from gcnlab.training import Schedule


@dataclass(frozen=True)
class Stage:
    """One training: it starts from the weights of the stage before, the first one from the template's."""

    name: str
    data: DataSpec
    schedule: Schedule


@dataclass(frozen=True)
class Protocol:
    """The stages of one table, then multi-scale testing (MS), then a CRF on what that has saved.

    Args:
        name: prefix of the runs' labels.
        template: the run that the stages share; head, k, refine, seed, data and schedule are filled in.
        k: of the GCN: as large as the top map of a training image (15 for 512 pixels, 25 for 800).
        multi_scale: how images are looked at in the MS row; the stages have the template's ``test_time``.
    """

    name: str
    template: Run
    k: int
    stages: tuple[Stage, ...]
    multi_scale: TestTime
    crf: Crf

    def run(self, row: str, head: str, refine: bool, seed: int) -> Run | None:
        """The run of one model in one row, such as ``Stage-2``, ``Stage-2-MS`` or ``Stage-2-MS-CRF``; None if there is
        no such stage here."""
        name, _, after = row.partition("-MS")
        run: Run | None = None
        for stage in self.stages:
            run = replace(
                self.template,
                data=stage.data,
                schedule=stage.schedule,
                weights=self.template.weights if run is None else run,
                head=head,
                k=None if head == "conv1x1" else self.k,
                refine=refine,
                seed=seed,
                label=f"{self.name}-{stage.name}".lower(),
            )
            if stage.name == name:
                break
        else:
            return None
        if row != name:
            run = replace(run, study="evaluation", weights=run, test_time=self.multi_scale, label=f"{run.label}-ms")
        if after == "-CRF":
            run = replace(run, weights=run, crf=self.crf, label=f"{run.label}-crf")
        return run
