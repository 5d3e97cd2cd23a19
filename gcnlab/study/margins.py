"""When a difference counts: 95 % confidence intervals from the spread over seeds."""

from math import nan, sqrt

import numpy as np
from scipy.stats import t as student_t

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"


def pooled(groups: list[np.ndarray]) -> tuple[float, int]:
    """Pooled standard deviation of groups of scores, and its degrees of freedom."""
    groups = [group for group in groups if len(group)]
    freedom = sum(len(group) - 1 for group in groups)
    return (sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom) if freedom else nan), freedom


def margin_of(spread: float, freedom: int, n: int, m: int) -> float | None:
    """Half-width of the 95 % interval of a difference of two means; None without a spread: one seed, or all alike."""
    return student_t.ppf(0.975, freedom) * spread * sqrt(1 / n + 1 / m) if freedom and spread > 1e-9 else None


def paired(differences: np.ndarray) -> tuple[float, float | None]:
    """Mean of differences within seeds, and the half-width of its 95 % interval (None for one seed)."""
    spread, freedom = pooled([np.asarray(differences, float)])
    # one difference a seed: its mean over n has the variance of one over n, not that of two means
    return float(np.mean(differences)), margin_of(spread / sqrt(2), freedom, len(differences), len(differences))


def decide(gain: float, margin: float | None) -> str:
    """Whether a gain is beyond its margin, and in which direction."""
    if margin is None or abs(gain) <= margin:
        return UNDECIDED
    return HOLDS if gain > 0 else FAILS


def points(gain: float, margin: float | None, unit: str = "points") -> str:
    """A gain and its margin in words."""
    return f"{gain:+.1f} {unit} (margin {'unknown: no spread' if margin is None else f'±{margin:.1f}'})"
