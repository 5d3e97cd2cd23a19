"""What is known of a segmentation data set: its splits, classes and official counts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gcnlab.data.readers import Sample
from gcnlab.errors import UserError


@dataclass(frozen=True)
class Source:
    """A segmentation data set.

    Args:
        splits: root folder → samples. ``train`` and ``val`` are what runs use; further splits are
            parts that a check counts.
        classes: names, in the order of the ids.
        official_counts: images of each split as published, or by ``official`` in other words.
        holds, layout: what the data root must hold, in short and in full, for messages.
        default_root: synthetic data know their own folder.
        size: (width, height) that every image has, or None if they differ.
        unused: how many listed images are left out because they show no object of the classes.
        test: the ``official_test`` images of a test server, without labels, or None.
    """

    splits: dict[str, Callable[[Path], list[Sample]]]
    classes: tuple[str, ...]
    official_counts: dict[str, int]
    holds: str = ""
    layout: str = ""
    default_root: Callable[[], Path] | None = None
    size: tuple[int, int] | None = None
    official: str = "official"
    unused: Callable[[Path], int] | None = None
    test: Callable[[Path], list[Path]] | None = None
    official_test: int = 0

    def samples(self, root: Path, split: str) -> list[Sample]:
        """The samples of ``split``; ``UserError`` if there is none of that name, or no data."""
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise UserError(f"this data set has no {split} split, only {known}: choose another")
        return self.splits[split](root)
