"""The kinds of test that rules are made of: scores in, verdict with its effects out.

Each test is a frozen dataclass with ``judge(scores) -> Outcome`` and ``needs() -> (variant, metric)
pairs`` for its simulation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from gcnlab.analysis import statistics
from gcnlab.analysis.judging import (
    ALPHA,
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_ENOUGH,
    SUPPORTED,
    Need,
    Outcome,
    Pair,
    combined,
    direction,
    equivalence,
    outcome,
    significantly_worse,
    text,
)
from gcnlab.analysis.scores import NotRun, Scores, published_scores
from gcnlab.analysis.statistics import LEAST_SEEDS, Effect, effect_of
from gcnlab.experiments.variants import Variant


def _keys(effects: Sequence[Effect]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for effect in effects for key in effect.keys))


def _by_seed(scores: Scores, pair: Pair, metric: str) -> Mapping[int, float]:
    better, worse = (scores.by_seed(variant, metric) for variant in pair)
    return {seed: better[seed] - worse[seed] for seed in better.keys() & worse.keys()}


@dataclass(frozen=True)
class Rises:
    """Scores rise along ``variants``: Page's test with seeds as blocks.

    Contradicted if they fall by the same test, or if any single step goes down (Holm over the
    steps).
    """

    variants: tuple[Variant, ...]
    metric: str = "miou"

    def needs(self) -> list[Need]:
        return [(variant, self.metric) for variant in self.variants]

    def judge(self, scores: Scores) -> Outcome:
        by_seed = [scores.by_seed(variant, self.metric) for variant in self.variants]
        seeds = sorted(set.intersection(*(set(s) for s in by_seed)))
        steps = [scores.effect(b, a, self.metric) for a, b in pairwise(self.variants)]
        whole = scores.effect(self.variants[-1], self.variants[0], self.metric)
        table = np.array([[s[seed] for s in by_seed] for seed in seeds])
        lowest = min(steps, key=lambda step: step.mean)
        statement = f"{whole.name} {text(whole)}; smallest step {lowest.name} {text(lowest)}"
        if len(seeds) < LEAST_SEEDS:
            return outcome(NOT_ENOUGH, statement, [whole, *steps], seeds)
        rising, falling = statistics.page_trend(table)
        down = significantly_worse([table[:, i + 1] - table[:, i] for i in range(len(steps))])
        if falling < ALPHA or any(down):
            verdict = CONTRADICTED
        else:
            verdict = SUPPORTED if rising < ALPHA else INCONCLUSIVE
        statement += f"; Page's test for a rise: p = {rising:.2g}"
        return outcome(verdict, statement, [whole, *steps], table[:, -1] - table[:, 0])


@dataclass(frozen=True)
class Better:
    """The mean difference over ``pairs`` is positive, within seeds.

    Contradicted if it is negative, or if any single pair is (Holm over the pairs). ``title`` names
    the mean of several pairs.
    """

    pairs: tuple[Pair, ...]
    title: str = ""
    metric: str = "miou"
    unit: str = "points"

    def needs(self) -> list[Need]:
        return list(dict.fromkeys((v, self.metric) for pair in self.pairs for v in pair))

    def judge(self, scores: Scores) -> Outcome:
        pairs = [pair for pair in self.pairs if all(map(scores.exists, pair))]
        if not pairs:
            raise NotRun("this profile has none of these variants")
        effects = [replace(scores.effect(*pair, self.metric), unit=self.unit) for pair in pairs]
        by_pair = [_by_seed(scores, pair, self.metric) for pair in pairs]
        seeds = sorted(set.intersection(*(set(values) for values in by_pair)))
        means = [float(np.mean([values[seed] for values in by_pair])) for seed in seeds]
        whole, worse = effects[0], [False]
        if len(pairs) > 1:
            worse = significantly_worse([list(values.values()) for values in by_pair])
            known = [effect.published for effect in effects]
            published = None if None in known else float(np.mean(known))
            whole = effect_of(self.title, means, published, self.unit, _keys(effects))
            effects = [whole, *effects]
        verdict = CONTRADICTED if any(worse) else direction(whole)
        statement = "; ".join(f"{effect.name} {text(effect)}" for effect in effects)
        return outcome(verdict, statement, effects, means)


@dataclass(frozen=True)
class Each:
    """Every one of ``tests`` is supported; contradicted if their mean is, or any single pair."""

    tests: tuple[Better, ...]

    def needs(self) -> list[Need]:
        return list(dict.fromkeys(need for test in self.tests for need in test.needs()))

    def judge(self, scores: Scores) -> Outcome:
        outcomes = [test.judge(scores) for test in self.tests]
        pairs = tuple(pair for test in self.tests for pair in test.pairs)
        together = Better(pairs, "mean over all")
        words = {outcome.verdict for outcome in outcomes}
        verdict = SUPPORTED if words == {SUPPORTED} else together.judge(scores).verdict
        if verdict == SUPPORTED and words != {SUPPORTED}:
            verdict = NOT_ENOUGH if NOT_ENOUGH in words else INCONCLUSIVE
        weakest = min(outcomes, key=lambda o: o.effects[0].mean)
        return replace(
            weakest,
            verdict=verdict,
            statement="; ".join(o.statement for o in outcomes),
            effects=tuple(effect for o in outcomes for effect in o.effects),
        )


@dataclass(frozen=True)
class Peak:
    """Scores fall from ``peak`` to ``after``, and do not fall from ``before`` to ``peak``."""

    before: Variant
    peak: Variant
    after: Variant
    metric: str = "miou"

    def needs(self) -> list[Need]:
        return [(variant, self.metric) for variant in (self.before, self.peak, self.after)]

    def judge(self, scores: Scores) -> Outcome:
        drop = scores.effect(self.peak, self.after, self.metric)
        rise = scores.effect(self.peak, self.before, self.metric)
        rises = scores.difference(self.peak, self.before, self.metric)
        verdict = CONTRADICTED if any(significantly_worse([rises])) else direction(drop)
        statement = f"{drop.name} {text(drop)}; {rise.name} {text(rise)}"
        values = scores.difference(self.peak, self.after, self.metric)
        return outcome(verdict, statement, [drop, rise], values)


@dataclass(frozen=True)
class _Regions:
    """``better`` against ``worse`` in two regions, in points and in shares of their error."""

    better: Variant
    worse: Variant
    strong: str
    weak: str

    def needs(self) -> list[Need]:
        return [(v, m) for v in (self.better, self.worse) for m in (self.strong, self.weak)]

    def measured(self, scores: Scores) -> tuple[list[Effect], list[np.ndarray], str]:
        """Of both regions: the effect in points, the shares removed by seed; and these told."""
        metrics = (self.strong, self.weak)
        effects = [replace(scores.effect(self.better, self.worse, m), name=m.replace("_", " "))
                   for m in metrics]  # fmt: skip
        shares = [scores.error_share(self.better, self.worse, metric) for metric in metrics]
        told = (f"{effect.name} {text(effect)} ({share.mean():.0f} % of its error)"
                for effect, share in zip(effects, shares, strict=True))  # fmt: skip
        return effects, shares, "; ".join(told)


@dataclass(frozen=True)
class MoreIn(_Regions):
    """``better`` removes a larger share of the error in region ``strong`` than in region ``weak``.

    Shares and not points: the regions differ several times in their error.
    """

    def judge(self, scores: Scores) -> Outcome:
        points, (strong, weak), told = self.measured(scores)
        published, keys = self._published_shares(), _keys(points)
        name = f"share of the error removed, {points[0].name}"
        more = effect_of(f"{name} − {points[1].name}", strong - weak,
                         published[0] - published[1], "%", keys)  # fmt: skip
        alone = effect_of(name, strong, published[0], "%", keys)
        verdict = direction(more)
        if verdict == SUPPORTED and direction(alone) != SUPPORTED:
            verdict = INCONCLUSIVE
        statement = f"{more.name} {text(more)}; {told}"
        return outcome(verdict, statement, [more, alone, *points], strong - weak)

    def _published_shares(self) -> tuple[float, float]:
        known = published_scores()
        return tuple(
            100 * (known[self.better, m] - known[self.worse, m]) / (100 - known[self.worse, m])
            for m in (self.strong, self.weak)
        )


@dataclass(frozen=True)
class OnlyIn(_Regions):
    """``better`` gains in region ``strong``, and changes region ``weak`` by less than ``limit``
    points."""

    limit: float

    def judge(self, scores: Scores) -> Outcome:
        (gain, change), _, told = self.measured(scores)
        equal = equivalence(scores.difference(self.better, self.worse, self.weak), self.limit)
        words = [direction(gain), equal]
        verdict = CONTRADICTED if equal == CONTRADICTED else combined(words)
        statement = f"{told}; a change below {self.limit:g} points counts as hardly any"
        values = scores.difference(self.better, self.worse, self.strong)
        return outcome(verdict, statement, [gain, change], values)


@dataclass(frozen=True)
class Within:
    """``one`` − ``other`` is smaller than ``limit`` either way: an equivalence test (two
    one-sided)."""

    one: Variant
    other: Variant
    limit: float
    metric: str

    def needs(self) -> list[Need]:
        return [(variant, self.metric) for variant in (self.one, self.other)]

    def judge(self, scores: Scores) -> Outcome:
        metric = scores.error_metric(self.metric)
        values = scores.difference(self.one, self.other, metric)
        effect = scores.effect(self.one, self.other, metric)
        verdict = equivalence(values, self.limit)
        word = metric.replace("_", " ")
        statement = f"{word}, {effect.name} {text(effect)}; judged against ±{self.limit:g} points"
        return outcome(verdict, statement, [effect], values, self.limit)


@dataclass(frozen=True)
class SmallerGain:
    """The gain of pair ``small`` is smaller than that of ``large``, and not negative."""

    small: Pair
    large: Pair
    metric: str = "miou"

    def needs(self) -> list[Need]:
        return [(variant, self.metric) for variant in (*self.small, *self.large)]

    def judge(self, scores: Scores) -> Outcome:
        by_seed = (_by_seed(scores, pair, self.metric) for pair in (self.large, self.small))
        values = statistics.differences(*by_seed)
        small, large = (scores.effect(*pair, self.metric) for pair in (self.small, self.large))
        known = [effect.published for effect in (large, small)]
        published = None if None in known else known[0] - known[1]
        name, keys = "gain without − gain with GCN and BR", _keys((small, large))
        shrinks = effect_of(name, values, published, keys=keys)
        losses = scores.difference(*self.small, self.metric)
        verdict = CONTRADICTED if any(significantly_worse([losses])) else direction(shrinks)
        parts = (shrinks, small, large)
        statement = "; ".join(f"{effect.name} {text(effect)}" for effect in parts)
        return outcome(verdict, statement, parts, values)
