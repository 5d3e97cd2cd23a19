"""Verdicts from made-up records: every word, missing and diverged runs, what they carry."""

from dataclasses import replace

import numpy as np
import pytest
from made import PHOTOS, SYNTHETIC, made, study

from gcnlab import paper
from gcnlab.analysis import claims, curves
from gcnlab.analysis.comparisons import Better
from gcnlab.analysis.judging import CONTRADICTED, INCONCLUSIVE, NOT_ENOUGH, NOT_RUN, SUPPORTED
from gcnlab.analysis.rules import (
    BASE,
    KS,
    OWN,
    RESNET,
    RESNET_GCN,
    RULES,
    STACK_KS,
    WIDTHS,
    OwnRule,
    rule_for,
)
from gcnlab.analysis.scores import NotRun, RecordedScores, published_scores
from gcnlab.experiments.head_rates import PAIRS
from gcnlab.experiments.profiles import get
from gcnlab.experiments.variants import Variant

COUNTED = (14, 15, 16)
MEASURED = (13, 21)  # on receptive fields
GCN, REFINED = Variant("gcn", 15), Variant("gcn", 15, refine=True)
GAIN = {BASE: 60, GCN: 65}


def as_published(claim):
    """Scores as the paper's own for what rule ``claim`` needs; regions of a variant together."""
    needs, known = rule_for(claim).test.needs(), published_scores()
    names = ("miou", "boundary_accuracy", "internal_accuracy")
    defaults = dict(zip(names, (60, 70, 90), strict=True))
    return {v: tuple(known.get((v, n), defaults[n]) for n in names) for v, _ in needs}


def judge(claim, records, profile=SYNTHETIC, fields=()):
    (verdict,) = claims.judge(profile, records, fields, claim)
    assert (verdict.id, verdict.claim) == (claim, paper.claims()[claim - 1]["claim"])
    return verdict


@pytest.mark.parametrize(
    "claim", [r.claim for r in RULES if r.claim not in (*COUNTED, *MEASURED, 9, 20)]
)
def test_the_papers_own_numbers_support_its_claims(claim):
    verdict = judge(claim, study(as_published(claim), range(rule_for(claim).planned_n), own=0.1))
    assert verdict.verdict == SUPPORTED, verdict.statement
    assert verdict.n == rule_for(claim).planned_n and verdict.registered
    effect = verdict.effects[0]
    assert effect.mean == pytest.approx(effect.published, abs=0.5) and effect.keys != ()


EXAMPLE = OwnRule(999, Better(((Variant("gcn", 7), BASE),)), 3, text="GCN 7 beats 1×1.")


@pytest.mark.parametrize("rule", [*OWN, EXAMPLE], ids=lambda rule: str(rule.claim))
def test_a_claim_beyond_the_papers_is_decided_by_its_rule(rule, monkeypatch):
    monkeypatch.setattr("gcnlab.analysis.rules.OWN", [rule])
    monkeypatch.setattr("gcnlab.analysis.claims.OWN", [rule])
    assert rule.claim > 100 and rule.text and rule.planned_n >= 3
    (verdict,) = claims.judge(SYNTHETIC, [], (), rule.claim)
    assert (verdict.verdict, verdict.claim) == (NOT_RUN, rule.text)
    scores = {variant: 60 + 3 * i for i, (variant, _) in enumerate(reversed(rule.test.needs()))}
    (verdict,) = claims.judge(SYNTHETIC, study(scores, range(rule.planned_n)), (), rule.claim)
    assert verdict.verdict in claims.DECIDED and verdict.n == rule.planned_n, verdict.statement
    assert "as tested" in claims.verdict_frame([verdict])
    assert rule.claim not in {verdict.id for verdict in claims.judge(SYNTHETIC, [])}


def test_a_claim_beyond_the_papers_takes_no_claims_number(monkeypatch):
    monkeypatch.setattr("gcnlab.analysis.rules.OWN", [EXAMPLE])
    for taken in (2, EXAMPLE.claim):
        with pytest.raises(ValueError, match="no other claim's"):
            OwnRule(taken, EXAMPLE.test, 3, text="Another.")


def test_a_score_that_no_record_has_is_named_with_those_that_are_there():
    scores = RecordedScores(SYNTHETIC, study(GAIN))
    with pytest.raises(NotRun, match="GCN 15 has no score 'mIoU', only boundary_accuracy.* miou"):
        Better(((GCN, BASE),), metric="mIoU").judge(scores)


CASES = [
    (1, CONTRADICTED, {Variant("gcn", k): 70 - k for k in KS}),
    (1, INCONCLUSIVE, {Variant("gcn", k): 60 for k in KS}),
    (2, CONTRADICTED, {BASE: 60, GCN: 58}),
    (6, CONTRADICTED, {Variant("stack", 7, m): 60 - 5 * m for m in WIDTHS}),
    (7, CONTRADICTED, {BASE: (60, 70, 90), GCN: (62, 80, 90.1)}),
    (8, CONTRADICTED, {GCN: (60, 70, 90), REFINED: (62, 75, 92)}),
    (9, SUPPORTED, {Variant(backbone=RESNET): 90, Variant(backbone=RESNET_GCN): 90.1}),
    (9, CONTRADICTED, {Variant(backbone=RESNET): 90, Variant(backbone=RESNET_GCN): 95}),
]


@pytest.mark.parametrize(("claim", "expected", "scores"), CASES)
def test_verdict(claim, expected, scores):
    verdict = judge(claim, study(scores))
    assert verdict.verdict == expected, verdict.statement
    assert verdict.detectable > 0 and verdict.diverged == 0


def test_claim_20_compares_final_training_losses():
    variants = {variant for variant, _ in rule_for(20).test.needs()}
    for excess, expected in ((0.2, SUPPORTED), (-0.2, CONTRADICTED)):
        records = [
            made(
                v.config(SYNTHETIC, s),
                loss=0.5 + excess * (v.head != "gcn") + 0.01 * ((s * 3 + i) % 5),
            )
            for i, v in enumerate(variants)
            for s in range(4)
        ]
        verdict = judge(20, records)
        assert verdict.verdict == expected and verdict.effects[0].unit == "nats"
        assert verdict.effects[0].mean == pytest.approx(excess, abs=0.02)


def test_without_runs_only_what_is_counted_is_decided():
    verdicts = {v.id: v for v in claims.judge(SYNTHETIC, [])}
    assert list(verdicts) == [claim["id"] for claim in paper.claims()]
    for number, verdict in verdicts.items():
        assert verdict.verdict == (SUPPORTED if number in COUNTED else NOT_RUN)
        assert number in COUNTED or verdict.statement.split()[-2:] in (
            ["not", "run"],
            ["not", "measured"],
        )
    for count in (608_286, 2_107_392, 4_307_310):
        assert f"{count:,}" in verdicts[14].statement
    for count in ("22.55 M", "25.56 M", "3,589 M", "3,856 M"):
        assert count in verdicts[15].statement
    assert "k = 7: 0.289 (2/k = 0.286)" in verdicts[16].statement


@pytest.mark.parametrize("claim", [2, 7, 11, 17])
def test_a_missing_variant_is_named_and_two_seeds_are_not_enough(claim):
    scores = as_published(claim)
    for lost in scores:
        rest = study({v: s for v, s in scores.items() if v != lost}, range(3))
        verdict = judge(claim, rest)
        assert verdict.verdict == NOT_RUN and lost.title in verdict.statement
    assert judge(claim, study(scores, range(2))).verdict == NOT_ENOUGH
    assert judge(claim, study(scores, range(3))).verdict != NOT_ENOUGH


def test_smoke_is_never_evidence_and_records_of_another_profile_are_not_this_one():
    smoke = get("smoke")
    verdict = judge(2, study(GAIN, profile=smoke), smoke)
    assert verdict.verdict == NOT_RUN and "smoke" in verdict.statement
    assert judge(2, study(GAIN), PHOTOS).verdict == NOT_RUN


def test_claim_11_pairs_by_seed_where_sets_of_seeds_differ():
    """The old rule cut longer lists and paired by place."""
    on = [(Variant(head, k, refine=refine, backbone=b), gain)
          for head, k, refine, gains in (("conv1x1", None, False, (0, 5)),
                                         ("gcn", 15, True, (10, 11)))
          for b, gain in zip((RESNET, RESNET_GCN), gains, strict=True)]  # fmt: skip
    luck = {0: 0, 1: 7, 2: -6, 3: 3, 4: -2, 5: 5}
    seeds = [(5, 3, 1, 0), (0, 1, 3, 4), (0, 1, 2, 3), (3, 1, 0)]
    records = [
        made(v.config(SYNTHETIC, s), (50 + gain + luck[s] + 0.1 * (s % 2 + place % 2)) / 100)
        for place, ((v, gain), own) in enumerate(zip(on, seeds, strict=True))
        for s in own
    ]
    verdict = judge(11, records)
    assert verdict.verdict == SUPPORTED and verdict.n == 3
    assert verdict.effects[0].mean == pytest.approx(4, abs=0.2)


def test_what_is_easily_misread_stands_beside_the_judged_effect():
    """A lead over stacks that are below the baseline themselves; points beside shares."""
    pairs = {Variant("gcn", k): 65 for k in STACK_KS} | {Variant("stack", k): 59 for k in STACK_KS}
    verdict = judge(5, study(pairs | {BASE: 60}, range(3), own=0))
    ((words, effect),) = verdict.beside.items()
    assert (words, effect.n) == ("stack − 1×1 baseline", 3)
    means = (effect.mean, verdict.effects[0].mean)
    assert means == pytest.approx((-1, 6), abs=0.01)
    assert judge(5, study(pairs, range(3))).beside == {}, "the baseline was not run"
    best = {stack: 64.0 for _, stack in PAIRS}
    (effect,) = judge(5, study(pairs | best, range(3), own=0)).beside.values()
    assert effect.mean == pytest.approx(1, abs=0.01) and len(effect.keys) == 18
    regions = judge(7, study({BASE: (60, 70, 90), GCN: (66, 74, 92)}, range(3), own=0)).beside
    assert [e.mean for e in regions.values()] == pytest.approx([2, 4], abs=0.01)
    pair = {
        Variant("gcn", 15, refine=True, backbone=b): 70 + i
        for i, b in enumerate((RESNET, RESNET_GCN))
    }
    pair |= {Variant("conv1x1", backbone=b): 60 + 5 * i for i, b in enumerate((RESNET, RESNET_GCN))}
    (remains,) = judge(11, study(pair, range(3), own=0)).beside.values()
    assert remains.mean == pytest.approx(1, abs=0.01)
    assert judge(2, study(GAIN, range(3))).beside == {}


@pytest.mark.parametrize("how", ["exploded", "at chance"])
def test_a_diverged_run_is_counted_and_not_averaged(how):
    records = study(GAIN, range(5))
    run = GCN.config(SYNTHETIC, 5)
    lost = made(run, 0.02)
    if how == "exploded":
        lost |= {
            "metrics": {},
            "counts": {},
            "history": [],
            "weights": None,
            "diverged": "the loss is nan",
        }
    with_it = judge(2, [*records, lost])
    without = judge(2, records)
    assert (with_it.diverged, without.diverged) == (1, 0)
    assert with_it.n == 5 and with_it.effects[0].mean == without.effects[0].mean
    alone = judge(2, [lost, *(r for r in records if r["config"]["head"] == "conv1x1")])
    assert alone.verdict == NOT_ENOUGH and alone.statement == "GCN 15 diverged in all of 1 runs"


def test_undefined_scores_are_no_error():
    records = study({BASE: (60, 70, 90), GCN: (65, 71, 93)})
    for record in records[::4]:
        record["metrics"]["internal_accuracy"] = None
        record["history"][3]["miou"] = None
    assert judge(7, records).verdict == NOT_ENOUGH
    assert judge(2, records).verdict == SUPPORTED
    frame = curves.learning_curves(SYNTHETIC, records)
    assert frame["miou"].isna().sum() == len(records[::4])


def test_a_network_that_is_still_rising_makes_the_verdict_provisional():
    records = study(GAIN)
    converged = replace(SYNTHETIC, converged=True)
    assert judge(2, records, converged).converged and not judge(2, records).converged
    for record in records:
        for i, point in enumerate(record["history"]):
            point["miou"] = min(0.6, 0.3 + 0.06 * i)  # flat over the last fifth
    assert judge(2, records, converged).converged
    for record in records:
        for i, point in enumerate(record["history"]):
            point["miou"] = 0.3 + 0.03 * i
    steps = [point["step"] for point in records[0]["history"]]
    assert curves.last_rise(records[0]) == pytest.approx(
        0.2 * steps[-1] * 3 / (steps[-1] - steps[-2])), "a straight line"  # fmt: skip
    provisional = judge(2, records, converged)
    assert not provisional.converged
    assert "not converged" in claims.verdict_frame([provisional]).loc[2, "verdict"]
    for claim in MEASURED:  # their networks are asked too
        assert not judge(claim, records, converged).converged
        assert judge(claim, study(GAIN), converged).converged


def test_the_bootstrap_over_images_stands_beside_the_interval():
    records = study({BASE: 60, GCN: 65})
    effect = judge(2, records).effects[0]
    assert effect.boot_low <= effect.mean <= effect.boot_high
    assert set(effect.keys) == {record["key"] for record in records}
    for record in records:
        if record["config"]["head"] == "gcn":  # one image decides: half of the studies miss it
            rows = record["counts"]["per_image"]
            rows[0], rows[1:] = rows[0].replace(" 250000", " 990000"), rows[1:]
    wide = judge(2, records).effects[0]
    assert wide.boot_high - wide.boot_low > 3 * (effect.boot_high - effect.boot_low)


def test_profiles_with_fewer_stages_are_judged_on_what_they_have():
    scores = {v: s for v, s in as_published(12).items() if v.config(PHOTOS, 0)}
    assert 0 < len(scores) < len(as_published(12))
    verdict = judge(12, study(scores, own=0.1, profile=PHOTOS), PHOTOS)
    assert verdict.verdict == SUPPORTED, verdict.statement


def test_whatever_has_no_number_is_not_run():
    scores = RecordedScores(SYNTHETIC, study(GAIN))
    with pytest.raises(NotRun):
        scores.by_seed(Variant("conv", 3))
    assert scores.published(GCN, BASE) == pytest.approx(5.5)
    assert scores.published(GCN, Variant("conv", 15)) is None
    assert np.isclose(scores.effect(GCN, BASE).mean, 5, atol=0.2)


@pytest.mark.parametrize(("number", "reason"), [(7, "first study"), (9, "first study"), (2, None)])
def test_rules_that_were_changed_say_so(number, reason):
    changed = judge(number, []).changed
    assert changed is None if reason is None else reason in changed
