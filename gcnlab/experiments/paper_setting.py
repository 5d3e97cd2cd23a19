"""The paper's own setting (sections 4.1–4.3), its open choices as in ``paper/assumptions.json``."""

from dataclasses import replace

from gcnlab.data import DataSpec
from gcnlab.evaluation.inference import TestTime
from gcnlab.experiments.config import Training
from gcnlab.experiments.photo_setting import CRF
from gcnlab.experiments.stages import Protocol, backbone_pair, with_crf
from gcnlab.training import Schedule


def _solver(steps: int) -> Schedule:
    """The FCN "heavy" solver: batch 1 with the loss summed over pixels."""
    return Schedule(steps, 1, "sgd", lr=1e-10, decay="constant", momentum=0.99, weight_decay=5e-4,
                    loss_reduction="sum", evaluations=20)  # fmt: skip


TEMPLATE = Training(
    "paper",
    DataSpec("voc", side=512),
    "resnet152",
    _solver(100_000),
    "conv1x1",
    start="IMAGENET1K_V1",
    batch_norm="frozen",
)
PAIR = backbone_pair(
    TEMPLATE,
    "resnet50_v1",
    DataSpec("imagenet", side=224, resize=256, crop_area=0.08),
    # He et al. 2016: 600,000 iterations, the rate a tenth twice
    Schedule(
        600_000, 256, "sgd", lr=0.1, decay="step", momentum=0.9, weight_decay=1e-4, evaluations=20
    ),
)


def _protocols() -> dict[str, Protocol]:
    """The protocols of sections 4.2 and 4.3; the paper gives no number of iterations."""
    voc = [
        ("Stage-1", DataSpec("coco+voc", side=640), _solver(220_000)),
        ("Stage-2", DataSpec("voc", side=512), _solver(100_000)),
        ("Stage-3", DataSpec("voc-alone", side=512), _solver(30_000)),
    ]
    city = [
        (name, DataSpec(data, side=2048, height=1024, crop=800), _solver(steps))
        for name, data, steps in (
            ("Stage-1", "cityscapes-coarse", 100_000),
            ("Stage-2", "cityscapes", 60_000),
        )
    ]
    # four crops of 1024×1024 from edge to edge of an image of 2048×1024
    crops = replace(TEMPLATE, test_time=TestTime(crop=1024, stride=342))
    return {
        "voc": with_crf("voc", TEMPLATE, 15, voc, CRF),
        "street": with_crf("street", crops, 25, city, CRF),
    }


PROTOCOLS = _protocols()
