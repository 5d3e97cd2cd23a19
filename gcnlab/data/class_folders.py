"""Classification data sets: one folder of images per class, as ImageNet and Tiny-ImageNet."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gcnlab.data.readers import existing, read_list
from gcnlab.data.source import Source
from gcnlab.errors import UserError


def class_folders(
    name: str, classes: tuple[str, ...], counts: dict[str, int],
    default_root: Callable[[], Path] | None = None,
) -> Source:  # fmt: skip
    """A classification data set: ``<root>/<name>/{train,val}/<class>/<image>``.

    Tiny-ImageNet's own layout is read too: ``train/<class>/images/<image>``,
    ``val/images/<image>`` and ``val/val_annotations.txt``. ``counts`` are the official ones.
    """
    splits = {split: partial(_samples, name, len(classes), split) for split in counts}
    return Source(
        splits, classes, counts, f"{name}/", default_root=default_root, is_classification=True
    )


def _samples(name: str, count: int, split: str, root: Path) -> list[tuple[Path, int]]:
    """(image, class) in order; classes are numbered by their sorted names in train.

    Raises ``UserError`` if the folders are not those of the layout.
    """
    folder = root / name
    classes = _entries(folder, "train", folders=True)
    if len(classes) != count:
        problem = f"{folder / 'train'} has {len(classes)} class folders, not {count}"
        raise UserError(f"{problem}: {_layout(folder, 'train')}")
    annotations = folder / split / "val_annotations.txt"
    if annotations.is_file():
        return _annotated(annotations, classes, _layout(folder, split))
    different = set(_entries(folder, split, folders=True)) ^ set(classes)
    if different:
        problem = f"the class {min(different)!r} is in only one of {folder / 'train'} and"
        raise UserError(f"{problem} {folder / split}: {_layout(folder, split)}")
    samples = []
    for i, class_name in enumerate(classes):
        inner = Path(split, class_name, "images")
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
    if bad := [" ".join(line) for line in lines if len(line) < 2 or line[1] not in classes]:
        problem = f"{path}: {bad[0]!r} are not an image and a class of train"
        raise UserError(f"{problem}: copy the data set again")
    return [(path.parent / "images" / image, classes.index(name)) for image, name in lines]
