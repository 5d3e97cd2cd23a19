"""One chart for every table's question: the differences that the paper speaks of, never levels.

Every function takes a long table (:func:`gcnlab.analysis.tables.compare`) and the words for its
sources, and returns a `Chart`. Grey diamonds are published, one run each; coloured marks are ours,
with 95 % t intervals of the differences within seeds; small dots are single seeds. What was not
run is left out and named in the caption.
"""

from itertools import pairwise

import pandas as pd

from gcnlab.report import style
from gcnlab.report.gain_plots import Labels, as_rows, over_k
from gcnlab.report.style import Chart, styled
from gcnlab.report.words import seeds_text, signed


def _rows(frame: pd.DataFrame, metric: str = "miou") -> list[pd.Series]:
    return [row for _, row in frame[frame["metric"] == metric].iterrows()]


def gain_over_k(frame: pd.DataFrame, labels: Labels) -> Chart:
    """How many points does GCN gain over the 1×1 baseline, kernel by kernel? (Table 1)"""
    base = next(row for row in _rows(frame) if row["head"] == "conv1x1")
    pairs = [
        (f"GCN {row['k']} − 1×1 baseline", "", row["k"], row, base)
        for row in _rows(frame)
        if row["head"] == "gcn"
    ]
    what = "Gain in mIoU of GCN over the 1×1 baseline."
    return over_k(frame, pairs, labels, what, [pairs[-1][0]])


def heads_over_k(frame: pd.DataFrame, labels: Labels) -> Chart:
    """How many points is GCN ahead of another head with the same k? (Tables 2 and 3)"""
    gcn = {row["k"]: row for row in _rows(frame) if row["head"] == "gcn"}
    others = [row for row in _rows(frame) if row["head"] != "gcn" and row["k"] in gcn]
    names = {"conv": "trivial {0}×{0} convolution", "stack": "stack of 3×3 convolutions"}
    other_name = names[others[-1]["head"]]
    pairs = [
        (f"GCN {k} − {other_name.format(k)}", "", k, gcn[k], row)
        for row in others
        for k in [row["k"]]
    ]
    what = f"Lead in mIoU of GCN over the {other_name.format('k')} that spans the same k."
    return over_k(frame, pairs, labels, what, [pairs[-1][0]])


def gain_over_m(frame: pd.DataFrame, labels: Labels) -> Chart:
    """How many points is GCN ahead of stacks with fewer and fewer inner channels? (Table 4)"""
    (gcn,) = (row for row in _rows(frame) if row["head"] == "gcn")
    pairs = []
    for row in _rows(frame):
        if row["head"] == "stack":
            size = "all" if row["m_ratio"] == 1 else f"1/{1 / row['m_ratio']:.0f} of the"
            name = f"GCN {gcn['k']} − stack, {size} inner channels"
            pairs.append((name, "", name, gcn, row))
    what = "Lead in mIoU of GCN over stacks of 3×3 convolutions by the share of inner channels m."
    return as_rows(frame, pairs, labels, what, [pairs[0][0], pairs[-1][0]])


REGIONS = {
    "boundary_accuracy": "accuracy near boundaries",
    "internal_accuracy": "accuracy inside objects",
    "miou": "mIoU",
}


def regions(frame: pd.DataFrame, labels: Labels) -> Chart:
    """Where do GCN and boundary refinement gain, near boundaries or inside objects? (Table 5)"""
    pairs = []
    for metric, words in REGIONS.items():
        rows = _rows(frame, metric)
        for before, after in pairwise(rows):
            name = f"{after['row']} − {before['row']}"
            pairs.append((f"{name}, {words}", words, name, after, before))
    told = [label for label, _, name, *_ in pairs if name == pairs[0][2] and "mIoU" not in label]
    return as_rows(frame, pairs, labels, "Gain of each step, by region.", told)


def backbones(frame: pd.DataFrame, labels: Labels) -> Chart:
    """What does the GCN form of the backbone change, in both its uses? (Table 6)"""
    pairs = []
    errors = {
        "top1_error": "top-1 error (lower is better)",
        "top5_error": "top-5 error (lower is better)",
    }
    for (row, metric), group in frame.groupby(["row", "metric"], sort=False):
        name = errors.get(metric) or f"{row}, mIoU"
        resnet, gcn = (cells for _, cells in group.iterrows())
        pairs.append((name, "ResNet-GCN − ResNet", name, gcn, resnet))
    what = "Difference between the GCN form of a ResNet and the ResNet, trained by one recipe."
    told = [label for label, *_ in pairs if "mIoU" in label]
    return as_rows(frame, pairs, labels, what, told)


def stages(frame: pd.DataFrame, labels: Labels) -> Chart:
    """What does each training stage and each step of post-processing add? (Tables 7 and 9)"""
    pairs = []
    for column, group in frame[frame["metric"] == "miou"].groupby("column", sort=False):
        rows = [row for _, row in group.iterrows()]
        for before, after in pairwise(rows):
            step = after["row"].removeprefix(before["row"]).lstrip("-")
            pairs.append((f"{column}: + {step}", column, f"+ {step}", after, before))
    what = (
        "Gain in mIoU of each step over the step before (MS: several scales and mirrored images)."
    )
    return as_rows(frame, pairs, labels, what, [pairs[-1][0]])


@styled
def gain_over_distance(frame: pd.DataFrame, label: str, headline: float) -> Chart:
    """Table 5's gains over the distance (pixels) that separates boundary region and interior.

    ``frame``: columns model, distance, seed, boundary_accuracy, internal_accuracy (percent);
    ``headline`` is the distance of the table. Each model is compared with the one before it.
    """
    models = list(dict.fromkeys(frame["model"]))
    figure, (axes,) = style.canvas(7.4, 3.6, columns=2, sharey=True)
    ends: dict[str, float] = {}
    for ax, region in zip(axes, ("boundary", "internal"), strict=True):
        style.zero_line(ax)
        ax.axvline(headline, color=style.GREY, linewidth=1, linestyle=":")
        scores = frame.pivot_table(f"{region}_accuracy", ["distance", "seed"], "model")
        for (before, after), colour in zip(
            pairwise(models), (style.ORANGE, style.BLUE), strict=False
        ):
            gain = (scores[after] - scores[before]).rename("gain").reset_index()
            line = style.over_seeds(gain, "distance", "gain")
            style.draw_line(ax, line, color=colour, label=f"{after} − {before}")
            nearest = min(line.index, key=lambda distance: abs(distance - headline))
            ends[f"{after} − {before}, {region}"] = line.loc[nearest, "mean"]
        ax.set(title=f"{region} accuracy", xlabel="distance to the boundary (pixels)")
        ax.set_xticks(sorted(set(frame["distance"])))
    axes[0].set_ylabel("gain (points)")
    style.legend_above(figure, axes[0])
    title = "; ".join(f"{name}: {signed(gain)} points" for name, gain in ends.items()) + "."
    n = seeds_text(frame.groupby("model")["seed"].nunique())
    caption = (
        f"Dotted: Table 5's distance, {headline:g} pixels. Bars: {style.PAIRED}. On {label}, {n}."
    )
    return Chart(figure, title, caption)
