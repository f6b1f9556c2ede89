"""Wilcoxon's signed-rank test with exact p values, and the least p value that a number of pairs can give."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

MOST_STEPS = 200_000_000
"""Additions up to which p values are counted, which 584 pairs without zeros need and far more pairs with many zeros;
beyond, they are those of the normal approximation, which differs from the fourth digit on."""
_DECIMALS = 9
"""Differences of accuracies in percent that agree so far differ by rounding: one image of a million is 1e-4."""


def signed_rank_p(differences: npt.ArrayLike) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test of paired differences, shape (n,).

    Zeros are ranked with the others and dropped after it (Pratt, JASA 1959), equal sizes share their mean
    rank, and p is the share of the 2^n assignments of signs whose rank sum is at least as far from its
    expectation (counted by Streitberg and Roehmel's shift algorithm, 1986). 1 where all are zero, NaN
    where one is NaN.

    >>> signed_rank_p([1, 2, 3, 4, 5])
    0.0625
    """
    values = np.round(np.asarray(differences, dtype=np.float64), _DECIMALS)
    if np.isnan(values).any():
        return math.nan
    if not np.any(values):
        return 1.0
    # Mean ranks are multiples of a half: doubled, they are counts.
    doubled = np.rint(2 * stats.rankdata(np.abs(values))).astype(np.int64)
    moved = doubled[values != 0]
    total = int(moved.sum())
    if total * len(moved) > MOST_STEPS:
        return float(stats.wilcoxon(values, zero_method="pratt", method="approx").pvalue)
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    for rank in moved:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[:-rank]
        chance = (chance + shifted) / 2
    less = min(int(doubled[values > 0].sum()), int(doubled[values < 0].sum()))
    return min(1.0, 2 * float(chance[: less + 1].sum()))


def least_p(pairs: int, comparisons: int = 1) -> float:
    """Least two-sided p value that pairs of one sign can give, after Holm's correction for so many comparisons."""
    return float(min(1.0, comparisons * 2.0 ** (1 - pairs)))


def pairs_needed(level: float, comparisons: int = 1) -> int:
    """Fewest pairs with which any difference can be shown below a level, after the same correction.

    >>> pairs_needed(0.05), pairs_needed(0.05, 11)
    (6, 9)
    """
    pairs = 1
    while least_p(pairs, comparisons) >= level:
        pairs += 1
    return pairs
