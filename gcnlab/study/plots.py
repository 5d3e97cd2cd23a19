"""Figures of the study: what was published beside what was reproduced.

Every function returns a `matplotlib.figure.Figure` that belongs to no window. Most take a long table with one row per
published number (`tables.compare`) and the profile, which labels every reproduced series together with its n. Filled
marks are the committed study, hollow ones the user's own run; bars and bands are ± one standard deviation over seeds
(n ≥ 2). Scores are in percent. Nothing is drawn for what was not run, and the figure says so.
"""

import re

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gcnlab.study.drawing import ACCENT, GREY, INK
from gcnlab.study.series import (
    HEAD_COLORS,
    ROW_COLORS,
    count_text,
    draw_line,
    draw_spread,
    empty,
    equal_span,
    handles_of,
    label_of,
    legend,
    mean_and_std,
    name_lines,
    notes_on,
    page,
    side_by_side,
    sources_of,
    styled,
    write_at,
)


@styled
def score_over_k(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Tables 1, 2 and 3: mIoU over the kernel size, one line per head; both y ranges have the same length."""
    scores = frame[frame["metric"] == "miou"]
    base, curves = scores[scores["head"] == "conv1x1"], scores[scores["head"] != "conv1x1"]
    ticks = sorted(set(curves["k"].dropna().astype(int)))
    figure, axes = side_by_side(profile, 3.9)
    names: list[dict[str, tuple[float, str]]] = [{}, {}]
    for ax, sources, ends in zip(axes, (["published"], sources_of(scores)), names, strict=True):
        if not sources:
            empty(ax)
        for source in sources:
            for level, std in zip(*mean_and_std(base, source), strict=True):
                if np.isfinite(level):
                    ax.axhline(level, color=INK, linewidth=1, linestyle=":" if source == "local" else "--")
                    ends.setdefault("1×1 baseline", (level, INK))
                if np.isfinite(std):
                    ax.axhspan(level - std, level + std, color=INK, alpha=0.08, linewidth=0)
            for row, group in curves.groupby("row", sort=False):
                color = ROW_COLORS.get(row, GREY)
                mean, std = mean_and_std(group, source)
                draw_line(ax, group["k"], mean, std, source, color)
                for last in mean[np.isfinite(mean)][-1:]:
                    ends.setdefault(row, (last, color))
        ax.set(xlabel="kernel size k", xticks=ticks)
    axes[1].set_xlim(axes[0].get_xlim())
    equal_span(axes)
    for ax, ends in zip(axes, names, strict=True):
        name_lines(ax, ends)
    legend(figure, handles_of(scores, profile), notes_on(scores))
    return figure


@styled
def gain_over_baseline(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 1: points of mIoU over the 1×1 baseline; bars add the deviations of both cells in quadrature."""
    scores = frame[frame["metric"] == "miou"]
    base, curve = scores[scores["head"] == "conv1x1"], scores[scores["head"] != "conv1x1"]
    figure, ((ax,),) = page(6.4, 4.2)
    ax.axhline(0, color=INK, linewidth=1, linestyle="--")
    lines = []
    for source in ("published", *sources_of(scores)):
        level, level_std = (values[0] if len(values) else np.nan for values in mean_and_std(base, source))
        mean, std = mean_and_std(curve, source)
        if np.isfinite(mean - level).any():
            label = f"{label_of(scores, source, profile)}; baseline {level:.1f} %"
            color = GREY if source == "published" else ACCENT
            lines.append(draw_line(ax, curve["k"], mean - level, np.hypot(std, level_std), source, color, label=label))
    if len(lines) < 2:
        text = f"{profile}: {'baseline ' if sources_of(scores) else ''}not run"
        ax.text(0.99, 0.1, text, transform=ax.transAxes, ha="right", size=11, color=GREY)
    ax.set(xlabel="kernel size k", ylabel="gain over the 1×1 baseline (points)")
    ax.set_xticks(sorted(set(curve["k"].dropna().astype(int))))
    legend(figure, lines, notes_on(scores).replace("± std", "± std of both cells"), columns=1)
    return figure


@styled
def score_over_m(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 4: stacks of 3×3 convolutions with m inner channels, and GCN; parameters below each name."""
    scores = frame[frame["metric"] == "miou"]
    counts = frame[frame["metric"] == "parameters_k"].set_index(["row", "column"])
    figure, axes = side_by_side(profile, 4.4)
    colors = np.array([ROW_COLORS.get(row, GREY) for row in scores["row"]])
    x, handles = np.arange(len(scores)), []
    for ax, sources, weights in zip(
        axes, (["published"], sources_of(scores)), ("published", "study_mean"), strict=True
    ):
        if not sources:
            empty(ax)
        width = 0.62 if len(sources) < 2 else 0.43
        for place, source in enumerate(sources):
            at = x + width * (place - (len(sources) - 1) / 2)
            mean, std = mean_and_std(scores, source)
            has, hollow = np.isfinite(mean), source == "local"
            style = {"linewidth": 1.2, "linestyle": ":" if hollow else "-"}
            face = np.where(hollow, "white", colors[has])
            ax.bar(at[has], mean[has], 0.9 * width, color=face, edgecolor=colors[has], **style)
            draw_spread(ax, at, mean, std, INK)
            for position, value, deviation in zip(at, mean, std, strict=True):
                text = f"{value:.1f}" + (f"\n±{deviation:.1f}" if np.isfinite(deviation) else "")
                known = np.isfinite(value)
                height = np.nansum([value, deviation])
                write_at(ax, position, height, text if known else "not\nrun", gap=4, color=INK if known else GREY)
            face = "white" if hollow else INK
            handles.append(Patch(facecolor=face, edgecolor=INK, label=label_of(scores, source, profile), **style))
        names = []
        for row, column, k in zip(scores["row"], scores["column"], scores["k"], strict=True):
            size = counts[weights].get((row, column), np.nan)
            name = f"Stack\nm = {column}" if row == "Stack" else f"{row}\nk = {k}"
            names.append(f"{name}\n{size:,.0f}K" if np.isfinite(size) else name)
        ax.set_xticks(x, names)
        ax.tick_params(axis="x", length=0)
        ax.set(xlabel="m and parameters at the paper's 2048 channels", xlim=(-0.6, len(x) - 0.4))
    for ax in axes:
        ax.set_ylim(0, 1.2 * max(1, *(a.dataLim.y1 for a in axes)))
    legend(figure, handles[1:], notes_on(scores))
    return figure


@styled
def boundary_sensitivity(frame: pd.DataFrame, profile: str, headline: float) -> Figure:
    """Beside Table 5: its two accuracies over the distance that separates boundary from interior.

    Columns of `frame`: model, distance, seed, boundary_accuracy, internal_accuracy. `headline`: the table's distance.
    """
    seeds = frame.groupby("model")["seed"].nunique()
    figure, (axes,) = page(8.8, 4.1, columns=2)
    for ax, metric in zip(axes, ("boundary_accuracy", "internal_accuracy"), strict=True):
        for model, group in frame.groupby("model", sort=False):
            score = group.groupby("distance")[metric].agg(["mean", "std"]).astype(float).reset_index()
            color = ROW_COLORS.get(model, GREY)
            ax.plot(score["distance"], score["mean"], "o-", color=color, label=model)
            edges = score["mean"] - score["std"], score["mean"] + score["std"]
            ax.fill_between(score["distance"], *edges, color=color, alpha=0.15, linewidth=0)
        if frame.empty:
            empty(ax)
        else:
            ax.axvline(headline, color=GREY, linewidth=0.8, label=f"distance of Table 5: {headline:g}", zorder=0)
            ax.set_xticks(sorted({headline, *frame["distance"]}))
        ax.set(title=metric.replace("_", " "), xlabel="distance to the boundary (pixels)", ylabel="accuracy (%)")
    figure.suptitle(f"reproduced on {profile} {count_text(seeds)}", size=10)
    legend(figure, axes[0].get_legend_handles_labels()[0], "bands: ± std over seeds" * any(seeds > 1), columns=4)
    return figure


def _variant_order(name: str) -> tuple:
    """Sort key of a variant such as ``stack-k7-m32``: by head, then k and m as numbers; no m is the widest."""
    head, sizes = name.split("-")[0], dict(re.findall(r"-([km])(\d+)", name))
    return [*HEAD_COLORS, head].index(head), int(sizes.get("k", 0)), int(sizes.get("m", 10**9)), name


@styled
def learning_curves(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Tables 1 to 5: mIoU during training, mean over seeds, one line per variant (not in the paper).

    Columns of `frame`: name (such as ``gcn-k15-br``), seed, step, miou. One hue per head, darker for larger kernels;
    a broken line has boundary refinement.
    """
    scored = frame.dropna(subset=["miou"])
    names = pd.Series(sorted(scored["name"].unique(), key=_variant_order), dtype=object)
    figure, ((ax,),) = page(8.8, 4.8)
    for head, family in names.groupby([name.split("-")[0] for name in names], sort=False):
        hue = HEAD_COLORS.get(head, GREY)
        light, dark = seaborn.light_palette(hue, 5)[2], seaborn.dark_palette(hue, 5)[2]
        shades = seaborn.blend_palette([light, hue, dark], len(family)) if len(family) > 1 else [hue]
        for name, shade in zip(family, shades, strict=True):
            mean = scored[scored["name"] == name].groupby("step")["miou"].mean()
            style = "o--" if name.endswith("-br") else "o-"
            ax.plot(mean.index, mean, style, color=shade, linewidth=1.2, markersize=3, label=name)
    if scored.empty:
        empty(ax)
    else:
        figure.legend(loc="outside right upper")
    seeds = count_text(scored.groupby("name")["seed"].nunique())
    ax.set(xlabel="training step", ylabel="mIoU (%)", title=f"reproduced on {profile} {seeds}")
    return figure


@styled
def published_against_reproduced(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Tables 1 to 5 together: does the reproduction rank the variants as the paper does?

    A run that fills cells of several tables is counted once. Shown is the user's run, or the study if there is none.
    """
    scores = frame[frame["metric"] == "miou"]
    for other in ("backbone", "protocol"):  # Tables 6, 7 and 9 have other trainings
        scores = scores[scores.get(other, pd.Series(None, scores.index, object)).isna()]
    local = bool(scores["local_n"].gt(0).any())
    scores = scores.assign(**{n: scores[f"{'local' if local else 'study'}_{n}"] for n in ("mean", "std")})
    scores = scores.dropna(subset=["published", "mean"]).drop_duplicates(["published", "mean"])
    rows = scores["row"].mask(scores["head"] == "conv1x1", "Baseline")
    figure, ((ax,),) = page(6, 5.2)
    for row, group in scores.groupby(rows, sort=False):
        color = ROW_COLORS.get(row, GREY)
        ax.scatter(group["published"], group["mean"], s=40, c="white" if local else color, edgecolors=color)
        draw_spread(ax, *group[["published", "mean", "std"]].to_numpy(float).T, color)
    order = scores["published"].corr(scores["mean"], method="spearman") if len(scores) > 2 else np.nan
    rank = f"Spearman ρ = {order:.2f}" if np.isfinite(order) else "too few cells to rank"
    if scores.empty:
        empty(ax)
    else:
        ax.set_title(f"{rank} (n = {len(scores)} cells)".replace("-", "−"))
    label = label_of(scores, "local" if local else "study", profile) if len(scores) else f"on {profile} (not run)"
    below = "published mIoU on VOC 2012 val (%)\ndifferent data: levels differ, only the order compares"
    ax.set(xlabel=below, ylabel=f"mIoU (%) {label}")
    dots = [Line2D([], [], color=ROW_COLORS.get(r, GREY), marker="o", linestyle="", label=r) for r in rows.unique()]
    legend(figure, dots, columns=5)
    return figure
