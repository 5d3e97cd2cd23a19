"""The synthetic data sets by name, in a full and a tiny size."""

from pathlib import Path

from gcnlab.data import cityscapes, coco, voc
from gcnlab.data.class_folders import ClassFolders
from gcnlab.data.source import Source
from gcnlab.data.synthetic import cityscapes as streets
from gcnlab.data.synthetic import coco as synthetic_coco
from gcnlab.data.synthetic import voc as shapes
from gcnlab.data.synthetic.drawing import CLASSES


def _voc_like(
    name: str, sizes: shapes.Sizes, coco_sizes: synthetic_coco.Sizes
) -> dict[str, Source | ClassFolders]:
    def coco_root(_: Path) -> Path:
        return synthetic_coco.root(coco_sizes)

    def source(splits: dict, counts: dict[str, int], **more) -> Source:
        return Source(
            splits,
            CLASSES,
            counts | {"val": sizes.val},
            default_root=lambda: shapes.root(sizes),
            test=lambda root: voc.test_images(coco_root(root)),
            official_test=coco_sizes.test,
            **more,
        )

    with_sbd = sizes.train + sizes.extra
    # SBD lists one image of VOC train and one of VOC val besides its own.
    counts = {"VOC train": sizes.train, "SBD": sizes.extra + 2, "train": with_sbd}
    stage_1 = {"COCO": coco_sizes.coco, "train": coco_sizes.coco + with_sbd}
    singles = {"train": sizes.single_train, "val": sizes.single_val}
    return {
        name: source(voc.SPLITS, counts),
        f"voc-alone:{name}": source(voc.ALONE_SPLITS, {"train": sizes.train}),
        f"coco+voc:{name}": source(
            coco.stage1_splits(coco_root, CLASSES),
            stage_1,
            unused=lambda root: coco.unused(coco_root(root), CLASSES),
        ),
        f"imagenet:{name}": ClassFolders(
            "imagenet", CLASSES[1:], singles, lambda: shapes.root(sizes)
        ),
    }


def _street_like(name: str, sizes: streets.Sizes) -> dict[str, Source]:
    def source(splits: dict, counts: dict[str, int]) -> Source:
        return Source(
            splits,
            cityscapes.CLASSES,
            counts | {"val": sizes.val},
            default_root=lambda: streets.root(sizes),
            size=streets.SIZE,
            test=cityscapes.test_images,
            official_test=sizes.test,
        )

    stage_1 = {"coarse": sizes.coarse, "train": sizes.coarse + sizes.fine}
    return {
        name: source(cityscapes.FINE_SPLITS, {"train": sizes.fine}),
        f"coarse:{name}": source(cityscapes.COARSE_SPLITS, stage_1),
    }


SYNTHETIC: dict[str, Source | ClassFolders] = {
    **_voc_like("shapes", shapes.FULL, synthetic_coco.FULL),
    **_street_like("streets", streets.FULL),
    **_voc_like("shapes-tiny", shapes.TINY, synthetic_coco.TINY),
    **_street_like("streets-tiny", streets.TINY),
}
