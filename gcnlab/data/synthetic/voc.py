"""The synthetic stand-ins for VOC, SBD and ImageNet, in those layouts.

Everything is drawn from one seed per image: the same ``Sizes`` always give the same arrays and,
with the same JPEG library, the same bytes.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
from PIL import Image

from gcnlab.data.palette import PALETTE
from gcnlab.data.synthetic.cache import draw_all, generated
from gcnlab.data.synthetic.drawing import draw, save_jpeg, write_list
from gcnlab.data.transforms import VOID
from gcnlab.data.voc import SBD_FOLDER, VOC_FOLDER

VERSION = 3  # of the drawing; part of the folder's name and of every seed
SINGLE_DIAMETER = (0.3, 0.9)  # of the object in a classification image, of the side
# Part of every image's seed. No image of val's stream was looked at when schedules were chosen.
STREAMS = {"train": 0, "sbd": 2, "val": 5, "imagenet/train": 3, "imagenet/val": 4}
YEARS = {"train": 2007, "val": 2008, "sbd": 2009}  # in the names of images


class Sizes(NamedTuple):
    """How many images: VOC train and val, SBD extra, single shapes for pre-training, its val."""

    train: int
    extra: int
    val: int
    single_train: int
    single_val: int


FULL = Sizes(train=1000, extra=7000, val=2000, single_train=6000, single_val=700)
TINY = Sizes(train=16, extra=32, val=16, single_train=56, single_val=28)


def save_mat(classes: np.ndarray, path: Path, title: str = "MATLAB 5.0 MAT-file") -> None:
    """SBD's ``GTcls`` struct; ``title`` begins the file, where scipy has the time of writing."""
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros((0, 0))]] * 20
    present = np.setdiff1d(classes, [0]).astype(np.uint8)[:, None]
    content = io.BytesIO()
    struct = {"Boundaries": boundaries, "Segmentation": classes, "CategoriesPresent": present}
    scipy.io.savemat(content, {"GTcls": struct}, do_compression=True)
    path.write_bytes(title.encode().ljust(116) + content.getvalue()[116:])


def _name(split: str, index: int) -> str:
    return f"{YEARS[split]}_{index:06d}"


def _segmentation(folder: Path, task: tuple[str, int]) -> None:
    """Draw and write one image of ``(split, index)``."""
    split, index = task
    voc, sbd = folder / VOC_FOLDER, folder / SBD_FOLDER
    name = _name(split, index)
    scene = draw(np.random.default_rng([VERSION, STREAMS[split], index]))
    if split == "sbd" or index == 0:  # SBD has no void band, and its own copy of some VOC images
        save_jpeg(scene.image, sbd / "img" / f"{name}.jpg")
        save_mat(scene.classes, sbd / "cls" / f"{name}.mat")
    if split != "sbd":
        save_jpeg(scene.image, voc / "JPEGImages" / f"{name}.jpg")
        for kind, ids in (("Class", scene.classes), ("Object", scene.instances)):
            label = Image.fromarray(np.where(scene.band, VOID, ids).astype(np.uint8))
            label.putpalette(PALETTE)
            label.save(voc / f"Segmentation{kind}" / f"{name}.png")


def _classification(folder: Path, task: tuple[str, int]) -> None:
    """Draw and write one image of a single shape."""
    split, index = task
    rng = np.random.default_rng([VERSION, STREAMS[f"imagenet/{split}"], index])
    scene = draw(rng, 1, SINGLE_DIAMETER)
    class_folder = folder / "imagenet" / split / f"n{scene.objects[0][0]:08d}"
    class_folder.mkdir(parents=True, exist_ok=True)
    save_jpeg(scene.image, class_folder / f"{index:06d}.JPEG")


def _write_lists(folder: Path, sizes: Sizes) -> None:
    voc, sbd = folder / VOC_FOLDER, folder / SBD_FOLDER
    counts = {"train": sizes.train, "val": sizes.val, "sbd": sizes.extra}
    names = {split: [_name(split, i) for i in range(count)] for split, count in counts.items()}
    names["trainval"] = sorted(names["train"] + names["val"])
    for split in ("train", "val", "trainval"):
        write_list(voc / "ImageSets" / "Segmentation" / f"{split}.txt", names[split])
    cut = sizes.extra * 4 // 5
    # As in the real SBD, its lists hold VOC images too: here one of train and one of val.
    write_list(sbd / "train.txt", names["sbd"][:cut] + names["train"][:1])
    write_list(sbd / "val.txt", names["sbd"][cut:] + names["val"][:1])


def write(folder: Path, sizes: Sizes) -> None:
    """Write VOCdevkit, benchmark_RELEASE and imagenet below ``folder``."""
    voc, sbd = folder / VOC_FOLDER, folder / SBD_FOLDER
    inner = ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation")
    for part in (*(voc / name for name in inner), sbd / "img", sbd / "cls"):
        part.mkdir(parents=True)

    def each(draw_one: Callable, **counts: int) -> None:
        tasks = [(split, i) for split, count in counts.items() for i in range(count)]
        draw_all(partial(draw_one, folder), tasks)

    each(_segmentation, train=sizes.train, val=sizes.val, sbd=sizes.extra)
    _write_lists(folder, sizes)
    each(_classification, train=sizes.single_train, val=sizes.single_val)


def root(sizes: Sizes) -> Path:
    """The folder of the drawn data, written on first use (``FULL``: half a minute of one core)."""
    return generated(f"shapes-v{VERSION}", sizes, write)
