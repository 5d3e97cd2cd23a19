"""Scores of the paper's variants by seed: what rules are judged on, measured or simulated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gcnlab.analysis import statistics
from gcnlab.analysis.selection import by_variant, is_diverged, metric, per_image_counts, seed_of
from gcnlab.analysis.statistics import BySeed, Effect
from gcnlab.analysis.tables import SPECS, all_variants
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record
from gcnlab.experiments.variants import Variant

FEW_CLASSES = 50


class NotRun(Exception):
    """What a claim needs is missing, and why."""


class AllDiverged(NotRun):
    """A variant was run, and no run of it can be counted."""


class Scores:
    """``by_seed(variant, metric)`` → seed → score in percent.

    Differences and shares of the remaining error pair seeds.
    """

    def __init__(self, values: Mapping[tuple[Variant, str], BySeed], fields: Sequence[Record] = ()):
        self._values, self.fields = values, fields

    def exists(self, variant: Variant) -> bool:
        """Whether there is such a variant here: a profile can lack a stage."""
        return True

    def error_metric(self, name: str) -> str:
        """The error that judges classifiers in place of ``name``."""
        return name

    def by_seed(self, variant: Variant, name: str = "miou") -> BySeed:
        """One score per seed that did not diverge; :class:`NotRun` if there is none."""
        scores = self._values.get((variant, name))
        if not scores:
            raise self._missing(variant, name)
        return scores

    def _missing(self, variant: Variant, name: str) -> NotRun:
        return NotRun(f"{describe(variant)} was not run")

    def difference(self, better: Variant, worse: Variant, name: str = "miou") -> np.ndarray:
        """``better`` − ``worse`` in points for every seed that both have."""
        return statistics.differences(self.by_seed(better, name), self.by_seed(worse, name))

    def error_share(self, better: Variant, worse: Variant, name: str) -> np.ndarray:
        """Percent of the error of ``worse`` that ``better`` removes, for every seed that both
        have."""
        one, base = self.by_seed(better, name), self.by_seed(worse, name)
        seeds = sorted(one.keys() & base.keys())
        return np.array([100 * (one[s] - base[s]) / max(100 - base[s], 1e-9) for s in seeds])

    def published(self, better: Variant, worse: Variant, name: str = "miou") -> float | None:
        """The paper's difference, or None where it gives no number."""
        known = published_scores()
        if (better, name) not in known or (worse, name) not in known:
            return None
        return known[better, name] - known[worse, name]

    def effect(self, better: Variant, worse: Variant, name: str = "miou") -> Effect:
        """The difference as an effect, with its interval."""
        values, known = self.difference(better, worse, name), self.published(better, worse, name)
        return statistics.effect_of(f"{describe(better)} − {describe(worse)}", values, known)


class RecordedScores(Scores):
    """Scores of the records of ``profile``; diverged runs are counted, not averaged.

    ``fields`` are measurements of receptive fields of those records; ``others`` are variants
    besides those of the tables.
    """

    def __init__(
        self, profile: Profile, records: Sequence[Record], fields: Sequence[Record] = (),
        others: Iterable[Variant] = (),
    ):  # fmt: skip
        groups = by_variant(profile, records, dict.fromkeys((*all_variants(), *others)))
        self.profile = profile
        self._resampled_by_key: dict[str, NDArray[np.float64]] = {}
        self._records = {
            variant: {seed_of(record): record for record in group if not is_diverged(record)}
            for variant, group in groups.items()
        }
        self.diverged = {v: len(groups[v]) - len(self._records[v]) for v in groups}
        self.keys = {v: tuple(record["key"] for record in group) for v, group in groups.items()}
        values = {}
        for variant, group in self._records.items():
            for name in {name for record in group.values() for name in record["metrics"]} - {"iou"}:
                values[variant, name] = {s: metric(r, name) for s, r in group.items()}
            values[variant, "training_loss"] = {
                s: r["history"][-1]["loss"] for s, r in group.items() if r["history"]
            }
        super().__init__(values, fields)

    def exists(self, variant: Variant) -> bool:
        return variant.config(self.profile, 0) is not None

    def _missing(self, variant: Variant, name: str) -> NotRun:
        known = sorted(n for (v, n), by_seed in self._values.items() if v == variant and by_seed)
        if known:
            return NotRun(f"{describe(variant)} has no score {name!r}, only {', '.join(known)}")
        if runs := self.diverged.get(variant):
            return AllDiverged(f"{describe(variant)} diverged in all of {runs} runs")
        return super()._missing(variant, name)

    def error_metric(self, name: str) -> str:
        """Few classes make hardly a top-5 error: there the top-1 error judges."""
        few = len(self.profile.pair[0].start.data.class_names) < FEW_CLASSES
        return "top1_error" if few else name

    def effect(self, better: Variant, worse: Variant, name: str = "miou") -> Effect:
        """As in :class:`Scores`, with the bootstrap over images and the keys of the records."""
        unpaired = statistics.welch(self.by_seed(better, name), self.by_seed(worse, name))
        keys = self.keys[better] + self.keys[worse]
        plain = replace(super().effect(better, worse, name), welch=unpaired, keys=keys)
        if name != "miou" or plain.n < statistics.LEAST_SEEDS:
            return plain
        a, b = self._records[better], self._records[worse]
        changes = [
            self._resampled(a[s]) - self._resampled(b[s]) for s in sorted(a.keys() & b.keys())
        ]
        low, high = np.percentile(np.mean(changes, axis=0), [2.5, 97.5])
        return replace(plain, boot_low=float(low), boot_high=float(high))

    def _resampled(self, record: Record) -> NDArray[np.float64]:
        """mIoU of ``record`` over resampled validation images; once for all comparisons."""
        key = record["key"]
        if key not in self._resampled_by_key:
            self._resampled_by_key[key] = statistics.bootstrapped_miou(per_image_counts(record))
        return self._resampled_by_key[key]


def describe(variant: Variant) -> str:
    """A variant for a reader, with its backbone or stage where it has one."""
    where, title = variant.backbone or variant.stage, variant.title
    if variant.protocol == "street":  # its k is each profile's own
        where, title = f"Cityscapes, {where}", title.replace(f"{variant.k} ", "")
    return title + (f" ({where})" if where else "")


@cache
def published_scores() -> dict[tuple[Variant, str], float]:
    """The paper's scores and errors by variant and metric."""
    return {
        (Variant.of_cell(row), row.metric): row.value
        for spec in SPECS.values()
        for row in spec.cells().dropna(subset="value").itertuples()
    }
