"""Cityscapes in its official layout, with the 19 classes that its benchmark scores.

``ROOT/cityscapes/leftImg8bit/<split>/<city>/*_leftImg8bit.png`` and
``ROOT/cityscapes/{gtFine,gtCoarse}/<split>/<city>/*_{gtFine,gtCoarse}_labelIds.png``; 2048×1024 pixels.
"""

from pathlib import Path

from gcnlab.data.readers import Sample
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

SIZE = (2048, 1024)  # width, height

# The official label ids of the 19 classes, in the order of their train ids; all other ids are void.
# https://github.com/mcordts/cityscapesScripts/blob/master/cityscapesscripts/helpers/labels.py
LABEL_IDS = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
    "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
CLASSES = tuple(LABEL_IDS)
TRAIN_IDS = dict.fromkeys(range(34), VOID) | {label_id: i for i, label_id in enumerate(LABEL_IDS.values())}

LAYOUT = """expected below the data root:
  cityscapes/leftImg8bit/{train,val,test}/<city>/*_leftImg8bit.png         from leftImg8bit_trainvaltest.zip
  cityscapes/leftImg8bit/train_extra/<city>/*_leftImg8bit.png              from leftImg8bit_trainextra.zip
  cityscapes/gtFine/{train,val}/<city>/*_gtFine_labelIds.png               from gtFine_trainvaltest.zip
  cityscapes/gtCoarse/train_extra/<city>/*_gtCoarse_labelIds.png           from gtCoarse.zip"""


def images(root: Path, split: str) -> list[Path]:
    """The images of ``split`` (``train``, ``val``, ``test`` or ``train_extra``), sorted by name."""
    folder = root / "cityscapes" / "leftImg8bit" / split
    archive = "leftImg8bit_trainextra.zip" if split == "train_extra" else "leftImg8bit_trainvaltest.zip"
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: unpack {archive} into {root / 'cityscapes'}, or correct --data-root")
    found = sorted(folder.glob("*/*_leftImg8bit.png"))
    if not found:
        raise UserError(f"{folder} has no */*_leftImg8bit.png: unpack {archive} again")
    return found


def samples(root: Path, split: str, quality: str = "gtFine") -> list[Sample]:
    """The samples of ``split`` with ``gtFine`` or ``gtCoarse`` labels; ``UserError`` if those are not there."""
    folder = root / "cityscapes" / quality / split
    if not folder.is_dir():
        archive = {"gtFine": "gtFine_trainvaltest.zip", "gtCoarse": "gtCoarse.zip"}[quality]
        raise UserError(f"{folder} is missing: unpack {archive} into {root / 'cityscapes'}, or correct --data-root")
    found = []
    for image in images(root, split):
        name = image.name.removesuffix("_leftImg8bit.png")
        label = folder / image.parent.name / f"{name}_{quality}_labelIds.png"
        found.append(Sample(name, image, label, TRAIN_IDS))
    return found


def with_coarse(root: Path) -> list[Sample]:
    """Stage-1 of Table 9: the coarse set and train, 19,998 + 2,975 = 22,973 images."""
    return samples(root, "train_extra", "gtCoarse") + samples(root, "train")
