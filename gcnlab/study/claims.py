"""Claim of the paper → verdict, from records and counts alone.

A difference between two variants counts when it exceeds its margin: two standard errors of the difference, with the
standard deviation over seeds pooled from all variants of the profile that have several seeds. Without any such
variant there is no margin, and no score claim is decided.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from gcnlab import paper
from gcnlab.study.profiles import Profile
from gcnlab.study.tables import exact_multiply_adds, exact_parameters, variant_records, variant_run

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"


class _Missing(Exception):
    """A variant that a claim needs was not run."""


@dataclass(frozen=True)
class Verdict:
    """What our runs say of one claim: ``verdict`` is one of the four words above, ``evidence`` one sentence."""

    id: int
    claim: str
    verdict: str
    evidence: str


class Scores:
    """Scores of a profile's variants in percent, over seeds, and the margins of their differences."""

    def __init__(self, profile: Profile, records: list[dict[str, Any]]):
        self.profile = profile
        self._found = variant_records(records)

    def _values(self, metric: str, variant: tuple) -> np.ndarray:
        head, k, m_ratio, refine = (*variant, None, None, False)[:4] if len(variant) < 4 else variant
        run = variant_run(self.profile, head, k, m_ratio, bool(refine), seed=0)
        if run not in self._found:
            raise _Missing(run.variant)
        return np.array([record["metrics"][metric] for record in self._found[run]]) * 100

    def mean(self, variant: tuple, metric: str = "miou") -> float:
        """Mean over seeds of ``variant`` = (head, k, m_ratio, refine), later parts optional."""
        return float(self._values(metric, variant).mean())

    def spread(self, metric: str = "miou") -> float | None:
        """Standard deviation over seeds, pooled over the variants with several; None if there are none."""
        groups = []
        for run, records in self._found.items():
            if run.study == "segmentation" and len(records) > 1:
                groups.append(np.array([record["metrics"][metric] for record in records]) * 100)
        freedom = sum(len(group) - 1 for group in groups)
        return sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom) if freedom else None

    def gain(self, better: tuple, worse: tuple, metric: str = "miou") -> tuple[float, float | None]:
        """Difference of means in points, and its margin (None without a spread)."""
        a, b, spread = self._values(metric, better), self._values(metric, worse), self.spread(metric)
        margin = None if spread is None else 2 * spread * sqrt(1 / len(a) + 1 / len(b))
        return float(a.mean() - b.mean()), margin


def _decide(gain: float, margin: float | None) -> str:
    if margin is None or abs(gain) <= margin:
        return UNDECIDED
    return HOLDS if gain > 0 else FAILS


def _points(gain: float, margin: float | None) -> str:
    return f"{gain:+.1f} points (margin {'unknown: one seed' if margin is None else f'±{margin:.1f}'})"


def _series(scores: Scores, head: str, ks: tuple[int, ...]) -> list[float]:
    return [scores.mean((head, k, 1.0 if head == "stack" else None)) for k in ks]


def _listing(ks: tuple[int, ...], values: list[float]) -> str:
    return ", ".join(f"{k}: {value:.1f}" for k, value in zip(ks, values, strict=True))


def _rises_with_k(scores: Scores) -> tuple[str, str]:
    ks = (3, 5, 7, 9, 11, 13, 15)
    values = _series(scores, "gcn", ks)
    steps = np.diff(values)
    gain, margin = scores.gain(("gcn", 15), ("gcn", 3))
    rank = spearmanr(ks, values).statistic
    verdict = _decide(gain, margin)
    _, step_margin = scores.gain(("gcn", 5), ("gcn", 3))
    if verdict == HOLDS and step_margin is not None and (steps < -step_margin).any():
        verdict = FAILS
    up = int((steps > 0).sum())
    return verdict, (
        f"mIoU over k is {_listing(ks, values)}; {up} of {len(steps)} steps go up, rank correlation {rank:.2f}, "
        f"k = 15 against k = 3 {_points(gain, margin)}"
    )


def _global_beats_base(scores: Scores) -> tuple[str, str]:
    gain, margin = scores.gain(("gcn", 15), ("conv1x1", None))
    return _decide(gain, margin), f"{_points(gain, margin)}; published +5.5"


def _beats(scores: Scores, other: str, ks: tuple[int, ...]) -> tuple[str, str]:
    """GCN against another head at every k of ``ks``: decided where all decided differences agree."""
    m_ratio = 1.0 if other == "stack" else None
    gains = {k: scores.gain(("gcn", k), (other, k, m_ratio)) for k in ks}
    words = {_decide(*gain) for gain in gains.values()}
    text = "GCN minus " + {"conv": "k×k convolution", "stack": "stack"}[other] + ": "
    text += ", ".join(f"k = {k} {gain:+.1f}" for k, (gain, _) in gains.items())
    margin = next(iter(gains.values()))[1]
    text += f" points (margin {'unknown: one seed' if margin is None else f'±{margin:.1f}'} each)"
    if FAILS in words:
        return FAILS, text
    return (HOLDS if words == {HOLDS} else UNDECIDED), text


def _trivial_drops(scores: Scores) -> tuple[str, str]:
    ks = (3, 5, 7, 9)
    values = _series(scores, "conv", ks)
    drop, margin = scores.gain(("conv", 5), ("conv", 9))
    return _decide(
        drop, margin
    ), f"k×k mIoU over k is {_listing(ks, values)}; k = 5 against k = 9 {_points(drop, margin)}"


def _stack_needs_width(scores: Scores) -> tuple[str, str]:
    wide, half, thin = (("stack", 7, ratio) for ratio in (1.0, 0.5, 210 / 2048))
    gain, margin = scores.gain(wide, thin)
    values = ", ".join(f"{scores.mean(v):.1f}" for v in (wide, half, thin))
    return _decide(
        gain, margin
    ), f"mIoU at m = all, half, a tenth: {values}; widest against thinnest {_points(gain, margin)}"


def _where(scores: Scores, better: tuple, worse: tuple, strong: str, weak: str) -> tuple[str, str]:
    """Does accuracy rise in the region ``strong``, and by more points than in the region ``weak``?"""
    names = {"boundary_accuracy": "boundary", "internal_accuracy": "internal"}
    gain, margin = scores.gain(better, worse, strong)
    side, side_margin = scores.gain(better, worse, weak)
    cut, side_cut = (100 * g / (100 - scores.mean(worse, m)) for g, m in ((gain, strong), (side, weak)))
    text = (
        f"{names[strong]} accuracy {_points(gain, margin)}, {cut:.0f} % of its error; "
        f"{names[weak]} {_points(side, side_margin)}, {side_cut:.0f} % of its error"
    )
    verdict = _decide(gain, margin)
    if verdict == HOLDS:
        verdict = _decide(gain - side, hypot(margin, side_margin))
    return verdict, text


def _fewer_parameters(_: Scores) -> tuple[str, str]:
    gcn, conv, stack = (exact_parameters(h, 7, r) for h, r in (("gcn", None), ("conv", None), ("stack", 210 / 2048)))
    return (HOLDS if gcn < min(conv, stack) else FAILS), (
        f"exact counts at 2048 → 21, k = 7: GCN {gcn:,}, k×k {conv:,}, thinnest stack of Table 4 {stack:,}"
    )


def _linear_cost(_: Scores) -> tuple[str, str]:
    ks = (7, 15, 25)
    ratios = [exact_multiply_adds("gcn", k, None) / exact_multiply_adds("conv", k, None) for k in ks]
    text = ", ".join(f"k = {k}: {r:.3f} (2/k = {2 / k:.3f})" for k, r in zip(ks, ratios, strict=True))
    close = all(abs(r * k / 2 - 1) < 0.02 for k, r in zip(ks, ratios, strict=True))
    return (HOLDS if close else FAILS), f"multiply-adds of GCN over k×k: {text}"


_BASE, _GCN, _REFINED = ("conv1x1", None), ("gcn", 15), ("gcn", 15, None, True)
_JUDGES: dict[int, Callable[[Scores], tuple[str, str]]] = {
    1: _rises_with_k,
    2: _global_beats_base,
    3: lambda scores: _beats(scores, "conv", (3, 5, 7, 9)),
    4: _trivial_drops,
    5: lambda scores: _beats(scores, "stack", (9, 11)),
    6: _stack_needs_width,
    7: lambda scores: _where(scores, _GCN, _BASE, "internal_accuracy", "boundary_accuracy"),
    8: lambda scores: _where(scores, _REFINED, _GCN, "boundary_accuracy", "internal_accuracy"),
    14: _fewer_parameters,
    16: _linear_cost,
}
_COUNTS = (14, 16)  # decided by counting, whatever the profile


def judge(profile: Profile, records: list[dict[str, Any]], ids: list[int] | None = None) -> list[Verdict]:
    """Verdicts on the paper's claims (all, or ``ids``) from the records of one profile."""
    scores = Scores(profile, records)
    verdicts = []
    for claim in paper.claims():
        number = claim["id"]
        if ids is not None and number not in ids:
            continue
        try:
            if number not in _JUDGES:
                verdict, evidence = NOT_RUN, "this study has no experiment for it yet"
            elif not profile.evidence and number not in _COUNTS:
                verdict, evidence = UNDECIDED, f"profile {profile.name} is never evidence"
            else:
                verdict, evidence = _JUDGES[number](scores)
        except _Missing as missing:
            verdict, evidence = NOT_RUN, f"{missing} was not run"
        verdicts.append(Verdict(number, claim["claim"], verdict, evidence))
    return verdicts
