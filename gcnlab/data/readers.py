"""Reading one image or one label map, with an error that names the file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image, ImageOps

from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError


def read_image(path: Path) -> Image.Image:
    """An RGB image; ``UserError`` if the file is missing, truncated or no image."""
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # which Pillow would turn white
                raise UserError(f"{path} has more than 8 bits a channel: save it with 8")
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: complete the data set or take its name off the list") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}): copy the file again") from None


def read_upright(path: Path) -> Image.Image:
    """A picture of the user's, turned as its camera says. Images of data sets are read as their labels lie."""
    read_image(path)  # which says what is wrong with it
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def read_label(path: Path, num_classes: int, ids: Mapping[int, int] | None = None) -> np.ndarray:
    """A label map of class ids: (H, W) uint8 with values 0 … ``num_classes`` − 1 and 255 = void.

    ``.png`` files are read as ids, not colours (palette or single-channel); ``.mat`` files are SBD's ``GTcls``.
    ``ids`` gives the class of each value in the file; by default a file holds classes.
    Raises ``UserError`` for a missing or broken file, an RGB label, or a value that is no class.
    """
    label = _read_mat(path) if path.suffix == ".mat" else _read_png(path)
    highest = num_classes - 1 if ids is None else max(ids)
    illegal = sorted(set(np.unique(label).tolist()) - set(range(highest + 1)) - {VOID})
    if illegal:
        raise UserError(
            f"{path} has label values {illegal[:5]}; legal are 0 … {highest} and {VOID}: "
            "use the data set's original label files"
        )
    label = label.astype(np.uint8, copy=False)
    if ids is None:
        return label
    table = np.full(256, VOID, np.uint8)
    table[list(ids)] = list(ids.values())
    return table[label]


@dataclass(frozen=True)
class Sample:
    """One image and its label file; ``ids`` as :func:`read_label` takes it."""

    name: str
    image: Path
    label: Path
    ids: Mapping[int, int] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of this sample alone."""
        return self.image, self.label

    @property
    def annotation(self) -> bytes:
        """What belongs to this sample of a label file that holds many."""
        return b""

    def read_label(self, num_classes: int) -> np.ndarray:
        """The label map, see :func:`read_label`."""
        return read_label(self.label, num_classes, self.ids)


def _read_png(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                kind = "colour picture" if image.mode.startswith("RGB") else "picture"
                raise UserError(
                    f"{path} is a {kind} (mode {image.mode}), not a map of class ids: "
                    "use the data set's original label files"
                )
            return np.array(image, dtype=np.uint8)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: complete the data set or take its name off the list") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as a label map ({error}): copy the file again") from None


def _read_mat(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            return scipy.io.loadmat(file)["GTcls"][0]["Segmentation"][0]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: complete the data set or take its name off the list") from None
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise UserError(f"{path} cannot be read as an SBD label ({error}): copy the file again") from None


def read_list(path: Path, remedy: str) -> list[str]:
    """The non-empty lines of a list file, in order; ``UserError`` with ``remedy`` if it is missing or no text."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list ({error}): copy the file again") from None


def class_map(classes: Iterable[int] | None) -> np.ndarray:
    """A lookup table of 256 entries that keeps ``classes`` as 0, 1, … and sends every other id to void."""
    if classes is None:
        return np.arange(256, dtype=np.uint8)
    table = np.full(256, VOID, np.uint8)
    for new, old in enumerate(classes):
        table[old] = new
    return table
