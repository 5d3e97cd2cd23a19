"""The embedded data set: lobed shapes, written as VOC, SBD and ImageNet folders and read back like real data.

The data isolate the mechanism that the paper asserts. The class of an object is the number of lobes of its outline,
2 … 8, and nothing else: rotation, size, stretch, lobe depth, colour and texture are drawn alike for all classes, so a
patch of an outline fits several classes until enough of it is seen. Figure and ground differ locally (objects are
coloured and striped, the ground is grey and smooth). Diameters are log-uniform from a tenth to nine tenths of the
image, so that some objects fit into any receptive field and others into none.

Everything is drawn from one seed per image: the same ``Sizes`` always give the same arrays and, with the same JPEG
library, the same bytes.
"""

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

VERSION = 2  # of the drawing; part of the folder's name
SIDE = 64  # pixels; a 16×16 top map on the small backbone
LOBES = (2, 3, 4, 5, 6, 7, 8)
CLASSES = ("background", *(f"{n} lobes" for n in LOBES))
DIAMETER = (0.1, 0.9)  # of the side, log-uniform
SINGLE_DIAMETER = (0.3, 0.9)  # of the object in a classification image


@dataclass(frozen=True)
class Sizes:
    """How many images of each part: VOC train and val, SBD extra, single shapes for pre-training and its val."""

    train: int
    extra: int
    val: int
    single_train: int
    single_val: int


FULL = Sizes(train=500, extra=1500, val=500, single_train=6000, single_val=700)
TINY = Sizes(train=16, extra=32, val=16, single_train=56, single_val=28)


@dataclass(frozen=True)
class Scene:
    """One drawn image: ``image`` (S, S, 3) uint8, ``classes`` and ``instances`` (S, S) uint8 without void,
    ``band`` (S, S) bool, the pixels that an outline crosses, and one ``(class, diameter in pixels)`` per object."""

    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    band: np.ndarray
    objects: list[tuple[int, float]]


def _outline_distance(rng: np.random.Generator, lobes: int, diameter: float, x: float, y: float, side: int):
    """Distance to the outline r(θ) = R (1 + a cos nθ), stretched and rotated, in pixels, positive inside.

    It is the radial distance over the length of its gradient, the true distance to first order: the radial distance
    alone would make steep flanks sharper, and sharpness tell the number of lobes.
    """
    depth = rng.uniform(0.25, 0.4)
    rotation, axis = rng.uniform(0, 2 * np.pi, 2)
    stretch = rng.uniform(1.0, 1.25)
    rows, columns = np.mgrid[:side, :side] + 0.5
    dx, dy = columns - x, rows - y
    along = dx * np.cos(axis) + dy * np.sin(axis)
    across = (dy * np.cos(axis) - dx * np.sin(axis)) * stretch
    radius = diameter / 2 / (1 + depth)
    angle = np.arctan2(across, along)
    outline = radius * (1 + depth * np.cos(lobes * (angle + rotation)))
    slope = -lobes * depth * np.sin(lobes * (angle + rotation)) * radius / outline  # dr/dθ / r
    steep = np.hypot(slope * np.sin(angle) + np.cos(angle), stretch * (slope * np.cos(angle) - np.sin(angle)))
    return (outline - np.hypot(along, across)) / steep


def waves(rng: np.random.Generator, side: int, wavelength: tuple[float, float], count: int) -> np.ndarray:
    """A sum of plane waves with values around 0, for textures: (side, side) float."""
    rows, columns = np.mgrid[:side, :side]
    total = np.zeros((side, side))
    for _ in range(count):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        frequency = 2 * np.pi / rng.uniform(*wavelength)
        total += np.sin(frequency * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)
    return total / count


def _paint(rng: np.random.Generator, side: int) -> np.ndarray:
    """The surface of an object: a saturated colour with fine stripes, (side, side, 3) float in about 0 … 1."""
    colour = rng.uniform(0.2, 0.6, 3)
    colour[rng.integers(3)] += 0.35
    return colour + 0.15 * waves(rng, side, (3, 6), 1)[..., None]


def draw(rng: np.random.Generator, diameters: tuple[float, float], count: int, side: int = SIDE) -> Scene:
    """Draw ``count`` objects with diameters log-uniform in ``diameters`` × ``side``; later ones cover earlier ones.

    An object that would leave less than 60 % of an earlier one visible is placed again, and left out after 20 tries.
    """
    image = 0.4 + rng.uniform(-0.1, 0.1) + 0.12 * waves(rng, side, (16, 48), 3)[..., None] * np.ones(3)
    classes, instances = np.zeros((2, side, side), np.uint8)
    band = np.zeros((side, side), bool)
    areas: list[int] = []
    objects: list[tuple[int, float]] = []
    for _ in range(count):
        class_id = int(rng.integers(1, len(CLASSES)))
        diameter = side * float(np.exp(rng.uniform(*np.log(diameters))))
        for _ in range(20):
            x, y = rng.uniform(diameter / 2, side - diameter / 2, 2)
            distance = _outline_distance(rng, LOBES[class_id - 1], diameter, x, y, side)
            inside = distance > 0
            visible = [np.sum((instances == i + 1) & ~inside) / a for i, a in enumerate(areas)]
            if inside.any() and all(v >= 0.6 for v in visible):
                break
        else:
            continue
        objects.append((class_id, diameter))
        areas.append(int(inside.sum()))
        cover = np.clip(distance + 0.5, 0, 1)[..., None]
        image = image * (1 - cover) + _paint(rng, side) * cover
        classes[inside] = class_id
        instances[inside] = len(objects)
        band = np.where(np.abs(distance) < 0.6, True, band & ~inside)
    slope = rng.uniform(-0.25, 0.25, 2)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    light = rng.uniform(0.85, 1.1) + slope[0] * rows + slope[1] * columns
    image = image * light[..., None] + rng.normal(0, 0.03, image.shape)
    return Scene((np.clip(image, 0, 1) * 255).round().astype(np.uint8), classes, instances, band, objects)


def _palette() -> list[int]:
    """The VOC colour map: the bits of an id spread over the three channels."""
    colours = []
    for i in range(256):
        rgb, c = [0, 0, 0], i
        for bit in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (c >> channel & 1) << bit
            c >>= 3
        colours += rgb
    return colours


PALETTE = _palette()
COLORS = np.array(PALETTE, np.uint8).reshape(256, 3)


def save_jpeg(array: np.ndarray, path: Path) -> None:
    Image.fromarray(array).save(path, "JPEG", quality=95, subsampling=0)


def save_png(array: np.ndarray, path: Path) -> None:
    image = Image.fromarray(array)
    image.putpalette(PALETTE)
    image.save(path)


def _save_mat(classes: np.ndarray, path: Path) -> None:
    """SBD's ``GTcls`` struct; the file's header, which holds the time of writing, is made constant."""
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros((0, 0))]] * 20
    present = np.setdiff1d(classes, [0]).astype(np.uint8)[:, None]
    content = io.BytesIO()
    struct = {"Boundaries": boundaries, "Segmentation": classes, "CategoriesPresent": present}
    scipy.io.savemat(content, {"GTcls": struct}, do_compression=True)
    header = b"MATLAB 5.0 MAT-file".ljust(116)
    path.write_bytes(header + content.getvalue()[116:])


def _scene(stream: int, index: int) -> Scene:
    rng = np.random.default_rng([VERSION, stream, index])
    return draw(rng, DIAMETER, count=int(rng.integers(1, 4)))


def write(folder: Path, sizes: Sizes) -> None:
    """Write all parts below ``folder``: VOCdevkit, benchmark_RELEASE, imagenet, and ``objects.csv``.

    ``objects.csv`` has one row per object: image, instance id (as in SegmentationObject), class, diameter in pixels.
    """
    voc, sbd = folder / "VOCdevkit" / "VOC2012", folder / "benchmark_RELEASE" / "dataset"
    for path in (voc / "JPEGImages", voc / "SegmentationClass", voc / "SegmentationObject",
                 voc / "ImageSets" / "Segmentation", sbd / "img", sbd / "cls"):  # fmt: skip
        path.mkdir(parents=True)
    rows = []
    lists: dict[str, list[str]] = {}
    for stream, (split, count) in enumerate({"train": sizes.train, "val": sizes.val, "sbd": sizes.extra}.items()):
        lists[split] = [f"{2007 + stream}_{i:06d}" for i in range(count)]
        for index, name in enumerate(lists[split]):
            scene = _scene(stream, index)
            rows += [(name, i + 1, CLASSES[c], f"{d:.2f}") for i, (c, d) in enumerate(scene.objects)]
            if split == "sbd" or index == 0:  # SBD has no void band, and its own copy of some VOC images
                save_jpeg(scene.image, sbd / "img" / f"{name}.jpg")
                _save_mat(scene.classes, sbd / "cls" / f"{name}.mat")
            if split != "sbd":
                save_jpeg(scene.image, voc / "JPEGImages" / f"{name}.jpg")
                save_png(np.where(scene.band, VOID, scene.classes).astype(np.uint8),
                          voc / "SegmentationClass" / f"{name}.png")  # fmt: skip
                save_png(np.where(scene.band, VOID, scene.instances).astype(np.uint8),
                          voc / "SegmentationObject" / f"{name}.png")  # fmt: skip
    lists["trainval"] = sorted(lists["train"] + lists["val"])
    for split in ("train", "val", "trainval"):
        write_list(voc / "ImageSets" / "Segmentation" / f"{split}.txt", lists[split])
    cut = sizes.extra * 4 // 5
    # As in the real SBD, its lists hold VOC images too: here one of train and one of val, to be subtracted.
    shared = {"train": lists["train"][:1], "val": lists["val"][:1]}
    write_list(sbd / "train.txt", lists["sbd"][:cut] + shared["train"])
    write_list(sbd / "val.txt", lists["sbd"][cut:] + shared["val"])
    for split, count, stream in (("train", sizes.single_train, 3), ("val", sizes.single_val, 4)):
        for index in range(count):
            rng = np.random.default_rng([VERSION, stream, index])
            scene = draw(rng, SINGLE_DIAMETER, count=1)
            place = folder / "imagenet" / split / f"n{scene.objects[0][0]:08d}"
            place.mkdir(parents=True, exist_ok=True)
            save_jpeg(scene.image, place / f"{index:06d}.JPEG")
    with open(folder / "objects.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "instance", "class", "diameter"), *rows])


def write_list(path: Path, names: list[str]) -> None:
    path.write_text("".join(f"{name}\n" for name in names))


def cache_folder() -> Path:
    """Where generated data live: ``$GCNLAB_CACHE`` or ``~/.cache/gcnlab``."""
    return Path(os.environ.get("GCNLAB_CACHE") or Path.home() / ".cache" / "gcnlab")


def generated(name: str, write: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the cache, filled by ``write(folder)`` on first use and then whole or not there."""
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
        try:
            write(work)
            if not folder.is_dir():  # another process may have been faster
                work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():
            raise UserError(f"cannot write the embedded data to {folder} ({error.strerror}): "
                            "free some disk space or set GCNLAB_CACHE to another folder") from None  # fmt: skip
    return folder


def root(sizes: Sizes = FULL) -> Path:
    """The folder of the generated data, written on first use (about 20 s for ``FULL``)."""
    counts = "-".join(str(n) for n in (sizes.train, sizes.extra, sizes.val, sizes.single_train, sizes.single_val))
    return generated(f"shapes-v{VERSION}-{counts}", lambda folder: write(folder, sizes))
