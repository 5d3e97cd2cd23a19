"""Each kind of test on made-up scores: every word, and that none moves the wrong way."""

import numpy as np
import pytest

from gcnlab.analysis.comparisons import (
    Better,
    Each,
    MoreIn,
    OnlyIn,
    Peak,
    Rises,
    SmallerGain,
    Within,
)
from gcnlab.analysis.judging import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_ENOUGH,
    SUPPORTED,
    equivalence,
    outcome,
    text,
)
from gcnlab.analysis.rules import BASE, RULES
from gcnlab.analysis.scores import NotRun, Scores
from gcnlab.analysis.statistics import Effect
from gcnlab.experiments.variants import Variant

GCN = {k: Variant("gcn", k) for k in (3, 5, 7, 9, 15)}
CONV = {k: Variant("conv", k) for k in (3, 5, 7, 9)}
REFINED = Variant("gcn", 15, refine=True)
NOISE = (-0.4, 0.1, 0.5, -0.3, 0.2, -0.1)  # points; every variant takes them in another order
RISES = Rises(tuple(GCN.values()))
BETTER = Better(((GCN[15], BASE),))
EVERY_K = Better(tuple((GCN[k], CONV[k]) for k in (3, 5, 7, 9)), "mean over k")
EACH = Each((BETTER, Better(((GCN[15], CONV[9]),))))
PEAK = Peak(CONV[3], CONV[5], CONV[9])
MORE_IN = MoreIn(GCN[15], BASE, "internal_accuracy", "boundary_accuracy")
ONLY_IN = OnlyIn(REFINED, GCN[15], "boundary_accuracy", "internal_accuracy", 0.5)
WITHIN = Within(GCN[15], BASE, 1.0, "miou")
SMALLER = SmallerGain((GCN[15], CONV[9]), (GCN[7], CONV[7]))


def scores_of(test, means, seeds=6, luck=3.0):
    """Scores with these means, in the order of ``test.needs()``; seeds move all together."""
    needs = test.needs()
    assert len(means) == len(needs)
    values = {}
    for number, (need, mean) in enumerate(zip(needs, means, strict=True)):
        own = np.roll(NOISE, number)
        values[need] = {s: mean + luck * ((2 * s) % 5 - 2) + own[s % 6] for s in range(seeds)}
    return Scores(values)


def judge(test, means, **options):
    return test.judge(scores_of(test, means, **options))


CASES = [
    (RISES, SUPPORTED, (60, 61, 62, 63, 64)),
    (RISES, SUPPORTED, (60, 60.4, 60.8, 61.2, 61.6)),
    (RISES, CONTRADICTED, (64, 63, 62, 61, 60)),
    (RISES, CONTRADICTED, (60, 61, 66, 63, 68)),  # up in all, but one step clearly down
    (RISES, INCONCLUSIVE, (60, 60, 60, 60, 60)),
    (BETTER, SUPPORTED, (65, 60)),
    (BETTER, CONTRADICTED, (58, 60)),
    (BETTER, INCONCLUSIVE, (60.2, 60)),
    (EVERY_K, SUPPORTED, (61, 60, 62, 60, 63, 60, 64, 60)),
    (EVERY_K, SUPPORTED, (60.1, 60, 62, 60, 63, 60, 64, 60)),  # one within the noise
    (EVERY_K, CONTRADICTED, (61, 60, 62, 60, 57, 60, 68, 60)),  # one clearly worse
    (EVERY_K, CONTRADICTED, (59, 60, 59, 60, 59, 60, 59, 60)),
    (EVERY_K, INCONCLUSIVE, (60, 60, 60.1, 60, 59.9, 60, 60, 60)),
    (EACH, SUPPORTED, (65, 60, 61)),
    (EACH, INCONCLUSIVE, (65, 60, 65)),
    (EACH, CONTRADICTED, (58, 60, 60)),
    (EACH, CONTRADICTED, (65, 60, 68)),  # one pair clearly worse
    (PEAK, SUPPORTED, (60, 62, 60)),
    (PEAK, SUPPORTED, (62, 62, 60)),  # not falling is enough up to the peak
    (PEAK, CONTRADICTED, (66, 62, 60)),
    (PEAK, CONTRADICTED, (60, 62, 64)),
    (PEAK, INCONCLUSIVE, (60, 62, 62)),
    (MORE_IN, SUPPORTED, (93, 71, 90, 70)),  # 30 % of the error against 3 %
    (MORE_IN, CONTRADICTED, (90.5, 85, 90, 70)),
    (MORE_IN, INCONCLUSIVE, (90, 70, 90, 70)),
    (MORE_IN, INCONCLUSIVE, (90, 60, 90, 70)),  # only because the other region lost
    (ONLY_IN, SUPPORTED, (72, 90, 70, 90)),
    (ONLY_IN, CONTRADICTED, (72, 92, 70, 90)),
    (ONLY_IN, CONTRADICTED, (68, 90, 70, 90)),
    (ONLY_IN, INCONCLUSIVE, (72, 90.45, 70, 90)),
    (ONLY_IN, INCONCLUSIVE, (70, 90, 70, 90)),
    (WITHIN, SUPPORTED, (60.2, 60)),
    (WITHIN, CONTRADICTED, (63, 60)),
    (WITHIN, CONTRADICTED, (57, 60)),
    (WITHIN, INCONCLUSIVE, (61, 60)),
    (SMALLER, SUPPORTED, (61, 60, 65, 60)),
    (SMALLER, CONTRADICTED, (65, 60, 61, 60)),
    (SMALLER, CONTRADICTED, (57, 60, 65, 60)),  # a loss is no smaller gain
    (SMALLER, INCONCLUSIVE, (65, 60, 65, 60)),
]
CLEAR = {test: means for test, word, means in CASES if word in (SUPPORTED, CONTRADICTED)}


@pytest.mark.parametrize(("test", "expected", "means"), CASES)
def test_every_word(test, expected, means):
    outcome = judge(test, means)
    assert outcome.verdict == expected, outcome.statement
    assert outcome.n == 6 and outcome.detectable > 0
    assert (outcome.needed is None) or expected == INCONCLUSIVE


def test_every_kind_of_test_is_among_the_cases_with_every_word():
    kinds = {type(rule.test) for rule in RULES if rule.test.needs()}
    words = {kind: {word for test, word, _ in CASES if type(test) is kind} for kind in kinds}
    assert all(found == {SUPPORTED, CONTRADICTED, INCONCLUSIVE} for found in words.values()), words


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("test", CLEAR, ids=lambda test: type(test).__name__)
def test_fewer_than_three_seeds_decide_nothing(test, seeds):
    outcome = judge(test, CLEAR[test], seeds=seeds)
    assert outcome.verdict == NOT_ENOUGH and (outcome.detectable, outcome.needed) == (None, None)
    assert judge(test, CLEAR[test], seeds=3).n == 3


@pytest.mark.parametrize("test", CLEAR, ids=lambda test: type(test).__name__)
def test_seeds_that_only_one_side_has_change_nothing(test):
    """Three seeds in common of unequal sets: the verdict is that of those three."""
    whole = scores_of(test, CLEAR[test], seeds=3)
    longer = scores_of(test, CLEAR[test], seeds=6)
    values = {
        need: {s: v for s, v in longer.by_seed(*need).items() if s < 3 or s % 3 == number}
        for number, need in enumerate(test.needs()[:3])
    } | {need: whole.by_seed(*need) for need in test.needs()[3:]}
    shuffled = {need: dict(reversed(seeds.items())) for need, seeds in values.items()}
    assert any(len(seeds) > 3 for seeds in shuffled.values())
    expected, outcome = test.judge(whole), test.judge(Scores(shuffled))
    assert outcome.effects[0].mean == pytest.approx(expected.effects[0].mean)
    assert outcome.verdict == expected.verdict


@pytest.mark.parametrize("test", CLEAR, ids=lambda test: type(test).__name__)
def test_whatever_variant_is_missing_the_test_says_that_it_was_not_run(test):
    for lost in test.needs():
        values = {n: scores_of(test, CLEAR[test]).by_seed(*n) for n in test.needs() if n != lost}
        with pytest.raises(NotRun) as info:
            test.judge(Scores(values))
        assert str(info.value) == f"{lost[0].title} was not run"


def test_no_spread_is_borrowed_from_other_variants():
    """The interval of one comparison stays when every other one becomes noisy."""
    calm = scores_of(EVERY_K, (61, 60, 62, 60, 63, 60, 64, 60))
    noisy = {need: dict(calm.by_seed(*need)) for need in EVERY_K.needs()}
    for need in EVERY_K.needs()[2::2]:
        noisy[need] = {seed: v + 10 * (-1) ** seed for seed, v in noisy[need].items()}
    assert Scores(noisy).effect(GCN[3], CONV[3]) == calm.effect(GCN[3], CONV[3])
    assert Scores(noisy).effect(GCN[5], CONV[5]).low < calm.effect(GCN[5], CONV[5]).low - 1


ORDER = {CONTRADICTED: 0, INCONCLUSIVE: 1, SUPPORTED: 2}


@pytest.mark.parametrize("test", [BETTER, EVERY_K, EACH, PEAK, SMALLER, MORE_IN])
def test_a_better_score_never_lowers_a_verdict(test):
    """Raising what should be better, at the same noise: the word only rises."""
    random = np.random.default_rng(7)
    raised = {BETTER: (1, 0), EVERY_K: (1, 0) * 4, EACH: (1, 0, 0), PEAK: (0, 1, 0),
              SMALLER: (0, 0, 1, 0), MORE_IN: (1, 0, 0, 0)}[test]  # fmt: skip
    for _ in range(15):
        means = random.normal(80, 0.4, len(test.needs()))
        words = [
            judge(test, means + step * np.array(raised)).verdict for step in np.linspace(-3, 3, 13)
        ]
        ranks = [ORDER[word] for word in words]
        assert ranks == sorted(ranks), words


@pytest.mark.parametrize(
    ("mean", "expected"),
    [(0.0, SUPPORTED), (0.9, INCONCLUSIVE), (1.5, CONTRADICTED), (-1.5, CONTRADICTED)],
)
def test_equivalence_is_two_one_sided_tests(mean, expected):
    values = mean + 0.5 * np.array(NOISE)
    assert equivalence(values, 1.0) == expected
    assert equivalence(values[:2], 1.0) == NOT_ENOUGH


def test_an_undefined_score_is_no_verdict_and_no_error():
    scores = scores_of(BETTER, (65, 60))
    values = {need: dict(scores.by_seed(*need)) | {2: np.nan} for need in BETTER.needs()}
    assert BETTER.judge(Scores(values)).verdict == NOT_ENOUGH


def test_an_inconclusive_verdict_names_what_it_would_have_taken():
    outcome = judge(BETTER, (60.2, 60))
    assert outcome.effects[0].published == pytest.approx(5.5)
    assert 0 < outcome.detectable < 5.5 and outcome.needed is None  # 5.5 points are plain to see
    assert outcome.effects[0].low < 0 < outcome.effects[0].high


def test_a_profile_without_any_of_the_variants_is_told_so():
    class Nothing(Scores):
        def exists(self, variant):
            return False

    with pytest.raises(NotRun, match="none of these variants"):
        BETTER.judge(Nothing({}))


def test_seeds_are_named_only_where_more_would_decide():
    """Of an equivalence those that tell its effect from the nearer limit, not from 0."""
    effects, values = [Effect("a", None, -2.2, -3.7, -0.8, 3)], [-2.8, -2.2, -1.6]
    assert outcome(INCONCLUSIVE, "", effects, values).needed is None, "clearly below 0"
    assert outcome(INCONCLUSIVE, "", effects, values, limit=1.0).needed == 5
    assert outcome(SUPPORTED, "", effects, values, limit=1.0).needed is None


@pytest.mark.parametrize(
    ("effect", "shown"),
    [
        (Effect("a", None, 5.53, 4.2, 6.86, 5), "+5.5 [+4.2, +6.9] points"),
        (Effect("a", None, -0.5, np.nan, np.nan, 2, "px"), "−0.5 px"),
        (Effect("a", None, 0.123, 0.1, 0.15, 3, "nats"), "+0.123 [+0.100, +0.150] nats"),
    ],
)
def test_effects_in_words(effect, shown):
    assert text(effect) == shown
