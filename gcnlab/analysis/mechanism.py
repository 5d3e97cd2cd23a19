"""The mechanism: does GCN see more than the baseline (Fig. 3), and gain where objects are large?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from gcnlab.analysis.judging import Need, Outcome, combined, direction, outcome, text
from gcnlab.analysis.scores import NotRun, Scores
from gcnlab.analysis.selection import run_of
from gcnlab.analysis.statistics import effect_of
from gcnlab.experiments.records import Record
from gcnlab.experiments.variants import Variant

BASE, GLOBAL = 1, 15  # k
SIDES = ("valid50", "valid95", "effective50", "effective95")


def _label(record: Record) -> dict[str, object]:
    run = run_of(record)
    return {"name": run.variant, "k": run.k or BASE, "seed": run.seed}


def field_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per measured object: name, k (1 for the baseline), seed, bin, size, sides,
    theoretical."""
    rows = []
    for record in records:
        common = _label(record) | {"theoretical": record["theoretical"]}
        rows += [common | entry for entry in record["objects"]]
    columns = ["name", "k", "seed", "theoretical", "image", "instance", "bin", "size", *SIDES]
    return pd.DataFrame(rows, columns=columns)


def size_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per run and size bin: name, k, seed, from, to (pixels), objects, and scores in
    percent."""
    rows = []
    for record in records:
        edges, by_size = record["settings"]["edges"], record["by_size"]
        for i, (low, high) in enumerate(pairwise(edges)):
            scores = {n: v[i] for n, v in by_size.items() if n != "objects"}
            scores = {n: np.nan if v is None else 100 * v for n, v in scores.items()}
            edge = {"from": low, "to": high, "objects": by_size["objects"][i]}
            rows.append(_label(record) | edge | scores)
    scores = ["miou", "accuracy", "internal_accuracy", "centre_accuracy"]
    columns = ["name", "k", "seed", "from", "to", "objects", *scores]
    return pd.DataFrame(rows, columns=columns)


def _by_seed(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """Mean of ``value`` per seed (rows) for baseline and GCN 15; :class:`NotRun` if one is
    missing."""
    table = frame.pivot_table(index="seed", columns="k", values=value)
    if not {BASE, GLOBAL} <= set(table.columns):
        raise NotRun("receptive fields were not measured")
    return table[[BASE, GLOBAL]].dropna()


def _keys(scores: Scores) -> list[str]:
    """Of the measurements of the two models that are compared."""
    return [record["key"] for record in scores.fields if _label(record)["k"] in (BASE, GLOBAL)]


class OfFields:
    """A rule on the receptive fields of ``networks``, and on no score of theirs."""

    networks = (Variant("conv1x1"), Variant("gcn", GLOBAL))

    def needs(self) -> list[Need]:
        return []


@dataclass(frozen=True)
class LargerField(OfFields):
    """The side of GCN 15's valid field is at least ``factor`` times the baseline's, at 50 and at 95
    %."""

    factor: float

    def judge(self, scores: Scores) -> Outcome:
        frame = field_frame(scores.fields)
        effects, parts, values = [], [], []
        for side in ("valid50", "valid95"):
            sides = _by_seed(frame, side)
            beyond = sides[GLOBAL] - self.factor * sides[BASE]
            name = f"{side[5:]} % of the score drop: GCN 15 − {self.factor} × baseline"
            effect = effect_of(name, beyond, unit="px", keys=_keys(scores))
            effects.append(effect)
            values.append(list(beyond))
            base, gcn = sides.mean()
            parts.append(
                f"{side[5:]} %: {base:.1f} → {gcn:.1f} px (×{gcn / base:.2f}), {text(effect)} "
                f"beyond ×{self.factor}"
            )
        verdict = combined(list(map(direction, effects)))
        return outcome(verdict, "; ".join(parts), effects, values[0])


@dataclass(frozen=True)
class CoversLargeObjects(OfFields):
    """On the largest objects, GCN 15's valid field (95 %) covers the object more often (Fig. 3)."""

    def judge(self, scores: Scores) -> Outcome:
        frame = field_frame(scores.fields)
        large = frame[frame["bin"] == frame["bin"].max()]
        large = large.assign(covered=100.0 * (large["valid95"] >= large["size"]))
        covered = _by_seed(large, "covered")
        base, gcn = covered.mean()
        name, gained = "large objects covered, GCN 15 − baseline", covered[GLOBAL] - covered[BASE]
        effect = effect_of(name, gained, unit="%", keys=_keys(scores))
        # a difference of shares ends at 100
        effect = replace(effect, low=max(effect.low, -100.0), high=min(effect.high, 100.0))
        objects = len(large) // max(1, large.groupby(["k", "seed"]).ngroups)
        statement = f"{objects} objects: {base:.0f} % → {gcn:.0f} % covered, {text(effect)}"
        return outcome(direction(effect), statement, [effect], list(gained))


def gain_by_size(records: Sequence[Record], score: str = "miou") -> pd.DataFrame:
    """Points that GCN 15 gains over the baseline: rows = seeds, columns = (from, to) in pixels."""
    table = size_frame(records).pivot_table(index="seed", columns=["k", "from", "to"], values=score)
    return (table[GLOBAL] - table[BASE]).dropna()


def gain_grows_with_size(records: Sequence[Record]) -> Outcome:
    """Is the gain of GCN 15 over the baseline larger on the largest objects than on the smallest?

    That is what the paper's explanation predicts, in mIoU and internal accuracy; not a proof of it.
    """
    effects, parts, values = [], [], []
    for score in ("miou", "internal_accuracy"):
        gains = gain_by_size(records, score)
        change = gains.iloc[:, -1] - gains.iloc[:, 0]
        word = score.replace("_", " ").replace("miou", "mIoU")
        effect = effect_of(f"gain in {word}, largest − smallest objects", change)
        effects.append(effect)
        values.append(list(change))
        listed = ", ".join(f"{a}–{b - 1} px {gain:+.1f}" for (a, b), gain in gains.mean().items())
        parts.append(f"{word}: {listed}; {effect.name} {text(effect)}")
    return outcome(combined(list(map(direction, effects))), "; ".join(parts), effects, values[0])
