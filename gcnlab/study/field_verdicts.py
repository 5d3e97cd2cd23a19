"""Claim 13 (the valid receptive field) and the mechanism behind it, judged from measurements of trained networks."""

from typing import Any

import pandas as pd

from gcnlab.study.margins import FAILS, HOLDS, UNDECIDED, decide, paired, points
from gcnlab.study.measurements import field_frame, size_frame

MUCH_LARGER = 1.5  # times the side; fixed before anything was measured
_BASE, _GLOBAL = 1, 15  # k


def larger_field(records: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Claim 13: is the side of GCN 15's valid field at least 1.5 times the baseline's, at 50 and at 95 % of its mass?

    Verdict and evidence from :func:`gcnlab.study.measurements.measure` records; None if one of the two is missing.
    """
    frame = field_frame(records)
    if frame.empty or not {_BASE, _GLOBAL} <= set(frame["k"]):
        return None
    words, texts = [], []
    for share in ("50", "95"):
        sides = frame.pivot_table(index="seed", columns="k", values=f"valid{share}")[[_BASE, _GLOBAL]].dropna()
        if sides.empty:  # no seed has both
            return None
        base, gcn = sides[_BASE], sides[_GLOBAL]
        gain, margin = paired((gcn - MUCH_LARGER * base).to_numpy())
        words.append(decide(gain, margin))
        spread = (
            "" if margin is None else f", {MUCH_LARGER} times the baseline's exceeded by {points(gain, margin, 'px')}"
        )
        texts.append(f"{share} %: {base.mean():.1f} → {gcn.mean():.1f} px (×{gcn.mean() / base.mean():.2f}{spread})")
    objects = frame.groupby(["k", "seed"]).size().min()
    theory = frame.groupby("k")["theoretical"].first()
    verdict = FAILS if FAILS in words else HOLDS if set(words) == {HOLDS} else UNDECIDED
    return verdict, (
        f"side of the square that holds a share of the fall under occlusion, 1×1 → GCN 15, {objects} objects, "
        f"n = {len(sides)}: {'; '.join(texts)}; theoretical {theory[_BASE]} → {theory[_GLOBAL]} px"
    )


def gain_by_size(records: list[dict[str, Any]], score: str = "miou") -> pd.DataFrame:
    """Points that GCN 15 gains over the baseline in each size bin: rows = seeds, columns = (from, to) in pixels."""
    frame = size_frame(records)
    table = frame.pivot_table(index="seed", columns=["k", "from", "to"], values=score)
    return (table[_GLOBAL] - table[_BASE]).dropna()


def mechanism(records: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Does the gain of GCN 15 over the baseline grow with object size, as the paper's explanation wants?

    Judged is the gain on the largest objects, which exceed the theoretical field of the baseline, minus that on the
    smallest, in mIoU and in internal accuracy; None if no seed has both models. The valid fields on the two are told
    beside it: a gain that grows with size is what the explanation predicts, not a proof of it.
    """
    frame = size_frame(records)
    if frame.empty or not {_BASE, _GLOBAL} <= set(frame["k"]):
        return None
    words, texts = [], []
    for score, name in (("miou", "mIoU"), ("internal_accuracy", "internal accuracy")):
        gains = gain_by_size(records, score)
        if gains.empty:
            return None
        change = paired((gains.iloc[:, -1] - gains.iloc[:, 0]).to_numpy())
        words.append(decide(*change))
        listed = ", ".join(f"{low}–{high} px {gain:+.1f}" for (low, high), gain in gains.mean().items())
        texts.append(f"{name}: {listed}; largest against smallest {points(*change)}")
    verdict = FAILS if FAILS in words else HOLDS if set(words) == {HOLDS} else UNDECIDED
    sides = field_frame(records).groupby(["k", "bin"])["valid50"].mean().unstack()
    low, high = (f"{sides[b][_BASE]:.1f} → {sides[b][_GLOBAL]:.1f} px" for b in (sides.columns[0], sides.columns[-1]))
    return verdict, (
        f"gain of GCN 15 over the 1×1 baseline by object size, n = {len(gains)}; {'; '.join(texts)}; "
        f"side of half the valid field on the smallest objects {low}, on the largest {high}"
    )
