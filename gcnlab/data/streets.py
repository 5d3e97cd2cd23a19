"""The embedded street scenes: small Cityscapes folders, at a sixteenth of the size (Table 9).

As in Cityscapes the images are twice as wide as high, finely labelled ones are few and coarsely labelled ones many.
Coarse labels leave the surroundings of every outline unlabelled.

A scene has a vanishing point: the road narrows towards it between sidewalks, and everything that stands on the ground
gets smaller with its distance. Road and sidewalk are alike in colour, cars and buses too, and persons and poles nearly:
what something is shows in its place, its size for its distance and its outline.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gcnlab.data import cityscapes, shapes

VERSION = 1  # of the drawing; part of the folder's name
SIZE = (128, 64)  # width, height
PRESENT = ("road", "sidewalk", "building", "pole", "vegetation", "sky", "person", "car", "bus")
BLOCK = 4  # pixels: the grain of coarse labels


@dataclass(frozen=True)
class Sizes:
    """How many images of each part."""

    fine: int
    val: int
    coarse: int
    test: int


FULL = Sizes(fine=240, val=60, coarse=720, test=8)
TINY = Sizes(fine=12, val=4, coarse=16, test=2)


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One scene: image (H, W, 3) uint8 and official label ids (H, W) uint8."""
    width, height = SIZE
    rows, columns = np.mgrid[:height, :width] + 0.5
    horizon, centre = height * rng.uniform(0.35, 0.5), width * rng.uniform(0.35, 0.65)
    label = np.full((height, width), cityscapes.LABEL_IDS["sky"], np.uint8)
    image = np.empty((height, width, 3))

    def texture(low: float, high: float) -> np.ndarray:
        side = max(SIZE)
        return shapes.waves(rng, side, (low, high), 2)[:height, :width, None]

    def paint(region: np.ndarray, name: str, colour: np.ndarray, pattern: np.ndarray) -> None:
        label[region] = cityscapes.LABEL_IDS[name]
        image[region] = (colour + 0.1 * pattern)[region]

    def grey(low: float, high: float) -> np.ndarray:
        return np.full(3, rng.uniform(low, high)) + rng.uniform(-0.03, 0.03, 3)

    paint(np.ones_like(label, bool), "sky", np.array([0.55, 0.7, 0.9]) + rng.uniform(-0.1, 0.1), texture(40, 80))
    x = 0.0
    while x < width:  # a row of houses and trees up to the horizon
        w = rng.uniform(8, 30)
        away = abs(x + w / 2 - centre) / width
        top = horizon - height * (0.08 + away) * rng.uniform(0.4, 1.0)
        inside = (columns >= x) & (columns < x + w) & (rows < horizon + 1)
        if rng.random() < 0.3:
            bump = top + 3 * np.sin(columns * rng.uniform(0.5, 1.0))
            paint(inside & (rows > bump), "vegetation", np.array([0.25, 0.4, 0.2]), texture(2, 6))
        else:
            tint = grey(0.35, 0.6) + np.array([0.08, 0.0, -0.05])
            paint(inside & (rows > top), "building", tint, texture(4, 8))
        x += w
    ground, depth = rows > horizon, np.clip((rows - horizon) / (height - horizon), 1e-3, None)
    shade = grey(0.3, 0.5)
    paint(ground, "sidewalk", shade + 0.04, texture(3, 9))
    half = width * rng.uniform(0.3, 0.55) * depth
    paint(ground & (np.abs(columns - centre) < half), "road", shade, texture(8, 30))
    things = sorted((float(rng.uniform(0.12, 0.95)), str(rng.choice(["person", "pole", "car", "car", "bus"])))
                    for _ in range(int(rng.integers(3, 9))))  # fmt: skip
    for near, name in things:  # from far to near, which covers it
        base = horizon + near * (height - horizon)
        road = width * 0.42 * near
        on_road = name in ("car", "bus")
        x = centre + (rng.uniform(-0.8, 0.8) * road if on_road else rng.choice([-1, 1]) * road * rng.uniform(1.1, 2.2))
        tall, wide = {"person": (0.42, 0.16), "pole": (0.9, 0.06), "car": (0.3, 0.55), "bus": (0.6, 0.7)}[name]
        tall, wide = tall * near * height, max(1.5, wide * near * height)
        across, up = (columns - x) / (wide / 2), (base - rows) / tall
        inside = (np.abs(across) < 1) & (up > 0) & (up < 1)
        if name == "car":  # a body and a narrower roof
            inside &= (up < 0.55) | (np.abs(across) < 0.6)
        elif name == "person":  # a head on a body
            inside &= (np.abs(across) < 0.45) | ((up > 0.25) & (up < 0.75))
        paint(inside, name, rng.uniform(0.1, 0.8, 3) if name != "pole" else grey(0.2, 0.5), texture(3, 10))
    image = image * rng.uniform(0.75, 1.1) + rng.normal(0, 0.03, image.shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8), label


def coarse(label: np.ndarray) -> np.ndarray:
    """``label`` as a coarse annotator leaves it: blocks with an outline in them are unlabelled (id 0)."""
    blocks = label.reshape(label.shape[0] // BLOCK, BLOCK, label.shape[1] // BLOCK, BLOCK)
    uniform = (blocks == blocks[:, :1, :, :1]).all((1, 3))
    return np.where(np.kron(uniform, np.ones((BLOCK, BLOCK), bool)), label, 0).astype(np.uint8)


def write(folder: Path, sizes: Sizes) -> None:
    """Write ``cityscapes`` below ``folder``."""
    parts = {"train": sizes.fine, "val": sizes.val, "train_extra": sizes.coarse, "test": sizes.test}
    for stream, (split, count) in enumerate(parts.items()):
        city = {"train": "aachen", "val": "munster", "train_extra": "augsburg", "test": "berlin"}[split]
        quality = {"train_extra": "gtCoarse", "test": None}.get(split, "gtFine")
        place = folder / "cityscapes" / "leftImg8bit" / split / city
        place.mkdir(parents=True)
        labels = folder / "cityscapes" / str(quality) / split / city
        if quality:
            labels.mkdir(parents=True)
        for index in range(count):
            image, label = draw(np.random.default_rng([VERSION, 200 + stream, index]))
            name = f"{city}_{index:06d}_000019"
            Image.fromarray(image).save(place / f"{name}_leftImg8bit.png")
            if quality:
                label = coarse(label) if quality == "gtCoarse" else label
                Image.fromarray(label).save(labels / f"{name}_{quality}_labelIds.png")


def root(sizes: Sizes = FULL) -> Path:
    """The folder of the generated data, written on first use (about 10 s for ``FULL``)."""
    counts = "-".join(str(n) for n in (sizes.fine, sizes.val, sizes.coarse, sizes.test))
    return shapes.generated(f"streets-v{VERSION}-{counts}", lambda folder: write(folder, sizes))
