"""Cityscapes in its official layout, with the 19 classes that its benchmark scores.

``ROOT/cityscapes/leftImg8bit/<split>/<city>/*_leftImg8bit.png`` and, of the same names,
``ROOT/cityscapes/{gtFine,gtCoarse}/<split>/<city>/*_{gtFine,gtCoarse}_labelIds.png``.
"""

from functools import partial
from pathlib import Path

from gcnlab.data.readers import Sample, existing
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

SIZE = (2048, 1024)  # width, height

# The official label ids of the 19 classes, in the order of their train ids; all others are void:
# cityscapesscripts/helpers/labels.py of https://github.com/mcordts/cityscapesScripts
LABEL_IDS = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17,
    "traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32,
    "bicycle": 33,
}  # fmt: skip
CLASSES = tuple(LABEL_IDS)
TRAIN_IDS = dict.fromkeys(range(34), VOID) | {id_: i for i, id_ in enumerate(LABEL_IDS.values())}


def _folder(root: Path, kind: str, split: str, archive: str) -> Path:
    remedy = f"unpack {archive} into {root / 'cityscapes'}, or correct the data root"
    return existing(root / "cityscapes" / kind / split, remedy)


def images(root: Path, split: str) -> list[Path]:
    """The images of ``split`` (``train``, ``val``, ``test``, ``train_extra``), sorted by name."""
    archive = f"leftImg8bit_{'trainextra' if split == 'train_extra' else 'trainvaltest'}.zip"
    folder = _folder(root, "leftImg8bit", split, archive)
    paths = sorted(folder.glob("*/*_leftImg8bit.png"))
    if not paths:
        raise UserError(f"{folder} has no */*_leftImg8bit.png: unpack {archive} again")
    return paths


def samples(root: Path, split: str, quality: str = "gtFine") -> list[Sample]:
    """The samples of ``split`` with ``gtFine`` or ``gtCoarse`` labels.

    Raises ``UserError`` if images or labels are missing.
    """
    archive = {"gtFine": "gtFine_trainvaltest.zip", "gtCoarse": "gtCoarse.zip"}[quality]
    folder = _folder(root, quality, split, archive)
    listed = []
    for image in images(root, split):
        name = image.name.removesuffix("_leftImg8bit.png")
        label = folder / image.parent.name / f"{name}_{quality}_labelIds.png"
        listed.append(Sample(name, image, label, TRAIN_IDS))
    return listed


def with_coarse(root: Path) -> list[Sample]:
    """Stage-1 of Table 9: the coarse set and train, 19,998 + 2,975 = 22,973 images."""
    return samples(root, "train_extra", "gtCoarse") + samples(root, "train")


test_images = partial(images, split="test")  # of the test server, without labels
FINE_SPLITS = {split: partial(samples, split=split) for split in ("train", "val")}
_COARSE = partial(samples, split="train_extra", quality="gtCoarse")
COARSE_SPLITS = {"coarse": _COARSE, "train": with_coarse, "val": FINE_SPLITS["val"]}
