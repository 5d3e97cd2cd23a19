"""The synthetic setting: backbone, data and schedules of its profiles, and why they are so."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gcnlab.data import DataSpec
from gcnlab.data.cityscapes import CLASSES as CITY_CLASSES
from gcnlab.data.synthetic.cityscapes import PRESENT
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.experiments.config import Training
from gcnlab.experiments.stages import Protocol, Stage, backbone_pair
from gcnlab.training import Schedule

SIDE = 64  # pixels
# 7 of 512 pixels, to scale: the boundary pixels alone.
BOUNDARY_DISTANCE = 7 / 512 * SIDE
# The CRF's kernels are chosen among these on training images; the paper gives none.
_CRF = tuple(Pairwise(bilateral_xy=xy, bilateral_rgb=rgb) for xy in (8, 20) for rgb in (5, 13))


@dataclass(frozen=True)
class Setting:
    """What the synthetic profiles differ in.

    Args:
        backbone: of all variants; its GCN form stands beside it in Table 6.
        data: name of the data set in ``gcnlab.data.SOURCES``.
        training, pretraining: schedules of Tables 1–6.
        stages: schedules of Table 7; the first two are those of Table 9.
        candidates: kernels among which the CRF's are chosen.
    """

    backbone: str
    data: str
    training: Schedule
    pretraining: Schedule
    stages: tuple[Schedule, ...]
    candidates: tuple[Pairwise, ...] = _CRF


def _training(steps: int, factor: float = 1.0) -> Schedule:
    evaluations = min(20, steps)
    lr, warmup = 4e-3 * factor, min(40, steps // 20)
    return Schedule(steps, 16, lr=lr, backbone_lr=lr / 2, warmup=warmup, evaluations=evaluations)


def _pretraining(steps: int) -> Schedule:
    return Schedule(steps, 64, lr=2e-3, warmup=50, weight_decay=1e-2, evaluations=min(20, steps))


def _stages(first: int, second: int, third: int) -> tuple[Schedule, ...]:
    return _training(first), _training(second, 0.5), _training(third, 0.25)


BACKBONE = "bottleneck27"
SMOKE = Setting(
    BACKBONE, "shapes-tiny", Schedule(3, 8, evaluations=3), Schedule(3, 8, evaluations=2),
    (Schedule(2, 8),) * 3, _CRF[:1],
)  # fmt: skip
# What two cores train in about twenty minutes; the weights of its pre-training are committed.
QUICK = Setting(BACKBONE, "shapes", _training(360), _pretraining(1200), _stages(160, 100, 60))
CONVERGED = Setting(
    BACKBONE, "shapes", _training(3000), _pretraining(2400), _stages(2000, 1000, 500)
)
WIDE = replace(CONVERGED, backbone="small")


def build(
    profile: str, setting: Setting
) -> tuple[Training, tuple[Training, Training], str, Mapping[str, Protocol]]:
    """Template, pair, name of the pair and protocols of a profile, as :class:`Profile` takes
    them."""
    data = DataSpec(setting.data, side=SIDE)
    plain = Training(profile, data, setting.backbone, setting.training, "conv1x1",
                     boundary_distance=BOUNDARY_DISTANCE)  # fmt: skip
    singles = DataSpec(f"imagenet:{setting.data}", side=SIDE)
    pair = backbone_pair(plain, setting.backbone, singles, setting.pretraining)
    template = pair[0]
    name = "a ResNet of four to five residual blocks, 16 channels wide"
    return template, pair, name, _protocols(template, setting)


def _protocols(template: Training, setting: Setting) -> dict[str, Protocol]:
    crf = Crf("exact", setting.candidates, iterations=5)
    voc = (
        DataSpec(f"coco+voc:{setting.data}", side=80),
        DataSpec(setting.data, side=SIDE),
        DataSpec(f"voc-alone:{setting.data}", side=SIDE),
    )
    # 1/16 of Cityscapes in width and height: crops of 52 of 64×128 pixels, a C5 of 13×13
    streets = setting.data.replace("shapes", "streets")
    classes = tuple(map(CITY_CLASSES.index, PRESENT))
    street = [
        DataSpec(source, side=128, height=64, crop=52, classes=classes)
        for source in (f"coarse:{streets}", streets)
    ]
    crops = replace(template, test_time=TestTime(crop=64, stride=22))
    names, schedules = ("Stage-1", "Stage-2", "Stage-3"), setting.stages
    return {
        "voc": Protocol("voc", template, 15, tuple(map(Stage, names, voc, schedules)), crf),
        "street": Protocol("street", crops, 13, tuple(map(Stage, names, street, schedules)), crf),
    }
