"""One synthetic scene of lobed shapes: image, class map, instance map.

The data isolate the mechanism that the paper asserts. The class of an object is the number of lobes
of its outline, 2 … 8, and nothing else: rotation, size, stretch, lobe depth, colour and texture are
drawn alike for all classes, so a patch of an outline fits several classes until enough of it is
seen. Figure and ground differ locally (objects are coloured and striped, the ground is grey and
smooth). Diameters are log-uniform from a tenth to nine tenths of the image, so that some objects
fit into any receptive field and others into none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64  # pixels; C5 of the small backbone has 16×16
LOBES = (2, 3, 4, 5, 6, 7, 8)
CLASSES = ("background", *(f"{n} lobes" for n in LOBES))
DIAMETER = (0.1, 0.9)  # of the side, log-uniform
MOST_COVERED = 0.4  # of an object by later ones


@dataclass(frozen=True)
class Scene:
    """One drawn image of S × S pixels; ids without void, 0 = background."""

    image: np.ndarray  # (S, S, 3) uint8
    classes: np.ndarray  # (S, S) uint8
    instances: np.ndarray  # (S, S) uint8
    band: np.ndarray  # (S, S) bool, the pixels that an outline crosses
    objects: list[tuple[int, float]]  # (class, diameter in pixels) of instances 1, 2 …


def _outline_distance(
    rng: np.random.Generator, lobes: int, diameter: float, x: float, y: float, side: int
) -> np.ndarray:
    """Distance to the outline r(θ) = R (1 + a cos nθ), stretched and rotated: pixels, > 0 inside.

    It is the radial distance over the length of its gradient, the true distance to first order: the
    radial distance alone would make steep flanks sharper, and sharpness tell the number of lobes.
    """
    depth = rng.uniform(0.25, 0.4)
    rotation, axis = rng.uniform(0, 2 * np.pi, 2)
    stretch = rng.uniform(1.0, 1.25)
    rows, columns = np.mgrid[:side, :side] + 0.5
    dx, dy = columns - x, rows - y
    along = dx * np.cos(axis) + dy * np.sin(axis)
    across = (dy * np.cos(axis) - dx * np.sin(axis)) * stretch
    radius = diameter / 2 / (1 + depth)
    angle = np.arctan2(across, along)
    outline = radius * (1 + depth * np.cos(lobes * (angle + rotation)))
    slope = -lobes * depth * np.sin(lobes * (angle + rotation)) * radius / outline  # dr/dθ / r
    steep = np.hypot(
        slope * np.sin(angle) + np.cos(angle), stretch * (slope * np.cos(angle) - np.sin(angle))
    )
    return (outline - np.hypot(along, across)) / steep


def waves(
    rng: np.random.Generator, side: int, wavelength: tuple[float, float], count: int
) -> np.ndarray:
    """A sum of plane waves with values around 0, for textures: (side, side) float."""
    rows, columns = np.mgrid[:side, :side]
    total = np.zeros((side, side))
    for _ in range(count):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        frequency = 2 * np.pi / rng.uniform(*wavelength)
        total += np.sin(frequency * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)
    return total / count


def _surface(rng: np.random.Generator, side: int) -> np.ndarray:
    """A saturated colour with fine stripes, (side, side, 3) float in about 0 … 1."""
    colour = rng.uniform(0.2, 0.6, 3)
    colour[rng.integers(3)] += 0.35
    return colour + 0.15 * waves(rng, side, (3, 6), 1)[..., None]


def _put(
    rng: np.random.Generator, lobes: int, diameter: float, instances: np.ndarray, areas: list[int]
) -> np.ndarray | None:
    """Distance to the outline of a new object that covers no other too much; None after 20 tries.

    ``areas`` are those of the objects of ``instances`` when they were drawn.
    """
    side = len(instances)
    for _ in range(20):
        x, y = rng.uniform(diameter / 2, side - diameter / 2, 2)
        distance = _outline_distance(rng, lobes, diameter, x, y, side)
        outside = distance <= 0
        visible = [np.sum((instances == i) & outside) / area for i, area in enumerate(areas, 1)]
        if not outside.all() and all(share >= 1 - MOST_COVERED for share in visible):
            return distance
    return None


def draw(
    rng: np.random.Generator,
    count: int | None = None,
    diameters: tuple[float, float] = DIAMETER,
    side: int = SIDE,
) -> Scene:
    """Draw ``count`` objects (default: 1 … 3) on ``side`` × ``side`` pixels.

    Diameters are log-uniform in ``diameters`` × ``side``; later objects cover earlier ones, and an
    object that finds no place is left out.
    """
    if count is None:
        count = int(rng.integers(1, 4))
    image = 0.4 + rng.uniform(-0.1, 0.1)
    image = image + 0.12 * waves(rng, side, (16, 48), 3)[..., None] * np.ones(3)
    classes, instances = np.zeros((2, side, side), np.uint8)
    band = np.zeros((side, side), bool)
    areas: list[int] = []
    objects: list[tuple[int, float]] = []
    for _ in range(count):
        class_id = int(rng.integers(1, len(CLASSES)))
        diameter = side * float(np.exp(rng.uniform(*np.log(diameters))))
        distance = _put(rng, LOBES[class_id - 1], diameter, instances, areas)
        if distance is None:
            continue
        inside = distance > 0
        objects.append((class_id, diameter))
        areas.append(int(inside.sum()))
        cover = np.clip(distance + 0.5, 0, 1)[..., None]
        image = image * (1 - cover) + _surface(rng, side) * cover
        classes[inside] = class_id
        instances[inside] = len(objects)
        band = (np.abs(distance) < 0.6) | (band & ~inside)
    return Scene(_photograph(rng, image), classes, instances, band, objects)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """``image`` in uneven light and with noise: uint8."""
    side = len(image)
    slope = rng.uniform(-0.25, 0.25, 2)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    light = rng.uniform(0.85, 1.1) + slope[0] * rows + slope[1] * columns
    return to_uint8(image * light[..., None] + rng.normal(0, 0.03, image.shape))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float in 0 … 1, cut off beyond, as 0 … 255."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def save_jpeg(array: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 with hardly any loss."""
    Image.fromarray(array).save(path, "JPEG", quality=95, subsampling=0)


def write_list(path: Path, names: list[str]) -> None:
    """Write a list file, one name a line."""
    path.write_text("".join(f"{name}\n" for name in names))
