"""Images beside their truth, the predictions of several models, and what the last one corrects."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gcnlab.data.palette import COLORS
from gcnlab.data.transforms import VOID
from gcnlab.evaluation import ConfusionMatrix
from gcnlab.report.style import GREY, Chart, canvas, styled, wrapped

Map = NDArray[np.uint8]  # (H, W): class ids, 255 is void
CHANGES = {  # first and last model: right or wrong, and the colour of such a pixel
    "both right": "#e9edf0",
    "corrected": "#0072b2",
    "spoilt": "#d55e00",
    "both wrong": "#55606b",
}
AREA = (0.05, 0.95)  # of an example's pixels that objects must cover: nothing to see beyond


def choose(truths: Sequence[Map], count: int) -> list[int]:
    """Positions of ``count`` examples by a fixed rule, not by eye.

    They are evenly spaced among the label maps of whose pixels objects cover a share in ``AREA``;
    all of these if they are fewer.
    """
    shares = [float(((truth > 0) & (truth != VOID)).mean()) for truth in truths]
    fitting = [i for i, share in enumerate(shares) if AREA[0] <= share <= AREA[1]]
    spaced = np.linspace(0, len(fitting) - 1, min(count, len(fitting))).round().astype(int)
    return [fitting[i] for i in spaced]


def coloured(labels: Map) -> NDArray[np.uint8]:
    """Class ids as VOC's colours, (H, W, 3); void is white."""
    colours = COLORS.copy()
    colours[VOID] = 255
    return colours[labels]


def changes(truth: Map, first: Map, last: Map) -> NDArray[np.uint8]:
    """Where the ``last`` prediction corrects and where it spoils the ``first``, as `CHANGES`."""
    palette = np.array([list(bytes.fromhex(colour[1:])) for colour in CHANGES.values()], np.uint8)
    right_before, right_after = first == truth, last == truth
    kind = np.select([right_before & right_after, right_after, right_before], [0, 1, 2], 3)
    return np.where((truth == VOID)[..., None], np.uint8(255), palette[kind])


def image_miou(truth: Map, prediction: Map, classes: int) -> float:
    """Mean IoU over the classes of one image, in percent."""
    matrix = ConfusionMatrix(classes)
    matrix.update(prediction, truth)
    return 100 * matrix.miou()


def _panel(ax: Axes, picture: NDArray, below: str = "") -> None:
    ax.imshow(picture, interpolation="nearest")
    ax.spines[:].set(visible=True, color=GREY, linewidth=0.5)
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(below, size=9, labelpad=2)


def _grid(rows: list[list[NDArray]], legend_lines: int) -> tuple[Figure, NDArray]:
    columns = len(rows[0])
    heights = [max(picture.shape[0] / picture.shape[1] for picture in row) for row in rows]
    height = (7.6 / columns + 0.05) * sum(heights) + 0.25 * len(rows) + 0.3 * legend_lines
    figure, axes = canvas(7.6, height, rows=len(rows), columns=columns, height_ratios=heights)
    figure.set_layout_engine("compressed", w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    return figure, axes


def _class_colours(maps: Sequence[Map], class_names: Sequence[str]) -> dict[str, NDArray]:
    ids = sorted({int(i) for labels in maps for i in np.unique(labels)})
    return {"void" if i == VOID else class_names[i]: coloured(np.array(i)) / 255 for i in ids}


def _legend(figure: Figure, colours: dict) -> None:
    patches = [Patch(facecolor=c, edgecolor=GREY, label=name) for name, c in colours.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=8.5)


@styled
def qualitative(
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[Map],
    predictions: dict[str, Sequence[Map]],
    class_names: Sequence[str],
) -> Chart:
    """One example per row: image, truth, each model's prediction with its mIoU, and the changes.

    Args:
        images: (H, W, 3) each.
        predictions: name → one map per image; the last name is compared with the first.
    """
    names, by_image = list(predictions), list(zip(*predictions.values(), strict=True))
    scores = [[image_miou(truth, labels, len(class_names)) for labels in maps]
              for truth, maps in zip(truths, by_image, strict=True)]  # fmt: skip
    rows = [[image, coloured(truth), *map(coloured, maps), changes(truth, maps[0], maps[-1])]
            for image, truth, maps in zip(images, truths, by_image, strict=True)]  # fmt: skip
    figure, axes = _grid(rows, legend_lines=2)
    for line, row, mious in zip(axes, rows, scores, strict=True):
        below = ["", "", *(f"mIoU {miou:.0f}" for miou in mious), ""]
        for ax, picture, text in zip(line, row, below, strict=True):
            _panel(ax, picture, text)
    titles = ["image", "truth", *names, f"{names[-1]} against {names[0]}"]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(wrapped(title, 16), size=9, weight="bold")
    _legend(figure, _class_colours([*truths, *chain(*by_image)], class_names) | CHANGES)
    better, total = sum(mious[-1] > mious[0] for mious in scores), len(scores)
    title = f"{names[-1]} scores higher than {names[0]} on {better} of these {total} images."
    caption = (
        "Validation images, evenly spaced among those of which objects cover "
        f"{AREA[0]:.0%} to {AREA[1]:.0%}; one seed. mIoU of the single image in percent; void is "
        "white."
    )
    return Chart(figure, title, caption, raster=True)


@styled
def samples(
    images: Sequence[NDArray[np.uint8]], truths: Sequence[Map], class_names: Sequence[str]
) -> Chart:
    """Images above their truths, at most eight in a row."""
    wide, rows = -(-len(images) // -(-len(images) // 8)), []
    for start in range(0, len(images), wide):
        part = slice(start, start + wide)
        rows += [list(images[part]), [coloured(labels) for labels in truths[part]]]
    figure, axes = _grid(rows, legend_lines=1)
    for line, row in zip(axes, rows, strict=True):
        for ax, picture in zip(line, row, strict=False):
            _panel(ax, picture)
        for ax in line[len(row) :]:
            ax.set_axis_off()
    _legend(figure, _class_colours(truths, class_names))
    return Chart(figure, f"{len(images)} images and their labels.", "Void is white.", raster=True)
