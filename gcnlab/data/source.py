"""What is known of a data set: its splits, classes and official counts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gcnlab.errors import UserError


@dataclass(frozen=True)
class Source:
    """A data set. ``holds`` tells the user what the root must hold."""

    # root folder → samples (of classification data: pairs of image and class);
    # ``train`` and ``val`` are used by runs, others are parts that count
    splits: dict[str, Callable[[Path], list]]
    classes: tuple[str, ...]  # names, in the order of the ids
    official_counts: dict[str, int]  # images of each split, as published
    holds: str = ""
    default_root: Callable[[], Path] | None = None  # synthetic data know their own folder
    size: tuple[int, int] | None = None  # (width, height) of every image; None if they differ
    official: str = "official"  # whose counts those are
    unused: Callable[[Path], int] | None = None  # how many images show no object of the classes
    test: Callable[[Path], list[Path]] | None = None  # a test server's images, without labels
    official_test: int = 0
    is_classification: bool = False

    def samples(self, root: Path, split: str) -> list:
        """The samples of ``split``; ``UserError`` if there is none of that name, or no data."""
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise UserError(f"this data set has no {split} split, only {known}: choose another")
        return self.splits[split](root)
