"""BOHB: Hyperband whose new cells are proposed by kernel densities of good and bad cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.optimizer import Query, SearchView
from nasbench_kd.simulation.parameters import integer, parameter, real, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.hyperband import Hyperband


@with_parameters
class BOHB(Hyperband):
    """Hyperband with a tree-structured Parzen estimator (Falkner, Klein and Hutter, ICML 2018).

    A new cell is the best of `samples` draws from the density of the good cells, by the ratio of the
    densities of good and bad ones, both at the highest rung that has enough cells. The kernel is
    Aitchison and Aitken's on each coordinate; a draw that a space lacks is taken for the closest that it
    has. The procedure and the bandwidths (1.06 times the standard deviation of the codes times
    n^(-1/(4 + coordinates))) are hpbandster's; the defaults of the four constants are those of
    NAS-Bench-201's authors, with hpbandster's own in parentheses. Ours: the kernel spreads over all choices,
    where statsmodels counts those that occur among the data, and brackets are by the paper's rule, as in
    `Hyperband`, where hpbandster rounds down (3 new cells in place of 5 in the second of three brackets).

    Args:
        rungs, signal: see `LadderSearch`. The authors' NATS-Bench runs use epochs 1, 4 and 12 of 12.
        eta: of the cells of a rung, the best 1/eta climb on.
        samples: draws for each new cell, 4 (64).
        random_share: share of uniform random new cells, 0 (1/3).
        good_share: share of the cells that count as good, 0.15.
        minimum_bandwidth: smallest bandwidth of a coordinate, 0.3 (0.001).
        maximum_bandwidth: largest one. The rule of thumb takes the codes for numbers and gives more
            than 1 for a uniform choice of five operations, where the kernel turns negative and
            draws are uniform; None, which is ours, is where the kernel is flat, 0.8 for five choices. `inf`
            is hpbandster's.
        minimum_points: cells that a rung needs for a model, and at least as many good and bad ones;
            None is one more than there are coordinates.
    """

    paper = "Falkner, Klein and Hutter, ICML 2018"
    compared = "docs/reproduction.md"
    samples: int = parameter(4, integer(1))
    random_share: float = parameter(0.0, real(0, 1))
    good_share: float = parameter(0.15, real(0, 1))
    minimum_bandwidth: float = parameter(0.3, real(0))
    maximum_bandwidth: float | None = parameter(None, real(0))
    minimum_points: int | None = parameter(None, integer(0))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start without observations."""
        super().setup(view, rng)
        self.codes: list[list[tuple[int, ...]]] = [[] for _ in self.ladder]
        self.losses: list[list[float]] = [[] for _ in self.ladder]
        self.model: tuple[Density, Density] | None = None
        self.model_rung = -1

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome, and update the model where no higher rung has one."""
        super().tell(query, evaluation)
        rung = self.ladder.index(self.view.fidelity(query.fidelity))
        self.codes[rung].append(query.cell.codes)
        self.losses[rung].append(math.inf if evaluation.failed else -self.worth(evaluation))
        if rung >= self.model_rung:
            self._update(rung)

    def propose(self) -> Architecture:
        """Draw from the good cells' density and return the draw of the best ratio."""
        if self.model is None or self.rng.random() < self.random_share:
            return self.random_eligible()
        good, bad = self.model
        drawn = good.sample(self.samples, self.rng)
        ratio = np.maximum(bad(drawn), 1e-32) / np.maximum(good(drawn), 1e-32)
        return self.view.space.closest(drawn[int(np.argmin(ratio))].tolist())

    def _update(self, rung: int) -> None:
        codes, choices = np.array(self.codes[rung]), tuple(map(len, self.view.space.choices))
        count = len(codes)
        least = max(self.minimum_points or 0, len(choices) + 1)
        good_count = max(least, math.floor(self.good_share * count))
        bad_count = max(least, math.floor((1 - self.good_share) * count))
        order = np.argsort(self.losses[rung], kind="stable")
        good, bad = codes[order[:good_count]], codes[order[good_count:][:bad_count]]
        if min(len(good), len(bad)) > len(choices):
            bandwidths = (choices, self.minimum_bandwidth, self.maximum_bandwidth)
            self.model = (Density(good, *bandwidths), Density(bad, *bandwidths))
            self.model_rung = rung


class Density:
    """Kernel density over cells: a product of Aitchison-Aitken kernels around each data point.

    Args:
        codes: of the data, shape (n, coordinates).
        choices: number of choices of every coordinate.
        minimum_bandwidth, maximum_bandwidth: bounds of the bandwidth of every coordinate; by default the largest is
            where the kernel is flat.
    """

    def __init__(
        self,
        codes: npt.NDArray[np.int_],
        choices: Sequence[int],
        minimum_bandwidth: float,
        maximum_bandwidth: float | None,
    ) -> None:
        self.codes = codes
        self.choices = np.array(choices)
        most = 1 - 1 / self.choices if maximum_bandwidth is None else maximum_bandwidth
        count, edges = codes.shape
        rule = 1.06 * codes.std(axis=0) * count ** (-1 / (4 + edges))
        self.bandwidth: npt.NDArray[np.float64] = np.clip(rule, minimum_bandwidth, most)

    def __call__(self, codes: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
        """Density at cells of shape (m, coordinates), shape (m,)."""
        same = codes[:, None, :] == self.codes[None, :, :]
        kernel = np.where(same, 1 - self.bandwidth, self.bandwidth / (self.choices - 1))
        density: npt.NDArray[np.float64] = kernel.prod(axis=2).mean(axis=1)
        return density

    def sample(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int_]:
        """Draw data points and change each coordinate to a uniform choice with its bandwidth, (count, coordinates)."""
        centres = self.codes[rng.integers(len(self.codes), size=count)]
        kept = rng.random(centres.shape) < 1 - self.bandwidth
        uniform = rng.integers(self.choices, size=centres.shape)
        return np.where(kept, centres, uniform)
