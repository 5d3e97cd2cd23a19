"""Why does the trivial convolution get worse as k grows? What the ablations say (section 4.1.1).

A loss on the validation split is split into a loss of fit (optimisation) and one of generalisation
(overfitting): training images tell the two apart.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gcnlab.analysis.judging import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_ENOUGH,
    SUPPORTED,
    direction,
    text,
)
from gcnlab.analysis.selection import by_variant, is_diverged, metric, seed_of
from gcnlab.analysis.statistics import effect_of
from gcnlab.experiments.ablations import ABLATIONS, KS, LARGEST, LOW_DATA_KS, Ablation
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record

CAUSES = ("fit (optimisation)", "generalisation (overfitting)")
WORDS = {SUPPORTED: "better", CONTRADICTED: "worse", INCONCLUSIVE: "no clear difference",
         NOT_ENOUGH: "not enough runs"}  # fmt: skip


def by_ablation(profile: Profile, records: Sequence[Record]) -> dict[Ablation, dict[int, Record]]:
    """Records by ablation and seed; diverged runs are left out."""
    counted = [record for record in records if not is_diverged(record)]
    groups = by_variant(profile, counted, ABLATIONS)
    return {a: {seed_of(record): record for record in group} for a, group in groups.items()}


def frame(profile: Profile, records: Sequence[Record]) -> pd.DataFrame:
    """One row per ablation and seed: head, k, low_data, start, scaled, seed, scores in percent, and
    of a trivial convolution the share of its kernel that a GCN can express, with that of noise."""
    rows = []
    for ablation, group in by_ablation(profile, records).items():
        for seed, record in group.items():
            scores = {name: metric(record, name) for name in ("miou", "training_miou")}
            kernel = record.get("kernel") or {}
            shares = {name: kernel.get(name) for name in ("gcn_share", "chance_share")}
            rows.append(asdict(ablation) | {"seed": seed} | scores | shares)
    columns = [*Ablation.__dataclass_fields__, "seed", "miou", "training_miou", "gcn_share",
               "chance_share"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def spectra(profile: Profile, records: Sequence[Record]) -> dict[str, list[NDArray[np.float64]]]:
    """Singular values of the largest kernels, one curve per seed: trivial convolution and GCN."""
    groups, curves = by_ablation(profile, records), {}
    for name, head in (("trivial convolution", "conv"), ("GCN", "gcn")):
        if group := groups.get(Ablation(head, LARGEST)):
            curves[name] = [np.array(record["kernel"]["spectrum"]) for record in group.values()]
    return curves


def questions() -> list[tuple[str, Ablation, Ablation]]:
    """What is asked: (question, ablation, what it is compared with)."""
    conv, gcn = Ablation("conv", LARGEST), Ablation("gcn", LARGEST)
    initialised, longer = (replace(conv, start=start) for start in ("gcn", "conv"))
    low = {k: Ablation("conv", k, low_data=True) for k in LOW_DATA_KS}
    asked = [
        (f"trivial, k = {k} − 5", Ablation("conv", k), Ablation("conv", 5)) for k in KS if k > 5
    ]
    asked += [(f"trivial, k = {k} − 3, low-data", low[k], low[3]) for k in LOW_DATA_KS if k > 3]
    from_gcn = "trivial initialised from GCN"
    return [
        *asked,
        (f"trivial − GCN, k = {LARGEST}", conv, gcn),
        (f"trivial − GCN, k = {LARGEST}, low-data", low[LARGEST], replace(gcn, low_data=True)),
        (f"{from_gcn} − that GCN", initialised, gcn),
        (f"{from_gcn} − GCN trained as long", initialised, replace(gcn, start="gcn")),
        (f"{from_gcn} − trivial trained as long", initialised, longer),
        ("learning rate over the fan-in's growth − plain", replace(conv, scaled="rate"), conv),
        ("weight decay times the fan-in's growth − plain", replace(conv, scaled="decay"), conv),
    ]


def findings(profile: Profile, records: Sequence[Record]) -> pd.DataFrame:
    """One row per question: what came out, its cause, and the differences within seeds.

    A clear difference on validation images comes from fit, from generalisation (what validation
    changes beyond the training images) or from both: from what differs clearly in the same
    direction.
    """
    groups, rows = by_ablation(profile, records), {}
    for question, one, other in questions():
        a, b = groups.get(one, {}), groups.get(other, {})
        seeds = sorted(a.keys() & b.keys())
        if not seeds:
            rows[question] = ["not run", "", "", "", "", 0]
            continue
        validation, fit = (
            np.array([metric(a[s], name) - metric(b[s], name) for s in seeds])
            for name in ("miou", "training_miou")
        )
        parts = [effect_of(question, v) for v in (validation, fit, validation - fit)]
        clear = [direction(part) for part in parts]
        causes = [c for c, word in zip(CAUSES, clear[1:], strict=True) if word == clear[0]]
        decided = clear[0] in (SUPPORTED, CONTRADICTED)
        cause = (" and ".join(causes) or "not decided") if decided else ""
        rows[question] = [WORDS[clear[0]], cause, *map(text, parts), len(seeds)]
    columns = ["came out", "by", "validation", "training images", "generalisation", "n"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("question")
