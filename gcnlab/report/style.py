"""What every chart is made of: colours, axes, intervals as marks, the finished `Chart`."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import BytesIO
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from gcnlab.analysis import statistics

# After Okabe and Ito: told apart by people who do not see red and green as different.
INK, GREY, PALE = "#22303c", "#66717d", "#e4e8ec"
BLUE, GREEN, ORANGE = "#0072b2", "#007a5a", "#d55e00"
PUBLISHED = {"color": GREY, "marker": "D", "markersize": 5}
SOURCES = (  # in the order of a frame's sources: the committed study, the user's run
    {"color": ORANGE, "marker": "o", "markersize": 6},
    {"color": BLUE, "marker": "s", "markersize": 5},
)
STYLE = (
    seaborn.axes_style("ticks")
    | dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), GREY)
    | dict.fromkeys(("axes.labelcolor", "text.color", "xtick.labelcolor", "ytick.labelcolor"), INK)
    | dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False)
    | {"axes.axisbelow": True, "axes.grid": True, "grid.color": PALE, "axes.titleweight": "bold"}
    | {"font.family": ["DejaVu Sans"], "font.size": 9.5, "axes.titlesize": 9.5}
    | {"axes.titlelocation": "left", "legend.fontsize": 9.5, "lines.linewidth": 1.6}
    | {"svg.fonttype": "none", "svg.hashsalt": "gcnlab", "figure.dpi": 110}
)
styled = rc_context(STYLE)  # a decorator
INTERVAL = "95 % t interval over seeds (from n = 3)"
PAIRED = "95 % t interval of the differences within seeds (from n = 3)"


@dataclass(frozen=True)
class Chart:
    """A drawn figure, its finding as title, and a caption with n and the kind of interval.

    Notebooks show it as an HTML figure. ``raster``: pictures are kept as PNG, charts as SVG.
    """

    figure: Figure
    title: str
    caption: str
    raster: bool = False

    @property
    def suffix(self) -> str:
        return "png" if self.raster else "svg"

    @cached_property
    def content(self) -> bytes:
        """The file's content; equal charts give equal bytes. A picture has at most 256 colours."""
        file, small = BytesIO(), BytesIO()
        metadata = {} if self.raster else {"metadata": {"Date": None, "Creator": None}}
        with rc_context(STYLE):
            self.figure.savefig(file, format=self.suffix, dpi=110, bbox_inches="tight", **metadata)
        if not self.raster:
            return file.getvalue()
        picture = Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(small, "png", optimize=True)
        return small.getvalue()

    @property
    def image(self) -> str:
        """An ``<img>`` that carries its content with it; title and caption are its alt text."""
        kind, code = "png" if self.raster else "svg+xml", base64.b64encode(self.content).decode()
        alt = escape(f"{self.title} {self.caption}")
        return f'<img alt="{alt}" src="data:image/{kind};base64,{code}">'

    def _repr_html_(self) -> str:
        words = f"<strong>{escape(self.title)}</strong><br>{escape(self.caption)}"
        return f"<figure>{self.image}<figcaption>{words}</figcaption></figure>"


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple:
    """An empty figure, ``width`` × ``height`` in inches, and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def shades(ks: Sequence[int]) -> dict[int, str]:
    """A sequential colour for every k, darker for a larger one; k = 1, the baseline, is black."""
    steps = np.linspace(0.62, 0.2, max(1, sum(k > 1 for k in ks)))
    colours = iter(to_hex(colormaps["inferno"](step)) for step in steps)
    return {k: INK if k == 1 else next(colours) for k in sorted(ks)}


def few(ks: Iterable[int], count: int = 4) -> list[int]:
    """At most ``count`` of the values, evenly spaced, the first and the last among them."""
    values = sorted(set(map(int, ks)))
    chosen = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[i] for i in chosen]


def draw_line(ax: Axes, line: pd.DataFrame, **mark) -> None:
    """Means over the index of ``line``, and intervals as bars where there are any."""
    mark = {"marker": "o", "markersize": 5} | mark
    ax.plot(line.index, line["mean"], **mark)
    ax.vlines(line.index, line["low"], line["high"], color=mark["color"], linewidth=1.1)


def draw_means(
    ax: Axes, frame: pd.DataFrame, by: str, value: str, shift: float = 0, **mark
) -> pd.Series:
    """Draw the mean over seeds of ``value`` for every ``by``, with its 95 % t interval; returns it.

    Rows of one seed, such as the objects of one image set, are averaged before.
    """
    seeds = frame.dropna(subset=[value]).groupby([by, "seed"])[value].mean().groupby(level=by)
    rows = {at + shift: statistics.interval(group.to_numpy()) for at, group in seeds}
    line = pd.DataFrame.from_dict(rows, "index", columns=["mean", "low", "high"])
    draw_line(ax, line, **mark)
    return line["mean"].set_axis(line.index - shift)


def zero_line(ax: Axes, vertical: bool = False) -> None:
    (ax.axvline if vertical else ax.axhline)(0, color=INK, linewidth=1)


def beside(
    ax: Axes, text: str, point: tuple, colour: str, of: str = "data", left: bool = False
) -> None:
    """Write ``text`` to the right or left of a point, in coordinates ``of`` the data or axes."""
    side = {"xytext": (-6, 0), "ha": "right"} if left else {"xytext": (6, 0)}
    offset = side | {"textcoords": "offset points", "va": "center"}
    ax.annotate(text, point, xycoords=of, color=colour, **offset)


def name_ends(ax: Axes, ends: list[tuple], at: float = 1, apart: float = 0.07) -> None:
    """Names for (y, name, colour), moved apart where they would overlap.

    They stand at ``at``, a share of the axes' width; ``apart`` is a share of their height. Call it
    when the limits are final.
    """
    ends, to_share = sorted(ends), ax.transScale + ax.transLimits
    shares = np.array([to_share.transform((0, y))[1] for y, _, _ in ends])
    steps = apart * np.arange(len(ends))
    shares = np.maximum.accumulate(shares - steps) + steps  # up, where they are too near
    steps = steps[::-1]
    shares = np.minimum.accumulate(np.minimum(shares, 1)[::-1] + steps[::-1])[::-1] - steps
    for share, (_, name, colour) in zip(shares, ends, strict=True):
        beside(ax, name, (at, share), colour, "axes fraction")


def legend_above(figure: Figure, ax: Axes) -> None:
    """A legend over the whole width, in one line if its words fit."""
    handles, labels = ax.get_legend_handles_labels()
    fits = sum(map(len, labels)) + 6 * len(labels) < 13 * figure.get_figwidth()
    columns = len(labels) if fits else max(1, len(labels) // 2)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def wrapped(text: str, width: int) -> str:
    return "\n".join(fill(line, width, break_long_words=False) for line in text.splitlines())
