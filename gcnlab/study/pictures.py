"""Pictures: images beside label maps, as in Fig. 6."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gcnlab.data.shapes import COLORS
from gcnlab.data.transforms import VOID
from gcnlab.study.drawing import GREY
from gcnlab.study.series import empty, legend, page, styled


def _colored(labels: np.ndarray) -> np.ndarray:
    """Class ids → VOC colours, void white."""
    colors = COLORS.copy()
    colors[VOID] = 255
    return colors[labels]


def _gallery(rows: list[list[np.ndarray]], titles: Sequence[str], maps: Iterable, class_names: Sequence[str]) -> Figure:
    """Pictures in rows below `titles`, and a legend of the classes that occur in the label maps `maps`."""
    if not rows:
        figure, ((ax,),) = page(4, 1.5)
        ax.set_axis_off()
        empty(ax, "no examples")
        return figure
    classes = sorted({int(i) for labels in maps for i in np.unique(labels)})
    width, columns = 1.5, len(rows[0])
    heights = [max(picture.shape[0] / picture.shape[1] for picture in row) for row in rows]
    per_line = max(1, int(width * columns / 1.3))
    below = 0.2 + 0.18 * -(-len(classes) // per_line)
    height = (width + 0.03) * sum(heights) + 0.3 * bool(titles) + below
    figure, axes = page(width * columns, height, rows=len(rows), columns=columns, height_ratios=heights)
    figure.set_layout_engine("compressed", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for line, row in zip(axes, rows, strict=True):
        for ax, picture in zip(line, row, strict=False):
            ax.imshow(picture, interpolation="nearest")
            ax.spines[:].set(visible=True, color=GREY, linewidth=0.5)
            ax.set(xticks=[], yticks=[])
        for ax in line[len(row) :]:
            ax.set_axis_off()
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, size=9)
    handles = []
    for i in classes:
        color = _colored(np.array(i)) / 255
        handles.append(Patch(facecolor=color, edgecolor=GREY, label="void" if i == VOID else class_names[i]))
    legend(figure, handles, columns=per_line)
    return figure


@styled
def qualitative(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: dict[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
) -> Figure:
    """Like Fig. 6: one example per row: image, the prediction of each variant, truth.

    `images` (H, W, 3) uint8; `truths` and `predictions` (name → one per image) (H, W) uint8 class ids, 255 is void.
    """
    maps = [*predictions.values(), truths]
    rows = [[image, *map(_colored, labels)] for image, *labels in zip(images, *maps, strict=True)]
    return _gallery(rows, ["image", *predictions, "truth"], [m for group in maps for m in group], class_names)


@styled
def samples(images: Sequence[np.ndarray], truths: Sequence[np.ndarray], class_names: Sequence[str]) -> Figure:
    """Beside Tables 1 to 5, which are measured on such data: each image above its truth, at most eight in a row."""
    rows, wide = [], -(-len(images) // max(1, -(-len(images) // 8)))
    for start in range(0, len(images), wide or 1):
        part = slice(start, start + wide)
        rows += [list(images[part]), [_colored(labels) for labels in truths[part]]]
    return _gallery(rows, [], truths, class_names)
