"""Claim of the paper → verdict, from records and counts alone.

A difference between two variants counts when it exceeds its margin, the half-width of its 95 % confidence interval:
Student's t times the standard error, with the standard deviation over seeds pooled from all variants of the profile
that have several seeds (in Table 6, where pre-training is repeated too, from the two of one row; in Tables 7 and 9,
where each row starts from the one before, that of the differences between rows). Without any such variant there is no
margin, and no score claim is decided.

A claim holds if all that it states shows beyond the margin where it names a difference, and in every step where it
names an order; it does not hold if a part of it is contradicted beyond the margin; else it is undecided.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from gcnlab import paper
from gcnlab.study import field_verdicts
from gcnlab.study.margins import FAILS, HOLDS, NOT_RUN, UNDECIDED, decide, margin_of, points, pooled
from gcnlab.study.profiles import Profile
from gcnlab.study.tables import backbone_costs, exact_multiply_adds, exact_parameters
from gcnlab.study.variants import BACKBONES, Variant, cells, variant_records


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
    """Scores of a profile's variants in percent, over seeds, and the margins of their differences.

    A metric is a name, or two names for their difference in each run. ``spread_records`` give the spread where the
    records themselves have one seed each: the committed study's spread serves a user's single run. ``fields`` are
    measurements of receptive fields (see :mod:`gcnlab.study.measurements`).
    """

    def __init__(
        self,
        profile: Profile,
        records: list[dict[str, Any]],
        spread_records: list[dict[str, Any]] = (),
        fields: list[dict[str, Any]] = (),
    ):
        self.profile, self.fields = profile, fields
        self._found = variant_records(profile, records)
        self._spread_found = variant_records(profile, list(spread_records))

    @staticmethod
    def _scores(records: list[dict[str, Any]], metric: str | tuple[str, str]) -> np.ndarray:
        plus, minus = (metric, None) if isinstance(metric, str) else metric
        scores = [r["metrics"][plus] - (r["metrics"][minus] if minus else 0) for r in records]
        return 100 * np.array(scores, float)

    def values(self, variant: Variant, metric: str | tuple[str, str] = "miou") -> np.ndarray:
        """One score per seed."""
        if variant not in self._found:
            raise _Missing(variant.run(self.profile, 0).variant)
        return self._scores(self._found[variant], metric)

    def mean(self, variant: Variant, metric: str | tuple[str, str] = "miou") -> float:
        return float(self.values(variant, metric).mean())

    def _spread(self, like: Variant, metric: str | tuple[str, str]) -> tuple[float, int]:
        """Standard deviation over seeds, pooled over variants with several, and its degrees of freedom.

        In Tables 1–5 all variants are pooled; in Table 6, whose cells share pre-trainings, only the two of one row.
        """

        def kind(variant: Variant) -> Variant | str | None:
            return variant.protocol if variant.backbone is None else replace(variant, backbone="any")

        groups: list[np.ndarray] = []
        for found in (self._found, self._spread_found):
            several = [group for v, group in found.items() if len(group) > 1 and kind(v) == kind(like)]
            groups = groups or [self._scores(group, metric) for group in several]
        return pooled(groups)

    def gain(
        self, better: Variant, worse: Variant, metric: str | tuple[str, str] = "miou"
    ) -> tuple[float, float | None]:
        """Difference of means in points, and its margin (None without a spread)."""
        a, b = self.values(better, metric), self.values(worse, metric)
        return float(a.mean() - b.mean()), margin_of(*self._spread(better, metric), len(a), len(b))

    def margin(self) -> float | None:
        """The margin of the difference in mIoU of two single runs of Tables 1–5."""
        return margin_of(*self._spread(_BASE, "miou"), 1, 1)

    def step_gains(self, steps: list[tuple[Variant, Variant]]) -> list[tuple[float, float | None]]:
        """Gain in mIoU and its margin of each (earlier, later) row of a staged training, seed by seed."""

        def differences(found: dict[Variant, list[dict[str, Any]]]) -> list[np.ndarray]:
            by_seed = [[{r["config"]["seed"]: r for r in found.get(v, [])} for v in step] for step in steps]
            return [
                self._scores([b[seed] for seed in a if seed in b], "miou")
                - self._scores([a[seed] for seed in a if seed in b], "miou")
                for a, b in by_seed
            ]

        for step in steps:
            for variant in step:
                self.values(variant)  # or it is missing
        own = differences(self._found)
        both = pooled(own), pooled(differences(self._spread_found))
        spread, freedom = both[0] if both[0][1] else both[1]
        # the difference within a seed is one value: its mean over n seeds has the variance of one over n
        half = [margin_of(spread / sqrt(2), freedom, len(d), len(d)) for d in own]
        return [(float(d.mean()), margin) for d, margin in zip(own, half, strict=True)]

    def gain_over_gain(self, better: Variant, worse: Variant) -> tuple[float, float | None]:
        """How many more points the GCN form of the backbone gains in mIoU under ``worse`` than under ``better``.

        The two share a pre-training in every seed: what is compared between the backbones is their difference in it.
        """
        pairs = [[replace(variant, backbone=name) for variant in (worse, better)] for name in BACKBONES]
        for variant in (variant for pair in pairs for variant in pair):
            self.values(variant)  # or it is missing

        def differences(found: dict[Variant, list[dict[str, Any]]]) -> list[np.ndarray]:
            both = [[self._scores(found.get(variant, []), "miou") for variant in pair] for pair in pairs]
            return [one[: len(other)] - other[: len(one)] for one, other in both]

        resnet, gcn = groups = differences(self._found)
        both = pooled(groups), pooled(differences(self._spread_found))
        spread = both[0] if both[0][1] else both[1]
        return float(gcn.mean() - resnet.mean()), margin_of(*spread, len(gcn), len(resnet))


def _order(scores: Scores, ascending: list[Variant]) -> str:
    """Do the scores rise along ``ascending``, in every step and in all beyond the margin?"""
    steps = [scores.gain(b, a) for a, b in pairwise(ascending)]
    whole = decide(*scores.gain(ascending[-1], ascending[0]))
    if whole == FAILS or any(decide(*step) == FAILS for step in steps):
        return FAILS
    return HOLDS if whole == HOLDS and all(gain > 0 for gain, _ in steps) else UNDECIDED


def _listing(scores: Scores, variants: list[Variant]) -> str:
    return ", ".join(f"{variant.k}: {scores.mean(variant):.1f}" for variant in variants)


def _rises_with_k(scores: Scores) -> tuple[str, str]:
    variants = [Variant("gcn", k) for k in (3, 5, 7, 9, 11, 13, 15)]
    values = [scores.mean(variant) for variant in variants]
    up = int((np.diff(values) > 0).sum())
    rank = spearmanr(range(len(values)), values).statistic
    whole = points(*scores.gain(variants[-1], variants[0]))
    return _order(scores, variants), (
        f"mIoU over k is {_listing(scores, variants)}; {up} of {len(values) - 1} steps go up, "
        f"rank correlation {rank:.2f}; k = 15 against k = 3 {whole}"
    )


def _global_beats_base(scores: Scores) -> tuple[str, str]:
    gain = scores.gain(_GCN, _BASE)
    return decide(*gain), f"{points(*gain)}; published +5.5"


def _beats(scores: Scores, other: str, ks: tuple[int, ...]) -> tuple[str, str]:
    """GCN against another head at every k of ``ks``."""
    gains = {k: scores.gain(Variant("gcn", k), Variant(other, k)) for k in ks}
    words = {decide(*gain) for gain in gains.values()}
    text = "GCN minus " + {"conv": "k×k convolution", "stack": "stack"}[other] + ": "
    text += "; ".join(f"k = {k} {points(*gain)}" for k, gain in gains.items())
    if FAILS in words:
        return FAILS, text
    return (HOLDS if words == {HOLDS} else UNDECIDED), text


def _trivial_drops(scores: Scores) -> tuple[str, str]:
    three, five, seven, nine = variants = [Variant("conv", k) for k in (3, 5, 7, 9)]
    rise, fall = decide(*scores.gain(five, three)), _order(scores, [nine, seven, five])
    text = f"k×k mIoU over k is {_listing(scores, variants)}; k = 9 against k = 5 {points(*scores.gain(nine, five))}"
    if FAILS in (rise, fall):
        return FAILS, text
    # The published rise from 3 to 5 is small: its direction is enough.
    return (HOLDS if fall == HOLDS and scores.gain(five, three)[0] > 0 else UNDECIDED), text


def _stack_needs_width(scores: Scores) -> tuple[str, str]:
    variants = [Variant("stack", 7, ratio) for ratio in (210 / 2048, 0.5, 1.0)]
    values = ", ".join(f"{scores.mean(variant):.1f}" for variant in reversed(variants))
    whole = points(*scores.gain(variants[-1], variants[0]))
    return _order(scores, variants), f"mIoU at m = all, half, a tenth: {values}; widest against thinnest {whole}"


def _where(scores: Scores, better: Variant, worse: Variant, strong: str, weak: str) -> tuple[str, str]:
    """Does accuracy rise in the region ``strong``, and by more points than in the region ``weak``?"""
    names = {"boundary_accuracy": "boundary", "internal_accuracy": "internal"}
    parts = []
    for metric in (strong, weak):
        gain = scores.gain(better, worse, metric)
        error = 100 - scores.mean(worse, metric)
        share = f", {100 * gain[0] / error:.0f} % of its error" if error else ""
        parts.append(f"{names[metric]} accuracy {points(*gain)}{share}")
    rise = decide(*scores.gain(better, worse, strong))
    more = decide(*scores.gain(better, worse, (strong, weak)))
    verdict = FAILS if FAILS in (rise, more) else HOLDS if rise == more == HOLDS else UNDECIDED
    return verdict, "; ".join(parts)


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


def _worse_classifier(scores: Scores) -> tuple[str, str]:
    resnet, gcn = (Variant(backbone=name) for name in BACKBONES)
    # Data of few classes make hardly any top-5 error: there the top-1 error decides.
    few = len(scores.profile.pair[0].weights.data.class_names) < 50
    gain = scores.gain(gcn, resnet, "top1_error" if few else "top5_error")
    text = [
        f"{name} error {scores.mean(gcn, metric):.1f} against {scores.mean(resnet, metric):.1f} %, "
        + points(*scores.gain(gcn, resnet, metric))
        for name, metric in (("top-5", "top5_error"), ("top-1", "top1_error"))
    ]
    return decide(*gain), "; ".join([*text, f"judged by top-{1 if few else 5}, whatever the size of the difference"])


def _backbone_gain(scores: Scores, variant: Variant) -> tuple[float, float | None]:
    resnet, gcn = (replace(variant, backbone=name) for name in BACKBONES)
    return scores.gain(gcn, resnet)


def _better_backbone(scores: Scores) -> tuple[str, str]:
    gain = _backbone_gain(scores, _BASE)
    return decide(*gain), f"{points(*gain)}; published +5.5; judged is the gain, not its size"


def _small_gain_remains(scores: Scores) -> tuple[str, str]:
    alone, together = (_backbone_gain(scores, variant) for variant in (_BASE, _REFINED))
    shrinks = scores.gain_over_gain(_REFINED, _BASE)
    words = {decide(*together), decide(*shrinks)}
    verdict = FAILS if FAILS in words else HOLDS if words == {HOLDS} else UNDECIDED
    return verdict, (
        f"with GCN + BR {points(*together)}, without {points(*alone)}, {points(*shrinks)} more; "
        "published +0.2 and +5.5; small is judged as smaller than without"
    )


def _every_step_helps(scores: Scores) -> tuple[str, str]:
    words, texts = [], []
    for table in ("7", "9"):
        for column, group in cells(table).groupby("column", sort=False):
            rows = [Variant.of_cell(row) for row in group.itertuples()]
            rows = [v for v in rows if v.run(scores.profile, 0) is not None]
            if len(rows) < 2:
                continue
            gains = scores.step_gains(list(pairwise(rows)))
            whole = decide(*scores.step_gains([(rows[0], rows[-1])])[0])
            decided = [decide(*gain) for gain in gains]
            up = all(gain > 0 for gain, _ in gains)
            words.append(FAILS if FAILS in (*decided, whole) else HOLDS if up and whole == HOLDS else UNDECIDED)
            steps = ", ".join(f"{v.stage} {gain:+.1f}" for v, (gain, _) in zip(rows[1:], gains, strict=True))
            margin = gains[0][1]
            texts.append(f"Table {table}, {column}: {steps} (margin of a step "
                         f"{'unknown: no spread' if margin is None else f'±{margin:.1f}'})")  # fmt: skip
    if not words:
        raise _Missing("staged training")
    return FAILS if FAILS in words else HOLDS if set(words) == {HOLDS} else UNDECIDED, "; ".join(texts)


def _larger_field(scores: Scores) -> tuple[str, str]:
    found = field_verdicts.larger_field(scores.fields)
    if found is None:
        raise _Missing("the measurement of receptive fields")
    return found


def _similar_cost(_: Scores) -> tuple[str, str]:
    resnet, gcn = backbone_costs()
    parameters, multiply_adds = (gcn[i] / resnet[i] for i in range(2))
    alike = all(abs(ratio - 1) <= 0.15 for ratio in (parameters, multiply_adds))
    return (HOLDS if alike else FAILS), (
        f"parameters {gcn[0] / 1e6:.2f} M against {resnet[0] / 1e6:.2f} M (ratio {parameters:.2f}), multiply-adds of "
        f"convolutions {gcn[1] / 1e6:,.0f} M against {resnet[1] / 1e6:,.0f} M (ratio {multiply_adds:.2f}), published "
        "3700 M for both; similar means within 15 %"
    )


_BASE, _GCN, _REFINED = Variant("conv1x1"), Variant("gcn", 15), Variant("gcn", 15, refine=True)
_JUDGES: dict[int, Callable[[Scores], tuple[str, str]]] = {
    1: _rises_with_k,
    2: _global_beats_base,
    3: lambda scores: _beats(scores, "conv", (3, 5, 7, 9)),
    4: _trivial_drops,
    5: lambda scores: _beats(scores, "stack", (9, 11)),
    6: _stack_needs_width,
    7: lambda scores: _where(scores, _GCN, _BASE, "internal_accuracy", "boundary_accuracy"),
    8: lambda scores: _where(scores, _REFINED, _GCN, "boundary_accuracy", "internal_accuracy"),
    9: _worse_classifier,
    10: _better_backbone,
    11: _small_gain_remains,
    12: _every_step_helps,
    13: _larger_field,
    14: _fewer_parameters,
    15: _similar_cost,
    16: _linear_cost,
}
_COUNTS = (14, 15, 16)  # decided by counting, whatever the profile


def judge(
    profile: Profile,
    records: list[dict[str, Any]],
    ids: list[int] | None = None,
    spread_records: list[dict[str, Any]] = (),
    fields: list[dict[str, Any]] = (),
) -> list[Verdict]:
    """Verdicts on the paper's claims (all, or ``ids``) from the current records of one profile."""
    scores = Scores(profile, records, spread_records, fields)
    verdicts = []
    for claim in paper.claims():
        number = claim["id"]
        if ids is not None and number not in ids:
            continue
        try:
            if not profile.evidence and number not in _COUNTS:
                verdict, evidence = UNDECIDED, f"profile {profile.name} is never evidence"
            else:
                verdict, evidence = _JUDGES[number](scores)
        except _Missing as missing:
            verdict, evidence = NOT_RUN, f"{missing} was not run"
        verdicts.append(Verdict(number, claim["claim"], verdict, evidence))
    return verdicts
