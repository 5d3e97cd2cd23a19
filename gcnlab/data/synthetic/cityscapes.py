"""The synthetic stand-in for Cityscapes (Table 9): small street scenes in its layout.

Images are twice as wide as high, at a sixteenth of the size. As in Cityscapes, finely labelled ones
are few and coarsely labelled ones many; coarse labels leave the surroundings of every outline
unlabelled.

A scene has a vanishing point: the road narrows towards it between sidewalks, and everything that
stands on the ground gets smaller with its distance. Road and sidewalk are alike in colour, cars and
buses too, and persons and poles nearly: what something is shows in its position, its size for
its distance and its outline.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gcnlab.data.cityscapes import LABEL_IDS
from gcnlab.data.synthetic.cache import draw_all, generated
from gcnlab.data.synthetic.drawing import to_uint8, waves

VERSION = 1  # of the drawing; part of the folder's name and of every seed
SIZE = (128, 64)  # width, height
PRESENT = (
    "road", "sidewalk", "building", "pole", "vegetation", "sky", "person", "car", "bus",
)  # fmt: skip
THINGS = ("person", "pole", "car", "car", "bus")  # drawn alike often, cars twice as often
EXTENT = {"person": (0.42, 0.16), "pole": (0.9, 0.06), "car": (0.3, 0.55), "bus": (0.6, 0.7)}
BLOCK = 4  # pixels: the grain of coarse labels
# split, city, quality of the labels; its number is part of the seed
PARTS = (
    ("train", "aachen", "gtFine"), ("val", "munster", "gtFine"),
    ("train_extra", "augsburg", "gtCoarse"), ("test", "berlin", None),
)  # fmt: skip


class Sizes(NamedTuple):
    """How many images of each part."""

    fine: int
    val: int
    coarse: int
    test: int


FULL = Sizes(fine=240, val=60, coarse=720, test=8)
TINY = Sizes(fine=12, val=4, coarse=16, test=2)


class _Street:
    """One scene while it is drawn, from far to near: what comes later covers what was there."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.width, self.height = SIZE
        self.rows, self.columns = np.mgrid[: self.height, : self.width] + 0.5
        self.horizon = self.height * rng.uniform(0.35, 0.5)
        self.centre = self.width * rng.uniform(0.35, 0.65)
        self.label = np.zeros((self.height, self.width), np.uint8)
        self.image = np.empty((self.height, self.width, 3))

    def paint(self, region: np.ndarray, name: str, colour: np.ndarray, *wavelength: float) -> None:
        texture = waves(self.rng, max(SIZE), wavelength, 2)[: self.height, : self.width, None]
        self.label[region] = LABEL_IDS[name]
        self.image[region] = (colour + 0.1 * texture)[region]

    def grey(self, low: float, high: float) -> np.ndarray:
        return np.full(3, self.rng.uniform(low, high)) + self.rng.uniform(-0.03, 0.03, 3)

    def sky(self) -> None:
        colour = np.array([0.55, 0.7, 0.9]) + self.rng.uniform(-0.1, 0.1)
        self.paint(np.ones_like(self.label, bool), "sky", colour, 40, 80)

    def skyline(self) -> None:
        """A row of houses and trees, down to the horizon."""
        rng, x = self.rng, 0.0
        while x < self.width:
            w = rng.uniform(8, 30)
            away = abs(x + w / 2 - self.centre) / self.width
            top = self.horizon - self.height * (0.08 + away) * rng.uniform(0.4, 1.0)
            inside = (self.columns >= x) & (self.columns < x + w) & (self.rows < self.horizon + 1)
            if rng.random() < 0.3:
                crown = top + 3 * np.sin(self.columns * rng.uniform(0.5, 1.0))
                green = np.array([0.25, 0.4, 0.2])
                self.paint(inside & (self.rows > crown), "vegetation", green, 2, 6)
            else:
                tint = self.grey(0.35, 0.6) + np.array([0.08, 0.0, -0.05])
                self.paint(inside & (self.rows > top), "building", tint, 4, 8)
            x += w

    def ground(self) -> None:
        ground = self.rows > self.horizon
        depth = np.clip((self.rows - self.horizon) / (self.height - self.horizon), 1e-3, None)
        shade = self.grey(0.3, 0.5)
        self.paint(ground, "sidewalk", shade + 0.04, 3, 9)
        half = self.width * self.rng.uniform(0.3, 0.55) * depth
        self.paint(ground & (np.abs(self.columns - self.centre) < half), "road", shade, 8, 30)

    def thing(self, near: float, name: str) -> None:
        """A person, pole, car or bus; ``near`` is 0 at the horizon and 1 at the lower edge."""
        rng = self.rng
        base = self.horizon + near * (self.height - self.horizon)
        road = self.width * 0.42 * near
        if name in ("car", "bus"):
            x = self.centre + rng.uniform(-0.8, 0.8) * road
        else:
            x = self.centre + rng.choice([-1, 1]) * road * rng.uniform(1.1, 2.2)
        tall, wide = (share * near * self.height for share in EXTENT[name])
        across = (self.columns - x) / (max(1.5, wide) / 2)
        up = (base - self.rows) / tall
        inside = (np.abs(across) < 1) & (up > 0) & (up < 1)
        if name == "car":  # a body and a narrower roof
            inside &= (up < 0.55) | (np.abs(across) < 0.6)
        elif name == "person":  # a head on a body
            inside &= (np.abs(across) < 0.45) | ((up > 0.25) & (up < 0.75))
        colour = self.grey(0.2, 0.5) if name == "pole" else rng.uniform(0.1, 0.8, 3)
        self.paint(inside, name, colour, 3, 10)


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One scene: image (H, W, 3) uint8 and official label ids (H, W) uint8."""
    street = _Street(rng)
    street.sky()
    street.skyline()
    street.ground()
    count = int(rng.integers(3, 9))
    things = [(float(rng.uniform(0.12, 0.95)), str(rng.choice(THINGS))) for _ in range(count)]
    for near, name in sorted(things):
        street.thing(near, name)
    light = rng.uniform(0.75, 1.1)
    return to_uint8(street.image * light + rng.normal(0, 0.03, street.image.shape)), street.label


def coarse(label: np.ndarray) -> np.ndarray:
    """``label`` as a coarse annotator leaves it: blocks with an outline in them get id 0."""
    height, width = label.shape
    blocks = label.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    uniform = (blocks == blocks[:, :1, :, :1]).all((1, 3))
    return np.where(np.kron(uniform, np.ones((BLOCK, BLOCK), bool)), label, 0).astype(np.uint8)


def _draw_file(folder: Path, task: tuple[int, int]) -> None:
    """Draw and write one image of ``(part, index)``, and its label if there is one."""
    stream, index = task
    split, city, quality = PARTS[stream]
    image, label = draw(np.random.default_rng([VERSION, 200 + stream, index]))
    name, inner = f"{city}_{index:06d}_000019", Path(split, city)
    Image.fromarray(image).save(folder / "leftImg8bit" / inner / f"{name}_leftImg8bit.png")
    if quality:
        label = coarse(label) if quality == "gtCoarse" else label
        Image.fromarray(label).save(folder / quality / inner / f"{name}_{quality}_labelIds.png")


def write(folder: Path, sizes: Sizes) -> None:
    """Write ``cityscapes`` below ``folder``."""
    folder = folder / "cityscapes"
    tasks = []
    for stream, ((split, city, quality), count) in enumerate(zip(PARTS, sizes, strict=True)):
        for kind in filter(None, ("leftImg8bit", quality)):
            (folder / kind / split / city).mkdir(parents=True)
        tasks += [(stream, index) for index in range(count)]
    draw_all(partial(_draw_file, folder), tasks)


def root(sizes: Sizes) -> Path:
    """The folder of the drawn data, written on first use (``FULL``: 10 s of one core)."""
    return generated(f"streets-v{VERSION}", sizes, write)
