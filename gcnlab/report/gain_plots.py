"""Differences as a line over k, or as rows: the two forms that all tables share."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gcnlab.report import style
from gcnlab.report.gains import Pair, differences, finding, notes
from gcnlab.report.style import Chart, styled
from gcnlab.report.words import signed

Labels = dict[str, str]  # source → what a reader calls it
FAR = 4  # times the largest published difference: beyond it the axis becomes logarithmic


def _marks(gains: pd.DataFrame, labels: Labels) -> dict[str, dict]:
    """Source → how it is drawn, ``published`` first; a source has one mark in all charts."""
    present = set(gains.loc[gains["n"] > 0, "source"])
    marks = {"published": style.PUBLISHED | {"label": "published", "linestyle": "--"}}
    for (source, words), mark in zip(labels.items(), style.SOURCES, strict=False):
        marks |= {source: mark | {"label": words}} if source in present else {}
    return marks


def _caption(what: str, frame: pd.DataFrame, gains: pd.DataFrame, labels: Labels) -> str:
    return f"{what} Bars: {style.PAIRED}; small dots: single seeds. {notes(frame, gains, labels)}"


def _each_seed(ax: Axes, gains: pd.DataFrame, x: str, y: str, colour: str) -> None:
    """The seeds behind every mean; two with one mean may tell of opposite things."""
    for row in gains[gains["n"] > 1].to_dict("records"):
        at = {x: [row["at"]] * len(row["values"]), y: row["values"]}
        ax.scatter(at["x"], at["y"], s=9, color=colour, alpha=0.35, linewidths=0, zorder=1)


@styled
def over_k(
    frame: pd.DataFrame, pairs: list[Pair], labels: Labels, what: str, told: list[str]
) -> Chart:
    """Differences over the kernel size, one line per source."""
    gains = differences(frame, pairs)
    figure, ((ax,),) = style.canvas(7.4, 3.9)
    style.zero_line(ax)
    marks, ends = _marks(gains, labels), []
    for place, (source, mark) in enumerate(marks.items()):
        line = gains[(gains["source"] == source) & (gains["n"] > 0)].sort_values("x")
        line = line.assign(at=line["x"] + 0.18 * (place - (len(marks) - 1) / 2))
        style.draw_line(ax, line.set_index("at"), **mark)
        if source != "published":
            _each_seed(ax, line, "x", "y", mark["color"])
        ends += [
            (row["mean"], signed(row["mean"]), mark["color"]) for _, row in line[-1:].iterrows()
        ]
    published = gains.loc[gains["source"] == "published", "mean"]
    if gains["mean"].abs().max() > FAR * published.abs().max():
        low, high = ax.get_ylim()
        ax.set_yscale("symlog", linthresh=5, linscale=0.5)
        ticks = [tick for tick in (-40, -20, -10, -5, 0, 5, 10, 20, 40) if low < tick < high]
        ax.set(yticks=ticks, ylim=(low, 1.3 * high))
        ax.yaxis.set_major_formatter("{x:.0f}")
        ax.set_ylabel("points of mIoU (logarithmic beyond ±5)")
    else:
        ax.set_ylabel("points of mIoU")
    style.name_ends(ax, ends)
    ax.set_xticks(sorted(gains["x"].unique()))
    ax.set(xlabel="kernel size k")
    ax.grid(axis="x", visible=False)
    style.legend_above(figure, ax)
    title = " ".join(finding(gains, label) for label in told)
    return Chart(figure, title, _caption(what, frame, gains, labels))


@styled
def as_rows(
    frame: pd.DataFrame, pairs: list[Pair], labels: Labels, what: str, told: list[str]
) -> Chart:
    """Differences as rows, one panel per group; all panels have one axis, so that sizes compare."""
    gains = differences(frame, pairs)
    drawn = gains[gains["n"] > 0]
    groups, names = drawn["group"].unique(), list(drawn["x"].unique())
    marks = _marks(gains, labels)
    height = 1.3 + len(names) * (0.2 + 0.25 * len(marks))
    figure, (axes,) = style.canvas(7.4, height, columns=len(groups), sharex=True, sharey=True)
    for ax, group in zip(axes, groups, strict=True):
        style.zero_line(ax, vertical=True)
        for place, (source, mark) in enumerate(marks.items()):
            rows = drawn[(drawn["group"] == group) & (drawn["source"] == source)]
            shift = (place - (len(marks) - 1) / 2) * 0.72 / len(marks)
            rows = rows.assign(at=[names.index(x) + shift for x in rows["x"]])
            ax.plot(rows["mean"], rows["at"], **mark | {"linestyle": ""})
            ax.hlines(rows["at"], rows["low"], rows["high"], color=mark["color"], linewidth=1.4)
            if source != "published":
                _each_seed(ax, rows, "y", "x", mark["color"])
            _write_numbers(ax, rows, mark["color"])
        ax.set_title(style.wrapped(group, 34 if len(groups) < 3 else 20))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), [style.wrapped(name, 24) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    axes[0].margins(x=0.2)
    figure.supxlabel("difference (points)", size=9.5)
    style.legend_above(figure, axes[0])
    title = " ".join(finding(gains, label) for label in told)
    return Chart(figure, title, _caption(what, frame, gains, labels))


def _write_numbers(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    for row in rows.to_dict("records"):
        right = np.nanmax([row["mean"], row["high"], *np.atleast_1d(row["values"])])
        style.beside(ax, signed(row["mean"]), (right, row["at"]), colour)
