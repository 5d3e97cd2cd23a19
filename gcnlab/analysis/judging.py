"""From an interval to a word: supported, contradicted, inconclusive, not enough runs, not run.

*Supported* and *contradicted* each have a level of 2.5 %, that is a two-sided 5 %; where a single
part can contradict the whole, the parts share another 1 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from gcnlab.analysis import statistics
from gcnlab.analysis.statistics import LEAST_SEEDS, Effect
from gcnlab.experiments.variants import Variant

SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
NOT_ENOUGH, NOT_RUN = "not enough runs", "not run"
ALPHA = 0.025  # of each direction
PART_ALPHA = 0.01  # that any single part of a claim is called contradicted where none is
Pair = tuple[Variant, Variant]  # the one that should be better, the other
Need = tuple[Variant, str]


@dataclass(frozen=True)
class Outcome:
    """What a test says.

    Args:
        statement: one line with the numbers.
        effects: the comparisons behind it; the first is the one that was judged.
        detectable: the smallest effect (in the unit of the first effect) that would have been
            found.
        needed: seeds that would decide, if the published effect (or the observed one) is the truth;
            None if there are as many, and another part of the claim is undecided.
    """

    verdict: str
    statement: str
    effects: tuple[Effect, ...] = ()
    n: int = 0
    detectable: float | None = None
    needed: int | None = None


def text(effect: Effect) -> str:
    """``+5.5 [4.2, 6.8] points``; no interval for fewer than three seeds."""
    if isnan(effect.mean):
        return "–"
    digits, unit = (3 if effect.unit == "nats" else 1), effect.unit
    bounds = "" if isnan(effect.low) else f" [{effect.low:+.{digits}f}, {effect.high:+.{digits}f}]"
    return f"{effect.mean:+.{digits}f}{bounds} {unit}".replace("-", "−")


def direction(effect: Effect) -> str:
    """The verdict on ``effect`` > 0 from its interval."""
    if effect.n < LEAST_SEEDS or isnan(effect.low):
        return NOT_ENOUGH
    return SUPPORTED if effect.low > 0 else CONTRADICTED if effect.high < 0 else INCONCLUSIVE


def combined(words: Sequence[str]) -> str:
    """All supported → supported, any contradicted → contradicted, any without runs → not enough."""
    for word in (CONTRADICTED, NOT_ENOUGH, INCONCLUSIVE):
        if word in words:
            return word
    return SUPPORTED


def outcome(
    verdict: str, statement: str, effects: Sequence[Effect], values: Sequence[float],
    limit: float = 0.0,
) -> Outcome:  # fmt: skip
    """An outcome whose detectable effect and needed seeds follow from the judged ``values``.

    ``limit``: how large an effect is judged against; of either sign, where it is not 0.
    """
    n = len(values)
    if n < LEAST_SEEDS:
        return Outcome(verdict, statement, tuple(effects), n)
    spread, first = float(np.std(values, ddof=1)), effects[0]
    truth = first.mean if first.published is None else first.published
    needed = (
        statistics.seeds_needed(spread, limit - abs(truth)) if verdict == INCONCLUSIVE else None
    )
    needed = needed if needed and needed > n else None
    detectable = statistics.detectable_effect(spread, n)
    return Outcome(verdict, statement, tuple(effects), n, detectable, needed)


def significantly_worse(values: Sequence[Sequence[float]]) -> list[bool]:
    """Which of several paired differences are below 0, by Holm's procedure."""
    return statistics.holm([statistics.p_value(v) for v in values], PART_ALPHA)


def equivalence(values: Sequence[float], limit: float) -> str:
    """Whether the mean of ``values`` is within ± ``limit``: two one-sided tests at 5 %."""
    _, low, high = statistics.interval(values, level=1 - 4 * ALPHA)
    _, wide_low, wide_high = statistics.interval(values)
    if isnan(low):
        return NOT_ENOUGH
    if -limit < low and high < limit:
        return SUPPORTED
    return CONTRADICTED if wide_low > limit or wide_high < -limit else INCONCLUSIVE
