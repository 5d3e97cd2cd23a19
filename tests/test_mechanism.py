"""Receptive fields judged, gains by object size, and why the trivial convolution gets worse."""

import numpy as np
import pytest
from made import SYNTHETIC, made
from scipy.stats import ttest_rel

from gcnlab.analysis import claims, dense_kernel, mechanism
from gcnlab.analysis.judging import CONTRADICTED, INCONCLUSIVE, NOT_ENOUGH, NOT_RUN, SUPPORTED
from gcnlab.experiments.ablations import ABLATIONS, LARGEST, Ablation
from gcnlab.experiments.config import to_json
from gcnlab.experiments.variants import Variant

EDGES = [4, 12, 20, 30, 41, 65]


def field(k, seed, sides=(10, 40), gains=(0, 0, 0, 0, 0), sizes=(9, 50)):
    """A measurement of the baseline (k = 1) or of GCN; scores are 0.5 plus gains by size bin."""
    run = (Variant("conv1x1") if k == 1 else Variant("gcn", k)).config(SYNTHETIC, seed)
    objects = [
        {"image": "2008_000001", "instance": i + 1, "size": size,
         "bin": int(np.searchsorted(EDGES, size, "right")) - 1,
         "valid50": sides[0], "valid95": sides[1], "effective50": 1, "effective95": 2}
        for i, size in enumerate(sizes)
    ]  # fmt: skip
    scores = [None if gain is None else 0.5 + gain for gain in gains]
    names = ("miou", "accuracy", "internal_accuracy", "centre_accuracy")
    by_size = {"objects": [20] * 5} | dict.fromkeys(names, scores)
    return {"config": to_json(run), "theoretical": 45, "objects": objects, "by_size": by_size,
            "settings": {"edges": EDGES}, "key": f"{k}-{seed}"}  # fmt: skip


def both(gcn, base=(10, 38)):
    """Sides of GCN by seed; the baseline's move with them a little."""
    fields = [field(1, seed, (base[0] + 0.1 * (seed % 2), base[1])) for seed in range(len(gcn))]
    return fields + [field(15, seed, sides) for seed, sides in enumerate(gcn)]


def judge(claim, fields):
    (verdict,) = claims.judge(SYNTHETIC, [], fields, claim)
    return verdict


@pytest.mark.parametrize(("sides", "expected"), [
    ([(20, 60), (21, 62), (20, 61), (20, 62)], SUPPORTED),
    ([(11, 41), (12, 42), (11, 40), (12, 41)], CONTRADICTED),
    ([(20, 60), (21, 62), (20, 61), (20, 50)], INCONCLUSIVE),  # at 95 % not clear
    ([(20, 59), (10, 64), (21, 40), (17, 57)], INCONCLUSIVE),
    ([(90, 90), (90, 91)], NOT_ENOUGH),
])  # fmt: skip
def test_claim_13_wants_one_and_a_half_times_the_side_at_both_shares(sides, expected):
    verdict = judge(13, both(sides))
    assert verdict.verdict == expected, verdict.statement
    assert "→" in verdict.statement and verdict.n == len(sides)


@pytest.mark.parametrize(("sides", "expected"), [
    ([(20, 60), (20, 58), (20, 62), (20, 50)], SUPPORTED),
    ([(20, 40)] * 3 + [(20, 45)], NOT_ENOUGH),
])  # fmt: skip
def test_claim_21_counts_large_objects_that_the_field_covers(sides, expected):
    """GCN's fields of 50 pixels and more cover the object of 50, the baseline's do not."""
    sizes = {SUPPORTED: (9, 50, 55), NOT_ENOUGH: (9, 50)}[expected]
    fields = [field(1, s, (10, 38 + 14 * (s == 0)), sizes=sizes) for s in range(4)]
    fields += [field(15, s, side, sizes=sizes) for s, side in enumerate(sides)]
    verdict = judge(21, fields if expected == SUPPORTED else fields[:2] + fields[4:6])
    assert verdict.verdict == expected and "covered" in verdict.statement
    if expected == SUPPORTED:
        assert verdict.effects[0].low > 0 and verdict.effects[0].high == 100, "shares end there"


def test_without_a_measurement_of_both_models_nothing_is_judged():
    for claim in (13, 21):
        assert judge(claim, []).verdict == judge(claim, both([(20, 60)] * 3)[:3]).verdict == NOT_RUN


def test_the_gain_by_size_is_paired_by_seed():
    seeds = (0, 2, 5)
    grows = [(0.01 * s, 0.02, 0.03, 0.04, 0.05 + 0.01 * s) for s in range(3)]
    fields = [field(15, s, gains=g) for s, g in zip(seeds, grows, strict=True)]
    fields += [field(1, s, gains=(0.001 * s,) * 5) for s in (5, 2, 0, 7)]
    outcome = mechanism.gain_grows_with_size(fields)
    assert (
        outcome.verdict == SUPPORTED
        and outcome.n == 3
        and outcome.effects[0].mean == pytest.approx(5)
    )
    gains = mechanism.gain_by_size(fields)
    assert list(gains.index) == [0, 2, 5] and gains.iloc[1, 0] == pytest.approx(0.8)
    frame = mechanism.size_frame([field(15, 0, gains=(None, 0, 0, 0, 0))])
    assert np.isnan(frame.loc[0, "miou"]) and frame.loc[1, ["from", "to", "objects"]].tolist() == [
        12,
        20,
        20,
    ]


# --- the trivial convolution ---------------------------------------------------------------------


def ablation_records(validation, training, seeds=range(4)):
    """``validation(ablation)`` and ``training(ablation)`` in percent; seeds move both."""
    records = []
    for i, ablation in enumerate(ABLATIONS):
        for seed in seeds:
            own = 0.2 * ((seed * 3 + i) % 4)
            record = made(
                ablation.config(SYNTHETIC, seed), (validation(ablation) + seed + own) / 100
            )
            record["metrics"]["training_miou"] = (training(ablation) + seed + own) / 100
            record["kernel"] = {"spectrum": [1.0, 0.5], "gcn_share": 0.8, "chance_share": 0.5}
            records.append(record)
    return records


def loss(ablation):
    return 60 - 8 * (ablation.head == "conv" and ablation.k > 9)


@pytest.mark.parametrize(("training", "cause"), [
    (loss, "fit (optimisation)"), (lambda a: 90, "generalisation (overfitting)"),
    (lambda a: 0.5 * loss(a) + 40, "fit (optimisation) and generalisation (overfitting)"),
])  # fmt: skip
def test_the_cause_is_what_changes_with_the_score(training, cause):
    findings = dense_kernel.findings(SYNTHETIC, ablation_records(loss, training))
    row = findings.loc[f"trivial − GCN, k = {LARGEST}"]
    assert (row["came out"], row["by"], row["n"]) == ("worse", cause, 4)
    calm = findings.loc["trivial, k = 7 − 5"]
    assert (calm["came out"], calm["by"]) == ("no clear difference", "")


def test_ablations_pair_seeds_leave_diverged_runs_out_and_name_what_was_not_run():
    records = ablation_records(loss, loss)
    gcn = next(r for r in records if r["name"] == f"gcn-k{LARGEST}-s2")
    records[records.index(gcn)] = made(Ablation("gcn", LARGEST).config(SYNTHETIC, 2), 0.02)
    rest = [r for r in records if "250-images" not in r["name"]]
    findings = dense_kernel.findings(SYNTHETIC, rest)
    assert findings.loc[f"trivial − GCN, k = {LARGEST}", "n"] == 3
    assert set(findings.loc[findings.index.str.contains("low-data"), "came out"]) == {"not run"}
    assert dense_kernel.findings(SYNTHETIC, [])["n"].eq(0).all()
    two = dense_kernel.findings(SYNTHETIC, ablation_records(loss, loss, range(2)))
    assert set(two["came out"]) == {"not enough runs"}


def test_intervals_of_ablations_are_those_of_the_paired_t_test():
    records = ablation_records(loss, loss)
    frame = dense_kernel.frame(SYNTHETIC, records)
    plain = frame[~frame["low_data"] & frame["start"].isna() & frame["scaled"].isna()]
    a, b = (
        plain.query(f"head == '{h}' and k == {LARGEST}").sort_values("seed")["miou"]
        for h in ("conv", "gcn")
    )
    low, high = ttest_rel(a, b).confidence_interval()
    shown = dense_kernel.findings(SYNTHETIC, records).loc[
        f"trivial − GCN, k = {LARGEST}", "validation"
    ]
    assert f"[{low:+.1f}, {high:+.1f}]" in shown.replace("−", "-")
    assert len(frame) == len(records) and frame["gcn_share"].notna().all()
    spectra = dense_kernel.spectra(SYNTHETIC, records)
    assert {name: len(c) for name, c in spectra.items()} == {"trivial convolution": 4, "GCN": 4}
