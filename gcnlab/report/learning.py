"""Charts of training: learning curves, fit and generalisation over k, and trained kernels."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from gcnlab.experiments.measuring import CURVE_IMAGES
from gcnlab.report import style
from gcnlab.report.style import Chart, styled
from gcnlab.report.words import seeds_text, signed

SCORED = {
    "miou": f"A point scores up to {CURVE_IMAGES} validation images; the tables score all.",
    "loss": "A point is the mean loss of the steps since the point before.",
}


@styled
def learning_curves(frame: pd.DataFrame, label: str, score: str = "miou") -> Chart:
    """mIoU in percent, or the training ``loss``, over steps: a panel per family of heads.

    ``frame``: :func:`gcnlab.analysis.curves.learning_curves`. At most four kernel sizes of a family
    are shown; the 1×1 baseline is black in every panel.
    """
    diverged = frame["diverged"].astype(bool)
    scored = frame[~diverged].dropna(subset=[score])
    base = scored[scored["head"] == "conv1x1"]
    families = dict(list(scored.groupby("family", sort=False)))
    if len(families) > 1:
        families = {name: f for name, f in families.items() if name not in set(base["family"])}
    rows, together = (len(families) + 1) // 2, {"sharex": True, "sharey": score == "miou"}
    figure, axes = style.canvas(7.4, 0.6 + 2.7 * rows, rows, min(2, len(families)), **together)
    panels = list(zip(axes.flat, families.items(), strict=False))
    ends = [_learning(ax, name, group, base, score) for ax, (name, group) in panels]
    axes[0, 0].set_xlim(right=scored["step"].max() / 0.72)  # the rest is for the names
    for (ax, _), names in zip(panels, ends, strict=True):  # now that the limits are final
        style.name_ends(ax, names, at=0.72, apart=0.09)
    for ax, above in zip(axes.flat[len(families) :], axes.flat[len(families) - 2 :], strict=False):
        ax.remove()
        above.tick_params(labelbottom=True)
    figure.supxlabel("training step", size=9.5)
    figure.supylabel({"miou": "mIoU (%)", "loss": "training loss"}[score], size=9.5)
    shown = {name for names in ends for _, name, _ in names}
    last = scored[(scored["step"] == scored["step"].max()) & scored["title"].isin(shown)]
    last = last.groupby("title")[score].mean()
    best = last.idxmax() if score == "miou" else last.idxmin()
    value = f"{last[best]:.1f} % mIoU" if score == "miou" else f"a loss of {last[best]:.3f}"
    n = seeds_text(scored.groupby("title")["seed"].nunique())
    caption = (
        f"Mean over seeds on {label}, {n}; at most four kernel sizes of a family. {SCORED[score]} "
        "The networks after the last step count; no other is selected."
    )
    if diverged.any():
        left_out = frame[diverged].groupby(["title", "seed"]).ngroups
        caption += f" Left out, as diverged: {left_out}."
    return Chart(figure, f"At step {scored['step'].max():,} {best} is first with {value}.", caption)


def _learning(
    ax: Axes, family: str, group: pd.DataFrame, base: pd.DataFrame, score: str
) -> list[tuple]:
    """Draw one panel; returns its (last value, name, colour)."""
    ends = []
    for k, colour in {"base": style.INK, **style.shades(style.few(group["k"].dropna()))}.items():
        variants = base if k == "base" else group[group["k"] == k]
        for title, rows in variants.groupby("title", sort=False):
            mean = rows.groupby("step")[score].mean()
            dash = "--" if rows["refine"].any() else "-"
            ax.plot(mean.index, mean, dash, color=colour, linewidth=1.4)
            ends.append((mean.iloc[-1], title, colour))
    ax.set(title=family, xlim=(0, None))
    if score == "loss":
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
    return ends


@styled
def fit_over_k(frame: pd.DataFrame, label: str) -> Chart:
    """Training and validation mIoU of GCN and of the trivial convolution over k, by data size.

    ``frame``: :func:`gcnlab.analysis.dense_kernel.frame`. Only plain trainings are shown: no
    other starting weights, no scaled learning rate.
    """
    plain = frame[frame["start"].isna() & frame["scaled"].isna()]
    settings = dict(list(plain.groupby(plain["low_data"].astype(bool))))
    figure, (axes,) = style.canvas(7.4, 3.9, columns=max(1, len(settings)))
    heads = (("gcn", "GCN", style.ORANGE), ("conv", "trivial k×k", style.BLUE))
    scores = (("training_miou", "training", "--"), ("miou", "validation", "-"))
    for ax, (low_data, part) in zip(axes, settings.items(), strict=False):
        for head, words, colour in heads:
            for score, images, dash in scores:
                mark = {"color": colour, "linestyle": dash, "label": f"{words}, {images}"}
                style.draw_means(ax, part[part["head"] == head], "k", score, **mark)
        ax.set(xlabel="kernel size k", xticks=sorted(part["k"].unique()))
        ax.set(title="low-data" if low_data else "all training images")
    axes[0].set_ylabel("mIoU (%)")
    style.legend_above(figure, axes[0])
    n = seeds_text(plain.groupby(["head", "k", "low_data"])["seed"].nunique())
    caption = f"Broken lines: on the training images. Bars: {style.INTERVAL}. On {label}, {n}."
    return Chart(figure, _fit_finding(plain), caption)


def _fit_finding(plain: pd.DataFrame) -> str:
    conv = plain[(plain["head"] == "conv") & ~plain["low_data"].astype(bool)]
    if conv["k"].nunique() < 2:
        return "The trivial convolution was not run at several k."
    means = conv.groupby("k")[["training_miou", "miou"]].mean()
    best, largest = means["miou"].idxmax(), means.index.max()
    lost = means.loc[largest] - means.loc[best]
    fit, gap = lost["training_miou"], lost["miou"] - lost["training_miou"]
    return (
        f"From k = {best} to k = {largest} the trivial convolution changes by "
        f"{signed(lost['miou'])} points: {signed(fit)} in fit to the training images, "
        f"{signed(gap)} in generalisation."
    )


@styled
def kernel_spectrum(spectra: dict[str, list[np.ndarray]], label: str) -> Chart:
    """Singular values of trained kernels relative to the largest: name → a curve per seed."""
    figure, ((ax,),) = style.canvas(6.4, 3.6)
    means = {name: np.mean(curves, axis=0) for name, curves in spectra.items()}
    colours = (style.ORANGE, style.BLUE, style.GREY, style.INK)
    ends = []
    for (name, mean), colour in zip(means.items(), colours, strict=False):
        ax.plot(np.arange(1, len(mean) + 1), mean, color=colour)
        ends.append((mean[-1], name, colour))
    ax.set(yscale="log", xlabel="singular value", ylabel="relative to the largest")
    style.name_ends(ax, ends)
    ranks = ", ".join(f"{name} {(mean > 0.1 * mean.max()).sum()}" for name, mean in means.items())
    n = seeds_text(map(len, spectra.values()))
    caption = f"Kernels of the coarsest feature map on {label}, mean over seeds, {n}."
    return Chart(figure, f"Singular values above a tenth of the largest: {ranks}.", caption)
