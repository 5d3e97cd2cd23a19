"""The paper's comparisons as effects, side by side: published and on each of our settings."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from gcnlab.analysis.statistics import Effect
from gcnlab.report import style
from gcnlab.report.style import Chart, styled
from gcnlab.report.words import seeds_text, signed

FARTHEST = 3  # times the largest published effect: what is farther is drawn at the edge


class Mark(NamedTuple):
    """How an effect is drawn: filled if decided, in a colour and shape for its sign."""

    mean: float
    low: float = np.nan
    high: float = np.nan
    colour: str = style.GREY
    shape: str = "o"
    filled: bool = True

    @classmethod
    def of(cls, effect: Effect) -> "Mark":
        mark = cls(effect.mean, effect.low, effect.high, filled=clear(effect))
        if not mark.filled:
            return mark
        if not effect.published:
            return mark._replace(colour=style.INK)
        if (effect.mean > 0) == (effect.published > 0):
            return mark._replace(colour=style.BLUE)
        return mark._replace(colour=style.ORANGE, shape="s")


def clear(effect: Effect) -> bool:
    """Whether the 95 % interval excludes zero."""
    return effect.low > 0 or effect.high < 0


@styled
def agreement(columns: dict[str, list[Effect]]) -> Chart:
    """Every comparison of the paper as an effect in points, beside what each of our settings gives.

    Args:
        columns: words for a setting, with its profile → its effects. Rows are matched by the
            effects' names.

    A mark is filled where the 95 % interval excludes zero: a blue circle has the published sign,
    an orange square the other one. Hollow grey marks are undecided.
    """
    ours = {t: [e for e in column if e.unit == "points" and e.n] for t, column in columns.items()}
    every = [effect for column in ours.values() for effect in column]
    published = {e.name: e.published for e in every}
    names = sorted(published, key=lambda name: -(published[name] or 0))
    farthest = FARTHEST * max((abs(p) for p in published.values() if p), default=1)
    reach = min(farthest, max((abs(e.mean) for e in every), default=farthest))
    size = (7.6, 1.3 + 0.4 * len(names))
    figure, (axes,) = style.canvas(*size, columns=1 + len(columns), sharex=True, sharey=True)
    panels = {
        "published (one run each)": {n: Mark(p) for n, p in published.items() if p is not None}
    }
    for title, column in ours.items():
        words = f"{title}, {seeds_text(e.n for e in column)}"
        panels[words] = {effect.name: Mark.of(effect) for effect in column}
    for ax, (title, marks) in zip(axes, panels.items(), strict=True):
        _panel(ax, names, marks, reach)
        ax.set_title(style.wrapped(title, 22))
    axes[0].set_yticks(range(len(names)), [style.wrapped(name, 34) for name in names])
    axes[0].set(ylim=(len(names) - 0.4, -0.6), xlim=(-1.05 * reach, 1.7 * reach))
    figure.supxlabel("effect (points)", size=9.5)
    decided = [e for e in every if clear(e) and e.published]
    same = sum((e.mean > 0) == (e.published > 0) for e in decided)
    title = (
        f"{same} of {len(decided)} effects whose interval excludes zero have the published sign."
    )
    caption = (
        f"Differences in points. Bars: {style.PAIRED}. Filled: the interval excludes zero, with "
        "the published sign (blue circle) or the other one (orange square); hollow: undecided; "
        "triangles: beyond the axis. Settings differ in data and backbone: signs compare, sizes "
        "only roughly."
    )
    return Chart(figure, title, caption)


def _panel(ax: Axes, names: list[str], marks: dict[str, Mark], reach: float) -> None:
    style.zero_line(ax, vertical=True)
    ax.grid(axis="y", visible=False)
    for row, name in enumerate(names):
        if name not in marks:
            style.beside(ax, "–", (0, row), style.GREY)
            continue
        mark = marks[name]
        at, low, high = np.clip([mark.mean, mark.low, mark.high], -reach, reach)
        shape = mark.shape if at == mark.mean else ">" if at > 0 else "<"
        ax.hlines(row, low, high, color=mark.colour, linewidth=1.6)
        face = mark.colour if mark.filled else "white"
        ax.plot(at, row, shape, color=mark.colour, markerfacecolor=face, markersize=6)
        style.beside(ax, signed(mark.mean), (np.nanmax([at, high]), row), mark.colour)
