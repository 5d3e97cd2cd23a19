"""What the schematic figures are drawn with: layers, arrows, tensors, blocks.

All coordinates are inches on the page, y upwards.
"""

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path

INK, GREY = "#2f3640", "#6b7480"
FEATURE, HEAD, REFINE, SCORE, UP = "#c9d8e8", "#f3d19c", "#bfdccb", "#e6d3e6", "#8c5a94"
ACCENT, LIT = "#d9822b", "#f0b266"  # connections and kernels; the locations they start from
OBLIQUE = (0.46, 0.34)  # where one inch of depth points on the page
K = 7


def canvas(width, height):
    """An empty page: the figure, and axes whose unit is one inch."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def write(ax, x, y, text, size=9, color=INK, ha="center", va="center", **style):
    ax.text(x, y, text, size=size, color=color, ha=ha, va=va, linespacing=1.3, **style)


def title(ax, x, y, letter, text):
    write(ax, x, y, f"({letter})  {text}", size=10, weight="bold", ha="left")


def box(ax, x, y, label, color, width=0.62, height=0.3, kernel=None):
    """A layer, centred at (x, y); `kernel` = (rows, columns) draws its footprint on a k×k grid."""
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            zorder=3,
            facecolor=color,
            edgecolor=INK,
            linewidth=0.9,
            boxstyle="round,pad=0,rounding_size=0.05",
        )
    )
    if kernel:
        cell = 0.05
        left, bottom = x - width / 2 + 0.08, y - K * cell / 2
        for row in range(K):
            for column in range(K):
                used = abs(row - K // 2) <= kernel[0] // 2 and abs(column - K // 2) <= kernel[1] // 2
                ax.add_patch(
                    Rectangle(
                        (left + column * cell, bottom + row * cell),
                        cell,
                        cell,
                        linewidth=0.3,
                        facecolor=ACCENT if used else "white",
                        edgecolor=GREY,
                        zorder=4,
                    )
                )
        x += (0.08 + K * cell) / 2
    write(ax, x, y, label, zorder=5)


def arrow(ax, *points, color=INK, width=1.1, head=True):
    """A line through the points, a head at the last one; it passes behind boxes and feature maps."""
    ax.add_patch(
        FancyArrowPatch(
            path=Path(points),
            arrowstyle="-|>" if head else "-",
            color=color,
            zorder=0,
            linewidth=width,
            mutation_scale=6 + 3 * width,
            joinstyle="miter",
        )
    )


def plus(ax, x, y, radius=0.11):
    """An element-wise sum."""
    ax.add_patch(Circle((x, y), radius, facecolor="white", edgecolor=INK, linewidth=0.9, zorder=3))
    for dx, dy in ((0.6 * radius, 0), (0, 0.6 * radius)):
        ax.plot((x - dx, x + dx), (y - dy, y + dy), color=INK, linewidth=1.1, zorder=4)


def on_face(x, y, size, u, v):
    """The page position of (u, v) in [0, 1]² on the top face of such a feature map, centred at (x, y)."""
    return x + size * (u - 0.5 + OBLIQUE[0] * (v - 0.5)), y + size * OBLIQUE[1] * (v - 0.5)


def feature_map(ax, x, y, size, depth, color=FEATURE, grid=0, region=None, zorder=1):
    """A size×size×depth tensor in oblique projection; (x, y) is the centre of its top face.

    `grid` rules n×n locations on it; `region` = (first, last) colours those locations of both axes.
    """
    corner = [on_face(x, y, size, u, v) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))]

    def side(first, last):
        return [first, last, (last[0], last[1] - depth), (first[0], first[1] - depth)]

    def face(points, color, edge=INK, width=0.8):
        ax.add_patch(
            Polygon(points, facecolor=color, edgecolor=edge, linewidth=width, joinstyle="round", zorder=zorder)
        )

    for shape, shade in ((side(corner[0], corner[1]), 0.12), (side(corner[1], corner[2]), 0.25)):
        face(shape, color)
        face(shape, (0, 0, 0, shade))
    face(corner, color)
    if region:
        low, high = region[0] / grid, (region[1] + 1) / grid
        face(
            [on_face(x, y, size, u, v) for u, v in ((low, low), (high, low), (high, high), (low, high))], LIT, width=0.4
        )
    for step in range(1, grid):
        for ends in (((0, step / grid), (1, step / grid)), ((step / grid, 0), (step / grid, 1))):
            line = zip(*(on_face(x, y, size, *end) for end in ends), strict=True)
            ax.plot(*line, color=GREY, linewidth=0.4, zorder=zorder)


def block(ax, x, top, bottom, branches, sizes, spread=1.56):
    """A block read downwards: input tensor, parallel branches, their sum if they are several, output tensor.

    `branches`: for each, its layers (label, kernel or None, colour, output's label), none for the identity.
    `sizes`: labels of the input and the output tensor.
    """
    for y, label in zip((top, bottom), sizes, strict=True):
        deep = label.endswith("C")
        feature_map(ax, x, y, 0.62, 0.16 if deep else 0.08, FEATURE if deep else SCORE)
        write(ax, x + 0.55, y - 0.04, label, ha="left")
    split, join = top - 0.25, bottom + 0.62 * OBLIQUE[1] / 2
    if len(branches) > 1:
        arrow(ax, (x, top), (x, split - 0.16), head=False)
        arrow(ax, (x, join + 0.32), (x, join))
        split, join = split - 0.16, join + 0.32
        plus(ax, x, join)
        write(ax, x + 0.16, join - 0.14, "sum", size=8, color=GREY, ha="left")
    for number, layers in enumerate(branches):
        here = x + spread * (number - (len(branches) - 1) / 2)
        heights = [0.46 if kernel else 0.28 for _, kernel, _, _ in layers]
        gap = (split - join - sum(heights)) / (len(layers) + 1)
        y, entry = split, [(x, split if len(branches) > 1 else top)]
        for (label, kernel, color, size), height in zip(layers, heights, strict=True):
            arrow(ax, *entry, (here, y), (here, y - gap))
            box(ax, here, y - gap - height / 2, label, color, 1.2, height, kernel)
            y -= gap + height
            entry = []
            write(ax, here + 0.08, y - gap / 2, size, size=8, color=GREY, ha="left")
        towards = (here > x) - (here < x)
        arrow(ax, *entry, (here, y), (here, join), *([(x + 0.11 * towards, join)] if towards else []))


def conv(kernel, channels, size="", color=HEAD):
    """A convolution for `block`: `kernel` such as "k×1", `channels` such as "C → 21", label of the output."""
    footprint = tuple(K if side == "k" else int(side) for side in kernel.split("×"))
    return f"Conv {kernel}\n{channels}", footprint, color, size


IN, OUT = "w×h×C", "w×h×21"
GCN = [
    [conv("k×1", "C → 21", OUT), conv("1×k", "21 → 21", OUT)],
    [conv("1×k", "C → 21", OUT), conv("k×1", "21 → 21", OUT)],
]
