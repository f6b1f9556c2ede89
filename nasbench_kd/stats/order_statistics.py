"""What random search would reach, in closed form from the table, and the ceiling that seed noise sets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammaln

from nasbench_kd.stats.statistics import Interval, kendall, kendall_interval

Array = npt.NDArray[np.float64]
_GRID = 160
"""Points of the grid on which the curve of random search is bracketed before it is inverted."""


@dataclass(frozen=True)
class RandomSearchCurve:
    """Expected score of the best of n distinct random cells, for any real n from 1 to the number of cells.

    A cell shows one of its k training seeds, each with probability 1/k; the winner is the cell that
    shows most. Sort all (cell, seed) pairs by what they show, give each the weight 1/k, and let A(v)
    be the weight of the pairs that show at most v. Then, for N cells,

        P(best of n shows at most v) = (A(v) / N) ((A(v) - 1) / (N - 1)) ... ((A(v) - n + 1) / (N - n + 1)),

    written with gamma functions, so that n may be real and the curve can be inverted. This is exact
    where every cell has one seed, and otherwise differs only in that a cell's own seeds count as
    separate cells of less weight. Pairs that show the same share the win by weight.
    """

    cells: int
    """N, the number of cells."""
    weights: Array
    """A(v) for the distinct values v that pairs show, in ascending order."""
    scores: Array
    """Mean score of the pairs that show each v."""

    @staticmethod
    def from_table(shown: npt.ArrayLike, scores: npt.ArrayLike) -> RandomSearchCurve:
        """Build the curve from arrays of shape (cells, seeds), NaN where a cell lacks a seed.

        `shown` is what a search observes of the pair, `scores` what the pair is worth if it wins.
        """
        observed, worth = np.asarray(shown, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        present = ~np.isnan(observed)
        weight = np.broadcast_to(1.0 / present.sum(axis=1, keepdims=True), observed.shape)[present]
        _, group = np.unique(observed[present], return_inverse=True)
        mass = np.bincount(group, weights=weight)
        score = np.bincount(group, weights=weight * worth[present]) / mass
        return RandomSearchCurve(len(observed), np.cumsum(mass), score)

    def expected(self, n: float) -> float:
        """Expected score after n distinct cells, 1 <= n <= N; raises `ValueError` outside."""
        if not 1 <= n <= self.cells:
            raise ValueError(f"random search draws from 1 to {self.cells} distinct cells, not {n}")
        possible = self.weights > n - 1
        weight = np.minimum(self.weights[possible], self.cells)
        below = np.zeros_like(self.weights)
        below[possible] = np.exp(
            gammaln(weight + 1)
            - gammaln(weight - n + 1)
            - gammaln(self.cells + 1)
            + gammaln(self.cells - n + 1)
        )
        below[-1] = 1.0
        return float(np.diff(below, prepend=0.0) @ self.scores)

    def equivalent(self, score: float) -> float:
        """Number of distinct random cells whose expected best has this score.

        0 where one random cell already does better, infinity where the whole space does not reach it, NaN
        for NaN.
        """
        if np.isnan(score):
            return float("nan")
        grid, curve = self._bracket
        if score < curve[0]:
            return 0.0
        if score > curve[-1]:
            return float("inf")
        above = int(np.searchsorted(curve, score))
        if above == 0 or curve[above] == score:
            return float(grid[above])
        return float(brentq(lambda n: self.expected(n) - score, grid[above - 1], grid[above], xtol=1e-6))

    @cached_property
    def _bracket(self) -> tuple[Array, Array]:
        grid = np.geomspace(1, self.cells, _GRID)
        grid[-1] = self.cells
        return grid, np.maximum.accumulate([self.expected(n) for n in grid])


def noise_ceiling(
    accuracies: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    top: float = 1.0,
    resamples: int = 200,
    groups: npt.ArrayLike | None = None,
) -> Interval:
    """Kendall tau-b between two trainings of the same cells: no proxy can be expected to rank better.

    `accuracies` has shape (cells, seeds), NaN where a cell lacks a seed; the first two seeds are
    compared, over the best share `top` of the cells by their mean. The interval resamples cells, or whole
    `groups` of them, shape (cells,).
    """
    table = np.asarray(accuracies, dtype=np.float64)
    average = np.nanmean(table, axis=1)
    best = average >= np.quantile(average, 1 - top)
    both = best & ~np.isnan(table[:, 0]) & ~np.isnan(table[:, 1])
    if resamples == 0:
        tau = kendall(table[both, 0], table[both, 1])
        return Interval(tau, float("nan"), float("nan"))
    chosen = None if groups is None else np.asarray(groups)[both]
    return kendall_interval(table[both, 0], table[both, 1], rng, resamples=resamples, groups=chosen)


def distillation_lift(distilled: float, plain: float, ceiling: float) -> float:
    """Share of the room above plain training that distillation gains in Kendall tau.

    `(tau_KD - tau_CE) / (ceiling - tau_CE)`: 0 is no gain, 1 reaches the noise ceiling; NaN where
    plain training already stands at the ceiling.
    """
    room = ceiling - plain
    return (distilled - plain) / room if room > 0 else float("nan")
