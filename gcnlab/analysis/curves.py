"""Learning curves: who learns faster, who ends higher, and whether a network had converged."""

from collections.abc import Iterable, Sequence
from statistics import mean

import pandas as pd

from gcnlab.analysis.selection import by_variant, is_diverged, percent, seed_of
from gcnlab.analysis.tables import all_variants
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record
from gcnlab.experiments.variants import Variant

FAMILIES = {"conv1x1": "1×1 baseline", "gcn": "GCN",
            "conv": "dense k×k convolution", "stack": "stack of 3×3"}  # fmt: skip
STILL_RISING = 1.0  # points of mIoU over the last fifth of the training


def learning_curves(profile: Profile, records: Sequence[Record]) -> pd.DataFrame:
    """Loss and mIoU (%) of Tables 1–5 at every point of every run's history.

    Columns: title, family, head, k, refine, seed, step, loss, miou, diverged.
    """
    rows = []
    for variant, group in by_variant(profile, records, all_variants()).items():
        if variant.head is None or variant.backbone or variant.protocol:
            continue
        what = {"title": variant.title, "family": FAMILIES[variant.head], "head": variant.head,
                "k": variant.k, "refine": variant.refine}  # fmt: skip
        for record in group:
            own = what | {"seed": seed_of(record), "diverged": is_diverged(record)}
            rows += [own | {"step": p["step"], "loss": p["loss"], "miou": percent(p.get("miou"))}
                     for p in record["history"]]  # fmt: skip
    columns = ["title", "family", "head", "k", "refine", "seed", "step", "loss", "miou", "diverged"]
    return pd.DataFrame(rows, columns=columns)


def last_rise(record: Record) -> float:
    """Points of mIoU that a run gained over the last fifth of its steps; nan without a curve.

    Both ends are means of three points, as single points are noisy; what lies between their middles
    is scaled to a fifth.
    """
    points = [(p["step"], 100 * p["miou"]) for p in record["history"] if p.get("miou") is not None]
    if len(points) < 10:
        return float("nan")
    steps, scores = zip(*points, strict=True)
    start = min(range(len(steps)), key=lambda i: abs(steps[i] - 0.8 * steps[-1]))
    before, last = slice(max(0, start - 1), start + 2), slice(-3, None)
    share = (mean(steps[last]) - mean(steps[before])) / steps[-1]
    return 0.2 / share * (mean(scores[last]) - mean(scores[before]))


def still_rising(profile: Profile, records: Sequence[Record], variants: Iterable[Variant]) -> bool:
    """Whether the mean curve of any of ``variants`` rises by more than a point over its last
    fifth."""
    groups = by_variant(profile, records, variants).values()
    counted = ([record for record in group if not is_diverged(record)] for group in groups)
    # The mean leaves out what is nan, and is nan of nothing.
    return any(pd.Series(map(last_rise, g), dtype=float).mean() > STILL_RISING for g in counted)
