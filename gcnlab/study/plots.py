"""Figures of the study: what was published beside what was reproduced.

Every function returns a `matplotlib.figure.Figure` that belongs to no window. Most take a long table with one row per
published number (`tables.compare`) and the profile, which labels every reproduced series together with its n. Filled
marks are the committed study, hollow ones the user's own run; bars and bands are ± one standard deviation over seeds
(n ≥ 2). Scores are in percent. Nothing is drawn for what was not run, and the figure says so.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

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


# --- numbers and their labels -------------------------------------------------------------------------------


def _values(frame: pd.DataFrame, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of one source: nan where not run and, for the deviation, where n < 2."""
    if source == "published":
        return frame["published"].to_numpy(float), np.full(len(frame), np.nan)
    std = frame[f"{source}_std"].where(frame[f"{source}_n"] >= 2)
    return frame[f"{source}_mean"].to_numpy(float), std.to_numpy(float)


def _sources(frame: pd.DataFrame) -> list[str]:
    return [source for source in SOURCES if frame[f"{source}_mean"].notna().any()]


def _count(numbers: Iterable[int]) -> str:
    present = [int(n) for n in numbers if n > 0]
    ends = sorted({min(present), max(present)}) if present else []
    return f"(n = {'–'.join(map(str, ends))})" if ends else "(not run)"


def _label(frame: pd.DataFrame, source: str, profile: str) -> str:
    return PUBLISHED if source == "published" else f"{SOURCES[source]} on {profile} {_count(frame[f'{source}_n'])}"


def _notes(frame: pd.DataFrame) -> str:
    """What a reader must know: the meaning of the bars, and which cells were not run if others were."""
    notes = []
    if any(np.isfinite(_values(frame, source)[1]).any() for source in SOURCES):
        notes.append("bars and bands: ± std over seeds (n ≥ 2)")
    missing = frame[frame["study_mean"].isna() & frame["local_mean"].isna()]
    if 0 < len(missing) < len(frame):
        groups = missing.groupby("row", sort=False)["column"]
        cells = (f"{row} {', '.join(columns.unique())}".strip() for row, columns in groups)
        notes.append(f"not run: {'; '.join(cells)}")
    return "      ".join(notes)


# --- drawing ------------------------------------------------------------------------------------------------


def page(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _pair(profile: str, height: float) -> tuple[Figure, np.ndarray]:
    """A page with a panel of published and one of reproduced numbers."""
    figure, (axes,) = page(8.8, height, columns=2)
    for ax, title in zip(axes, (PUBLISHED, f"reproduced (profile {profile})"), strict=True):
        ax.set(title=title, ylabel="mIoU (%)")
    return figure, axes


def empty(ax: Axes, text: str = "not run") -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", size=11, color=GREY)
    ax.set(xticks=[], yticks=[])


def _spread(ax: Axes, x: np.ndarray, mean: np.ndarray, std: np.ndarray, color: str) -> None:
    has = np.isfinite(mean) & np.isfinite(std)
    if has.any():
        ax.errorbar(x[has], mean[has], std[has], fmt="none", ecolor=color, elinewidth=1, capsize=2.5)


def _line(ax: Axes, x: Iterable, mean: np.ndarray, std: np.ndarray, source: str, color: str, **style) -> Line2D:
    x = np.asarray(x, float)
    _spread(ax, x, mean, std, color)
    return ax.plot(x, mean, color=color, **MARKS[source], **style)[0]


def _write(ax: Axes, x: float, y: float, text: str, gap: float, color: str = INK) -> None:
    """A number `gap` points above its mark, or below it if negative."""
    side = "bottom" if gap > 0 else "top"
    ax.annotate(text, (x, y), (0, gap), textcoords="offset points", ha="center", va=side, size=8, color=color)


def _equal_span(axes: Iterable[Axes], top: float = 0.12, bottom: float = 0.12) -> None:
    """Give axes y ranges of one length; `top`, `bottom`: free space as a share of the longest range of the data."""
    limits = {ax: ax.dataLim.intervaly for ax in axes if np.isfinite(ax.dataLim.intervaly).all()}
    span = max((high - low for low, high in limits.values()), default=0) or 1
    for ax, (low, high) in limits.items():
        middle = (low + high) / 2
        low, high = middle - span * (0.5 + bottom), middle + span * (0.5 + top)
        ax.set_ylim(low, high)
        ax.set_yticks([tick for tick in ax.get_yticks() if max(0, low) <= tick <= min(high, 100)])


def _name_lines(ax: Axes, ends: dict[str, tuple[float, str]]) -> None:
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


def _handles(frame: pd.DataFrame, profile: str, color: str = INK) -> list[Line2D]:
    return [Line2D([], [], color=color, label=_label(frame, s, profile), **MARKS[s]) for s in _sources(frame)]


# --- figures beside the paper's tables ----------------------------------------------------------------------


@styled
def score_over_k(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Tables 1, 2 and 3: mIoU over the kernel size, one line per head; both y ranges have the same length."""
    scores = frame[frame["metric"] == "miou"]
    base, curves = scores[scores["head"] == "conv1x1"], scores[scores["head"] != "conv1x1"]
    ticks = sorted(set(curves["k"].dropna().astype(int)))
    figure, axes = _pair(profile, 3.9)
    names: list[dict[str, tuple[float, str]]] = [{}, {}]
    for ax, sources, ends in zip(axes, (["published"], _sources(scores)), names, strict=True):
        if not sources:
            empty(ax)
        for source in sources:
            for level, std in zip(*_values(base, source), strict=True):
                if np.isfinite(level):
                    ax.axhline(level, color=INK, linewidth=1, linestyle=":" if source == "local" else "--")
                    ends.setdefault("1×1 baseline", (level, INK))
                if np.isfinite(std):
                    ax.axhspan(level - std, level + std, color=INK, alpha=0.08, linewidth=0)
            for row, group in curves.groupby("row", sort=False):
                color = ROW_COLORS.get(row, GREY)
                mean, std = _values(group, source)
                _line(ax, group["k"], mean, std, source, color)
                for last in mean[np.isfinite(mean)][-1:]:
                    ends.setdefault(row, (last, color))
        ax.set(xlabel="kernel size k", xticks=ticks)
    axes[1].set_xlim(axes[0].get_xlim())
    _equal_span(axes)
    for ax, ends in zip(axes, names, strict=True):
        _name_lines(ax, ends)
    legend(figure, _handles(scores, profile), _notes(scores))
    return figure


@styled
def gain_over_baseline(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 1: points of mIoU over the 1×1 baseline; bars add the deviations of both cells in quadrature."""
    scores = frame[frame["metric"] == "miou"]
    base, curve = scores[scores["head"] == "conv1x1"], scores[scores["head"] != "conv1x1"]
    figure, ((ax,),) = page(6.4, 4.2)
    ax.axhline(0, color=INK, linewidth=1, linestyle="--")
    lines = []
    for source in ("published", *_sources(scores)):
        level, level_std = (values[0] if len(values) else np.nan for values in _values(base, source))
        mean, std = _values(curve, source)
        if np.isfinite(mean - level).any():
            label = f"{_label(scores, source, profile)}; baseline {level:.1f} %"
            color = GREY if source == "published" else ACCENT
            lines.append(_line(ax, curve["k"], mean - level, np.hypot(std, level_std), source, color, label=label))
    if len(lines) < 2:
        text = f"{profile}: {'baseline ' if _sources(scores) else ''}not run"
        ax.text(0.99, 0.1, text, transform=ax.transAxes, ha="right", size=11, color=GREY)
    ax.set(xlabel="kernel size k", ylabel="gain over the 1×1 baseline (points)")
    ax.set_xticks(sorted(set(curve["k"].dropna().astype(int))))
    legend(figure, lines, _notes(scores).replace("± std", "± std of both cells"), columns=1)
    return figure


@styled
def score_over_m(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 4: stacks of 3×3 convolutions with m inner channels, and GCN; parameters below each name."""
    scores = frame[frame["metric"] == "miou"]
    counts = frame[frame["metric"] == "parameters_k"].set_index(["row", "column"])
    figure, axes = _pair(profile, 4.4)
    colors = np.array([ROW_COLORS.get(row, GREY) for row in scores["row"]])
    x, handles = np.arange(len(scores)), []
    for ax, sources, weights in zip(axes, (["published"], _sources(scores)), ("published", "study_mean"), strict=True):
        if not sources:
            empty(ax)
        width = 0.62 if len(sources) < 2 else 0.43
        for place, source in enumerate(sources):
            at = x + width * (place - (len(sources) - 1) / 2)
            mean, std = _values(scores, source)
            has, hollow = np.isfinite(mean), source == "local"
            style = {"linewidth": 1.2, "linestyle": ":" if hollow else "-"}
            face = np.where(hollow, "white", colors[has])
            ax.bar(at[has], mean[has], 0.9 * width, color=face, edgecolor=colors[has], **style)
            _spread(ax, at, mean, std, INK)
            for position, value, deviation in zip(at, mean, std, strict=True):
                text = f"{value:.1f}" + (f"\n±{deviation:.1f}" if np.isfinite(deviation) else "")
                known = np.isfinite(value)
                height = np.nansum([value, deviation])
                _write(ax, position, height, text if known else "not\nrun", gap=4, color=INK if known else GREY)
            face = "white" if hollow else INK
            handles.append(Patch(facecolor=face, edgecolor=INK, label=_label(scores, source, profile), **style))
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
    legend(figure, handles[1:], _notes(scores))
    return figure


@styled
def boundary_internal(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 5: boundary accuracy, internal accuracy and mIoU of three models, and the steps between them."""
    titles = {"boundary_accuracy": "boundary accuracy", "internal_accuracy": "internal accuracy", "miou": "mIoU"}
    panels = {title: frame[frame["metric"] == metric].assign(x=lambda g: g["row"]) for metric, title in titles.items()}
    return _steps(panels, profile, PUBLISHED, _notes(frame.assign(column="")))


@styled
def backbone_pair(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 6: classification errors and two segmentation scores, on ResNet and on its GCN form."""
    titles = {
        "classification:\ntop-5 error": ("ImageNet cls err", "top5_error"),
        "classification:\ntop-1 error": ("ImageNet cls err", "top1_error"),
        "segmentation, 1×1 baseline:\nmIoU": ("Seg. Score (Baseline)", "miou"),
        "segmentation, GCN + BR:\nmIoU": ("Seg. Score (GCN + BR)", "miou"),
    }
    groups = dict(list(frame.assign(x=frame["column"].str.replace("50", "")).groupby(["row", "metric"])))
    panels = {title: groups.get(key, frame.iloc[:0].assign(x=[])) for title, key in titles.items()}
    return _steps(panels, profile, "published", _notes(frame))


def _steps(panels: dict[str, pd.DataFrame], profile: str, published: str, notes: str) -> Figure:
    """One column per panel, published above reproduced: scores over ``x``, and the steps between them.

    All y ranges have the same length, so that slopes compare across panels and between paper and reproduction.
    """
    everything = pd.concat(panels.values())
    figure, axes = page(3 * len(panels), 5.6, rows=2, columns=len(panels))
    for line, sources in zip(axes, (["published"], _sources(everything)), strict=True):
        for ax, group in zip(line, panels.values(), strict=True):
            x = np.arange(len(group))
            for place, source in enumerate(sources):
                mean, std = _values(group, source)
                color = GREY if source == "published" else ACCENT
                _line(ax, x, mean, std, source, color)
                around = pd.Series(mean).rolling(3, center=True, min_periods=1).mean()
                for i in np.flatnonzero(np.isfinite(mean)) if place == 0 else ():  # beyond the bend of the line
                    side = 1 if mean[i] >= around[i] else -1
                    _write(ax, x[i], mean[i] + side * np.nan_to_num(std[i]), f"{mean[i]:.1f}", gap=6 * side)
                for i in np.flatnonzero(np.isfinite(np.diff(mean))):
                    step = f"{mean[i + 1] - mean[i]:+.1f}".replace("-", "−")
                    where = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "top", "weight": "bold"}
                    ax.text(i + 0.5, 0.98 - 0.1 * place, "○ " * (source == "local") + step, color=color, **where)
            if not np.isfinite(ax.dataLim.intervaly).all():
                empty(ax, "not given" if sources == ["published"] else "not run")
            ax.set_xticks(x, group["x"])
            ax.set_xlim(-0.4, max(len(x), 1) - 0.6)
    for ax, title in zip(axes[0], panels, strict=True):
        ax.set_title(title)
    _equal_span(axes.flat, top=0.5, bottom=0.25)
    for ax in axes.flat:  # no score is below 0
        ax.set_ylim(bottom=max(ax.get_ylim()[0], -0.06 * np.ptp(ax.get_ylim())))
    axes[0, 0].set_ylabel(f"{published}, %")
    axes[1, 0].set_ylabel(f"reproduced (profile {profile}), %")
    legend(figure, _handles(everything, profile, ACCENT), notes)
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
    figure.suptitle(f"reproduced on {profile} {_count(seeds)}", size=10)
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
    seeds = _count(scored.groupby("name")["seed"].nunique())
    ax.set(xlabel="training step", ylabel="mIoU (%)", title=f"reproduced on {profile} {seeds}")
    return figure


@styled
def published_against_reproduced(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Tables 1 to 5 together: does the reproduction rank the variants as the paper does?

    A run that fills cells of several tables is counted once. Shown is the user's run, or the study if there is none.
    """
    scores = frame[frame["metric"] == "miou"]
    scores = scores[scores.get("backbone", pd.Series(None, scores.index, object)).isna()]  # Table 6 has others
    local = bool(scores["local_n"].gt(0).any())
    scores = scores.assign(**{n: scores[f"{'local' if local else 'study'}_{n}"] for n in ("mean", "std")})
    scores = scores.dropna(subset=["published", "mean"]).drop_duplicates(["published", "mean"])
    rows = scores["row"].mask(scores["head"] == "conv1x1", "Baseline")
    figure, ((ax,),) = page(6, 5.2)
    for row, group in scores.groupby(rows, sort=False):
        color = ROW_COLORS.get(row, GREY)
        ax.scatter(group["published"], group["mean"], s=40, c="white" if local else color, edgecolors=color)
        _spread(ax, *group[["published", "mean", "std"]].to_numpy(float).T, color)
    order = scores["published"].corr(scores["mean"], method="spearman") if len(scores) > 2 else np.nan
    rank = f"Spearman ρ = {order:.2f}" if np.isfinite(order) else "too few cells to rank"
    if scores.empty:
        empty(ax)
    else:
        ax.set_title(f"{rank} (n = {len(scores)} cells)".replace("-", "−"))
    label = _label(scores, "local" if local else "study", profile) if len(scores) else f"on {profile} (not run)"
    below = "published mIoU on VOC 2012 val (%)\ndifferent data: levels differ, only the order compares"
    ax.set(xlabel=below, ylabel=f"mIoU (%) {label}")
    dots = [Line2D([], [], color=ROW_COLORS.get(r, GREY), marker="o", linestyle="", label=r) for r in rows.unique()]
    legend(figure, dots, columns=5)
    return figure
