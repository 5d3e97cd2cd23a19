"""Which data a run uses, and how they are prepared."""

from dataclasses import dataclass, replace
from pathlib import Path

from gcnlab.data.source import Source
from gcnlab.data.sources import SOURCES
from gcnlab.errors import UserError, check_name


@dataclass(frozen=True)
class DataSpec:
    """Which data a run uses and how they are prepared; sizes in pixels.

    Raises ``UserError`` for an unknown name, or options that do not fit together.
    """

    name: str  # of SOURCES
    side: int  # images are padded to this width, and to ``height``
    long_side: int | None = None  # scale the longer image side to this first; None keeps the size
    classes: tuple[int, ...] | None = None  # ids to score, renumbered 0, 1, …; others become void
    # Classification only: for evaluation scale the shorter image side to ``resize`` and cut out the
    # centre; a random training crop keeps at least ``crop_area`` of the image (classical: 0.08).
    resize: int | None = None
    crop_area: float | None = None
    height: int | None = None  # None: as ``side``
    crop: int | None = None  # segmentation only: train on random crops of ``crop`` × ``crop``
    images: int | None = None  # train on so many images only, evenly spaced over the list
    # Segmentation only, to choose a schedule without a look at val: ``val`` is every fifth image of
    # the training list, the first among them; ``train`` is the others.
    holdout: bool = False
    val_side: int | None = None  # validation images are padded to this instead; None: as ``side``

    def __post_init__(self):
        check_name("data set", self.name, SOURCES)
        if (self.resize is None) != (self.crop_area is None):
            raise UserError("resize and crop_area belong together: set both or none")
        if self.crop is not None and self.crop > min(self.canvas):
            problem = f"crop {self.crop} does not fit into {self.canvas[1]}×{self.canvas[0]} pixels"
            raise UserError(f"{problem}: use a smaller crop")
        if self.holdout and self.is_classification:
            raise UserError(f"holdout is for segmentation, not for {self.name!r}: leave it out")

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) to which images are padded."""
        return self.height or self.side, self.side

    @property
    def for_validation(self) -> "DataSpec":
        """The same, as its validation images are prepared."""
        return self if self.val_side is None else replace(self, side=self.val_side)

    @property
    def is_classification(self) -> bool:
        return self.source.is_classification

    @property
    def source(self) -> Source:
        return SOURCES[self.name]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the scored classes, in the order of the model's outputs."""
        names = self.source.classes
        return names if self.classes is None else tuple(names[c] for c in self.classes)

    def root(self, data_root: Path | None) -> Path:
        """The folder to read: synthetic data know theirs; ``UserError`` if real data have none."""
        if self.source.default_root is not None:
            return self.source.default_root()
        if data_root is None:
            remedy = f"name the folder that holds {self.source.holds}"
            raise UserError(f"data set {self.name!r} needs a data root: {remedy}")
        return data_root
