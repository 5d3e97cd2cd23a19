"""The paper's own setting (sections 4.1–4.3), its open choices as in ``paper/assumptions.json``.

The solver is that of FCN-8s at-once, the nearest relative whose settings are public: batch 1, rate
1e-10 on the summed loss, momentum 0.99, 300,000 iterations from ImageNet weights, 100,000 for a
stage that goes on from a trained one.
"""

from dataclasses import replace
from functools import partial

from gcnlab.data import DataSpec
from gcnlab.evaluation.inference import TestTime
from gcnlab.experiments.config import Training
from gcnlab.experiments.photo_setting import CRF
from gcnlab.experiments.stages import Protocol, Stage, backbone_pair
from gcnlab.training import Schedule

AT_ONCE, GOING_ON = 300_000, 100_000  # iterations
STAGE_3 = 50_000  # 35 passes over 1,464 images, as 300,000 are over FCN's 8,498


def _solver(steps: int) -> Schedule:
    return Schedule(steps, 1, "sgd", lr=1e-10, decay="constant", momentum=0.99, weight_decay=5e-4,
                    loss_reduction="sum", evaluations=20, caffe_biases=True)  # fmt: skip


TEMPLATE = Training(
    "paper",
    DataSpec("voc", side=512),
    "resnet152_v1",
    _solver(AT_ONCE),
    "conv1x1",
    start="weights/resnet152_caffe.npz",
    normalization="caffe",
    batch_norm="frozen",
    quiet=True,
)
PAIR = backbone_pair(
    replace(TEMPLATE, normalization="rgb"),
    "resnet50_v1",
    DataSpec("imagenet", side=224, resize=256, crop_area=0.08),
    # He et al. 2016: 600,000 iterations, the rate a tenth twice
    Schedule(
        600_000, 256, "sgd", lr=0.1, decay="step", momentum=0.9, weight_decay=1e-4, evaluations=20
    ),
)


def _protocols() -> dict[str, Protocol]:
    """The protocols of sections 4.2 and 4.3; the paper gives no number of iterations."""
    voc = (  # Stage-1 trains at 640 pixels; all rows are scored at 512
        Stage("Stage-1", DataSpec("coco+voc", side=640, val_side=512), _solver(AT_ONCE)),
        Stage("Stage-2", DataSpec("voc", side=512), _solver(GOING_ON)),
        Stage("Stage-3", DataSpec("voc-alone", side=512), _solver(STAGE_3)),
    )
    large = partial(DataSpec, side=2048, height=1024, crop=800)
    city = (
        Stage("Stage-1", large("cityscapes-coarse"), _solver(AT_ONCE)),
        Stage("Stage-2", large("cityscapes"), _solver(GOING_ON)),
    )
    # four crops of 1024×1024, 341 pixels apart, from edge to edge of an image of 2048×1024
    crops = replace(TEMPLATE, test_time=TestTime(crop=1024, stride=342))
    return {
        "voc": Protocol("voc", TEMPLATE, 15, voc, CRF),
        "street": Protocol("street", crops, 25, city, CRF),
    }


PROTOCOLS = _protocols()
