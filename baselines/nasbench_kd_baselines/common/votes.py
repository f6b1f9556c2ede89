"""Answers by agreement: the operation that most of the best architectures have, coordinate by coordinate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def best_share(values: npt.ArrayLike, share: float) -> npt.NDArray[np.intp]:
    """Places of the best `share` (0 to 1) of values, one at least, best first; of equals the earlier comes first."""
    array = np.asarray(values, dtype=np.float64)
    count = max(1, round(share * len(array)))
    return np.argsort(-array, kind="stable")[:count]


def vote(codes: npt.ArrayLike) -> tuple[int, ...]:
    """The most frequent choice in every column of codes, best architectures first, shape (n, coordinates).

    Of choices that are equally frequent the one of the better architecture wins.
    """
    array = np.asarray(codes)
    found = []
    for column in array.T:
        counts = np.bincount(column)
        tied = np.flatnonzero(counts == counts.max())
        found.append(int(next(code for code in column if code in tied)))
    return tuple(found)
