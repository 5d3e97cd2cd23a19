"""The paper's comparisons as effects, side by side: published and on each of our settings."""

import math

import numpy as np
from matplotlib.axes import Axes

from gcnlab.analysis.statistics import Effect
from gcnlab.report import style
from gcnlab.report.style import BLUE, GREY, INK, ORANGE, Chart, styled
from gcnlab.report.words import seeds_text, signed

FARTHEST = 3  # times the largest published effect: what is farther is drawn at the edge


def _look(effect: Effect) -> dict[str, str]:
    if not (effect.low > 0 or effect.high < 0):  # the interval holds zero, or there is none
        return {"color": GREY, "marker": "o", "markerfacecolor": "white"}
    if not effect.published:
        return {"color": INK, "marker": "o"}
    same_sign = (effect.mean > 0) == (effect.published > 0)
    return {"color": BLUE, "marker": "o"} if same_sign else {"color": ORANGE, "marker": "s"}


@styled
def agreement(columns: dict[str, dict[str, Effect]]) -> Chart:
    """Every comparison of the paper as an effect in points, beside what each of our settings gives.

    Args:
        columns: words for a setting, with its profile → what is compared → its effect.

    A mark is filled where the 95 % interval excludes zero: a blue circle has the published sign,
    an orange square the other one. Hollow grey marks are undecided.
    """
    ours = {title: {name: e for name, e in column.items() if e.unit == "points" and e.n}
            for title, column in columns.items()}  # fmt: skip
    every = [effect for column in ours.values() for effect in column.values()]
    sizes = {name: None for column in ours.values() for name in column}
    sizes |= {name: e.published for column in ours.values() for name, e in column.items()
              if e.published is not None}  # fmt: skip
    published = {name: Effect(name, None, size, np.nan, np.nan, 1)
                 for name, size in sizes.items() if size is not None}  # fmt: skip
    names = sorted(sizes, key=lambda name: -(sizes[name] or 0))
    farthest = FARTHEST * (max((abs(size or 0) for size in sizes.values()), default=0) or 1)
    means = [abs(effect.mean) for effect in [*every, *published.values()]]
    reach = min(farthest, max(means, default=farthest))
    shape = (7.6, 1.3 + 0.4 * len(names), 1, 1 + len(ours))
    figure, (axes,) = style.canvas(*shape, sharex=True, sharey=True)
    _panel(axes[0], "published (one run each)", names, published, reach)
    for ax, (title, column) in zip(axes[1:], ours.items(), strict=True):
        title = f"{title}, {seeds_text(effect.n for effect in column.values())}"
        _panel(ax, title, names, column, reach)
    axes[0].set_yticks(range(len(names)), [style.wrapped(name, 34) for name in names])
    ends = [end for effect in every for end in (effect.mean, effect.low)]
    lowest = max(-reach, np.nanmin([0, *ends]))
    room = 0.3 * (len(axes) - 1)  # for the numbers, as a share of the marks' width
    right = reach + room * (reach - lowest)
    axes[0].set(ylim=(len(names) - 0.4, -0.6), xlim=(1.1 * lowest - 0.1 * reach, right))
    axes[0].set_xticks([0, 10 ** math.floor(math.log10(reach))])  # in the narrowest panel too
    figure.supxlabel("effect (points)", size=9.5)
    caption = (
        f"Differences in points. Bars: {style.PAIRED}. Filled: the interval excludes zero, with "
        "the published sign (blue circle), the other one (orange square), or none to compare with "
        "(black); hollow: undecided; triangles: too far to be drawn."
    )
    return Chart(figure, "Every comparison in points: as published, and measured here", caption)


def _panel(
    ax: Axes, title: str, names: list[str], effects: dict[str, Effect], reach: float
) -> None:
    style.zero_line(ax, vertical=True)
    ax.grid(axis="y", visible=False)
    ax.set_title(style.wrapped(title, 66 // len(ax.figure.axes)))  # letters that all have room for
    published = title.startswith("published")
    for row, effect in enumerate(map(effects.get, names)):
        if effect is None:
            _number(ax, "–" if published else "not run", row, GREY)
            continue
        look = style.PUBLISHED if published else _look(effect)
        at, low, high = np.clip([effect.mean, effect.low, effect.high], -reach, reach)
        if at != effect.mean:
            look = look | {"marker": ">" if at > 0 else "<"}
        ax.hlines(row, low, high, color=look["color"], linewidth=1.6)
        ax.plot(at, row, **{"markersize": 6} | look)
        _number(ax, signed(effect.mean), row, look["color"])


def _number(ax: Axes, text: str, row: int, colour: str) -> None:
    """Numbers stand one below another at the right, whatever the marks' places."""
    at = {"xy": (1, row), "xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
    ax.annotate(text, color=colour, **at)
