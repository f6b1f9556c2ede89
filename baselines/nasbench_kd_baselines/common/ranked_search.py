"""What the controls share: cells are read cheaply, an order is made of that, and cells are trained in full by it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.optimizer import WAIT, Optimizer, Query, SearchView, Wait
from nasbench_kd.simulation.parameters import a_fidelity, a_signal, integer, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.signals import ACCURACY
from nasbench_kd_baselines.common.fidelities import plain_training


@with_parameters
class RankedSearch(Optimizer):
    """Base of one-shot rankings: override `order`, and `second_sample` for a second round.

    `cells` random cells of different isomorphism classes, of those that have the fidelity, are read at it; then
    those of `second_sample` are; then the cells of `order` are trained in full, one after another, and random ones
    when all have been.
    Workers wait for the end of each round.

    Args:
        fidelity: what the cells are read at; by default `none@12`, on a task without it the dearest training without
            distillation below the target (`fidelities.plain_training`).
        cells: random cells.
        signal: what their trainings are judged by, where the fidelity records it.
    """

    fidelity: str | None = parameter(None, a_fidelity)
    cells: int = parameter(100, integer(1))
    signal: str = parameter(ACCURACY, a_signal)

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Draw the cells; raises `MissingEntryError` where the fidelity does not record the signal."""
        super().setup(view, rng)
        self.cheap = plain_training(view) if self.fidelity is None else Fidelity.parse(self.fidelity)
        self.settle_signal((self.cheap,))
        classes = view.space.representatives
        self.readable = np.isin(classes, view.partial.get(self.cheap, classes))
        """Which classes can be read at the cheap fidelity, shape (classes,)."""
        classes = classes[self.readable]
        drawn = classes[rng.permutation(len(classes))][: self.cells].tolist()
        self.queue: deque[Architecture] = deque(view.space[index] for index in drawn)
        self.stage = 0
        self.running = 0
        self.worths: dict[int, float] = {}
        """What each cell was worth at the cheap fidelity, in the order of telling."""
        self.full: set[int] = set()

    def second_sample(self) -> Iterable[Architecture]:
        """Cells that are read at the cheap fidelity after the random ones: none by default."""
        return ()

    def order(self) -> Iterable[Architecture]:
        """All cells that are to be trained in full, the best first."""
        raise NotImplementedError

    def ask(self) -> Query | Wait:
        """Return the next cell of the round."""
        while not self.queue and self.stage < 2:
            if self.running:
                return WAIT
            self.stage += 1
            self.queue.extend(self.second_sample() if self.stage == 1 else self.order())
        if self.stage < 2:
            self.running += 1
            return self.query(self.queue.popleft(), self.cheap)
        while self.queue:
            cell = self.queue.popleft()
            if cell.index not in self.full:
                break
        else:
            cell = self._untrained()
        self.full.add(cell.index)
        return self.query(cell, self.view.target)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome."""
        self.keep_best(query, evaluation)
        if Fidelity.parse(query.fidelity) == self.cheap and self.stage < 2:
            self.running -= 1
            self.worths[query.cell.index] = self.worth(evaluation)

    def by_worth(self) -> list[Architecture]:
        """The cells that were read, the best first; the earlier one keeps a tie."""
        return [
            self.view.space[index] for index in sorted(self.worths, key=lambda index: -self.worths[index])
        ]

    def _untrained(self) -> Architecture:
        cell = self.random_cell()
        while cell.index in self.full and len(self.full) < len(self.view.space):
            cell = self.random_cell()
        return cell
