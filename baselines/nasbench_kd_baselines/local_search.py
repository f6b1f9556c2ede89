"""Local search: climb to the first better neighbour, restart at a local optimum."""

from __future__ import annotations

import math

import numpy as np

from nasbench_kd import WAIT, Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.optimizer import Wait
from nasbench_kd.simulation.parameters import a_fidelity, integer, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import TARGET


@with_parameters
class LocalSearch(Optimizer):
    """First-improvement local search with restarts (White, Nolen and Savani, UAI 2021).

    The constants are those of the authors' code (naszilla, `local_search`): each climb starts at
    the best of 10 random cells, looks at the neighbours (24 of a cell) in random order, leaving out cells that
    were evaluated before, moves to the first better one, and ends where none is better. With
    parallel workers several neighbours are evaluated at once, every one that is better moves the
    climb, and a climb ends when the last running evaluation has.

    Args:
        fidelity: how every cell is trained.
        starts: random cells at the beginning of each climb.
    """

    paper = "White et al., UAI 2021"
    compared = "reports/literature/README.md"
    fidelity: str = parameter(TARGET, a_fidelity)
    starts: int = parameter(10, integer(1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start before the first climb."""
        super().setup(view, rng)
        self.queue: list[Architecture] = []
        self.seen: set[int] = set()
        self.running = 0
        self.position: Architecture | None = None
        self.height = -math.inf
        self.starting = True
        self.expanded = True

    def ask(self) -> Query | Wait:
        """Return the next start or neighbour that was not evaluated before."""
        while not self.queue:
            if self.running:
                return WAIT
            if self.expanded:
                self._start_climb()
            else:
                self._expand()
        cell = self.queue.pop()
        self.seen.add(cell.index)
        self.running += 1
        return Query(cell, self.fidelity)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Move to the cell where it is better; the best start is known when all starts are."""
        self.running -= 1
        self.keep_best(query, evaluation)
        if evaluation.valid_accuracy > self.height:
            self.position, self.height = query.cell, evaluation.valid_accuracy
            if self.starting:
                self.expanded = False
            else:
                self._expand()

    def _start_climb(self) -> None:
        unseen = np.setdiff1d(np.arange(len(self.view.space)), list(self.seen))
        if unseen.size:
            drawn = self.rng.choice(unseen, size=min(self.starts, unseen.size), replace=False)
            self.queue = [self.view.space[int(index)] for index in drawn]
        else:
            self.queue = [self.random_cell()]
        self.position, self.height, self.starting = None, -math.inf, True

    def _expand(self) -> None:
        assert self.position is not None
        neighbours = [cell for cell in self.position.neighbours() if cell.index not in self.seen]
        self.queue = [neighbours[i] for i in self.rng.permutation(len(neighbours))]
        self.starting, self.expanded = False, True
