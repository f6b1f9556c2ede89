"""Values smoothed over neighbours: flat optima in place of lucky ones."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.space import SearchSpace


@cache
def neighbour_indices(space: SearchSpace) -> npt.NDArray[np.int64]:
    """Indices of every architecture's neighbours, shape (n, neighbours); all must have equally many."""
    return np.array([[each.index for each in architecture.neighbours()] for architecture in space])


def smoothed(values: npt.ArrayLike, space: SearchSpace) -> npt.NDArray[np.float64]:
    """The mean of a value over the neighbours of every architecture, its own left out; both of shape (n,).

    A wrapper for values that are known of the whole space, such as the scores of one training of shared weights.
    """
    found: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)[neighbour_indices(space)].mean(
        axis=1
    )
    return found
