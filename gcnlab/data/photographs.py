"""The photographs of the committed study, made anew from the official archives.

A subset of VOC 2012 and SBD (images on which an animal is annotated), scaled to at most 320 pixels.
``photographs.csv`` lists its images, and those of the COCO and CamVid subsets, with the digests of
our files: whoever makes them anew learns which of them have other bytes.
"""

import csv
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from gcnlab import files
from gcnlab.data import voc
from gcnlab.data.palette import PALETTE
from gcnlab.data.readers import Sample, read_image, read_label
from gcnlab.data.synthetic.drawing import write_list
from gcnlab.data.synthetic.voc import save_mat
from gcnlab.errors import UserError

LONG_SIDE, QUALITY = 320, 75  # pixels at most; of the JPEG files
LISTING = Path(__file__).with_name("photographs.csv")
MAT_TITLE = "MATLAB 5.0 MAT-file, SBD category annotation"
_LISTS = {"VOC": voc.VOC_LISTS, "SBD": voc.SBD_FOLDER}


class Listed(NamedTuple):
    """An image of the study: data set, split and name; 16 hex digits of BLAKE2b of its files."""

    data: str
    split: str
    name: str
    image: str
    label: str

    def sample(self, root: Path) -> Sample:
        """Where its files are in the official layout below ``root``."""
        sample_of = {"VOC": voc.voc_sample, "SBD": voc.sbd_sample}[self.data]
        return sample_of(root, self.name)


def listed(*data: str) -> list[Listed]:
    """The images of the study that are of ``data``: VOC, SBD, COCO or CamVid."""
    with open(LISTING, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        return [row for row in map(Listed._make, rows) if row.data in data]


def digest(path: Path) -> str:
    """16 hex digits from the bytes of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def scale(official: Path, out: Path) -> list[Path]:
    """Write the study's VOC and SBD images and labels to ``out``, in their official layouts.

    Args:
        official: folder of the unpacked archives, see ``docs/data.md``.
        out: a new folder.

    Returns:
        Files below ``out`` whose bytes are not those of the committed study: other originals, or
        another JPEG library. Records made with them have another key.

    Raises:
        UserError: ``out`` is there already, or an original is missing or damaged.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty: name a new folder")
    images, lists = listed("VOC", "SBD"), defaultdict(list)
    with files.whole_folder(out) as work:
        for image in tqdm(images, unit=" images", leave=False, disable=None):  # on a terminal
            _scale(image.sample(official), image.sample(work))
            lists[work / _LISTS[image.data] / f"{image.split}.txt"].append(image.name)
        for path, names in lists.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_list(path, names)
    expected = [pair for image in images
                for pair in zip(image.sample(out).files, image[-2:], strict=True)]  # fmt: skip
    return [path for path, known in expected if digest(path) != known]


def _scale(original: Sample, copy: Sample) -> None:
    image, label = read_image(original.image), read_label(original.label, len(voc.CLASSES))
    factor = min(1, LONG_SIDE / max(image.size))
    size = tuple(round(factor * side) for side in image.size)
    for path in copy.files:
        path.parent.mkdir(parents=True, exist_ok=True)
    scaled = image.resize(size, Image.Resampling.LANCZOS)
    scaled.save(copy.image, quality=QUALITY, optimize=True)
    classes = Image.fromarray(label).resize(size, Image.Resampling.NEAREST)
    if copy.label.suffix == ".mat":
        save_mat(np.asarray(classes), copy.label, MAT_TITLE)
    else:
        classes.putpalette(PALETTE)
        classes.save(copy.label, optimize=True)
