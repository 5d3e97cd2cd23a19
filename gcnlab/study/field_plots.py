"""Figures of what trained networks see: field sizes over k, scores and gains by object size."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gcnlab.study.drawing import ACCENT, GREY, INK
from gcnlab.study.series import BLUE, count_text, empty, legend, page, styled


@styled
def field_over_k(frame: pd.DataFrame, profile: str) -> Figure:
    """Side of the square that holds half, and 95 %, of a field's mass, over k; bars are ± std over seeds.

    ``frame`` as :func:`gcnlab.study.measurements.field_frame` gives it. k = 1 is the 1×1 baseline.
    """
    figure, (axes,) = page(8.8, 4.1, columns=2)
    for ax, share in zip(axes, ("50", "95"), strict=True):
        if frame.empty:
            empty(ax)
            continue
        theory = frame.groupby("k")["theoretical"].first()
        ax.plot(theory.index, theory, "s--", color=GREY, label="theoretical")
        for kind, color in (("valid", ACCENT), ("effective", BLUE)):
            sides = frame.groupby(["k", "seed"])[f"{kind}{share}"].mean().groupby("k").agg(["mean", "std"])
            words = "valid (occlusion)" if kind == "valid" else "effective (gradient)"
            ax.errorbar(sides.index, sides["mean"], sides["std"].fillna(0), fmt="o-", color=color, label=words)
        ax.set_xticks(theory.index, ["1×1" if k == 1 else k for k in theory.index])
        ax.set(xlabel="kernel size k", ylabel="side (pixels)", title=f"square with {share} % of the mass")
        ax.set_ylim(bottom=0)
    seeds = count_text(frame.groupby("k")["seed"].nunique()) if len(frame) else "(not run)"
    figure.suptitle(f"receptive fields on {profile} {seeds}", size=10)
    if len(frame):
        legend(figure, axes[0].get_legend_handles_labels()[0])
    return figure


SCORES = {
    "miou": "mIoU of object pixels",
    "internal_accuracy": "internal accuracy",
    "centre_accuracy": "accuracy at the centre",
}


def _models(frame: pd.DataFrame) -> list[tuple[str, Any]]:
    """Name and colour of every k of ``frame``."""
    ks = sorted(frame["k"].unique())
    shades = [INK, *seaborn.light_palette(ACCENT, len(ks) + 2)[3:]] if ks[0] == 1 else [ACCENT] * len(ks)
    return [("1×1" if k == 1 else f"GCN {k}", color) for k, color in zip(ks, shades, strict=False)]


def _name_bins(ax: Axes, frame: pd.DataFrame, counts: pd.Series) -> None:
    bins = frame.drop_duplicates("bin").sort_values("bin")
    names = [f"{low}–{high - 1}\n({counts[i]})" for i, low, high in bins[["bin", "from", "to"]].to_numpy()]
    ax.set_xticks(bins["bin"], names)
    ax.set_xlabel("longer side of the object in pixels (number of objects)")


@styled
def field_by_size(frame: pd.DataFrame, profile: str) -> Figure:
    """Sides of the valid field at objects of every size, for every k; bars are ± std over seeds.

    ``frame`` as :func:`gcnlab.study.measurements.field_frame` gives it.
    """
    figure, (axes,) = page(8.8, 4.3, columns=2)
    for ax, share in zip(axes, ("50", "95"), strict=True):
        if frame.empty:
            empty(ax)
            continue
        for (_, group), (label, color) in zip(frame.groupby("k"), _models(frame), strict=True):
            sides = group.groupby(["bin", "seed"])[f"valid{share}"].mean().groupby("bin").agg(["mean", "std"])
            ax.errorbar(sides.index, sides["mean"], sides["std"].fillna(0), fmt="o-", color=color, label=label)
        counts = frame.groupby(["k", "seed", "bin"]).size().groupby("bin").max()
        _name_bins(ax, frame, counts)
        ax.set(ylabel="side (pixels)", title=f"valid field: square with {share} % of the fall")
        ax.set_ylim(bottom=0)
    seeds = count_text(frame.groupby("k")["seed"].nunique()) if len(frame) else "(not run)"
    figure.suptitle(f"valid receptive fields by object size on {profile} {seeds}", size=10)
    if len(frame):
        legend(figure, axes[0].get_legend_handles_labels()[0], columns=8)
    return figure


@styled
def score_by_size(frame: pd.DataFrame, profile: str, score: str = "miou") -> Figure:
    """A score over the size of the object for every k, and the gain over the baseline; bars are ± std over seeds.

    ``frame`` as :func:`gcnlab.study.measurements.size_frame` gives it.
    """
    figure, (axes,) = page(8.8, 4.3, columns=2)
    if frame.empty:
        for ax in axes:
            empty(ax)
        return figure
    base = frame[frame["k"] == 1].set_index(["seed", "bin"])[score]
    for (k, group), (label, color) in zip(frame.groupby("k"), _models(frame), strict=True):
        scores = group.groupby("bin")[score].agg(["mean", "std"])
        axes[0].errorbar(scores.index, scores["mean"], scores["std"].fillna(0), fmt="o-", color=color, label=label)
        if k > 1:
            gain = (group.set_index(["seed", "bin"])[score] - base).groupby("bin").agg(["mean", "std"])
            axes[1].errorbar(gain.index, gain["mean"], gain["std"].fillna(0), fmt="o-", color=color)
    axes[1].axhline(0, color=INK, linewidth=1, linestyle="--")
    what = SCORES[score]
    counts = frame.groupby("bin")["objects"].first()
    for ax, label in zip(axes, (f"{what} (%)", f"{what}: gain over 1×1 (points)"), strict=True):
        _name_bins(ax, frame, counts)
        ax.set_ylabel(label)
    figure.suptitle(f"by object size on {profile} {count_text(frame.groupby('k')['seed'].nunique())}", size=10)
    legend(figure, axes[0].get_legend_handles_labels()[0], columns=8)
    return figure


TRIAL_COLORS = {"gcn": ACCENT, "conv": BLUE}


@styled
def fit_over_k(frame: pd.DataFrame, profile: str) -> Figure:
    """Training and validation mIoU of GCN and of the trivial convolution over k, on all and on few images.

    ``frame`` as :func:`gcnlab.study.open_question.frame` gives it.
    """
    figure, (axes,) = page(8.8, 4.3, columns=2)
    plain = frame[frame["start"].isna() & frame["scaled"].isna()]
    for ax, few in zip(axes, (False, True), strict=True):
        part = plain[plain["few"] == few]
        for head, group in part.groupby("head"):
            for score, style in (("training_miou", "o--"), ("miou", "o-")):
                found = group.groupby("k")[score].agg(["mean", "std"])
                label = (
                    f"{'GCN' if head == 'gcn' else 'trivial k×k'}, {'validation' if score == 'miou' else 'training'}"
                )
                color = TRIAL_COLORS[head]
                ax.errorbar(found.index, found["mean"], found["std"].fillna(0), fmt=style, color=color, label=label)
        if part.empty:
            empty(ax)
        else:
            ax.set_xticks(sorted(part["k"].unique()))
        ax.set(xlabel="kernel size k", ylabel="mIoU (%)", title="few training images" if few else "all training images")
    seeds = count_text(plain.groupby(["head", "k", "few"])["seed"].nunique()) if len(plain) else "(not run)"
    figure.suptitle(f"fit and validation on {profile} {seeds}; bars ± std", size=10)
    if len(plain):
        legend(figure, axes[0].get_legend_handles_labels()[0], columns=4)
    return figure


@styled
def kernel_spectrum(records: list[dict], profile: str) -> Figure:
    """Singular values of trained kernels of the largest k: trivial ones, and the dense kernel that a GCN equals."""
    figure, ((ax,),) = page(6.4, 4.0)
    shown = {
        "GCN": lambda t: plain(t) and t["head"] == "gcn",
        "trivial": lambda t: plain(t) and t["head"] == "conv",
        "trivial, few images": lambda t: t["few"] and t["head"] == "conv",
        "trivial, begun with GCN's kernel": lambda t: t["start"] == "gcn" and t["head"] == "conv",
    }

    def plain(trial: dict) -> bool:
        return trial["start"] is None and trial["scaled"] is None and not trial["few"]

    largest = max((r["trial"]["k"] for r in records), default=0)
    for (label, choose), color in zip(shown.items(), (ACCENT, BLUE, GREY, INK), strict=True):
        curves = [r["spectrum"] for r in records if r["trial"]["k"] == largest and choose(r["trial"])]
        if curves:
            mean = np.mean(curves, 0)
            ax.plot(np.arange(1, len(mean) + 1), mean, color=color, label=f"{label} (n = {len(curves)})")
    if not ax.lines:
        empty(ax)
    else:
        ax.set(yscale="log", xlabel="singular value", ylabel="relative to the largest")
        legend(figure, ax.get_legend_handles_labels()[0], columns=2)
    ax.set_title(f"{largest}×{largest} kernels of the coarsest map on {profile}")
    return figure
