"""The paper's schematic figures, redrawn: Fig. 1 (three networks), Fig. 2 (framework), Fig. 4 (heads), Fig. 5 (blocks).

Each function returns a `matplotlib.figure.Figure` that belongs to no window, so it works in a batch job:

    figure2().savefig("fig2.png", dpi=200)

All coordinates are inches on the page, y upwards. Kernels are drawn for k = 7, scores for the 21 VOC classes.
"""

import itertools

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path

INK, GREY = "#2f3640", "#6b7480"
FEATURE, HEAD, REFINE, SCORE, UP = "#c9d8e8", "#f3d19c", "#bfdccb", "#e6d3e6", "#8c5a94"
ACCENT, LIT = "#d9822b", "#f0b266"  # connections and kernels; the locations they start from
OBLIQUE = (0.46, 0.34)  # where one inch of depth points on the page
K = 7


# --- drawing helpers ----------------------------------------------------------------------------------------


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


# --- the figures --------------------------------------------------------------------------------------------


def figure1():
    """Fig. 1: (A) classification network, (B) conventional segmentation network, (C) GCN."""
    figure, ax = canvas(10.8, 4.9)
    grid, size = 9, 1.3
    panels = (  # letter, title, caption, purpose, sizes of the maps, label and locations of the connection
        (
            "A",
            "Classification network",
            "Cone: the maps shrink; every class is\ndensely connected to the whole map.",
            "designed for classification",
            (1.3, 1.02, 0.78, 0.58),
            "dense",
            (0, grid - 1),
        ),
        (
            "B",
            "Conventional segmentation network",
            "Barrel: the maps stay large; each location\nis classified from that location alone.",
            "designed for localization",
            (size,) * 4,
            "local",
            (4, 4),
        ),
        (
            "C",
            "Global Convolutional Network",
            "Large maps and dense connections: each\nlocation is classified from a k×k region.",
            "designed for both",
            (size,) * 4,
            "dense,\nk×k",
            (1, 7),
        ),
    )
    levels, image_y, score_y = [1.72 + 0.38 * level for level in range(4)], 1.3, 3.92
    for number, (letter, name, caption, purpose, sizes, connection, region) in enumerate(panels):
        left = 0.3 + 3.6 * number
        x, label_x = left + 1.0, left + 2.12
        title(ax, left, 4.62, letter, name)
        feature_map(ax, x, image_y, size, 0.02, "white")
        for y, map_size in zip(levels[:-1], sizes, strict=False):
            feature_map(ax, x, y, map_size, 0.1)
        feature_map(ax, x, levels[-1], sizes[-1], 0.1, FEATURE, grid, region)
        if letter == "A":
            target = (x, score_y - 0.08)
            for cell in range(-4, 5):
                ax.add_patch(
                    Rectangle(
                        (x + 0.16 * cell - 0.08, target[1]),
                        0.16,
                        0.16,
                        linewidth=0.8,
                        edgecolor=INK,
                        facecolor=SCORE if cell else LIT,
                        zorder=5,
                    )
                )
        else:
            target = (x, score_y)
            feature_map(ax, x, score_y, size, 0.03, SCORE, grid, (4, 4), zorder=5)
        cells = [(step + 0.5) / grid for step in range(region[0], region[1] + 1)]
        for foot in (on_face(x, levels[-1], sizes[-1], u, v) for u in cells for v in cells):
            ax.plot(*zip(foot, target, strict=True), color=ACCENT, linewidth=0.5 if len(cells) > 1 else 1.6, zorder=4)
        for y, label in (
            (image_y, "image"),
            (sum(levels) / 4, "feature\nmaps"),
            (score_y, "class\nscores" if letter == "A" else "score map"),
        ):
            write(ax, label_x, y, label, color=GREY, ha="left")
        write(ax, label_x, 3.36, connection, color=ACCENT, weight="bold", ha="left")
        write(ax, left, 0.7, caption, ha="left")
        write(ax, left, 0.3, purpose, color=UP, weight="bold", ha="left")
    return figure


def figure2():
    """Fig. 2: (A) the framework for a 512×512 image, (B) the GCN block, (C) boundary refinement (BR)."""
    figure, ax = canvas(10.8, 7.6)
    title(ax, 0.25, 7.3, "A", "Framework")
    stages = (  # name, side and channels of the tensor, size and depth on the page
        ("image", 512, 3, 1.30, 0.02),
        ("conv1", 256, 64, 1.06, 0.05),
        ("res-2", 128, 256, 0.86, 0.09),
        ("res-3", 64, 512, 0.70, 0.14),
        ("res-4", 32, 1024, 0.57, 0.20),
        ("res-5", 16, 2048, 0.46, 0.28),
    )
    x, head_x, refine_x, sum_x = 2.0, 3.2, 4.0, 4.85
    levels = [6.55 - 1.12 * level for level in range(len(stages))]
    for level, ((name, side, channels, size, depth), y) in enumerate(zip(stages, levels, strict=True)):
        feature_map(ax, x, y, size, depth, FEATURE if level else "white")
        write(ax, 0.25, y + 0.13, name, ha="left", weight="bold")
        write(
            ax,
            0.25,
            y,
            f"{side}×{side}×{channels}" + (f"\nstride {512 // side}" if level else ""),
            size=8,
            color=GREY,
            ha="left",
            va="top",
        )
        if level:
            arrow(ax, (x, levels[level - 1]), (x, y + size * OBLIQUE[1] / 2))
            write(ax, sum_x + 0.4, y, f"{side}×{side}×21", size=8, color=GREY, ha="left")
        if level < 2:
            box(ax, sum_x, y, "BR", REFINE)
            continue
        arrow(ax, (x, y), (head_x - 0.31, y))
        box(ax, head_x, y, "GCN", HEAD)
        arrow(ax, (head_x, y), (refine_x - 0.31, y))
        box(ax, refine_x, y, "BR", REFINE)
        if level < 5:
            arrow(ax, (refine_x, y), (sum_x - 0.11, y))
            plus(ax, sum_x, y)
            arrow(ax, (sum_x, y), (sum_x, y + 0.3))
            box(ax, sum_x, y + 0.45, "BR", REFINE)
    for level, (y, below) in enumerate(itertools.pairwise(levels)):  # the deconvolution from the level below
        start, end = below + (0.6 if 0 < level < 4 else 0.15), y - (0.15 if level < 2 else 0.11)
        foot = [(refine_x + 0.31, below), (sum_x, below)] if level == 4 else [(sum_x, start)]
        arrow(ax, *foot, (sum_x, end), color=UP, width=2)
        write(ax, sum_x + 0.14, (start + end) / 2, "deconv ×2", size=8, color=UP, ha="left")
    arrow(ax, (sum_x, levels[0]), (sum_x + 0.7, levels[0]))
    feature_map(ax, sum_x + 1.2, levels[0], 1.0, 0.06, SCORE)
    write(ax, sum_x + 1.2, levels[0] + 0.35, "score map", weight="bold")
    write(ax, sum_x + 1.0, levels[0] - 0.35, "512×512×21", size=8, color=GREY)
    write(
        ax,
        sum_x + 0.4,
        0.55,
        "9 BR: 4 on the heads,\n3 on the sums, 2 after\nthe last deconvolutions",
        size=8,
        color=GREY,
        ha="left",
    )
    ax.plot((7.0, 7.0), (0.3, 7.4), color="#d5d9de", linewidth=0.8)
    title(ax, 7.25, 7.3, "B", "GCN block")
    block(ax, 8.85, 6.85, 4.3, GCN, (IN, OUT))
    title(ax, 7.25, 3.75, "C", "Boundary refinement (BR)")
    residual = [
        conv("3×3", "21 → 21", "", REFINE),
        ("ReLU", None, "white", ""),
        conv("3×3", "21 → 21", r"$\mathcal{R}(S)$", REFINE),
    ]
    block(ax, 8.85, 3.3, 0.4, [residual, []], ("$S$", r"$\tilde{S} = S + \mathcal{R}(S)$"))
    write(ax, 9.71, 1.95, "identity", size=8, color=GREY, ha="left")
    return figure


def figure4():
    """Fig. 4: the heads: (A) GCN, (B) 1×1 convolution, (C) k×k convolution, (D) stack of 3×3 convolutions."""
    figure, ax = canvas(10.8, 5.2)
    stack = [conv("3×3", "C → m", "w×h×m"), conv("3×3", "m → m", "w×h×m"), conv("3×3", "m → 21")]
    heads = (
        ("A", "GCN", 0.3, 1.7, GCN, "42 k (C + 21)"),
        ("B", "1×1 convolution", 3.6, 4.35, [[conv("1×1", "C → 21")]], "21 C"),
        ("C", "k×k convolution", 5.8, 6.55, [[conv("k×k", "C → 21")]], "21 k² C"),
        ("D", "Stack of 3×3 convolutions", 8.0, 8.9, [stack], "9 (C m + (n − 2) m² + 21 m)"),
    )
    for letter, name, left, x, branches, weights in heads:
        title(ax, left, 4.9, letter, name)
        block(ax, x, 4.35, 1.2, branches, (IN, OUT))
        write(ax, left, 0.72, f"weights: {weights}", ha="left")
    ax.plot((9.62, 9.7, 9.7, 9.62), (3.75, 3.75, 1.65, 1.65), color=GREY, linewidth=0.9)
    write(ax, 9.78, 2.7, "n = (k − 1)/2\nlayers (k ≥ 5)", size=8, color=GREY, ha="left")
    write(
        ax,
        0.3,
        0.3,
        "w×h: size of the map    C: its channels    21: classes    m: channels inside the"
        " stack    no biases, no nonlinearity    drawn for k = 7",
        size=8,
        color=GREY,
        ha="left",
    )
    return figure


def figure5():
    """Fig. 5: the residual block of res-5 in (A) ResNet-50, a bottleneck, and (B) ResNet50-GCN."""
    figure, ax = canvas(9.2, 5.4)
    title(ax, 0.25, 5.1, "A", "Bottleneck of ResNet-50")
    title(ax, 4.05, 5.1, "B", "Block of ResNet50-GCN")
    top, total, bottom = 4.55, 0.75, 0.3

    def layer(x, y, kernel, channels, color=HEAD):
        label, footprint, _, _ = conv(kernel, channels)
        box(ax, x, y, label, color, 1.4, 0.46, footprint)

    def after(x, y, text="BN, ReLU"):
        write(ax, x + 0.08, y, text, size=8, color=GREY, ha="left")

    def frame_of(x, shortcut_x):
        """Input, shortcut, sum and output, which both blocks share."""
        write(ax, x, top + 0.2, "2048 channels")
        arrow(ax, (x, top), (shortcut_x, top), (shortcut_x, total), (x + 0.11, total))
        write(ax, shortcut_x + 0.08, (top + total) / 2, "shortcut", size=8, color=GREY, ha="left")
        plus(ax, x, total)
        arrow(ax, (x, total - 0.11), (x, bottom))
        after(x, (total + bottom) / 2, "ReLU")

    x = 1.3
    frame_of(x, 2.55)
    heights = (3.85, 2.75, 1.65)
    layers = (("1×1", "2048 → 512"), ("3×3", "512 → 512"), ("1×1", "512 → 2048"))
    for y, (kernel, channels) in zip(heights, layers, strict=True):
        layer(x, y, kernel, channels, FEATURE)
    arrow(ax, (x, top), (x, heights[0] + 0.23))
    for upper, lower in itertools.pairwise(heights):
        arrow(ax, (x, upper - 0.23), (x, lower + 0.23))
        after(x, (upper + lower) / 2)
    arrow(ax, (x, heights[-1] - 0.23), (x, total + 0.11))
    after(x, 1.14, "BN")

    x, joined = 5.9, 2.15
    frame_of(x, 8.15)
    for branch, kernels in ((x - 1, ("7×1", "1×7")), (x + 1, ("1×7", "7×1"))):
        arrow(ax, (x, top), (x, 4.32), (branch, 4.32), (branch, 3.85 + 0.23))
        layer(branch, 3.85, kernels[0], "2048 → 128")
        arrow(ax, (branch, 3.85 - 0.23), (branch, 2.95 + 0.23))
        after(branch, 3.4)
        layer(branch, 2.95, kernels[1], "128 → 128")
        arrow(ax, (branch, 2.95 - 0.23), (branch, joined), (x + (0.11 if branch > x else -0.11), joined))
        after(branch, 2.58)
    plus(ax, x, joined)
    arrow(ax, (x, joined - 0.11), (x, 1.65 + 0.23))
    layer(x, 1.65, "1×1", "128 → 2048", FEATURE)
    arrow(ax, (x, 1.65 - 0.23), (x, total + 0.11))
    after(x, 1.14, "BN")
    write(
        ax, 3.2, 0.2, "res-5; in res-4 k = 5 with 85 channels. BN: batch normalisation.", size=8, color=GREY, ha="left"
    )
    return figure
