"""Intervals, tests and power for scores that are paired by seed.

Every comparison uses the differences of its own two variants within seeds; no spread is borrowed
from other variants. Fewer than ``LEAST_SEEDS`` seeds give no interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

LEVEL = 0.95
LEAST_SEEDS = 3
POWER = 0.8  # of the smallest effect that is called detectable

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Effect:
    """A comparison: the mean difference within seeds with its 95 % confidence interval.

    Args:
        name: what is compared, such as ``GCN 15 − 1×1``.
        published: the paper's difference, in the same unit, or None.
        mean, low, high: nan where undefined.
        n: seeds that both sides have.
        unit: ``points``, ``%``, ``px`` or ``nats``.
        boot_low, boot_high: 95 % interval of the mean over resampled validation images, or None.
        welch: the unpaired 95 % interval, or None.
        keys: of the records of both sides.
    """

    name: str
    published: float | None
    mean: float
    low: float
    high: float
    n: int
    unit: str = "points"
    boot_low: float | None = None
    boot_high: float | None = None
    welch: tuple[float, float] | None = None
    keys: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t distribution."""
    return float(stats.t.ppf(probability, degrees_of_freedom))


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Mean of ``values`` and its t interval: nan bounds for fewer than three, all nan for none."""
    values = np.asarray(values, float)
    if not len(values):
        return nan, nan, nan
    mean = float(values.mean())
    if len(values) < LEAST_SEEDS:
        return mean, nan, nan
    error = float(values.std(ddof=1)) / sqrt(len(values))
    half = t_quantile(0.5 + level / 2, len(values) - 1) * error
    return mean, mean - half, mean + half


def prediction_interval(values: Sequence[float], count: int) -> tuple[float, float]:
    """Where the mean of ``count`` further values is expected with 95 %, from at least two."""
    values = np.asarray(values, float)
    error = float(values.std(ddof=1)) * sqrt(1 / len(values) + 1 / count)
    half = t_quantile(0.5 + LEVEL / 2, len(values) - 1) * error + 1e-5  # equal scores are equal
    return float(values.mean()) - half, float(values.mean()) + half


def differences(better: BySeed, worse: BySeed) -> NDArray[np.float64]:
    """``better`` − ``worse`` for every seed that both have, in order of seeds."""
    return np.array([better[seed] - worse[seed] for seed in sorted(better.keys() & worse.keys())])


def p_value(values: Sequence[float]) -> float:
    """Of the t test that the mean of ``values`` is below 0; nan for fewer than three or no
    spread."""
    values = np.asarray(values, float)
    spread = values.std(ddof=1) if len(values) >= LEAST_SEEDS else 0.0
    if spread == 0:
        return nan
    t = float(values.mean() / (spread / sqrt(len(values))))
    return float(stats.t.cdf(t, len(values) - 1))


def effect_of(
    name: str, values: Sequence[float], published: float | None = None, unit: str = "points",
    keys: Sequence[str] = (),
) -> Effect:  # fmt: skip
    """The effect whose differences within seeds are ``values``."""
    mean, low, high = interval(values)
    return Effect(name, published, mean, low, high, len(values), unit, keys=tuple(keys))


def welch(better: BySeed, worse: BySeed) -> tuple[float, float]:
    """The unpaired (Welch) 95 % interval of the difference of means, to stand beside the paired
    one."""
    a, b = (np.array(list(scores.values()), float) for scores in (better, worse))
    if min(len(a), len(b)) < LEAST_SEEDS:
        return nan, nan
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(LEVEL)
    return float(low), float(high)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's procedure rejects at the family-wise level ``alpha``."""
    order = np.argsort(p_values)
    rejected = [False] * len(p_values)
    for rank, index in enumerate(order):
        if not p_values[index] <= alpha / (len(p_values) - rank):  # nan rejects nothing
            break
        rejected[index] = True
    return rejected


def page_trend(scores: NDArray[np.float64]) -> tuple[float, float]:
    """p values of Page's test that columns rise, and that they fall; rows are blocks (seeds)."""
    rising, falling = (
        stats.page_trend_test(table, method="asymptotic").pvalue
        for table in (scores, scores[:, ::-1])
    )
    return float(rising), float(falling)


def detectable_effect(spread: float, n: int) -> float:
    """Smallest mean difference that a two-sided 5 % t test of ``n`` pairs finds with 80 % power.

    ``spread``: standard deviation of the differences. Nan for fewer than three pairs.
    """
    return _detectable_noncentrality(n) * spread / sqrt(n) if n >= LEAST_SEEDS else nan


@lru_cache(maxsize=1024)
def _detectable_noncentrality(n: int) -> float:
    """Noncentrality of t at which a two-sided test of ``n`` pairs has the power."""
    critical = t_quantile(0.5 + LEVEL / 2, n - 1)
    return float(special.nctdtrinc(n - 1, 1 - POWER, critical))


def seeds_needed(spread: float, effect: float, most: int = 100) -> int | None:
    """Seeds with which ``effect`` would be detected with 80 % power; None if more than ``most``."""
    counts = range(LEAST_SEEDS, most + 1)
    return next((n for n in counts if detectable_effect(spread, n) <= abs(effect)), None)


def bootstrapped_miou(
    counts: NDArray[np.int64], rounds: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """mIoU (percent) of one run over resampled validation images: (rounds,) values.

    All runs on the same images are resampled alike, so that their values may be subtracted.

    Args:
        counts: (images, classes, 3): hits, predicted and true pixels.
    """
    totals = (_resamples(len(counts), rounds, seed) @ counts.reshape(len(counts), -1)).reshape(
        rounds, -1, 3
    )
    hits, union = totals[..., 0], totals[..., 1] + totals[..., 2] - totals[..., 0]
    iou = np.divide(hits, union, out=np.full_like(hits, nan), where=union > 0)
    return 100 * np.nanmean(iou, axis=1)


@lru_cache(maxsize=4)
def _resamples(images: int, rounds: int, seed: int) -> NDArray[np.float64]:
    """How often each image is drawn: (rounds, images)."""
    shares = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, shares, rounds).astype(float)
