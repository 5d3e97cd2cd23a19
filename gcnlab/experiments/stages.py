"""Staged training (Tables 7 and 9) as data: which sets in which order, and what follows."""

from dataclasses import dataclass, replace

from gcnlab.data import DataSpec
from gcnlab.evaluation.crf import Crf
from gcnlab.evaluation.inference import TestTime
from gcnlab.experiments.config import CrfEvaluation, Evaluation, PreTraining, Training
from gcnlab.training import Schedule


@dataclass(frozen=True)
class Stage:
    """One training: initialised from the stage before, the first one as the template is."""

    name: str
    data: DataSpec
    schedule: Schedule


@dataclass(frozen=True)
class Protocol:
    """The stages of one table, then multi-scale testing (MS), then a CRF on what that has kept.

    Args:
        name: prefix of the runs' labels.
        template: the training that the stages share; head, k, refine, seed, data and schedule are
            filled in.
        k: of the GCN: as large as the C5 of a training image (15 for 512 pixels, 25 for 800).
    """

    name: str
    template: Training
    k: int
    stages: tuple[Stage, ...]
    crf: Crf

    @property
    def multi_scale(self) -> TestTime:
        """How the MS row looks at images: everywhere at the same scales (an assumption)."""
        own = self.template.test_time or TestTime()
        return replace(own, scales=(0.75, 1.0, 1.25), flip=True)

    def config(
        self, row: str, head: str, refine: bool, seed: int
    ) -> Training | Evaluation | CrfEvaluation | None:
        """The run of one model in one row, such as ``Stage-2`` or ``Stage-2-MS-CRF``.

        None if there is no such stage.
        """
        name, _, after = row.partition("-MS")
        if name not in [stage.name for stage in self.stages]:
            return None
        start = self.template.start
        if isinstance(start, PreTraining):
            start = replace(start, seed=seed)
        for stage in self.stages:
            start = replace(
                self.template,
                data=stage.data,
                schedule=stage.schedule,
                start=start,
                head=head,
                k=None if head == "conv1x1" else self.k,
                refine=refine,
                seed=seed,
                label=f"{self.name}-{stage.name}".lower(),
            )
            if stage.name == name:
                break
        if row == name:
            return start
        evaluation = Evaluation(start, self.multi_scale)
        return CrfEvaluation(evaluation, self.crf) if after == "-CRF" else evaluation


def backbone_pair(
    template: Training, backbone: str, classification: DataSpec, recipe: Schedule
) -> tuple[Training, Training]:
    """``template`` on ``backbone`` and on its GCN form, each from a pre-training by one recipe."""
    pair = []
    for name in (backbone, f"{backbone.removesuffix('_v1')}_gcn"):
        start = PreTraining(template.profile, classification, name, recipe)
        label = "" if name == template.backbone else f"on-{name}"
        pair.append(replace(template, backbone=name, start=start, label=label))
    return tuple(pair)
