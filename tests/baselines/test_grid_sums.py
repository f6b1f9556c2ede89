"""Sums of a product kernel over a space against the kernel's matrix."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_kd.spaces.nasbench201 import SPACE
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd_baselines.models.grid_sums import kernel_sums

UNEVEN = SearchSpace("uneven", {"a": "01", "b": "0123456", "c": "012", "d": "012345678", "e": "0123"})


def matrix(space, cells, ratio):
    """One entry at a time, by the definition."""
    codes = space.codes
    return np.array([ratio ** (codes[cell] != codes).sum(axis=1) for cell in cells])


def holed():
    every = SearchSpace("all", {"a": "012", "b": "0123", "c": "01"}).codes
    return SearchSpace("holed", {"a": "012", "b": "0123", "c": "01"}, codes=every[::2])


@pytest.mark.parametrize("space", [SPACE, UNEVEN, holed()], ids=lambda space: space.name)
@pytest.mark.parametrize("ratio", [0.0, 1e-4, 0.7])
def test_sums_are_those_of_the_matrix(space, ratio):
    rng = np.random.default_rng(0)
    cells = rng.integers(len(space), size=9)
    cells[5] = cells[2]
    weights = rng.standard_normal(9)
    expected = weights @ matrix(space, cells, ratio)
    assert kernel_sums(space, cells, weights, ratio) == pytest.approx(expected, abs=1e-12)


def test_no_cells_sum_to_nothing():
    nobody = np.empty(0, dtype=np.intp)
    assert not kernel_sums(SPACE, nobody, np.empty(0), 0.5).any()
    assert not kernel_sums(holed(), nobody, np.empty(0), 0.5).any()
