"""The data sets by name."""

from gcnlab.data import camvid, cityscapes, coco, voc
from gcnlab.data.class_folders import ClassFolders
from gcnlab.data.source import Source
from gcnlab.data.synthetic.sources import SYNTHETIC


def _voc(splits: dict, counts: dict[str, int], holds: str, **more) -> Source:
    server = {"test": voc.test_images, "official_test": 1456} if "VOC" in holds else {}
    return Source(splits, voc.CLASSES, counts, holds, **{"layout": voc.LAYOUT, **server, **more})


def _cityscapes(splits: dict, counts: dict[str, int]) -> Source:
    return Source(
        splits,
        cityscapes.CLASSES,
        counts,
        "cityscapes/",
        cityscapes.LAYOUT,
        size=cityscapes.SIZE,
        test=cityscapes.test_images,
        official_test=1525,
    )


def _class_folders(name: str, classes: int, train: int, val: int) -> ClassFolders:
    return ClassFolders(name, tuple(map(str, range(classes))), {"train": train, "val": val})


_BOTH = "VOCdevkit/ and benchmark_RELEASE/"
_FROM_COCO = {"official": "in the paper", "unused": lambda root: coco.unused(root, voc.CLASSES)}
_STAGE_1 = coco.stage1_splits(lambda root: root, voc.CLASSES)

# The counts of VOC are those of section 4 of the paper, of SBD those of its release; train is VOC
# train ∪ SBD − val. That of COCO is what the paper's total of 109,892 leaves for it.
SOURCES: dict[str, Source | ClassFolders] = {
    "voc": _voc(voc.SPLITS, {"VOC train": 1464, "SBD": 11355, "train": 10582, "val": 1449}, _BOTH),
    "voc-alone": _voc(voc.ALONE_SPLITS, {"train": 1464, "val": 1449}, "VOCdevkit/"),
    "sbd": _voc(voc.SBD_SPLITS, {"train": 8498, "val": 2857}, "benchmark_RELEASE/"),
    "coco+voc": _voc(
        _STAGE_1,
        {"COCO": 99_310, "train": 109_892, "val": 1449},
        f"coco/, {_BOTH}",
        layout=f"{coco.LAYOUT}\n{voc.LAYOUT}",
        **_FROM_COCO,
    ),
    "coco": _voc(
        {"train": _STAGE_1["COCO"]}, {"train": 99_310}, "coco/", layout=coco.LAYOUT, **_FROM_COCO
    ),
    "cityscapes": _cityscapes(cityscapes.FINE_SPLITS, {"train": 2975, "val": 500}),
    "cityscapes-coarse": _cityscapes(
        cityscapes.COARSE_SPLITS, {"coarse": 19_998, "train": 22_973, "val": 500}
    ),
    "camvid": Source(
        camvid.SPLITS,
        camvid.CLASSES,
        {"CamVid val": 101, "train": 367, "val": 233},
        "camvid/",
        camvid.LAYOUT,
        size=camvid.SIZE,
    ),
    "imagenet": _class_folders("imagenet", 1000, 1_281_167, 50_000),
    "tiny-imagenet": _class_folders("tiny-imagenet", 200, 100_000, 10_000),
    **SYNTHETIC,
}
