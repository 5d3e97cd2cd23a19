"""Reading one image, label map or list, with an error that names the file."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image, ImageOps

from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError

ORIGINAL = "use the data set's original label files"
AGAIN, OFFICIAL = "copy the file again", "use the official files"


@contextmanager
def reading(path: Path, kind: str, remedy: str = "complete the data set") -> Iterator[None]:
    """Turn whatever reading ``path`` raises into a ``UserError`` of one line.

    ``remedy`` is what to do if the file is missing; a damaged one is to be copied again.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise UserError(f"{path} is no file: put the file itself there")
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {remedy}") from None
    except Exception as error:  # Pillow and scipy raise many kinds for a damaged file
        problem = f"{path} cannot be read as {kind} ({' '.join(str(error).split())})"
        too_large = isinstance(error, Image.DecompressionBombError)
        raise UserError(f"{problem}: {'scale it down' if too_large else AGAIN}") from None


def existing(folder: Path, remedy: str) -> Path:
    """``folder``; ``UserError`` with the ``remedy`` if it is not there."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: {remedy}")
    return folder


def read_image(path: Path, upright: bool = False) -> Image.Image:
    """An RGB image; ``UserError`` if the file is missing, truncated, no image, or several.

    ``upright``: turned as its camera says, which images of data sets never are.
    """
    with reading(path, "an image"), Image.open(path) as image:
        if image.mode[0] in "IF":  # which Pillow would turn white
            raise UserError(f"{path} has more than 8 bits a channel: save it with 8")
        if getattr(image, "is_animated", False) and image.format != "MPO":  # as some cameras write
            raise UserError(f"{path} has {image.n_frames} pictures: save one of them")
        return (ImageOps.exif_transpose(image) if upright else image).convert("RGB")


def read_label(path: Path, num_classes: int, ids: Mapping[int, int] | None = None) -> np.ndarray:
    """A label map: (H, W) uint8 with classes 0 … ``num_classes`` − 1 and 255 = void.

    ``.png`` files are read as ids, not colours (palette or single-channel); ``.mat`` files are
    SBD's ``GTcls``. ``ids`` gives the class of each value in the file; by default a file holds
    classes. Raises ``UserError`` for a missing or broken file, an RGB label, or an illegal value.
    """
    label = _read_mat(path) if path.suffix == ".mat" else _read_png(path)
    highest = num_classes - 1 if ids is None else max(ids)
    illegal = sorted(set(np.unique(label).tolist()) - set(range(highest + 1)) - {VOID})
    if illegal:
        legal = f"legal are 0 … {highest} and {VOID}"
        raise UserError(f"{path} has label values {illegal[:5]}; {legal}: {ORIGINAL}")
    label = label.astype(np.uint8, copy=False)
    return label if ids is None else _table(ids)[label]


@dataclass(frozen=True)
class Sample:
    """One image and its label file; ``ids`` as :func:`read_label` takes it."""

    name: str
    image: Path
    label: Path
    ids: Mapping[int, int] | None = None
    annotated_size = None  # (width, height) that an annotation tells before the label map is made
    annotation = b""  # what belongs to this sample of a label file that holds many

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of this sample alone."""
        return self.image, self.label

    def read_label(self, num_classes: int) -> np.ndarray:
        """The label map, see :func:`read_label`."""
        return read_label(self.label, num_classes, self.ids)


def _read_png(path: Path) -> np.ndarray:
    with reading(path, "a label map"), Image.open(path) as image:
        if image.mode not in ("P", "L"):
            kind = f"{'colour ' * image.mode.startswith('RGB')}picture (mode {image.mode})"
            raise UserError(f"{path} is a {kind}, not a map of class ids: {ORIGINAL}")
        return np.array(image, dtype=np.uint8)


def _read_mat(path: Path) -> np.ndarray:
    with reading(path, "an SBD label"), open(path, "rb") as file:
        return scipy.io.loadmat(file)["GTcls"][0]["Segmentation"][0]


def read_list(path: Path, remedy: str) -> list[str]:
    """The non-empty lines of a list; ``UserError`` if it is missing (``remedy``) or no text.

    Also if a name (what stands before a tab) is in it twice: its image would count twice.
    """
    with reading(path, "a list", remedy):
        lines = path.read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    check_unique((line.split("\t")[0] for line in lines), path)
    return lines


def check_unique(names: Iterable[Hashable], where: object) -> None:
    """``UserError`` that says ``where`` if one of ``names`` is there twice."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UserError(f"{where} has {twice[0]} twice: {OFFICIAL}")


def _table(ids: Mapping[int, int]) -> np.ndarray:
    """The class of each of 256 values; those that are not in ``ids`` are void."""
    return np.array([ids.get(value, VOID) for value in range(256)], np.uint8)


def class_map(classes: Iterable[int] | None) -> np.ndarray:
    """A table of 256 entries that keeps ``classes`` as 0, 1, … and sends other ids to void."""
    return _table({old: new for new, old in enumerate(range(256) if classes is None else classes)})
