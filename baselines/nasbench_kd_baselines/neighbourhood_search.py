"""NA-RS: random search that judges an architecture by its whole neighbourhood."""

from __future__ import annotations

import math

import numpy as np

from nasbench_kd import Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, parameter, real, with_parameters
from nasbench_kd.spaces.space import Architecture


@with_parameters
class NeighbourhoodSearch(Optimizer):
    """Random candidates, each judged by an aggregate over itself and all its neighbours.

    Source: Wang, Cao, Li and Kitani, "Neighborhood-Aware Neural Architecture Search" (BMVC 2021), the variant with
    random sampling, NA-RS. The paper's number of neighbours is not known to us; all of them are evaluated here.
    A candidate of NAS-Bench-201 costs 25 queries, so that at equal budgets random search is better
    (`reports/one-shot`); the aggregate pays where values of neighbours are free (`common/neighbourhoods.py`).

    Args:
        fidelity: how every architecture is trained.
        quantile: the aggregate is this quantile, from 0 to 1; None is the mean.
    """

    paper = "Wang et al., BMVC 2021"
    fidelity: str = parameter("target", a_fidelity)
    quantile: float | None = parameter(None, real(least=0, most=1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start without candidates."""
        super().setup(view, rng)
        self.known: dict[int, float] = {}
        self.failed: set[int] = set()
        self.asked: set[int] = set()
        self.queue: list[Architecture] = []
        self.open: list[Architecture] = []
        self.best: tuple[float, Architecture] | None = None

    def ask(self) -> Query:
        """Return the next member of the neighbourhoods that are open, else a new candidate."""
        while not self.queue:
            candidate = self.random_cell()
            members = (candidate, *candidate.neighbours())
            self.queue = [each for each in members if each.index not in self.asked]
            self.asked.update(each.index for each in self.queue)
            self.open.append(candidate)
            self._close()
            if not self.queue and len(self.asked) == len(self.view.space):
                self.queue = [candidate]  # everything is paid
        return self.query(self.queue.pop(0), self.view.fidelity(self.fidelity))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Judge the candidates whose neighbourhood is complete; a training that diverged counts as chance there."""
        self.keep_best(query, evaluation)
        self.known[query.cell.index] = self.worth(evaluation)
        if evaluation.failed:
            self.failed.add(query.cell.index)
        self._close()

    def answer(self) -> Architecture | None:
        """The candidate of the best neighbourhood; before the first is complete, the best that was evaluated."""
        return super().answer() if self.best is None else self.best[1]

    def _close(self) -> None:
        still = []
        for candidate in self.open:
            members = (candidate, *candidate.neighbours())
            if any(each.index not in self.known for each in members):
                still.append(candidate)
                continue
            values = [self.known[each.index] for each in members]
            value = float(np.mean(values) if self.quantile is None else np.quantile(values, self.quantile))
            if candidate.index not in self.failed and value > (
                -math.inf if self.best is None else self.best[0]
            ):
                self.best = (value, candidate)
        self.open = still
