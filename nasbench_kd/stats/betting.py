"""Evidence that a mean lies inside a region, valid for any distribution of bounded values.

A t interval of pairs that are all equal has no width, and cannot know of a loss that only few runs
suffer. Betting does (Waudby-Smith and Ramdas, JRSS B 2024, section 4): stake a share of a capital of 1
on every value lying below an edge. While the mean is at or above the edge the bets lose on average, and
by Ville's inequality the capital ever reaches 1 / level with probability at most `level`, whenever one
looks, however the values are distributed between their bounds.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_STAKES = ((1.0, 0.8), (0.5, 0.1), (0.25, 0.1))
"""Stakes as shares of the largest one, and how the capital is split between them: the largest grows fastest
where values scatter little, and the others survive a value at the bound, which takes all of the largest."""


def inside(values: npt.ArrayLike, edge: float, bound: float, level: float) -> npt.NDArray[np.bool_]:
    """Whether the means lie within `edge` of zero, each side wrongly said with probability `level` at most.

    The last axis of `values` holds independent values, which count as `bound` at most either way. A
    `bound` that does not exceed `edge` leaves nothing to show.
    """
    if bound <= edge:
        return np.ones(np.shape(values)[:-1], dtype=bool)
    clipped = np.clip(np.asarray(values, dtype=np.float64), -bound, bound)
    needed = -math.log(level)
    return (_log_capital(clipped, edge, bound) >= needed) & (_log_capital(-clipped, edge, bound) >= needed)


def equal_values_needed(edge: float, bound: float, level: float) -> int:
    """Fewest values that must all be zero before `inside` holds."""
    if bound <= edge:
        return 1
    count = 1
    while not inside(np.zeros(count), edge, bound, level):
        count *= 2
    low = count // 2
    while count - low > 1:
        middle = (low + count) // 2
        if inside(np.zeros(middle), edge, bound, level):
            count = middle
        else:
            low = middle
    return count


def _log_capital(values: Array, edge: float, bound: float) -> Array:
    """Logarithm of the capital from betting, value by value, that the mean is below the edge."""
    capitals = []
    for share, part in _STAKES:
        # At a value of `bound` the largest stake loses all that it has and no more.
        won = 1 - share / (bound - edge) * (values - edge)
        with np.errstate(divide="ignore"):
            capitals.append(math.log(part) + np.log(np.maximum(won, 0.0)).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.logaddexp.reduce(capitals, axis=0))
