"""The profiles: which data, at what size, on which schedule; they never differ in code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from gcnlab.errors import check_name
from gcnlab.experiments import paper_setting, photo_setting, synthetic_setting
from gcnlab.experiments.config import Training
from gcnlab.experiments.stages import Protocol
from gcnlab.models import build_backbone


@dataclass(frozen=True)
class Profile:
    """A setting in which every variant of the paper can be trained.

    Args:
        title: what a reader calls it, such as ``synthetic data``.
        description: one line, shown beside every number.
        template: the training that every variant of Tables 1–5 shares; head, k, m, refine and seed
            are filled in.
        pair: the same for Table 6, on a ResNet and on its GCN form: each starts from the
            pre-training of its backbone, both under one recipe.
        pair_name: what the ResNet of the pair is, in words.
        protocols: staged trainings by name: ``voc`` (Table 7) and ``street`` (Table 9).
        batch_ablations: whether ``run_all.sh`` trains the ablations of the open question too;
            ``python -m gcnlab run ablations`` always does.
        evidence: False where the numbers only show that the code runs.
        converged: whether doubling the schedule was shown to change hardly a score (see
            ``experiments/pilot.py``); no profile's was so far.
    """

    name: str
    title: str
    description: str
    template: Training
    pair: tuple[Training, Training]
    pair_name: str
    protocols: Mapping[str, Protocol] = field(default_factory=dict, hash=False)
    batch_ablations: bool = True
    evidence: bool = True
    converged: bool = False

    @cached_property
    def top_channels(self) -> int:
        """Channels of C5, the coarsest feature map, to which the m of Table 4 is relative (2048 in
        the paper)."""
        with torch.device("meta"):
            return build_backbone(self.template.backbone).channels[-1]


def _synthetic(name: str, title: str, description: str, setting, **options) -> Profile:
    return Profile(name, title, description, *synthetic_setting.build(name, setting), **options)


PROFILES = {
    profile.name: profile
    for profile in (
        _synthetic("smoke", "smoke test",
                   "a few steps on a few synthetic images: shows that everything runs, never "
                   "evidence", synthetic_setting.SMOKE, evidence=False),
        _synthetic("quick", "synthetic data, quick",
                   "drawn scenes, 64 px, 8 classes, a small ResNet pre-trained on single shapes, "
                   "trained for a part of what convergence takes", synthetic_setting.QUICK,
                   batch_ablations=False),
        _synthetic("synthetic", "synthetic data",
                   "drawn scenes, 64 px, 8 classes, a small ResNet pre-trained on single shapes",
                   synthetic_setting.CONVERGED),
        _synthetic("synthetic-wide", "synthetic data, wide field",
                   "the same drawn scenes on another backbone (basic blocks), which sees most "
                   "objects whole",
                   synthetic_setting.WIDE),
        Profile("photos", "photographs",
                "VOC 2012 + SBD at 256 px, 7 classes (five animals, person), SqueezeNet 1.1 "
                "pre-trained on ImageNet",
                photo_setting.TEMPLATE, photo_setting.PAIR,
                "a ResNet of four basic blocks, 32 channels wide, behind a stem of stride 2",
                photo_setting.PROTOCOLS),
        Profile("paper", "the paper's scale",
                "the paper's protocol: VOC 2012 + SBD, 512 px, 21 classes, ResNet-152",
                paper_setting.TEMPLATE, paper_setting.PAIR, "ResNet-50", paper_setting.PROTOCOLS),
    )
}  # fmt: skip


def get(name: str) -> Profile:
    """The profile ``name``; ``UserError`` names the known ones."""
    check_name("profile", name, PROFILES)
    return PROFILES[name]
