"""The pairwise ranker of RANK-NOSH: learns from which of two cells did better after the same epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.models.graph_network import Array, GraphNetwork


def preferences(
    curves: Sequence[Sequence[float]], discrepant_weight: float = 0.0, smallest_gap: float = 0.1
) -> npt.NDArray[np.float64]:
    """Weight of the pair "i is better than j", shape (n, n).

    `curves[i]` has the accuracies (percent) of cell i after each level that it has reached, the
    lowest first. Two cells are compared at the deepest level that both have reached; differences
    below `smallest_gap` say nothing. A cell that was promoted further won against those that
    were not: where the accuracies contradict that, the pair is discrepant and has the weight
    `discrepant_weight` (0 drops it).
    """
    levels = np.array([len(curve) for curve in curves])
    table = np.full((len(curves), levels.max(initial=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    common = np.minimum(levels[:, None], levels[None, :]) - 1
    rows = np.arange(len(curves))
    gap = table[rows[:, None], common] - table[rows[None, :], common]
    better = gap >= smallest_gap
    discrepant = better & (levels[:, None] < levels[None, :])
    return np.where(discrepant, discrepant_weight, better.astype(float))


def ranking_gradient(scores: Array, weights: npt.NDArray[np.float64]) -> Array:
    """Gradient by the scores, (n,), of the weighted mean of log(1 + exp(-(s_i - s_j))) (RankNet).

    Burges et al., ICML 2005. All pairs come from one pass over the n cells.
    """
    margin = np.clip(scores[:, None].astype(float) - scores[None, :], -50, 50)
    slope = -weights / (1 + np.exp(margin))
    return np.asarray((slope.sum(axis=1) - slope.sum(axis=0)) / max(weights.sum(), 1.0))


class PairwiseRanker:
    """A graph network that is trained from scratch on the preferences of a pool, all pairs in every step.

    Args:
        epochs, learning_rate, weight_decay: of the training; NPENAS's constants.
        discrepant_weight, smallest_gap: see `preferences`.
    """

    def __init__(
        self,
        epochs: int = 300,
        learning_rate: float = 5e-3,
        weight_decay: float = 1e-4,
        discrepant_weight: float = 0.0,
        smallest_gap: float = 0.1,
    ) -> None:
        self.training = (epochs, learning_rate, weight_decay)
        self.discrepant_weight = discrepant_weight
        self.smallest_gap = smallest_gap

    def fit(
        self, cells: Sequence[Architecture], curves: Sequence[Sequence[float]], rng: np.random.Generator
    ) -> None:
        """Train on a pool: cells and, for each, its accuracies after the levels that it reached."""
        weights = preferences(curves, self.discrepant_weight, self.smallest_gap)
        self.network = GraphNetwork(cells[0].space.graph, rng)

        def gradient(scores: Array, chosen: npt.NDArray[np.integer]) -> Array:
            return ranking_gradient(scores, weights[np.ix_(chosen, chosen)])

        self.network.fit([cell.index for cell in cells], gradient, rng, *self.training)

    def score(self, cells: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """Scores of cells, (n,): the higher the better; only their order means something."""
        return self.network.predict([cell.index for cell in cells])
