"""Charts of what trained networks see: receptive fields over k, gains by the size of objects."""

import pandas as pd
from matplotlib.axes import Axes

from gcnlab.report import style
from gcnlab.report.style import Chart, styled
from gcnlab.report.words import seeds_text, signed

SCORES = {
    "miou": "mIoU of object pixels",
    "accuracy": "accuracy of object pixels",
    "internal_accuracy": "internal accuracy",
    "centre_accuracy": "accuracy at the centre",
}


def _n(frame: pd.DataFrame) -> str:
    return seeds_text(frame.groupby("k")["seed"].nunique())


@styled
def field_over_k(frame: pd.DataFrame, label: str) -> Chart:
    """Side in pixels of the square that holds half, and 95 %, of a field's mass, over k.

    ``frame``: :func:`gcnlab.analysis.mechanism.field_frame`. k = 1 is the 1×1 baseline.
    """
    figure, (axes,) = style.canvas(7.4, 3.9, columns=2)
    theory = frame.groupby("k")["theoretical"].first()
    kinds = {
        "valid": ("valid (occlusion)", style.ORANGE),
        "effective": ("effective (gradient)", style.BLUE),
    }
    for ax, share in zip(axes, (50, 95), strict=True):
        ax.plot(theory.index, theory, "D--", color=style.GREY, markersize=4, label="theoretical")
        for kind, (words, colour) in kinds.items():
            style.draw_line(
                ax, style.over_seeds(frame, "k", f"{kind}{share}"), color=colour, label=words
            )
        ax.set_xticks(theory.index, ["1×1" if k == 1 else k for k in theory.index])
        ax.set(title=f"square with {share} % of the mass", xlabel="kernel size k")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("side (pixels)")
    style.legend_above(figure, axes[0])
    sides = frame.groupby("k")["valid95"].mean()
    first, last = sides.index.min(), sides.index.max()
    title = (
        f"From k = {first} to k = {last} the square with 95 % of the score drop grows from "
        f"{sides[first]:.0f} to {sides[last]:.0f} pixels, the theoretical field from "
        f"{theory[first]:.0f} to {theory[last]:.0f}."
    )
    caption = f"k = 1 is the 1×1 baseline. Bars: {style.INTERVAL}. On {label}, {_n(frame)}."
    return Chart(figure, title, caption)


SIZES = "longer side of the object in pixels (number of objects)"


def _name_bins(ax: Axes, low: pd.Series, high: pd.Series, counts: pd.Series) -> None:
    """Name the size bins: three series over the bin, of pixels and of objects."""
    names = [f"{low[i]:.0f}–{high[i]:.0f}\n({counts[i]:.0f})" for i in counts.index]
    ax.set_xticks(counts.index, names)
    ax.grid(axis="x", visible=False)


@styled
def field_by_size(frame: pd.DataFrame, label: str) -> Chart:
    """Sides in pixels of the valid field at objects of every size, for at most four k.

    ``frame``: :func:`gcnlab.analysis.mechanism.field_frame`.
    """
    figure, (axes,) = style.canvas(7.4, 4.1, columns=2)
    counts = frame.groupby(["k", "seed", "bin"]).size().groupby("bin").max()
    bins = [frame.groupby("bin")["size"].agg(end) for end in ("min", "max")]
    for ax, share in zip(axes, (50, 95), strict=True):
        for k, colour in style.shades(style.few(frame["k"])).items():
            line = style.over_seeds(frame[frame["k"] == k], "bin", f"valid{share}")
            line.index = line.index + 0.04 * k / frame["k"].max()
            style.draw_line(ax, line, color=colour, label="1×1" if k == 1 else f"GCN {k}")
        _name_bins(ax, *bins, counts)
        ax.set(title=f"square with {share} % of the score drop")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("side (pixels)")
    figure.supxlabel(SIZES, size=9.5)
    style.legend_above(figure, axes[0])
    growth = frame[frame["k"].isin([1, frame["k"].max()])]
    growth = growth.groupby(["bin", "k"])["valid95"].mean().unstack()
    ratios = growth.iloc[:, -1] / growth.iloc[:, 0]
    title = (
        f"The largest k widens the field {ratios.iloc[0]:.1f} times at the smallest objects and "
        f"{ratios.iloc[-1]:.1f} times at the largest."
    )
    caption = (
        f"Valid receptive fields by occlusion. Bars: {style.INTERVAL}. On {label}, {_n(frame)}."
    )
    return Chart(figure, title, caption)


@styled
def gain_by_size(frame: pd.DataFrame, label: str, score: str = "miou") -> Chart:
    """Gain in points over the 1×1 baseline by the size of the object, for at most four k.

    ``frame``: :func:`gcnlab.analysis.mechanism.size_frame`; ``score``: a key of `SCORES`.
    """
    frame = frame.assign(bin=frame["from"].rank(method="dense").astype(int))
    base = frame[frame["k"] == 1].set_index(["seed", "bin"])[score]
    figure, ((ax,),) = style.canvas(7.4, 3.9)
    style.zero_line(ax)
    told, shown = pd.DataFrame(), style.shades(style.few(k for k in frame["k"] if k > 1))
    for place, (k, colour) in enumerate(shown.items()):
        group = frame[frame["k"] == k].set_index(["seed", "bin"])
        gain = (group[score] - base).rename("gain").reset_index()
        told = style.over_seeds(gain, "bin", "gain")
        line = told.set_axis(told.index + 0.09 * (place - (len(shown) - 1) / 2))
        style.draw_line(ax, line, color=colour, label=f"GCN {k}")
    bins = frame.groupby("bin")
    _name_bins(ax, bins["from"].first(), bins["to"].first() - 1, bins["objects"].first())
    ax.set(xlabel=SIZES, ylabel=f"{SCORES[score]}: gain (points)")
    style.legend_above(figure, ax)
    ends = [signed(told["mean"].iloc[place]) if len(told) else "–" for place in (0, -1)]
    title = (
        f"GCN {frame['k'].max()} changes the {SCORES[score]} by {ends[0]} points at the smallest "
        f"objects and by {ends[1]} at the largest."
    )
    return Chart(figure, title, f"Bars: {style.PAIRED}. On {label}, {_n(frame)}.")
