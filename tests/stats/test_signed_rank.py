"""The signed-rank test against enumeration of all signs, SciPy's exact distribution and printed tables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from nasbench_kd.stats.signed_rank import MOST_STEPS, least_p, pairs_needed, signed_rank_p
from nasbench_kd.stats.statistics import holm


def enumerated(differences: np.ndarray) -> float:
    """Share of all assignments of signs whose signed rank sum is at least as far from zero."""
    ranked = stats.rankdata(np.abs(differences)) * (differences != 0)
    seen = abs(ranked @ np.sign(differences))
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    return float(np.mean(np.abs(signs @ ranked) >= seen - 1e-9))


def enumerated_of(zeros: int, moved: np.ndarray) -> float:
    """As `enumerated`, for moved pairs that are ranked after so many zeros."""
    ranked = zeros + stats.rankdata(np.abs(moved))
    signs = np.array(list(itertools.product((-1, 1), repeat=len(moved))))
    return float(np.mean(np.abs(signs @ ranked) >= abs(ranked @ np.sign(moved)) - 1e-9))


def test_five_pairs_of_one_sign_cannot_be_significant():
    assert signed_rank_p([0.3, 1.2, 0.9, 2.0, 0.1]) == 0.0625
    assert signed_rank_p([-1, -1, -1, -1, -1]) == 0.0625


def test_ten_of_ten_wins_stand_against_eleven_searches():
    adjusted = holm([signed_rank_p(-np.arange(1.0, 11.0))] * 11)
    assert adjusted == pytest.approx(11 * 2 / 2**10)
    assert adjusted[0] == pytest.approx(0.0215, abs=5e-5)


@pytest.mark.parametrize("size", [3, 8, 25, 50])
def test_without_ties_it_is_scipys_exact_test(size):
    differences = np.random.default_rng(size).normal(0.3, 1, size=size)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_ties_and_zeros_are_enumerated(seed):
    differences = np.random.default_rng(seed).integers(-2, 4, size=11).astype(float)
    assert signed_rank_p(differences) == pytest.approx(enumerated(differences), abs=1e-12)
    # A rounding step is neither a difference nor an order.
    noisy = differences + np.random.default_rng(seed).normal(0, 1e-13, size=11)
    assert signed_rank_p(noisy) == signed_rank_p(differences)


def test_the_approximation_takes_over_where_it_is_good():
    assert 584**2 * 585 <= MOST_STEPS < 585**2 * 586
    for size in (584, 585):
        differences = np.random.default_rng(size).normal(0.1, 1, size=size)
        approximate = stats.wilcoxon(differences, method="approx").pvalue
        assert signed_rank_p(differences) == pytest.approx(approximate, abs=1e-3)


def test_many_zeros_are_counted_however_many_pairs_there_are():
    """The normal approximation with split zeros says 0.79."""
    moved = np.array([3.0, 1.0, -2.0, 4.0, 5.0, -6.0, 7.0, 8.0])
    differences = np.concatenate((np.zeros(900), moved))
    assert signed_rank_p(differences) == pytest.approx(enumerated_of(900, moved), abs=1e-12)


def test_no_difference_and_no_number():
    assert signed_rank_p(np.zeros(10)) == 1.0
    assert np.isnan(signed_rank_p([1.0, np.nan, 2.0, 3.0, 4.0, 5.0, 6.0]))


def test_what_a_number_of_pairs_can_show_at_best():
    for pairs in range(2, 12):
        assert least_p(pairs) == pytest.approx(signed_rank_p(np.ones(pairs)))
        assert least_p(pairs, 7) == pytest.approx(holm([least_p(pairs)] * 7)[0])
    assert pairs_needed(0.05) == 6
    assert least_p(pairs_needed(0.05, 120), 120) < 0.05 <= least_p(pairs_needed(0.05, 120) - 1, 120)
