"""What the figures of the study are made of: style, and published, committed and own scores as marks on axes."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gcnlab.study.drawing import ACCENT, GREY, INK, UP

BLUE, GREEN = "#4a78a6", "#3f8f68"
ROW_COLORS = {"GCN": ACCENT, "Conv": BLUE, "Stack": UP, "GCN + BR": GREEN, "Baseline": INK}
HEAD_COLORS = {"conv1x1": INK, "gcn": ACCENT, "conv": BLUE, "stack": UP}
PUBLISHED = "published (VOC 2012 val)"
SOURCES = {"study": "reproduced", "local": "your run"}
MARKS = {
    "published": {"marker": "s", "linestyle": "-"},
    "study": {"marker": "o", "linestyle": "-"},
    "local": {"marker": "o", "linestyle": ":", "markerfacecolor": "white"},
}
STYLE = (
    seaborn.axes_style("ticks")
    | dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), GREY)
    | dict.fromkeys(("axes.labelcolor", "text.color", "xtick.labelcolor", "ytick.labelcolor"), INK)
    | dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False)
    | {"axes.axisbelow": True, "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#e9ecef"}
    | {"font.family": ["DejaVu Sans"], "font.size": 9, "axes.titlesize": 10, "legend.fontsize": 8.5}
    | {"figure.dpi": 110, "lines.linewidth": 1.6, "lines.markersize": 5.5}
)
styled = rc_context(STYLE)  # a decorator


def mean_and_std(frame: pd.DataFrame, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of one source: nan where not run and, for the deviation, where n < 2."""
    if source == "published":
        return frame["published"].to_numpy(float), np.full(len(frame), np.nan)
    std = frame[f"{source}_std"].where(frame[f"{source}_n"] >= 2)
    return frame[f"{source}_mean"].to_numpy(float), std.to_numpy(float)


def sources_of(frame: pd.DataFrame) -> list[str]:
    return [source for source in SOURCES if frame[f"{source}_mean"].notna().any()]


def count_text(numbers: Iterable[int]) -> str:
    present = [int(n) for n in numbers if n > 0]
    ends = sorted({min(present), max(present)}) if present else []
    return f"(n = {'–'.join(map(str, ends))})" if ends else "(not run)"


def label_of(frame: pd.DataFrame, source: str, profile: str) -> str:
    return PUBLISHED if source == "published" else f"{SOURCES[source]} on {profile} {count_text(frame[f'{source}_n'])}"


def notes_on(frame: pd.DataFrame) -> str:
    """What a reader must know: the meaning of the bars, and which cells were not run if others were."""
    notes = []
    if any(np.isfinite(mean_and_std(frame, source)[1]).any() for source in SOURCES):
        notes.append("bars and bands: ± std over seeds (n ≥ 2)")
    missing = frame[frame["study_mean"].isna() & frame["local_mean"].isna()]
    if 0 < len(missing) < len(frame):
        groups = missing.groupby("row", sort=False)["column"]
        cells = (f"{row} {', '.join(columns.unique())}".strip() for row, columns in groups)
        notes.append(f"not run: {'; '.join(cells)}")
    return "      ".join(notes)


def page(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def side_by_side(profile: str, height: float) -> tuple[Figure, np.ndarray]:
    """A page with a panel of published and one of reproduced numbers."""
    figure, (axes,) = page(8.8, height, columns=2)
    for ax, title in zip(axes, (PUBLISHED, f"reproduced (profile {profile})"), strict=True):
        ax.set(title=title, ylabel="mIoU (%)")
    return figure, axes


def empty(ax: Axes, text: str = "not run") -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", size=11, color=GREY)
    ax.set(xticks=[], yticks=[])


def draw_spread(ax: Axes, x: np.ndarray, mean: np.ndarray, std: np.ndarray, color: str) -> None:
    has = np.isfinite(mean) & np.isfinite(std)
    if has.any():
        ax.errorbar(x[has], mean[has], std[has], fmt="none", ecolor=color, elinewidth=1, capsize=2.5)


def draw_line(ax: Axes, x: Iterable, mean: np.ndarray, std: np.ndarray, source: str, color: str, **style) -> Line2D:
    x = np.asarray(x, float)
    draw_spread(ax, x, mean, std, color)
    return ax.plot(x, mean, color=color, **MARKS[source], **style)[0]


def write_at(ax: Axes, x: float, y: float, text: str, gap: float, color: str = INK) -> None:
    """A number `gap` points above its mark, or below it if negative."""
    side = "bottom" if gap > 0 else "top"
    ax.annotate(text, (x, y), (0, gap), textcoords="offset points", ha="center", va=side, size=8, color=color)


def equal_span(axes: Iterable[Axes], top: float = 0.12, bottom: float = 0.12) -> None:
    """Give axes y ranges of one length; `top`, `bottom`: free space as a share of the longest range of the data."""
    limits = {ax: ax.dataLim.intervaly for ax in axes if np.isfinite(ax.dataLim.intervaly).all()}
    span = max((high - low for low, high in limits.values()), default=0) or 1
    for ax, (low, high) in limits.items():
        middle = (low + high) / 2
        low, high = middle - span * (0.5 + bottom), middle + span * (0.5 + top)
        ax.set_ylim(low, high)
        ax.set_yticks([tick for tick in ax.get_yticks() if max(0, low) <= tick <= min(high, 100)])


def name_lines(ax: Axes, ends: dict[str, tuple[float, str]]) -> None:
    """Name lines at the right edge: name → (y, colour), moved apart where they would overlap."""
    gap, free = 0.065 * np.ptp(ax.get_ylim()), -np.inf
    for name, (y, color) in sorted(ends.items(), key=lambda end: end[1]):
        free = max(y, free + gap)
        ax.annotate(name, (1, free), (5, 0), ax.get_yaxis_transform(), "offset points", color=color, va="center")


def legend(figure: Figure, handles: Sequence, note: str = "", columns: int = 3) -> None:
    if handles:
        columns = min(columns, len(handles))
        place = {"loc": "outside lower center", "ncols": columns}
        figure.legend(handles=handles, title=note or None, title_fontsize=8, **place)


def handles_of(frame: pd.DataFrame, profile: str, color: str = INK) -> list[Line2D]:
    return [Line2D([], [], color=color, label=label_of(frame, s, profile), **MARKS[s]) for s in sources_of(frame)]
