"""Differences between the cells of one table: published, and of every source paired by seed."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from gcnlab.analysis import statistics
from gcnlab.report.words import seeds_text, signed

# label, panel, place on the axis, and the two rows of a long table that are compared
Pair = tuple[str, str, float, pd.Series, pd.Series]


def sources_of(frame: pd.DataFrame) -> list[str]:
    """The sources of a long table (:func:`gcnlab.analysis.tables.compare`) that have any score."""
    names = [name.removesuffix("_mean") for name in frame.columns if name.endswith("_mean")]
    return [name for name in names if frame[f"{name}_n"].gt(0).any()]


def differences(frame: pd.DataFrame, pairs: Iterable[Pair]) -> pd.DataFrame:
    """One row per pair and source, and per pair one for the source ``published``.

    Columns: label, group, x, source, mean, low, high, n, values; in points. ``values`` are the
    differences within seeds, ``low`` and ``high`` their 95 % t interval, nan for fewer than three.
    A pair without a value of some source has n = 0 there, and a mean of nan.
    """
    rows = []
    for label, group, x, better, worse in pairs:
        where = {"label": label, "group": group, "x": x}
        gap = better["published"] - worse["published"]
        rows.append(where | {"source": "published", "mean": gap, "n": int(np.isfinite(gap))})
        for source in sources_of(frame):
            one, other = better[f"{source}_scores"], worse[f"{source}_scores"]
            values = np.array(
                [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]
            )
            mean, low, high = statistics.interval(values)
            numbers = {"mean": mean, "low": low, "high": high, "n": len(values), "values": values}
            rows.append(where | {"source": source} | numbers)
    columns = ["label", "group", "x", "source", "mean", "low", "high", "n", "values"]
    return pd.DataFrame(rows, columns=columns).astype({"mean": float, "low": float, "high": float})


def size_text(row: pd.Series) -> str:
    """``+11.9 points [9.9, 13.9]``, or without an interval ``+11.9 points (n = 1)``."""
    text = f"{signed(row['mean'])} points"
    if np.isfinite(row["low"]):
        return f"{text} [{signed(row['low'])}, {signed(row['high'])}]"
    return f"{text} (n = {row['n']:.0f})"


def finding(gains: pd.DataFrame, label: str) -> str:
    """One sentence on the comparison ``label``: the first source that has it, and the paper."""
    rows = gains[(gains["label"] == label) & (gains["n"] > 0)]
    published, ours = (
        rows[rows["source"] == "published"],
        rows[rows["source"] != "published"],
    )
    told = f"published {signed(published['mean'].iloc[0])}" if len(published) else "not published"
    if ours.empty:
        return f"{label}: not run; {told}."
    return f"{label}: {size_text(ours.iloc[0])}; {told}."


def notes(frame: pd.DataFrame, gains: pd.DataFrame, labels: dict[str, str]) -> str:
    """The part of a caption that says n for every source, what was not run, and what diverged."""
    parts, diverged = [], []
    for source in sources_of(frame):
        parts.append(f"{labels[source]}: {seeds_text(gains.loc[gains['source'] == source, 'n'])}.")
        for _, row in frame[frame[f"{source}_diverged"] > 0].iterrows():
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
