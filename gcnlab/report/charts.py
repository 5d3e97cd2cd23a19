"""One chart for every table's question: the differences that the paper speaks of, never levels.

Every function takes a long table (:func:`gcnlab.analysis.tables.compare`) and the words for its
sources, and returns a `Chart`. Grey diamonds are published, one run each; coloured marks are ours,
with 95 % t intervals of the differences within seeds; small dots are single seeds. What was not
run is left out and named in the caption.
"""

from itertools import pairwise

import pandas as pd

from gcnlab.report import gains, style
from gcnlab.report.gains import Labels, Row
from gcnlab.report.style import Chart, styled
from gcnlab.report.words import seeds_text, signed


def _rows(frame: pd.DataFrame, metric: str = "miou") -> list[Row]:
    return frame[frame["metric"] == metric].to_dict("records")


def gain_over_k(frame: pd.DataFrame, labels: Labels) -> Chart:
    """How many points does GCN gain over the 1×1 baseline, kernel by kernel? (Table 1)"""
    base, *gcns = _rows(frame)
    pairs = [(f"GCN {row['k']} − 1×1 baseline", "", row["k"], row, base) for row in gcns]
    what = "Gain in mIoU of GCN over the 1×1 baseline."
    return gains.chart(frame, pairs, labels, what, over_k=True)


def heads_over_k(frame: pd.DataFrame, labels: Labels) -> Chart:
    """How many points is GCN ahead of another head with the same k? (Tables 2 and 3)"""
    gcn = {row["k"]: row for row in _rows(frame) if row["head"] == "gcn"}
    others = {row["k"]: row for row in _rows(frame) if row["head"] != "gcn"}
    names = {"conv": "dense {0}×{0} convolution", "stack": "stack of 3×3 convolutions"}
    other = names[others[max(others)]["head"]]
    pairs = [(f"GCN {k} − {other.format(k)}", "", k, gcn[k], row) for k, row in others.items()]
    what = f"Lead in mIoU of GCN over the {other.format('k')} that spans the same k."
    return gains.chart(frame, pairs, labels, what, pairs[0][0], pairs[-1][0], over_k=True)


def gain_over_m(frame: pd.DataFrame, labels: Labels) -> Chart:
    """How many points is GCN ahead of stacks with fewer and fewer inner channels? (Table 4)"""
    *stacks, gcn = _rows(frame)
    sizes = ["all" if m == 1 else f"1/{1 / m:.0f} of the" for m in (r["m_ratio"] for r in stacks)]
    names = [f"GCN {gcn['k']} − stack, {size} inner channels" for size in sizes]
    pairs = [(name, "", name, gcn, row) for name, row in zip(names, stacks, strict=True)]
    what = "Lead in mIoU of GCN over stacks of 3×3 convolutions by the share of inner channels m."
    return gains.chart(frame, pairs, labels, what, names[0], names[-1])


REGIONS = {
    "boundary_accuracy": "accuracy near boundaries",
    "internal_accuracy": "accuracy inside objects",
    "miou": "mIoU",
}


def regions(frame: pd.DataFrame, labels: Labels) -> Chart:
    """Where do GCN and boundary refinement gain, near boundaries or inside objects? (Table 5)"""
    pairs = []
    for metric, words in REGIONS.items():
        for before, after in pairwise(_rows(frame, metric)):
            name = f"{after['row']} − {before['row']}"
            pairs.append((f"{name}, {words}", words, name, after, before))
    told = [f"{pairs[0][2]}, {REGIONS[m]}" for m in ("boundary_accuracy", "internal_accuracy")]
    return gains.chart(frame, pairs, labels, "Gain of each step, by region.", *told)


def backbones(frame: pd.DataFrame, labels: Labels) -> Chart:
    """What does the GCN form of the backbone change, in both its uses? (Table 6)"""
    errors = {f"top{n}_error": f"top-{n} error (lower is better)" for n in (1, 5)}
    pairs = []
    for (row, metric), group in frame.groupby(["row", "metric"], sort=False):
        name = errors.get(metric) or f"mIoU of {row.partition('(')[2].rstrip(')')}"
        resnet, gcn = group.to_dict("records")
        both = "ResNet-GCN − ResNet"
        pairs.append((f"{both}, {name}", both, name, gcn, resnet))
    what = "Difference between the GCN form of a ResNet and the ResNet, trained by one recipe."
    told = [label for label, *_ in pairs if "mIoU" in label]
    return gains.chart(frame, pairs, labels, what, *told)


def stages(frame: pd.DataFrame, labels: Labels) -> Chart:
    """What does each training stage and each step of post-processing add? (Tables 7 and 9)"""
    pairs = []
    for column, group in frame[frame["metric"] == "miou"].groupby("column", sort=False):
        for before, after in pairwise(_rows(group)):
            step = f"+ {after['row'].removeprefix(before['row']).lstrip('-')}"
            pairs.append((f"{step[2:]} added to {column}", column, step, after, before))
    what = "Gain in mIoU of each step over the one before (MS: several scales, mirrored images)."
    told = [label for label, column, *_ in pairs if column == pairs[-1][1]]
    return gains.chart(frame, pairs, labels, what, *told)


@styled
def gain_over_distance(frame: pd.DataFrame, label: str, headline: float) -> Chart:
    """Table 5's gains over the distance (pixels) that separates boundary region and interior.

    ``frame``: columns model, distance, seed, boundary_accuracy, internal_accuracy (percent);
    ``headline`` is the distance of the table. Each model is compared with the one before it.
    """
    steps = list(pairwise(dict.fromkeys(frame["model"])))
    figure, (axes,) = style.canvas(7.4, 3.6, columns=2, sharey=True)
    told = []
    for ax, region in zip(axes, ("boundary", "internal"), strict=True):
        style.zero_line(ax)
        ax.axvline(headline, color=style.GREY, linewidth=1, linestyle=":")
        scores = frame.pivot_table(f"{region}_accuracy", ["distance", "seed"], "model")
        for (before, after), colour in zip(steps, (style.ORANGE, style.BLUE), strict=False):
            gain = (scores[after] - scores[before]).dropna().rename("gain").reset_index()
            if gain.empty:  # no seed in common
                continue
            mark = {"color": colour, "label": f"{after} − {before}"}
            line = style.draw_means(ax, gain, "distance", "gain", **mark)
            nearest = line.iloc[abs(line.index - headline).argmin()]
            told.append(f"{mark['label']}, {region}: {signed(nearest)} points")
        ax.set(title=f"{region} accuracy", xlabel="distance to the boundary (pixels)")
        ax.set_xticks(sorted(set(frame["distance"])))
        ax.xaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("gain (points)")
    style.legend_above(figure, axes[0])
    n = seeds_text(frame.groupby("model")["seed"].nunique())
    where = f"Dotted: Table 5's distance, {headline:g} pixels."
    return Chart(figure, f"{'; '.join(told)}.", f"{where} Bars: {style.PAIRED}. On {label}, {n}.")
