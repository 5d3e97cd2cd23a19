"""Differences between the cells of one table, and their chart: a line over k, or rows."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gcnlab.analysis import statistics
from gcnlab.report import style
from gcnlab.report.style import Chart, styled
from gcnlab.report.words import seeds_text, signed

Labels = dict[str, str]  # source → what a reader calls it
Row = dict[str, Any]  # of a long table, see `gcnlab.analysis.tables.compare`
Pair = tuple[str, str, Any, Row, Row]  # label, panel, where on the axis, and what is compared
FAR = 8  # times the largest published difference: beyond it the axis becomes logarithmic


def differences(pairs: list[Pair], sources: Iterable[str]) -> pd.DataFrame:
    """One row per pair and source of ``sources``, and per pair one for the source ``published``.

    Columns: label, group, x, source, mean, low, high, n, values; in points. ``values`` are the
    differences within seeds, ``low`` and ``high`` their 95 % t interval, nan for fewer than three.
    A pair without a value of some source has n = 0 there, and a mean of nan.
    """
    rows = []
    for label, group, x, better, worse in pairs:
        gap = better["published"] - worse["published"]
        rows.append((label, group, x, "published", gap, np.nan, np.nan, int(gap == gap), []))
        for source in sources:
            both = (better[f"{source}_scores"], worse[f"{source}_scores"])
            values = statistics.differences(*both).tolist()
            bounds = statistics.interval(values)
            rows.append((label, group, x, source, *bounds, len(values), values))
    columns = ["label", "group", "x", "source", "mean", "low", "high", "n", "values"]
    return pd.DataFrame(rows, columns=columns)


def _finding(gains: pd.DataFrame, label: str) -> str:
    """One sentence on the comparison ``label``: the first source that has it, and the paper."""
    rows = gains[(gains["label"] == label) & (gains["n"] > 0)].to_dict("records")
    published = [signed(row["mean"]) for row in rows if row["source"] == "published"]
    told = f"published {published[0]}" if published else "not published"
    ours = next((row for row in rows if row["source"] != "published"), None)
    if ours is None:
        return f"{label}: not run; {told}."
    bounds = f"[{signed(ours['low'])}, {signed(ours['high'])}]"
    spread = bounds if np.isfinite(ours["low"]) else f"(n = {ours['n']})"
    return f"{label}: {signed(ours['mean'])} points {spread}; {told}."


def _notes(frame: pd.DataFrame, gains: pd.DataFrame, labels: Labels) -> str:
    """The part of a caption that says n for every source, what was not run, and what diverged."""
    parts, diverged = [], []
    for source, words in labels.items():
        own = gains.loc[gains["source"] == source, "n"]
        parts += [f"{words}: {seeds_text(own)}."] * bool(frame[f"{source}_n"].gt(0).any())
        for row in frame[frame[f"{source}_diverged"] > 0].to_dict("records"):
            diverged.append(f"{row['row']} {row['column']} ({row[f'{source}_diverged']})")
    if diverged:
        parts.append(f"Diverged, not averaged: {', '.join(dict.fromkeys(diverged))}.")
    ours = gains[gains["source"] != "published"].groupby("label", sort=False)["n"].max()
    missing = list(ours.index[ours == 0])
    if len(missing) == len(ours):
        parts.append("Not run: all.")
    elif missing:
        parts.append(f"Not run: {'; '.join(missing)}.")
    return " ".join(parts)


@styled
def chart(
    frame: pd.DataFrame, pairs: list[Pair], labels: Labels, what: str, *told: str, over_k=False
) -> Chart:
    """The differences of ``pairs`` over the kernel size, or as rows with a panel per group.

    Args:
        labels: sources in words. what: begins the caption. told: labels of the pairs that the title
            tells of, by default of the last.
    """
    gains = differences(pairs, labels)
    drawn = gains[gains["n"] > 0]
    marks = {"published": style.PUBLISHED | {"label": "published", "linestyle": "--"}}
    for (source, words), mark in zip(labels.items(), style.SOURCES, strict=False):
        marks |= {source: mark | {"label": words}} if source in set(drawn["source"]) else {}
    figure = (_over_k if over_k else _as_rows)(drawn, marks)
    style.legend_above(figure, figure.axes[0])
    title = " ".join(_finding(gains, label) for label in told or [pairs[-1][0]])
    notes = _notes(frame, gains, labels)
    return Chart(figure, title, f"{what} Bars: {style.PAIRED}; small dots: single seeds. {notes}")


def _each_seed(rows: pd.DataFrame) -> tuple[list, list]:
    """Where the seeds behind the means are; two with one mean may tell of opposite things."""
    seeds = rows[rows["n"] > 1].explode("values")
    return list(seeds["at"]), list(seeds["values"])


DOTS = {"s": 9, "alpha": 0.35, "linewidths": 0, "zorder": 1}


def _over_k(gains: pd.DataFrame, marks: dict[str, dict]) -> Figure:
    figure, ((ax,),) = style.canvas(7.4, 3.9)
    style.zero_line(ax)
    ends = []
    for i, (source, mark) in enumerate(marks.items()):
        line = gains[gains["source"] == source].sort_values("x")
        line = line.assign(at=line["x"] + 0.18 * (i - (len(marks) - 1) / 2))
        style.draw_line(ax, line.set_index("at"), **mark)
        ax.scatter(*_each_seed(line), color=mark["color"], **DOTS)
        ends += [(mean, signed(mean), mark["color"]) for mean in line["mean"][-1:]]
    label, published = "points of mIoU", gains[gains["source"] == "published"]
    if gains["mean"].abs().max() > FAR * published["mean"].abs().max():
        low, high = ax.get_ylim()
        ax.set_yscale("symlog", linthresh=5, linscale=0.5)
        ticks = [tick for tick in (-40, -20, -10, -5, 0, 5, 10, 20, 40) if low < tick < high]
        ax.set(yticks=ticks, ylim=(low, 1.3 * high))
        ax.yaxis.set_major_formatter("{x:.0f}")
        label += " (logarithmic beyond ±5)"
    style.name_ends(ax, ends)
    ax.set(xlabel="kernel size k", ylabel=label, xticks=sorted(gains["x"].unique()))
    ax.grid(axis="x", visible=False)
    return figure


def _as_rows(gains: pd.DataFrame, marks: dict[str, dict]) -> Figure:
    """All panels have one axis, so that sizes compare."""
    groups, names = gains["group"].unique(), list(gains["x"].unique())
    height = 1.3 + len(names) * (0.2 + 0.25 * len(marks))
    figure, (axes,) = style.canvas(7.4, height, columns=len(groups), sharex=True, sharey=True)
    for ax, group in zip(axes, groups, strict=True):
        style.zero_line(ax, vertical=True)
        for i, (source, mark) in enumerate(marks.items()):
            rows = gains[(gains["group"] == group) & (gains["source"] == source)]
            shift = (i - (len(marks) - 1) / 2) * 0.72 / len(marks)
            rows = rows.assign(at=[names.index(x) + shift for x in rows["x"]])
            ax.plot(rows["mean"], rows["at"], **mark | {"linestyle": ""})
            ax.hlines(rows["at"], rows["low"], rows["high"], color=mark["color"], linewidth=1.4)
            ax.scatter(*_each_seed(rows)[::-1], color=mark["color"], **DOTS)
            for row in rows.to_dict("records"):
                left = row["mean"] < 0  # away from the line at zero
                ends = [row["mean"], row["low"], row["high"], *row["values"]]
                end = np.nanmin(ends) if left else np.nanmax(ends)
                style.beside(ax, signed(row["mean"]), (end, row["at"]), mark["color"], left=left)
        ax.set_title(style.wrapped(group, 34 if len(groups) < 3 else 20))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), [style.wrapped(name, 24) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    axes[0].set_xmargin(0.2)
    low, high = axes[0].get_xlim()
    if (lowest := gains[["mean", "low"]].min().min()) < 0:  # with room for its number
        axes[0].set_xlim(min(low, lowest - 0.08 * len(groups) * (high - low)), high)
    figure.supxlabel("difference (points)", size=9.5)
    return figure
