"""The profiles: which data, at what size, with which schedule. They differ in data, never in code paths."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch

from gcnlab.data import DataSpec
from gcnlab.data.cityscapes import CLASSES as CITY_CLASSES
from gcnlab.data.streets import PRESENT
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.models.backbones import build_backbone
from gcnlab.study.protocols import Protocol, Stage
from gcnlab.study.run import Run
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
        protocols: staged trainings by name: ``voc`` (Table 7) and ``street`` (Table 9), where the data are there.
        evidence: False where the numbers only show that the code runs.
        longer: name of the profile that differs in nothing but more steps, to see whether training had converged.
    """

    name: str
    description: str
    template: Run
    pair: tuple[Run, Run]
    pair_name: str
    protocols: Mapping[str, Protocol] = field(default_factory=dict, hash=False)
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


def _staged(name: str, template: Run, k: int, stages: list[tuple[str, DataSpec, Schedule]], crf: Crf) -> Protocol:
    """Scales and flips of the MS row are an assumption, the same everywhere."""
    multi_scale = replace(template.test_time or TestTime(), scales=(0.75, 1.0, 1.25), flip=True)
    return Protocol(name, template, k, tuple(Stage(*stage) for stage in stages), multi_scale, crf)


# The CRF's kernels are chosen among these on training images; the paper gives none.
_SMALL_IMAGES = tuple(Pairwise(bilateral_xy=xy, bilateral_rgb=rgb) for xy in (8, 20) for rgb in (5, 13))
_PHOTOGRAPHS = tuple(Pairwise(bilateral_xy=xy, bilateral_rgb=rgb) for xy in (67, 30) for rgb in (3, 8))


def _embedded(
    name: str,
    data: str,
    schedule: Schedule,
    pretraining: Schedule,
    stages: list[Schedule],
    candidates: tuple[Pairwise, ...] = _SMALL_IMAGES,
) -> dict[str, Any]:
    """The embedded setting: the small backbone, pre-trained on single shapes with seed 0 for all but Table 6.

    ``stages`` are the schedules of Table 7, and the first two those of Table 9; ``candidates`` those of the CRF.
    """
    template = Run(name, DataSpec(data, side=64), "small", schedule, boundary_distance=3)
    pair = _pair(template, "small", DataSpec(f"imagenet:{data}", side=64), pretraining)
    crf = Crf("exact", candidates, iterations=5)
    voc = [DataSpec(f"coco+voc:{data}", side=80), DataSpec(data, side=64), DataSpec(f"voc-alone:{data}", side=64)]
    streets = data.replace("shapes", "streets")
    # a sixteenth of Cityscapes: crops of 52 of 64×128 pixels, with a top map of 13×13
    street = [
        DataSpec(source, side=128, height=64, crop=52, classes=tuple(map(CITY_CLASSES.index, PRESENT)))
        for source in (f"coarse:{streets}", streets)
    ]
    names = ("Stage-1", "Stage-2", "Stage-3")
    crops = replace(pair[0], test_time=TestTime(crop=64, stride=22))
    return {
        "template": pair[0],
        "pair": pair,
        "pair_name": "a ResNet of four basic blocks, 16 channels wide",
        "protocols": {
            "voc": _staged("voc", pair[0], 15, list(zip(names, voc, stages, strict=True)), crf),
            "street": _staged("street", crops, 13, list(zip(names, street, stages[:2], strict=False)), crf),
        },
    }


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
_PERMUTOHEDRAL = Crf("pydensecrf2", _PHOTOGRAPHS)


def _photo_stages() -> dict[str, Protocol]:
    """COCO, SBD and VOC at 320 pixels, then the two others at 256 as in all other tables; and CamVid, which has no
    coarse labels."""

    def schedule(steps: int, rate: float, warmup: int = 0) -> Schedule:
        return Schedule(steps, 8, lr=rate, backbone_lr=rate / 5, warmup=warmup)

    def like(name: str, side: int) -> DataSpec:
        return replace(_PHOTOS.data, name=name, side=side, long_side=side)

    voc = [
        ("Stage-1", like("coco+voc", 320), schedule(250, 1e-3, warmup=30)),
        ("Stage-2", like("voc", 256), schedule(200, 5e-4)),
        ("Stage-3", like("voc-alone", 256), schedule(100, 2.5e-4)),
    ]
    camvid = [("Stage-2", DataSpec("camvid", side=480, height=360, crop=272), schedule(300, 1e-3, warmup=30))]
    crops = replace(_PHOTOS, test_time=TestTime(crop=360, stride=120))
    return {
        "voc": _staged("voc", _PHOTOS, 15, voc, _PERMUTOHEDRAL),
        "street": _staged("street", crops, 17, camvid, _PERMUTOHEDRAL),
    }


def _paper_stages() -> dict[str, Protocol]:
    """The protocols of sections 4.2 and 4.3; the paper gives no number of iterations."""

    def solver(steps: int) -> Schedule:
        return replace(_PAPER.schedule, steps=steps)

    voc = [
        ("Stage-1", DataSpec("coco+voc", side=640), solver(220_000)),
        ("Stage-2", DataSpec("voc", side=512), solver(100_000)),
        ("Stage-3", DataSpec("voc-alone", side=512), solver(30_000)),
    ]
    city = [
        (name, DataSpec(data, side=2048, height=1024, crop=800), solver(steps))
        for name, data, steps in (("Stage-1", "cityscapes-coarse", 100_000), ("Stage-2", "cityscapes", 60_000))
    ]
    # four crops of 1024×1024 from edge to edge of an image of 2048×1024
    crops = replace(_PAPER, test_time=TestTime(crop=1024, stride=342))
    return {
        "voc": _staged("voc", _PAPER, 15, voc, _PERMUTOHEDRAL),
        "street": _staged("street", crops, 25, city, _PERMUTOHEDRAL),
    }


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "a few steps on a few embedded shapes: shows that everything runs, never evidence",
            **_embedded(
                "smoke",
                "shapes-tiny",
                Schedule(3, 8, evaluations=3),
                Schedule(3, 8),
                [Schedule(2, 8)] * 3,
                _SMALL_IMAGES[:1],
            ),
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
                [
                    Schedule(250, 16, lr=4e-3, backbone_lr=2e-3, warmup=25),
                    Schedule(150, 16, lr=2e-3, backbone_lr=1e-3),
                    Schedule(100, 16, lr=1e-3, backbone_lr=5e-4),
                ],
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
            _photo_stages(),
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
            _paper_stages(),
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
