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
SIZES = "longer side of the object in pixels (number of objects)"


def _where(frame: pd.DataFrame, label: str) -> str:
    return f"On {label}, {seeds_text(frame.groupby('k')['seed'].nunique())}."


@styled
def field_over_k(frame: pd.DataFrame, label: str) -> Chart:
    """Side in pixels of the square that holds half, and 95 %, of a field's mass, over k.

    ``frame``: :func:`gcnlab.analysis.mechanism.field_frame`. k = 1 is the 1×1 baseline.
    """
    figure, (axes,) = style.canvas(7.4, 3.9, columns=2)
    theory = frame.groupby("k")["theoretical"].first()
    valid = {"color": style.ORANGE, "label": "valid (occlusion)"}
    effective = {"color": style.BLUE, "label": "effective (gradient)"}
    for ax, share in zip(axes, (50, 95), strict=True):
        ax.plot(theory.index, theory, "D--", color=style.GREY, markersize=4, label="theoretical")
        sides = style.draw_means(ax, frame, "k", f"valid{share}", **valid)  # at last of 95 %
        style.draw_means(ax, frame, "k", f"effective{share}", **effective)
        ax.set_xticks(theory.index, ["1×1" if k == 1 else k for k in theory.index])
        ax.set(title=f"square with {share} % of the mass", xlabel="kernel size k")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("side (pixels)")
    style.legend_above(figure, axes[0])
    first, last = theory.index.min(), theory.index.max()
    title = (
        f"From k = {first} to k = {last} the square with 95 % of the score drop grows from "
        f"{sides[first]:.0f} to {sides[last]:.0f} pixels, the theoretical field from "
        f"{theory[first]:.0f} to {theory[last]:.0f}."
    )
    caption = f"k = 1 is the 1×1 baseline. Bars: {style.INTERVAL}. {_where(frame, label)}"
    return Chart(figure, title, caption)


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
    sizes, largest = frame.groupby("bin")["size"], frame["k"].max()
    for ax, share in zip(axes, (50, 95), strict=True):
        for k, colour in style.shades(style.few(frame["k"])).items():
            mark = {"color": colour, "label": "1×1" if k == 1 else f"GCN {k}"}
            part, shift = frame[frame["k"] == k], 0.04 * k / largest
            style.draw_means(ax, part, "bin", f"valid{share}", shift, **mark)
        _name_bins(ax, sizes.min(), sizes.max(), counts)
        ax.set(title=f"square with {share} % of the score drop")
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel("side (pixels)")
    figure.supxlabel(SIZES, size=9.5)
    style.legend_above(figure, axes[0])
    sides = frame.groupby(["k", "bin"])["valid95"].mean()
    ratios = sides[largest] / sides[frame["k"].min()]
    title = (
        f"The largest k widens the field {ratios.iloc[0]:.1f} times at the smallest objects and "
        f"{ratios.iloc[-1]:.1f} times at the largest."
    )
    caption = f"Valid receptive fields by occlusion. Bars: {style.INTERVAL}. {_where(frame, label)}"
    return Chart(figure, title, caption)


@styled
def gain_by_size(frame: pd.DataFrame, label: str, score: str = "miou") -> Chart:
    """Gain in points over the 1×1 baseline by the size of the object, for at most four k.

    ``frame``: :func:`gcnlab.analysis.mechanism.size_frame`; ``score``: a key of `SCORES`.
    """
    frame = frame.assign(bin=frame["from"].rank(method="dense").astype(int))
    scores = frame.set_index(["k", "seed", "bin"])[score].unstack("k")
    compared = scores.sub(scores[1], axis=0).drop(columns=1).dropna(axis=1, how="all")
    figure, ((ax,),) = style.canvas(7.4, 3.9)
    style.zero_line(ax)
    shown = style.shades(style.few(compared.columns))
    for i, (k, colour) in enumerate(shown.items()):
        gain = compared[k].rename("gain").reset_index()
        shift = 0.09 * (i - (len(shown) - 1) / 2)
        gains = style.draw_means(ax, gain, "bin", "gain", shift, color=colour, label=f"GCN {k}")
    bins = frame.groupby("bin")
    _name_bins(ax, bins["from"].first(), bins["to"].first() - 1, bins["objects"].first())
    ax.set(xlabel=SIZES, ylabel=f"{SCORES[score]}: gain (points)")
    style.legend_above(figure, ax)
    title = (
        f"GCN {max(shown)} changes the {SCORES[score]} by {signed(gains.iloc[0])} points at "
        f"the smallest objects and by {signed(gains.iloc[-1])} at the largest."
    )
    return Chart(figure, title, f"Bars: {style.PAIRED}. {_where(frame, label)}")
