"""PASCAL VOC 2012 and the Semantic Boundaries Dataset (SBD) in their official layouts.

``ROOT/VOCdevkit/VOC2012``: ``JPEGImages/*.jpg``, ``SegmentationClass/*.png`` and
``ImageSets/Segmentation/*.txt``.
``ROOT/benchmark_RELEASE/dataset``: ``img/*.jpg``, ``cls/*.mat``, ``train.txt``, ``val.txt``.
"""

from functools import partial
from pathlib import Path

from gcnlab.data.readers import Sample, existing, read_list
from gcnlab.errors import UserError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip

VOC_FOLDER, SBD_FOLDER = Path("VOCdevkit/VOC2012"), Path("benchmark_RELEASE/dataset")
VOC_LISTS = VOC_FOLDER / "ImageSets" / "Segmentation"


def voc_sample(root: Path, name: str) -> Sample:
    """Image and label ``name`` of VOC 2012 below ``root``."""
    folder = root / VOC_FOLDER
    return Sample(
        name, folder / "JPEGImages" / f"{name}.jpg", folder / "SegmentationClass" / f"{name}.png"
    )


def sbd_sample(root: Path, name: str) -> Sample:
    """The same of SBD."""
    folder = root / SBD_FOLDER
    return Sample(name, folder / "img" / f"{name}.jpg", folder / "cls" / f"{name}.mat")


def voc_samples(root: Path, split: str, remedy: str = "unpack VOC 2012 completely") -> list[Sample]:
    """The samples of ``ImageSets/Segmentation/<split>.txt``, in its order."""
    hint = "it is the folder that holds VOCdevkit/ (and benchmark_RELEASE/)"
    existing(root / VOC_FOLDER, f"unpack VOC 2012 there, or correct the data root; {hint}")
    return [voc_sample(root, name) for name in read_list(root / VOC_LISTS / f"{split}.txt", remedy)]


def sbd_samples(root: Path, splits: tuple[str, ...] = ("train", "val")) -> list[Sample]:
    """The samples of SBD's own ``splits`` (both: 11,355 in the release), sorted by name."""
    remedy = f"unpack SBD (benchmark.tgz) into {root}"
    lists = [read_list(root / SBD_FOLDER / f"{split}.txt", remedy) for split in splits]
    return [sbd_sample(root, name) for name in sorted(set().union(*lists))]


def train_aug_samples(root: Path) -> list[Sample]:
    """The paper's training set: VOC train, then SBD minus VOC train and VOC val (10,582 images).

    Derived by set subtraction, so that no validation image leaks in from SBD; VOC's own finer
    labels are used where an image is in both. Raises ``UserError`` if VOC's own lists overlap.
    """
    samples = {split: voc_samples(root, split) for split in ("train", "val")}
    train, val = ({sample.name for sample in listed} for listed in samples.values())
    if both := sorted(val & train):
        problem = f"{len(both)} names, first {both[0]}, are in train.txt and val.txt"
        raise UserError(f"ImageSets/Segmentation: {problem}: use the official lists")
    return samples["train"] + [s for s in sbd_samples(root) if s.name not in train | val]


def test_images(root: Path) -> list[Path]:
    """The images of ``ImageSets/Segmentation/test.txt`` (1,456 in VOC 2012), without labels."""
    return [s.image for s in voc_samples(root, "test", "unpack VOC2012test.tar there")]


ALONE_SPLITS = {split: partial(voc_samples, split=split) for split in ("train", "val")}
SPLITS = {"VOC train": ALONE_SPLITS["train"], "SBD": sbd_samples, "train": train_aug_samples}
SPLITS["val"] = ALONE_SPLITS["val"]
SBD_SPLITS = {split: partial(sbd_samples, splits=(split,)) for split in ("train", "val")}
