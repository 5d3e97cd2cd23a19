"""PASCAL VOC 2012 and the Semantic Boundaries Dataset (SBD) in their official layouts.

``ROOT/VOCdevkit/VOC2012``: ``JPEGImages/*.jpg``, ``SegmentationClass/*.png`` and
``ImageSets/Segmentation/*.txt``.
``ROOT/benchmark_RELEASE/dataset``: ``img/*.jpg``, ``cls/*.mat``, ``train.txt``, ``val.txt``.
"""

from functools import partial
from pathlib import Path

from gcnlab.data.readers import Sample, read_list
from gcnlab.errors import UserError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip

LAYOUT = """expected below the data root:
  VOCdevkit/VOC2012/JPEGImages/*.jpg                     from VOCtrainval_11-May-2012.tar
  VOCdevkit/VOC2012/SegmentationClass/*.png
  VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt
  benchmark_RELEASE/dataset/{img,cls}                    from benchmark.tgz (SBD)
  benchmark_RELEASE/dataset/{train,val}.txt"""


def _voc_folder(root: Path) -> Path:
    folder = root / "VOCdevkit" / "VOC2012"
    if not folder.is_dir():
        hint = "it is the folder that holds VOCdevkit/ (and benchmark_RELEASE/)"
        remedy = f"unpack VOC 2012 there, or correct the data root; {hint}"
        raise UserError(f"{folder} is missing: {remedy}")
    return folder


def _listed(root: Path, split: str, remedy: str) -> list[tuple[str, Path]]:
    """Names and images of ``ImageSets/Segmentation/<split>.txt``, in its order."""
    folder = _voc_folder(root)
    names = read_list(folder / "ImageSets" / "Segmentation" / f"{split}.txt", remedy)
    return [(name, folder / "JPEGImages" / f"{name}.jpg") for name in names]


def voc_samples(root: Path, split: str) -> list[Sample]:
    """The samples of ``ImageSets/Segmentation/<split>.txt``, in its order."""
    labels = _voc_folder(root) / "SegmentationClass"
    listed = _listed(root, split, "unpack VOC 2012 completely")
    return [Sample(name, image, labels / f"{name}.png") for name, image in listed]


def sbd_samples(root: Path, splits: tuple[str, ...] = ("train", "val")) -> list[Sample]:
    """The samples of SBD's own ``splits`` (both: 11,355 in the release), sorted by name."""
    folder = root / "benchmark_RELEASE" / "dataset"
    names: set[str] = set()
    for split in splits:
        names |= set(read_list(folder / f"{split}.txt", f"unpack SBD (benchmark.tgz) into {root}"))
    images, labels = folder / "img", folder / "cls"
    return [Sample(n, images / f"{n}.jpg", labels / f"{n}.mat") for n in sorted(names)]


def train_aug_samples(root: Path) -> list[Sample]:
    """The paper's training set: VOC train, then SBD minus VOC train and VOC val (10,582 images).

    Derived by set subtraction, so that no validation image leaks in from SBD; VOC's own finer
    labels are used where an image is in both. Raises ``UserError`` if VOC's own lists overlap.
    """
    train = voc_samples(root, "train")
    val = {sample.name for sample in voc_samples(root, "val")}
    both = sorted(val & {sample.name for sample in train})
    if both:
        problem = f"{len(both)} names, first {both[0]}, are in train.txt and val.txt"
        raise UserError(f"ImageSets/Segmentation: {problem}: use the official lists")
    excluded = val | {sample.name for sample in train}
    return train + [sample for sample in sbd_samples(root) if sample.name not in excluded]


def test_images(root: Path) -> list[Path]:
    """The images of ``ImageSets/Segmentation/test.txt`` (1,456 in VOC 2012), without labels."""
    return [image for _, image in _listed(root, "test", "unpack VOC2012test.tar there")]


ALONE_SPLITS = {
    "train": partial(voc_samples, split="train"),
    "val": partial(voc_samples, split="val"),
}
SPLITS = {
    "VOC train": ALONE_SPLITS["train"],
    "SBD": sbd_samples,
    "train": train_aug_samples,
    "val": ALONE_SPLITS["val"],
}
SBD_SPLITS = {split: partial(sbd_samples, splits=(split,)) for split in ("train", "val")}
