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


def voc_samples(root: Path, split: str, remedy: str = "unpack VOC 2012 completely") -> list[Sample]:
    """The samples of ``ImageSets/Segmentation/<split>.txt``, in its order."""
    hint = "it is the folder that holds VOCdevkit/ (and benchmark_RELEASE/)"
    absent = f"unpack VOC 2012 there, or correct the data root; {hint}"
    folder = existing(root / "VOCdevkit" / "VOC2012", absent)
    images, labels = folder / "JPEGImages", folder / "SegmentationClass"
    names = read_list(folder / "ImageSets" / "Segmentation" / f"{split}.txt", remedy)
    return [Sample(name, images / f"{name}.jpg", labels / f"{name}.png") for name in names]


def sbd_samples(root: Path, splits: tuple[str, ...] = ("train", "val")) -> list[Sample]:
    """The samples of SBD's own ``splits`` (both: 11,355 in the release), sorted by name."""
    folder = root / "benchmark_RELEASE" / "dataset"
    remedy = f"unpack SBD (benchmark.tgz) into {root}"
    names = {name for split in splits for name in read_list(folder / f"{split}.txt", remedy)}
    images, labels = folder / "img", folder / "cls"
    return [Sample(n, images / f"{n}.jpg", labels / f"{n}.mat") for n in sorted(names)]


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
