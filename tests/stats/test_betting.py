"""Betting keeps its error for every distribution, sparse losses at the edge of the region included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nasbench_kd.stats.betting import equal_values_needed, inside


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 1.0])
def test_a_loss_at_the_edge_is_rarely_called_inside_however_sparse(share):
    """The mean is exactly the edge, carried by a share of the values: the hardest case, at any time of looking."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random((4000, 600)) < share, 0.5 / share, 0.0)
    ever = np.zeros(4000, dtype=bool)
    for count in range(20, 601, 20):
        ever |= inside(values[:, :count], 0.5, 12.0, 0.05)
    assert stats.binom.sf(ever.sum() - 1, 4000, 0.05) > 1e-3


def test_zeros_are_inside_once_the_fair_bet_has_paid():
    # The largest stake multiplies its four fifths of the capital by 1 / (1 - edge / bound) at every zero.
    least = math.log(1 / 0.01 / 0.8) / -math.log(1 - 0.5 / 12)
    needed = equal_values_needed(0.5, 12.0, 0.01)
    assert least - 1 < needed <= math.ceil(least)
    assert inside(np.zeros(needed), 0.5, 12.0, 0.01)
    assert not inside(np.zeros(needed - 1), 0.5, 12.0, 0.01)


def test_both_edges_are_watched_and_values_count_as_the_bound_at_most():
    zeros = np.zeros(2000)
    assert inside(zeros, 0.5, 5.0, 0.01)
    assert not inside(zeros + 0.6, 0.5, 5.0, 0.01)
    assert not inside(zeros - 0.6, 0.5, 5.0, 0.01)
    one = zeros.copy()
    one[7] = 1e9
    assert inside(one, 0.5, 5.0, 0.01)
    assert inside(np.stack([zeros, zeros + 1]), 0.5, 5.0, 0.01).tolist() == [True, False]


def test_a_bound_within_the_region_leaves_nothing_to_show():
    assert inside(np.full(3, 9.0), 0.5, 0.5, 0.01)
    assert equal_values_needed(0.5, 0.5, 0.01) == 1


def test_what_is_not_a_number_is_not_inside():
    values = np.zeros(2000)
    values[3] = np.nan
    assert not inside(values, 0.5, 5.0, 0.01)
