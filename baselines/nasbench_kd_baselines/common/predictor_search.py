"""What BANANAS and NPENAS share: a predictor, retrained in rounds, chooses mutants of the best cells."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, integer, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import TARGET


@with_parameters
class PredictorSearch(Optimizer):
    """Base of predictor-guided searches: override `scores` and `mutate`.

    Args:
        fidelity: how every cell is trained.
        initial: random cells before the first predictor.
        batch: cells chosen in a round, after which the predictor is trained anew.
        candidates: mutants that are scored in a round.
        parents: best cells that are mutated, the next one only where the ones before do not give
            enough new mutants; each of them as often as there are `candidates`.
    """

    fidelity: str = parameter(TARGET, a_fidelity)
    initial: int = parameter(10, integer(1))
    batch: int = parameter(10, integer(1))
    candidates: int = parameter(100, integer(1))
    parents: int = parameter(5, integer(1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start without evaluations."""
        super().setup(view, rng)
        self.asked: set[Hashable] = set()
        self.cells: list[Architecture] = []
        self.accuracies: list[float] = []
        self.queue: list[Architecture] = []

    def scores(self, candidates: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """Train on `cells` and `accuracies`, and score candidates, the higher the better, (n,)."""
        raise NotImplementedError

    def ask(self) -> Query:
        """Return a random initial cell, else the next of the round's choice."""
        if len(self.asked) < self.initial or not self.cells:
            return self._query(self._unseen_cell())
        if not self.queue:
            candidates = self.mutants()
            if candidates:
                order = np.argsort(-np.round(self.scores(candidates), 6), kind="stable")[: self.batch]
                self.queue = [candidates[place] for place in order]
            else:
                self.queue = [self._unseen_cell()]
        return self._query(self.queue.pop(0))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome; a training that diverged counts as chance."""
        self.keep_best(query, evaluation)
        self.cells.append(query.cell)
        self.accuracies.append(self.worth(evaluation))

    def mutate(self, cell: Architecture) -> Architecture:
        """Draw a mutant."""
        raise NotImplementedError

    def identity(self, cell: Architecture) -> Hashable:
        """What two cells share that count as one; by default every cell counts."""
        return cell.index

    def mutants(self) -> list[Architecture]:
        """New mutants of the best cells, none of them asked before, the best one's first."""
        best = sorted(range(len(self.cells)), key=lambda place: -self.accuracies[place])
        found: dict[Hashable, Architecture] = {}
        for place in best[: self.parents]:
            if len(found) >= self.candidates:
                break
            for _ in range(self.candidates):
                mutant = self.mutate(self.cells[place])
                identity = self.identity(mutant)
                if identity not in self.asked:
                    found.setdefault(identity, mutant)
        return list(found.values())

    def _unseen_cell(self) -> Architecture:
        """A random cell that counts as new, unless a thousand draws find none."""
        for _ in range(1000):
            cell = self.random_cell()
            if self.identity(cell) not in self.asked:
                break
        return cell

    def _query(self, cell: Architecture) -> Query:
        self.asked.add(self.identity(cell))
        return Query(cell, self.fidelity)
