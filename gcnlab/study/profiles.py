"""The profiles: which data, at what size, with which schedule. They differ in data, never in code paths."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.models.backbones import build_backbone
from gcnlab.study.experiment import Run
from gcnlab.training import Schedule


@dataclass(frozen=True)
class Profile:
    """A setting in which every variant of the paper can be trained.

    Args:
        description: one line, shown beside every number.
        template: the run that every variant of Tables 1–5 shares; head, k, m, refine and seed are filled in.
        pair: the same for Table 6, on a ResNet and on its GCN form: each starts from a Run that trains its backbone
            as a classifier, both under one recipe.
        pair_name: what the ResNet of the pair is, in words.
        evidence: False where the numbers only show that the code runs.
        longer: name of the profile that differs in nothing but more steps, to see whether training had converged.
    """

    name: str
    description: str
    template: Run
    pair: tuple[Run, Run]
    pair_name: str
    evidence: bool = True
    longer: str | None = None

    @property
    def top_channels(self) -> int:
        """Channels of the coarsest feature map, to which the m of Table 4 is relative (2048 in the paper)."""
        return _top_channels(self.template.backbone)


@cache
def _top_channels(backbone: str) -> int:
    with torch.device("meta"):
        return build_backbone(backbone).channels[-1]


def _pair(template: Run, backbone: str, classification: DataSpec, recipe: Schedule) -> tuple[Run, Run]:
    """``template`` on ``backbone`` and on its GCN form, from weights trained on ``classification`` by one recipe."""
    pretraining = Run(template.profile, classification, backbone, recipe, study="pretraining")
    names = (backbone, f"{backbone.removesuffix('_v1')}_gcn")
    return tuple(replace(template, backbone=b, weights=replace(pretraining, backbone=b)) for b in names)


def _embedded(name: str, data: str, schedule: Schedule, pretraining: Schedule) -> dict[str, Any]:
    """The embedded setting: the small backbone, pre-trained on single shapes with seed 0 for all of Tables 1–5."""
    template = Run(name, DataSpec(data, side=64), "small", schedule, boundary_distance=3)
    pair = _pair(template, "small", DataSpec(f"imagenet:{data}", side=64), pretraining)
    return {"template": pair[0], "pair": pair, "pair_name": "a ResNet of four basic blocks, 16 channels wide"}


_PHOTOS = Run(
    "photos",
    # background, cat, cow, dog, horse, person, sheep: the classes that the subset covers
    DataSpec("voc", side=256, long_side=256, classes=(0, 8, 10, 12, 13, 15, 17)),
    "squeezenet1_1",
    Schedule(750, 8, lr=1e-3, backbone_lr=2e-4, warmup=30),
    weights="weights/squeezenet1_1_imagenet.npz",
    normalization="caffe",
)
_PAPER = Run(
    "paper",
    DataSpec("voc", side=512),
    "resnet152",
    # The FCN "heavy" solver, see gcnlab/paper/assumptions.json.
    Schedule(100_000, 1, "sgd", lr=1e-10, decay="constant", momentum=0.99, weight_decay=5e-4, loss_reduction="sum"),
    weights="IMAGENET1K_V1",
    batch_norm="frozen",
)

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "a few steps on a few embedded shapes: shows that everything runs, never evidence",
            **_embedded("smoke", "shapes-tiny", Schedule(3, 8, evaluations=3), Schedule(3, 8)),
            evidence=False,
        ),
        Profile(
            "shapes",
            "embedded shapes, 64 px, 8 classes, small ResNet pre-trained on single shapes",
            **_embedded(
                "shapes",
                "shapes",
                Schedule(800, 16, lr=4e-3, backbone_lr=2e-3, warmup=40, evaluations=4),
                Schedule(600, 64, lr=2e-3, warmup=50, weight_decay=1e-2, evaluations=4),
            ),
            longer="shapes-long",
        ),
        Profile(
            "photos",
            "VOC 2012 + SBD at 256 px, 7 classes, SqueezeNet 1.1 pre-trained on ImageNet, 750 steps of 8 images",
            _PHOTOS,
            # No ImageNet weights of a GCN form exist, so both are trained here, on what a CPU can learn from.
            _pair(
                replace(_PHOTOS, normalization="rgb"),
                "medium",
                DataSpec("tiny-imagenet", side=64, resize=64, crop_area=0.25),
                Schedule(3000, 128, lr=2e-3, warmup=100, weight_decay=1e-2, evaluations=3),
            ),
            "a ResNet of four basic blocks, 32 channels wide, behind a stem of stride 2",
        ),
        Profile(
            "paper",
            "the paper's protocol: VOC 2012 + SBD, 512 px, 21 classes, ResNet-152",
            _PAPER,
            _pair(
                _PAPER,
                "resnet50_v1",
                DataSpec("imagenet", side=224, resize=256, crop_area=0.08),
                # He et al. 2016: 600,000 iterations, the rate a tenth twice
                Schedule(600_000, 256, "sgd", lr=0.1, decay="step", momentum=0.9, weight_decay=1e-4, evaluations=10),
            ),
            "ResNet-50",
        ),
    )
}

_SHAPES = PROFILES["shapes"]


def _longer(run: Run) -> Run:
    return replace(run, profile="shapes-long", schedule=replace(run.schedule, steps=2 * run.schedule.steps))


PROFILES["shapes-long"] = Profile(
    "shapes-long",
    "shapes with twice the steps, from the same pre-trained weights",
    _longer(_SHAPES.template),
    tuple(_longer(run) for run in _SHAPES.pair),
    _SHAPES.pair_name,
)


def get(name: str) -> Profile:
    """The profile ``name``; ``UserError`` names the known ones."""
    if name not in PROFILES:
        raise UserError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
