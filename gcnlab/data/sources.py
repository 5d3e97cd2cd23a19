"""The data sets by name."""

from functools import partial

from gcnlab.data import camvid, cityscapes, coco, voc
from gcnlab.data.class_folders import class_folders
from gcnlab.data.source import Source
from gcnlab.data.synthetic.sources import SYNTHETIC

_BOTH = "VOCdevkit/ and benchmark_RELEASE/"
_STAGE_1 = coco.stage1_splits(lambda root: root, voc.CLASSES)
_TEST = {"test": voc.test_images, "official_test": 1456}
_voc = partial(Source, classes=voc.CLASSES)
_coco = partial(_voc, official="in the paper", unused=lambda root: coco.unused(root, voc.CLASSES))
_cityscapes = partial(
    Source, classes=cityscapes.CLASSES, holds="cityscapes/",
    size=cityscapes.SIZE, test=cityscapes.test_images, official_test=1525,
)  # fmt: skip


def _class_folders(name: str, classes: int, train: int, val: int) -> Source:
    return class_folders(name, tuple(map(str, range(classes))), {"train": train, "val": val})


# The counts of VOC are those of section 4 of the paper, of SBD those of its release; train is VOC
# train ∪ SBD − val. That of COCO is what the paper's total of 109,892 leaves for it.
SOURCES: dict[str, Source] = {
    "voc": _voc(
        voc.SPLITS, holds=_BOTH, **_TEST,
        official_counts={"VOC train": 1464, "SBD": 11355, "train": 10582, "val": 1449},
    ),
    "voc-alone": _voc(
        voc.ALONE_SPLITS, holds="VOCdevkit/", official_counts={"train": 1464, "val": 1449}, **_TEST
    ),
    "sbd": _voc(
        voc.SBD_SPLITS, holds="benchmark_RELEASE/", official_counts={"train": 8498, "val": 2857}
    ),
    "coco+voc": _coco(
        _STAGE_1, holds=f"coco/, {_BOTH}", **_TEST,
        official_counts={"COCO": 99_310, "train": 109_892, "val": 1449},
    ),
    "coco": _coco(
        {"train": _STAGE_1["COCO"]}, holds="coco/",
        official_counts={"train": 99_310},
    ),
    "cityscapes": _cityscapes(
        cityscapes.FINE_SPLITS, official_counts={"train": 2975, "val": 500}
    ),
    "cityscapes-coarse": _cityscapes(
        cityscapes.COARSE_SPLITS, official_counts={"coarse": 19_998, "train": 22_973, "val": 500}
    ),
    "camvid": Source(
        camvid.SPLITS, camvid.CLASSES, {"CamVid val": 101, "train": 367, "val": 233}, "camvid/",
        size=camvid.SIZE,
    ),
    "imagenet": _class_folders("imagenet", 1000, 1_281_167, 50_000),
    "tiny-imagenet": _class_folders("tiny-imagenet", 200, 100_000, 10_000),
    **SYNTHETIC,
}  # fmt: skip
