"""Verdicts from invented records: what clearly holds, clearly fails, is within the margin, or was not run."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from test_tables import made

from gcnlab import paper
from gcnlab.study import claims, profiles
from gcnlab.study.claims import FAILS, HOLDS, NOT_RUN, UNDECIDED
from gcnlab.study.variants import Variant

SHAPES = profiles.get("shapes")
SPREAD = 0.2  # points between neighbouring seeds: with three seeds exactly the standard deviation
STUDENT = {3: 3.1824, 4: 2.7764}  # degrees of freedom → 97.5 % quantile of Student's t, from a printed table
MARGIN = STUDENT[4] * SPREAD * sqrt(1 / 3 + 1 / 3)  # of a difference if two variants have three seeds, 0.45 points

RESNET, RESNET_GCN = Variant(backbone="ResNet50"), Variant(backbone="ResNet50-GCN")
BASE, GCN, REFINED = Variant("conv1x1"), Variant("gcn", 15), Variant("gcn", 15, refine=True)
WIDE, HALF, NARROW = (Variant("stack", 7, ratio) for ratio in (1.0, 0.5, 210 / 2048))


def records(scores, seeds=3, profile=SHAPES, spread=SPREAD):
    """Records of every variant of ``scores``: variant → mIoU, or (mIoU, boundary, internal accuracy), in percent.

    Every score has the standard deviation ``spread`` over three seeds; boundary and internal accuracy do not vary
    together.
    """
    made_up = []
    for which, values in scores.items():
        values = values if isinstance(values, tuple) else (values, 70, 90)
        for seed in range(seeds):
            shifts = [
                spread * ((seed + turn) % seeds - (seeds - 1) / 2)
                for turn in (which.refine, which.refine, which.refine + 1)
            ]
            shifted = [(value + shift) / 100 for value, shift in zip(values, shifts, strict=True)]
            made_up.append(made(which.run(profile, seed), *shifted))
    return made_up


def judge(number, scores, seeds=3, profile=SHAPES):
    (verdict,) = claims.judge(profile, records(scores, seeds, profile), [number])
    assert verdict.id == number
    return verdict


def over_k(head, scores, m_ratio=None):
    """``{k: mIoU}`` → scores of one head."""
    return {Variant(head, k, m_ratio): score for k, score in scores.items()}


def gcn(*scores, ks=(3, 5, 7, 9, 11, 13, 15)):
    return over_k("gcn", dict(zip(ks, scores, strict=True)))


def against(head, ks, gains, m_ratio=None):
    """GCN at 60 and another head so that GCN gains ``gains`` points."""
    other = {k: 60 - gain for k, gain in zip(ks, gains, strict=True)}
    return over_k("gcn", dict.fromkeys(ks, 60)) | over_k(head, other, m_ratio)


def conv(*gains):
    return against("conv", (3, 5, 7, 9), gains)


def stack(*gains):
    return against("stack", (9, 11), gains, 1.0)


def dense(*scores):
    return over_k("conv", dict(zip((3, 5, 7, 9), scores, strict=True)))


def regions(worse, better, boundary, internal):
    """Two variants, the second with so many more points near boundaries and inside."""
    return {worse: (60, 70, 90), better: (61, 70 + boundary, 90 + internal)}


def backbones(alone, together):
    """Table 6's segmentation scores: the GCN form gains so much without and with GCN + BR (None: not run)."""
    pairs = ((BASE, alone), (REFINED, together))
    return {
        replace(which, backbone=name): 60 + gain
        for which, gained in pairs
        if gained is not None
        for name, gain in (("ResNet50", 0), ("ResNet50-GCN", gained))
    }


CASES = [
    # 1: rises with every step of k
    (1, HOLDS, gcn(60, 61, 62, 63, 64, 65, 66)),
    (1, HOLDS, gcn(60, 60.1, 60.2, 60.3, 60.4, 60.5, 60.6)),  # small steps, but all up
    (1, FAILS, gcn(66, 65, 64, 63, 62, 61, 60)),
    (1, FAILS, gcn(60, 61, 62, 60, 64, 65, 66)),  # up in all, but one step clearly down
    (1, UNDECIDED, gcn(60, 61, 62, 63, 64, 63.9, 66)),  # one step down, within the margin
    (1, UNDECIDED, gcn(60, 60.1, 60, 60.1, 60, 60.1, 60.2)),
    # 2: k = 15 beats the 1×1 baseline
    (2, HOLDS, {BASE: 60, GCN: 65.5}),
    (2, FAILS, {BASE: 60, GCN: 58}),
    (2, UNDECIDED, {BASE: 60, GCN: 60.3}),
    (2, UNDECIDED, {BASE: 60, GCN: 59.7}),
    # 3: GCN beats the dense convolution at the same k
    (3, HOLDS, conv(1, 2, 3, 4)),
    (3, FAILS, conv(1, 2, -3, 4)),
    (3, FAILS, conv(-1, -1, -1, -1)),
    (3, UNDECIDED, conv(1, 2, 0.1, 4)),
    # 4: the dense convolution gets better up to k = 5 and worse from k = 7 on
    (4, HOLDS, dense(69.8, 70.4, 69.6, 68.8)),
    (4, FAILS, dense(60, 61, 62, 63)),
    (4, FAILS, dense(70, 60, 55, 50)),  # not better up to 5
    (4, FAILS, dense(60, 61, 65, 60)),  # not worse from 7 on: 7 is the best
    (4, UNDECIDED, dense(60, 60.1, 60, 59.9)),
    (4, UNDECIDED, dense(60.1, 60, 59, 58)),
    # 5: GCN beats the stack at large k
    (5, HOLDS, stack(2, 3)),
    (5, FAILS, stack(2, -3)),
    (5, UNDECIDED, stack(2, 0.2)),
    # 6: a narrower stack is worse
    (6, HOLDS, {WIDE: 62, HALF: 61, NARROW: 60}),
    (6, FAILS, {WIDE: 60, HALF: 61, NARROW: 62}),
    (6, FAILS, {WIDE: 62, HALF: 50, NARROW: 60}),  # from a half to a tenth it gets better
    (6, UNDECIDED, {WIDE: 60.2, HALF: 60.1, NARROW: 60}),
    # 7: GCN gains inside, hardly near boundaries; 8: refinement the other way round
    (7, HOLDS, regions(BASE, GCN, boundary=0.2, internal=1.1)),
    (7, FAILS, regions(BASE, GCN, boundary=0.2, internal=-1)),
    (7, FAILS, regions(BASE, GCN, boundary=3, internal=1)),  # gains inside, but more near boundaries
    (7, UNDECIDED, regions(BASE, GCN, boundary=0, internal=0.2)),
    (7, UNDECIDED, regions(BASE, GCN, boundary=1, internal=1.1)),  # gains as much in both
    (8, HOLDS, regions(GCN, REFINED, boundary=1.9, internal=0.1)),
    (8, FAILS, regions(GCN, REFINED, boundary=-1, internal=0.1)),
    (8, FAILS, regions(GCN, REFINED, boundary=1, internal=3)),
    (8, UNDECIDED, regions(GCN, REFINED, boundary=0.3, internal=-3)),
    # 9: the classifier is worse in GCN form (the made-up top-1 error is 100 − score)
    (9, HOLDS, {RESNET: 60, RESNET_GCN: 58}),
    (9, FAILS, {RESNET: 60, RESNET_GCN: 62}),
    (9, UNDECIDED, {RESNET: 60, RESNET_GCN: 59.7}),
    # 10: as a backbone of the baseline it is better
    (10, HOLDS, backbones(5.5, None)),
    (10, FAILS, backbones(-5.5, None)),
    (10, UNDECIDED, backbones(0.3, None)),
    # 11: with GCN + BR there is still a gain, a smaller one
    (11, HOLDS, backbones(5.5, 1)),
    (11, FAILS, backbones(5.5, -1)),
    (11, FAILS, backbones(1, 3)),  # a larger one
    (11, UNDECIDED, backbones(2, 2.1)),  # as large, within the margin of the difference
    (11, UNDECIDED, backbones(2.1, 2)),
    (11, UNDECIDED, backbones(5.5, 0.2)),  # as published
]
SCORED = sorted({number for number, *_ in CASES})
CLEAR = {number: scores for number, verdict, scores in reversed(CASES) if verdict == HOLDS}


@pytest.mark.parametrize(("number", "expected", "scores"), CASES)
def test_verdict(number, expected, scores):
    verdict = judge(number, scores)
    assert verdict.verdict == expected, verdict.evidence
    assert verdict.claim == paper.claims()[number - 1]["claim"]
    assert "margin ±0." in verdict.evidence, "the evidence says what difference would count"


@pytest.mark.parametrize("number", SCORED)
def test_one_seed_decides_nothing(number):
    verdict = judge(number, CLEAR[number], seeds=1)
    assert verdict.verdict == UNDECIDED and "no spread" in verdict.evidence


@pytest.mark.parametrize("number", SCORED)
def test_one_seed_is_judged_with_the_spread_of_the_committed_study(number):
    pair = [replace(which, backbone=name) for which in (RESNET, BASE, REFINED) for name in ("ResNet50", "ResNet50-GCN")]
    study = records({BASE: 50, GCN: 60} | dict.fromkeys(pair, 50), spread=SPREAD / 10)
    for expected, scores in [(v, s) for n, v, s in CASES if n == number and v != UNDECIDED]:
        (verdict,) = claims.judge(SHAPES, records(scores, seeds=1), [number], spread_records=study)
        assert verdict.verdict == expected, verdict.evidence
        (verdict,) = claims.judge(SHAPES, records(scores, seeds=1), [number], spread_records=records(scores, seeds=1))
        assert verdict.verdict == UNDECIDED, "a study of single seeds has no spread either"


@pytest.mark.parametrize("number", SCORED)
def test_a_missing_variant_is_named(number):
    """Whichever variant is missing: the claim was not run, and the evidence says for want of what."""
    for lost in CLEAR[number]:
        rest = {which: scores for which, scores in CLEAR[number].items() if which != lost}
        verdict = judge(number, rest)
        name = lost.run(SHAPES, 0).variant
        assert (verdict.verdict, verdict.evidence) == (NOT_RUN, f"{name} was not run")


def test_a_perfect_score_leaves_no_error_to_reduce_and_is_no_failure():
    assert judge(7, {BASE: (60, 70, 100), GCN: (61, 70, 100)}, seeds=1).verdict == UNDECIDED


def test_claims_without_an_experiment_are_not_run():
    verdicts = claims.judge(SHAPES, [])
    assert [v.id for v in verdicts] == [claim["id"] for claim in paper.claims()] == list(range(1, 17))
    assert {v.id: v.verdict for v in verdicts} == {i: HOLDS if i in (14, 15, 16) else NOT_RUN for i in range(1, 17)}
    assert all(v.evidence for v in verdicts)


def test_smoke_is_never_evidence():
    smoke = profiles.get("smoke")
    for number in SCORED:
        verdict = judge(number, CLEAR[number], profile=smoke)
        assert verdict.verdict == UNDECIDED and "smoke" in verdict.evidence
    assert {v.verdict for v in claims.judge(smoke, [], SCORED)} == {UNDECIDED}


@pytest.mark.parametrize("profile", profiles.PROFILES)
def test_counted_claims_hold_for_every_profile(profile):
    verdicts = {v.id: v for v in claims.judge(profiles.get(profile), [], [14, 15, 16])}
    assert [v.verdict for v in verdicts.values()] == [HOLDS] * 3
    for count in (608_286, 2_107_392, 4_307_310):
        assert f"{count:,}" in verdicts[14].evidence
    for count in ("22.55 M", "25.56 M", "3,589 M", "3,856 M", "3700 M"):
        assert count in verdicts[15].evidence
    assert "k = 7: 0.289 (2/k = 0.286)" in verdicts[16].evidence


def test_records_of_another_profile_are_no_evidence_here():
    verdict = claims.judge(profiles.get("photos"), records({BASE: 60, GCN: 70}), [2])[0]
    assert verdict.verdict == NOT_RUN


# --- the margin ----------------------------------------------------------------------------------


def uneven(*groups):
    """Variants with different numbers of seeds: (variant, scores in percent)."""
    return [made(which.run(SHAPES, i), s / 100) for which, scores in groups for i, s in enumerate(scores)]


def test_the_margin_is_students_with_the_spread_pooled_over_variants():
    conv = Variant("conv", 5)
    scores = claims.Scores(SHAPES, uneven((BASE, (60.0, 61.0, 62.5)), (GCN, (70.0, 70.4)), (conv, (50.0,))))
    # squared deviations: 61.1667: 1.3611 + 0.0278 + 1.7778 = 3.1667; 70.2: 0.08; degrees of freedom 2 + 1 + 0
    spread = sqrt((19 / 6 + 0.08) / 3)
    gain, margin = scores.gain(GCN, BASE)
    assert gain == pytest.approx(70.2 - 183.5 / 3)
    assert margin == pytest.approx(STUDENT[3] * spread * sqrt(1 / 2 + 1 / 3), rel=1e-4)
    assert scores.gain(conv, GCN)[1] == pytest.approx(STUDENT[3] * spread * sqrt(1 + 1 / 2), rel=1e-4), "no spread"
    assert scores.mean(GCN) == pytest.approx(70.2)
    assert list(scores.values(GCN)) == pytest.approx([70.0, 70.4])


def test_every_metric_has_its_own_spread():
    seeds = [(0.5, 0.60, 0.90), (0.5, 0.70, 0.92), (0.5, 0.65, 0.97)]
    both = [made(which.run(SHAPES, i), *s) for which in (GCN, BASE) for i, s in enumerate(seeds)]
    scores = claims.Scores(SHAPES, both)
    per_point = STUDENT[4] * sqrt(2 / 3)
    assert scores.gain(GCN, BASE) == (0, None)
    for metric, values in (
        ("boundary_accuracy", (60, 70, 65)),
        ("internal_accuracy", (90, 92, 97)),
        (("internal_accuracy", "boundary_accuracy"), (30, 22, 32)),
    ):
        gain, margin = scores.gain(GCN, BASE, metric)
        assert gain == 0 and margin == pytest.approx(per_point * np.std(values, ddof=1), rel=1e-4), metric


def test_without_several_seeds_there_is_no_margin():
    scores = claims.Scores(SHAPES, records({BASE: 60, GCN: 70}, seeds=1))
    assert scores.gain(GCN, BASE) == (pytest.approx(10), None)


def test_own_seeds_come_before_the_spread_of_the_study():
    own, study = uneven((GCN, (70.0, 70.4)), (BASE, (60.0,))), uneven((GCN, (50.0, 90.0)), (BASE, (10.0, 60.0)))
    assert claims.Scores(SHAPES, own, study).gain(GCN, BASE) == claims.Scores(SHAPES, own).gain(GCN, BASE)


def test_a_difference_is_decided_just_outside_its_margin():
    for factor, expected in ((1.05, HOLDS), (0.95, UNDECIDED), (-0.95, UNDECIDED), (-1.05, FAILS)):
        assert judge(2, {BASE: 60, GCN: 60 + factor * MARGIN}).verdict == expected


# --- Table 6 -------------------------------------------------------------------------------------


def test_few_classes_are_judged_by_top_1_and_many_by_top_5():
    (shapes,) = claims.judge(SHAPES, records({RESNET: 60, RESNET_GCN: 58}), [9])
    photos = profiles.get("photos")
    (tiny,) = claims.judge(photos, records({RESNET: 60, RESNET_GCN: 58}, profile=photos), [9])
    assert "judged by top-1" in shapes.evidence and "judged by top-5" in tiny.evidence
    assert "top-5 error 21.0 against 20.0 %" in tiny.evidence and shapes.verdict == tiny.verdict == HOLDS
    flipped = records({RESNET: 60, RESNET_GCN: 58})
    for record in flipped:  # as when hardly any image is missed by five guesses
        record["metrics"]["top5_error"] = 0.0
    (verdict,) = claims.judge(SHAPES, flipped, [9])
    assert verdict.verdict == HOLDS and "top-5 error 0.0 against 0.0 %, +0.0 points (margin unknown" in verdict.evidence
    (verdict,) = claims.judge(photos, records({RESNET: 60, RESNET_GCN: 58}, profile=photos, spread=0), [9])
    assert verdict.verdict == UNDECIDED, "scores that are all alike have no known spread"


def test_table_6_has_a_spread_of_its_own_row_by_row():
    """Its seeds repeat the pre-training, and its cells share it: no pooling with other tables or rows."""
    photos = profiles.get("photos")  # whose Table 6 shares no run with the other tables
    quiet = records({BASE: 50, GCN: 60}, profile=photos, spread=0.1)
    rows = [[replace(which, backbone=name) for name in ("ResNet50", "ResNet50-GCN")] for which in (BASE, REFINED)]
    loud = [record for row, spread in zip(rows, (2.0, 0.5), strict=True)
            for record in records(dict.fromkeys(row, 60), profile=photos, spread=spread)]  # fmt: skip
    scores = claims.Scores(photos, quiet + loud)
    for (a, b), spread in zip([(BASE, GCN), *rows], (0.1, 2.0, 0.5), strict=True):
        assert scores.gain(a, b)[1] == pytest.approx(STUDENT[4] * spread * sqrt(2 / 3), rel=1e-4)


def test_the_difference_of_two_gains_is_paired_within_a_pre_training():
    """What the baseline and GCN + BR share in a seed does not count as spread of their difference."""
    made_up = []
    for name, gained in (("ResNet50", 0), ("ResNet50-GCN", 1)):
        for seed, luck in enumerate((-5.0, 0.0, 5.0)):
            for which, score in ((BASE, 50 + 4 * gained), (REFINED, 60 + gained)):
                own = 0.1 * (seed - 1) if which == BASE else 0
                run = replace(which, backbone=name).run(SHAPES, seed)
                made_up.append(made(run, (score + luck + own) / 100))
    gain, margin = claims.Scores(SHAPES, made_up).gain_over_gain(REFINED, BASE)
    assert gain == pytest.approx(3) and margin == pytest.approx(STUDENT[4] * 0.1 * sqrt(2 / 3), rel=1e-4)
