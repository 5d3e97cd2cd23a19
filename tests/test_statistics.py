"""Intervals, tests and power against scipy, against closed examples, and against simulation."""

import numpy as np
import pytest
from scipy import stats

from gcnlab.analysis import statistics

RANDOM = np.random.default_rng(0)
SAMPLES = [RANDOM.normal(1, 2, n) for n in (3, 5, 12)]
# Page (1963) as in scipy's documentation: ten students rank tutorials, seminars, lectures
RANKS = np.array([[3, 4, 3], [2, 2, 4], [3, 3, 5], [1, 3, 2], [2, 3, 2],
                  [2, 4, 5], [1, 2, 4], [3, 4, 4], [2, 4, 5], [1, 3, 4]])  # fmt: skip


@pytest.mark.parametrize("values", SAMPLES, ids=len)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_is_that_of_scipys_t_test(values, level):
    test = stats.ttest_1samp(values, 0)
    mean, low, high = statistics.interval(values, level)
    assert (mean, low, high) == pytest.approx((values.mean(), *test.confidence_interval(level)))
    expected = stats.ttest_1samp(values, 0, alternative="less").pvalue
    assert statistics.p_value(values) == pytest.approx(expected)


@pytest.mark.parametrize(("values", "mean"), [([], np.nan), ([2.0], 2), ([1.0, 3.0], 2)])
def test_fewer_than_three_values_give_no_interval(values, mean):
    result = (*statistics.interval(values), statistics.p_value(values))
    assert result == pytest.approx((mean, np.nan, np.nan, np.nan), nan_ok=True)


def test_an_undefined_score_makes_the_interval_undefined():
    values = [1.0, np.nan, 2.0, 3.0]
    result = (*statistics.interval(values), statistics.p_value(values))
    assert np.isnan(result).all()


def test_seeds_are_paired_by_their_number_not_by_their_place():
    better, worse = {0: 5.0, 2: 9.0, 7: 1.0}, {7: 0.5, 1: 100.0, 2: 6.0}
    assert statistics.differences(better, worse).tolist() == [3.0, 0.5]
    assert statistics.differences(better, {}).tolist() == []


def test_welch_is_scipys():
    a, b = SAMPLES[1], SAMPLES[2]
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    result = statistics.welch(dict(enumerate(a)), dict(enumerate(b)))
    assert result == pytest.approx(tuple(expected))
    assert np.isnan(statistics.welch({0: 1.0, 1: 2.0}, dict(enumerate(b)))).all()
    assert np.isnan(statistics.welch({}, {0: 1.0})).all()


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [True, False, False, True]),  # adjusted .03 .06 .06 .02
        ([0.0125, 0.0166, 0.025, 0.05], [True] * 4),
        ([0.0126, 0.001], [True, True]),
        ([0.03, 0.04], [False, False]),
        ([np.nan, 0.02], [False, True]),
        ([np.nan, 0.03], [False, False]),
        ([], []),
    ],
)
def test_holm_rejects_step_by_step(p_values, expected):
    assert statistics.holm(p_values, 0.05) == expected


def test_holm_lies_between_bonferroni_and_no_correction_and_keeps_the_order():
    for size in (2, 3, 6):
        for p in RANDOM.uniform(0, 0.1, (100, size)):
            rejected = np.array(statistics.holm(p, 0.05))
            assert not (rejected & (p > 0.05)).any() and (rejected | (p > 0.05 / size)).all()
            assert not rejected.any() or p[rejected].max() <= p[~rejected].min(initial=1)


def test_page_is_scipys_both_ways():
    rising, falling = statistics.page_trend(RANKS)
    assert rising == pytest.approx(0.00126934, rel=1e-5)  # asymptotic, printed there
    assert rising == pytest.approx(stats.page_trend_test(RANKS, method="exact").pvalue, abs=1e-3)
    assert falling > 0.99 and statistics.page_trend(RANKS[:, ::-1]) == (falling, rising)


@pytest.mark.parametrize("n", [3, 5, 6, 12])
def test_the_detectable_effect_is_found_in_four_of_five_simulated_studies(n):
    effect = statistics.detectable_effect(2.0, n)
    drawn = np.random.default_rng(n).normal(effect, 2.0, (5000, n))
    power = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
    assert power == pytest.approx(0.8, abs=0.02)
    assert statistics.detectable_effect(4.0, n) == pytest.approx(2 * effect)


def test_few_pairs_detect_nothing_and_more_pairs_detect_smaller_effects():
    assert np.isnan(statistics.detectable_effect(1.0, 2))
    effects = [statistics.detectable_effect(1.0, n) for n in range(3, 40)]
    assert effects == sorted(effects, reverse=True)
    assert statistics.detectable_effect(1.0, 34) == pytest.approx(0.495, abs=0.005)  # G*Power


def test_seeds_needed_are_the_fewest_that_detect():
    for effect in (0.5, 1.0, 2.0, 5.0, -2.0):
        n = statistics.seeds_needed(1.5, effect)
        assert statistics.detectable_effect(1.5, n) <= abs(effect)
        assert n == 3 or statistics.detectable_effect(1.5, n - 1) > abs(effect)
    assert [statistics.seeds_needed(1.5, e) for e in (0.0, 1e-3)] == [None, None]
    assert statistics.seeds_needed(3.0, 2.0) > statistics.seeds_needed(1.5, 2.0)


def naive_miou(counts):
    total = counts.sum(0)
    union = total[:, 1] + total[:, 2] - total[:, 0]
    return 100 * np.mean([hit / u for hit, u in zip(total[:, 0], union, strict=True) if u])


def test_the_bootstrap_over_images_is_that_of_a_plain_loop():
    random, rounds = np.random.default_rng(1), 60
    counts = random.integers(0, 50, (7, 4, 2))  # image, class
    hits = np.minimum(counts[..., :1], random.integers(0, 50, counts[..., :1].shape))
    counts = np.concatenate([np.minimum(hits, counts.min(-1, keepdims=True)), counts], -1)
    counts[:, 3] = 0  # a class that occurs nowhere
    found = statistics.bootstrapped_miou(counts, rounds=rounds, seed=5)
    drawn = np.random.default_rng(5).multinomial(7, np.full(7, 1 / 7), rounds)
    expected = [naive_miou(counts[np.repeat(np.arange(7), times)]) for times in drawn]
    assert found == pytest.approx(np.array(expected))
    other = statistics.bootstrapped_miou(counts, rounds=rounds, seed=5)
    assert (found == other).all()  # runs on the same images are resampled alike
