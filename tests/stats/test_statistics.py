"""The statistics against hand-worked examples, published tables and rliable's definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.stats.order_statistics import RandomSearchCurve, distillation_lift, noise_ceiling
from nasbench_kd.stats.statistics import (
    bootstrap_band,
    friedman,
    group_means,
    holm,
    iqm,
    kendall,
    kendall_interval,
    mean,
    median,
    probability_of_improvement,
    ranks,
    stratified_bootstrap,
)


def test_iqm_by_hand():
    assert iqm([100.0, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm([7.0]) == 7.0
    assert iqm([[1.0, 2, 3], [3, 2, 1]]).tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="no values"):
        iqm([])


@pytest.mark.parametrize("size", [4, 5, 7, 40, 41])
def test_iqm_is_the_trimmed_mean_that_rliable_takes(size):
    values = np.random.default_rng(size).normal(size=size)
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    interval = stratified_bootstrap([values], mean, np.random.default_rng(2), resamples=4000)
    standard_error = values.std() / np.sqrt(400)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.1 * standard_error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.1 * standard_error)


def test_bootstrap_resamples_within_strata_only():
    """Between strata that are constant nothing varies; thrown together, they do."""
    strata = [np.zeros(20), np.full(20, 10.0)]
    stratified = stratified_bootstrap(strata, mean, np.random.default_rng(0), resamples=200)
    assert (stratified.low, stratified.estimate, stratified.high) == (5.0, 5.0, 5.0)
    together = stratified_bootstrap([np.concatenate(strata)], mean, np.random.default_rng(0), resamples=200)
    assert together.low < 4.5 < 5.5 < together.high


def test_bootstrap_depends_on_its_generator_alone():
    values = [np.arange(30.0)]
    first, again, other = (
        stratified_bootstrap(values, iqm, np.random.default_rng(seed), resamples=100) for seed in (4, 4, 5)
    )
    assert first == again
    assert first != other
    with pytest.raises(ValueError, match="at least one value"):
        stratified_bootstrap([[1.0], []], iqm, np.random.default_rng(0))


def test_band_equals_the_pointwise_bootstrap():
    curves = np.random.default_rng(0).normal(size=(3, 25))
    estimate, low, high = bootstrap_band(curves, median, np.random.default_rng(9), resamples=300)
    for point in range(3):
        single = stratified_bootstrap([curves[point]], median, np.random.default_rng(9), resamples=300)
        assert (estimate[point], low[point], high[point]) == pytest.approx(single)


def test_probability_of_improvement_by_enumeration():
    x, y = [1.0, 2, 2, 5], [2.0, 0, 3]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(pairs))
    u = stats.mannwhitneyu(x, y).statistic
    assert probability_of_improvement(x, y) == pytest.approx(u / (len(x) * len(y)))
    assert probability_of_improvement(y, x) == pytest.approx(1 - np.mean(pairs))


def test_ranks_average_ties():
    assert ranks([[3.0, 1, 1, 2], [5, 5, 5, 5]]).tolist() == [[4, 1.5, 1.5, 3], [2.5] * 4]


def test_friedman_agrees_with_scipy_with_and_without_ties():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=(12, 4)), rng.integers(0, 4, size=(12, 4)).astype(float)):
        expected = stats.friedmanchisquare(*values.T)
        found = friedman(values)
        assert found.statistic == pytest.approx(expected.statistic)
        assert found.p_value == pytest.approx(expected.pvalue)


def test_friedman_by_hand():
    """Three blocks that all order the treatments alike: chi-square = N (k - 1) = 6."""
    found = friedman([[1.0, 2, 3], [4, 5, 6], [0, 7, 9]])
    assert found.mean_ranks.tolist() == [1, 2, 3]
    assert found.statistic == pytest.approx(6.0)
    assert friedman(np.ones((5, 3))).p_value == 1.0
    with pytest.raises(ValueError, match="at least two"):
        friedman([[1.0, 2]])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]


def test_kendall_by_hand_and_its_interval():
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    interval = kendall_interval(x, y, rng, resamples=200)
    # For a bivariate normal with correlation rho, tau = 2 asin(rho) / pi; here rho = sqrt(1/2).
    assert interval.low < 0.5 < interval.high
    assert interval.low < interval.estimate < interval.high


def test_distillation_lift():
    assert distillation_lift(0.6, 0.5, 0.9) == pytest.approx(0.25)
    assert np.isnan(distillation_lift(0.6, 0.9, 0.9))


@pytest.mark.parametrize(
    ("task", "everywhere", "in_the_top"),
    [("cifar10", 0.91, 0.58), ("cifar100", 0.89, 0.30), ("imagenet16-120", 0.91, 0.38)],
)
def test_noise_ceiling_of_nas_bench_201(task, everywhere, in_the_top):
    """Independent figures, computed from the benchmark's own archive and rounded to two digits."""
    rng = np.random.default_rng(0)
    valid = open_scorer(task).valid
    assert noise_ceiling(valid, rng, resamples=0).estimate == pytest.approx(everywhere, abs=0.006)
    top = noise_ceiling(valid, rng, top=0.1, resamples=60)
    assert top.estimate == pytest.approx(in_the_top, abs=0.006)
    assert top.low < top.estimate < top.high < everywhere


def test_random_search_by_enumeration_where_cells_have_one_seed():
    """Every subset of five cells, ties shared: the hypergeometric form is exact."""
    shown, worth = np.array([1.0, 4, 2, 4, 3]), np.array([10.0, 40, 20, 60, 30])
    curve = RandomSearchCurve.from_table(shown[:, None], worth[:, None])
    for n in range(1, 6):
        best = []
        for subset in itertools.combinations(range(5), n):
            top = max(shown[list(subset)])
            best.append(np.mean([worth[i] for i in subset if shown[i] == top]))
        assert curve.expected(n) == pytest.approx(np.mean(best))


def test_random_search_grows_between_whole_numbers():
    values = np.random.default_rng(0).normal(size=(200, 1))
    curve = RandomSearchCurve.from_table(values, values)
    points = [curve.expected(n) for n in np.linspace(1, 200, 500)]
    assert np.all(np.diff(points) > 0)
    assert points[-1] == pytest.approx(values.max())
    with pytest.raises(ValueError, match="1 to 200"):
        curve.expected(201)


@pytest.mark.parametrize("task", ["cifar10", "imagenet16-120"])
@pytest.mark.parametrize("n", [1, 3, 10, 100])
def test_random_search_agrees_with_monte_carlo(task, n):
    scorer = open_scorer(task, basis="hidden seeds")
    rng = np.random.default_rng(n)
    draws = 4000
    valid = scorer.valid
    seeds = (~np.isnan(valid)).sum(axis=1)
    scores = np.empty(draws)
    for draw in range(draws):
        cells = rng.choice(len(valid), size=n, replace=False)
        picked = (rng.random(n) * seeds[cells]).astype(int)
        won = int(np.argmax(valid[cells, picked]))
        others = np.delete(valid[cells[won]], picked[won])
        scores[draw] = np.nanmean(others)
    error = scores.std(ddof=1) / np.sqrt(draws)
    assert scorer.random_search().expected(n) == pytest.approx(scores.mean(), abs=3 * error)


def test_random_search_for_few_draws_is_near_the_form_with_replacement():
    scorer = open_scorer("cifar100")
    curve = scorer.random_search()
    for n in (1, 2, 5):
        below = (curve.weights / curve.cells) ** n
        with_replacement = np.diff(below, prepend=0.0) @ curve.scores
        assert curve.expected(n) == pytest.approx(with_replacement, abs=2e-3)
    assert curve.expected(1) == pytest.approx(scorer.uninformed, abs=1e-9)


def test_equivalent_inverts_the_closed_form():
    curve = open_scorer("cifar10").random_search()
    for n in (1.5, 20.0, 333.0, 5000.0):
        assert curve.equivalent(curve.expected(n)) == pytest.approx(n, rel=1e-4)
    assert curve.equivalent(10.0) == 0.0
    assert curve.equivalent(99.0) == float("inf")


def test_a_single_run_has_no_interval():
    """Resampling one value says nothing of how it varies, alone or beside strata that have more."""
    for strata in ([[6.607]], [[6.607], [1.0, 2.0, 3.0]]):
        interval = stratified_bootstrap(strata, iqm, np.random.default_rng(0))
        assert interval.estimate == iqm(np.concatenate(strata))
        assert np.isnan([interval.low, interval.high]).all()
        assert not interval.known
    estimate, low, high = bootstrap_band([[1.0], [2.0]], mean, np.random.default_rng(0))
    assert estimate.tolist() == [1.0, 2.0]
    assert np.isnan([low, high]).all()


def test_what_is_not_a_number_never_becomes_one():
    holed = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan, 7.0, 8.0])
    for statistic in (iqm, mean, median):
        assert np.isnan(statistic(holed))
        assert np.isnan(statistic([holed, np.ones(8)])).tolist() == [True, False]
        assert np.isnan(stratified_bootstrap([holed], statistic, np.random.default_rng(0))).all()
    assert np.isnan(ranks(holed)).all()
    assert np.isnan(probability_of_improvement(holed, [1.0]))
    assert np.isnan(probability_of_improvement([1.0], holed))
    assert np.isnan(kendall(holed, np.arange(8)))
    assert np.isnan(kendall_interval(holed, np.arange(8), np.random.default_rng(0))).all()
    assert np.isnan(kendall_interval(np.arange(8), holed, np.random.default_rng(0))).all()
    assert np.isnan(holm([0.01, np.nan, 0.2])[1])
    assert np.isnan(RandomSearchCurve.from_table([[1.0], [2.0]], [[1.0], [2.0]]).equivalent(np.nan))
    with pytest.raises(ValueError, match="NaN"):
        friedman(np.stack([holed, holed[::-1]], axis=1))


def test_groups_are_resampled_whole():
    """Ten copies of every item tell no more than one of it: resampling items would make the interval far narrower."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    alone = kendall_interval(x, y, np.random.default_rng(1), resamples=300)
    copies, groups = np.repeat([x, y], 10, axis=1), np.repeat(np.arange(60), 10)
    order = rng.permutation(600)
    together = kendall_interval(
        copies[0, order], copies[1, order], np.random.default_rng(1), resamples=300, groups=groups[order]
    )
    apart = kendall_interval(copies[0], copies[1], np.random.default_rng(1), resamples=300)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert apart.high - apart.low < 0.5 * (alone.high - alone.low)


def test_bootstrap_of_groups_against_all_resamples():
    """Three groups of two have 27 equally likely resamples: the ends are percentiles of their means."""
    values, groups = np.array([1.0, 3.0, 10.0, 14.0, -5.0, -5.5]), np.array([2, 2, 0, 0, 1, 1])
    by_group = [values[groups == name].mean() for name in (0, 1, 2)]
    every = np.array([np.mean(pick) for pick in itertools.product(by_group, repeat=3)])
    found = stratified_bootstrap([values], mean, np.random.default_rng(0), resamples=20_000, groups=[groups])
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(np.percentile(every, 2.5, method="inverted_cdf"))
    assert found.high == pytest.approx(np.percentile(every, 97.5, method="inverted_cdf"))
    assert group_means(values, groups).tolist() == by_group
    band = bootstrap_band(values[None], mean, np.random.default_rng(0), resamples=20_000, groups=groups)
    assert np.concatenate(band).tolist() == pytest.approx(list(found))
    one = stratified_bootstrap([values], mean, np.random.default_rng(0), groups=[np.zeros(6)])
    assert (one.estimate, one.known) == (pytest.approx(values.mean()), False)


def test_a_bootstrap_that_ignores_groups_is_too_narrow():
    """Ten draws, four runs on each: the spread between draws is what moves the mean, and runs hide it."""
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 2, size=10)
    values, groups = (luck[:, None] + rng.normal(0, 0.3, size=(10, 4))).ravel(), np.repeat(np.arange(10), 4)
    means = values.reshape(10, 4).mean(axis=1)
    width = 2 * 1.96 * means.std() / np.sqrt(10)
    whole = stratified_bootstrap([values], mean, np.random.default_rng(0), groups=[groups])
    apart = stratified_bootstrap([values], mean, np.random.default_rng(0))
    assert whole.high - whole.low == pytest.approx(width, rel=0.15)
    assert apart.high - apart.low < 0.6 * width


def test_tau_of_what_is_drawn_resamples_draws_and_items():
    rng = np.random.default_rng(0)
    y = rng.normal(size=40)
    x = y[:, None] + rng.normal(size=(40, 5))
    found = kendall_interval(x, y, np.random.default_rng(1), resamples=100)
    taus = [stats.kendalltau(x[:, draw], y).statistic for draw in range(5)]
    picks = np.random.default_rng(1).integers(40, size=(100, 40))
    again = [stats.kendalltau(x[pick, number % 5], y[pick]).statistic for number, pick in enumerate(picks)]
    assert found == pytest.approx((np.mean(taus), *np.percentile(again, [2.5, 97.5])))
