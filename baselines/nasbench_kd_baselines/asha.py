"""ASHA: successive halving without waiting; a cell climbs as soon as it is among its rung's best."""

from __future__ import annotations

import math
from bisect import insort
from heapq import heappop, heappush

import numpy as np

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.optimizer import Query, SearchView
from nasbench_kd.simulation.parameters import parameter, real, with_parameters
from nasbench_kd_baselines.successive_halving import LadderSearch


@with_parameters
class ASHA(LadderSearch):
    """Asynchronous successive halving (Li et al., MLSys 2020, algorithm 2).

    An idle worker trains on the best cell, from the highest rung down, that is among the best
    1/eta of its rung's finished cells and has not climbed yet; where there is none it starts a
    random cell at the lowest rung. eta is the 4 of the paper's experiments. Workers never wait.

    Args:
        rungs, signal: see `LadderSearch`.
        eta: of the finished cells of a rung, the best 1/eta may climb.

    Attributes:
        ranked: for each rung the finished trainings as (minus the worth, how many finished before, cell index),
            the best first; infinity where one diverged.
        waiting: heaps of those of `ranked` that have not climbed.
        climbed: for each rung the indices of the cells that went on.
    """

    paper = "Li et al., MLSys 2020"
    eta: float = parameter(4.0, real(above=1))

    @property
    def spacing(self) -> float:
        """Rungs get dearer as fast as they get smaller."""
        return self.eta

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Empty the rungs."""
        super().setup(view, rng)
        self.ranked: list[list[tuple[float, int, int]]] = [[] for _ in self.ladder]
        self.waiting: list[list[tuple[float, int, int]]] = [[] for _ in self.ladder]
        self.climbed: list[set[int]] = [set() for _ in self.ladder]

    def ask(self) -> Query:
        """Return a promotion, or a new cell."""
        for rung in range(len(self.ladder) - 2, -1, -1):
            ranked, waiting = self.ranked[rung], self.waiting[rung]
            while waiting and waiting[0][2] in self.climbed[rung]:
                heappop(waiting)
            if waiting and waiting[0][0] < math.inf and waiting[0] < _first_below(ranked, self.eta):
                cell = heappop(waiting)[2]
                self.climbed[rung].add(cell)
                return self.query(self.view.space[cell], self.ladder[rung + 1])
        return self.query(self.new_cell(), self.ladder[0])

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome."""
        self.keep_best(query, evaluation)
        worth = -math.inf if evaluation.failed else self.worth(evaluation)
        rung = self.ladder.index(self.view.fidelity(query.fidelity))
        result = (-worth, len(self.ranked[rung]), query.cell.index)
        insort(self.ranked[rung], result)
        heappush(self.waiting[rung], result)


def _first_below(ranked: list[tuple[float, int, int]], eta: float) -> tuple[float, int, int]:
    """The best result that is not among the best 1/eta of its rung."""
    return ranked[math.floor(len(ranked) / eta)]
