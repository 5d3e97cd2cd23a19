"""The paper's schematic figures, redrawn: Fig. 1 (three networks), Fig. 2 (framework), Fig. 4 (heads), Fig. 5 (blocks).

Each function returns a `matplotlib.figure.Figure` that belongs to no window, so it works in a batch job:

    figure2().savefig("fig2.png", dpi=200)

Kernels are drawn for k = 7, scores for the 21 VOC classes.
"""

import itertools

from matplotlib.patches import Rectangle

from gcnlab.study.drawing import (
    ACCENT,
    FEATURE,
    GCN,
    GREY,
    HEAD,
    IN,
    INK,
    LIT,
    OBLIQUE,
    OUT,
    REFINE,
    SCORE,
    UP,
    arrow,
    block,
    box,
    canvas,
    conv,
    feature_map,
    on_face,
    plus,
    title,
    write,
)


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
