"""The synthetic data sets by name, in a full and a tiny size."""

from functools import partial
from pathlib import Path

from gcnlab.data import cityscapes, coco, voc
from gcnlab.data.class_folders import class_folders
from gcnlab.data.source import Source
from gcnlab.data.synthetic import cityscapes as streets
from gcnlab.data.synthetic import coco as synthetic_coco
from gcnlab.data.synthetic import voc as shapes
from gcnlab.data.synthetic.drawing import CLASSES


def _voc_like(
    name: str, sizes: shapes.Sizes, coco_sizes: synthetic_coco.Sizes
) -> dict[str, Source]:
    def coco_root(_: Path) -> Path:
        return synthetic_coco.root(coco_sizes)

    root, with_sbd = partial(shapes.root, sizes), sizes.train + sizes.extra
    source = partial(
        Source, classes=CLASSES, default_root=root, official_test=coco_sizes.test,
        test=lambda root: voc.test_images(coco_root(root)),
    )  # fmt: skip
    # SBD lists one image of VOC train and one of VOC val besides its own.
    counts = {"VOC train": sizes.train, "SBD": sizes.extra + 2, "train": with_sbd}
    stage_1 = {"COCO": coco_sizes.coco, "train": coco_sizes.coco + with_sbd, "val": sizes.val}
    singles = {"train": sizes.single_train, "val": sizes.single_val}
    alone = {"train": sizes.train, "val": sizes.val}
    return {
        name: source(voc.SPLITS, official_counts=counts | {"val": sizes.val}),
        f"voc-alone:{name}": source(voc.ALONE_SPLITS, official_counts=alone),
        f"coco+voc:{name}": source(
            coco.stage1_splits(coco_root, CLASSES),
            official_counts=stage_1,
            unused=lambda root: coco.unused(coco_root(root), CLASSES),
        ),
        f"imagenet:{name}": class_folders("imagenet", CLASSES[1:], singles, root),
    }


def _street_like(name: str, sizes: streets.Sizes) -> dict[str, Source]:
    source = partial(
        Source, classes=cityscapes.CLASSES, default_root=partial(streets.root, sizes),
        size=streets.SIZE, test=cityscapes.test_images, official_test=sizes.test,
    )  # fmt: skip
    fine = {"train": sizes.fine, "val": sizes.val}
    stage_1 = {"coarse": sizes.coarse, "train": sizes.coarse + sizes.fine, "val": sizes.val}
    return {
        name: source(cityscapes.FINE_SPLITS, official_counts=fine),
        f"coarse:{name}": source(cityscapes.COARSE_SPLITS, official_counts=stage_1),
    }


SYNTHETIC: dict[str, Source] = {
    **_voc_like("shapes", shapes.FULL, synthetic_coco.FULL),
    **_street_like("streets", streets.FULL),
    **_voc_like("shapes-tiny", shapes.TINY, synthetic_coco.TINY),
    **_street_like("streets-tiny", streets.TINY),
}
