"""Classification data sets: one folder of images per class, as ImageNet and Tiny-ImageNet."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gcnlab.data.readers import existing, read_list
from gcnlab.errors import UserError


@dataclass(frozen=True)
class ClassFolders:
    """A classification data set: ``<root>/<folder>/{train,val}/<class>/<image>``.

    Tiny-ImageNet's own layout is read too: ``train/<class>/images/<image>``,
    ``val/images/<image>`` and ``val/val_annotations.txt``. Fields as of
    :class:`gcnlab.data.source.Source`.
    """

    folder: str
    classes: tuple[str, ...]
    official_counts: dict[str, int]
    default_root: Callable[[], Path] | None = None
    official: str = "official"

    @property
    def holds(self) -> str:
        return f"{self.folder}/"

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.official_counts)

    def samples(self, root: Path, split: str) -> list[tuple[Path, int]]:
        """(image, class) in order; classes are numbered by their sorted names in train.

        Raises ``UserError`` if the folders are not those of the layout.
        """
        folder = root / self.folder
        classes = _entries(folder, "train", folders=True)
        if len(classes) != len(self.classes):
            problem = f"{folder / 'train'} has {len(classes)} class folders, not"
            raise UserError(f"{problem} {len(self.classes)}: {_layout(folder, 'train')}")
        annotations = folder / split / "val_annotations.txt"
        if annotations.is_file():
            return _annotated(annotations, classes, _layout(folder, split))
        different = set(_entries(folder, split, folders=True)) ^ set(classes)
        if different:
            problem = f"the class {min(different)!r} is in only one of {folder / 'train'} and"
            raise UserError(f"{problem} {folder / split}: {_layout(folder, split)}")
        samples = []
        for i, name in enumerate(classes):
            inner = Path(split, name, "images")
            inner = inner if (folder / inner).is_dir() else inner.parent
            samples += [(folder / inner / f, i) for f in _entries(folder, inner, folders=False)]
        return samples


def _layout(folder: Path, split: str | Path) -> str:
    return f"expected {folder.name}/{Path(split).parts[0]}/<class>/<image>"


def _entries(folder: Path, inner: str | Path, folders: bool) -> list[str]:
    """The sorted names of folders or files in ``folder / inner``, but for hidden ones."""
    with os.scandir(
        existing(folder / inner, _layout(folder, inner))
    ) as entries:  # far faster than pathlib for a million files
        names = [entry.name for entry in entries if entry.is_dir() == folders]
    return sorted(name for name in names if not name.startswith("."))


def _annotated(path: Path, classes: list[str], layout: str) -> list[tuple[Path, int]]:
    """The images that a file lists line by line with their classes (Tiny-ImageNet's val)."""
    lines = [line.split("\t")[:2] for line in read_list(path, layout)]
    if unknown := [line[-1] for line in lines if line[-1] not in classes]:
        problem = f"{path} names the class {unknown[0]!r}, which train lacks"
        raise UserError(f"{problem}: copy the data set again")
    return [(path.parent / "images" / image, classes.index(name)) for image, name in lines]
