"""What BANANAS and NPENAS share: a predictor, retrained in rounds, chooses mutants of the best cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.benchmark import Evaluation
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, parameter, real, whole, with_parameters
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, SPACE_SIZE, Cell


@with_parameters
class PredictorSearch(Optimizer):
    """Base of predictor-guided searches: override `scores`.

    Args:
        fidelity: how every cell is trained.
        initial: random cells before the first predictor.
        batch: cells chosen in a round, after which the predictor is trained anew.
        candidates: mutants that are scored in a round.
        parents: best cells that are mutated, the next one only where the ones before do not give
            enough new mutants.
        mutation: probability that an edge of a parent gets another operation.
    """

    fidelity: str = parameter("none@200", a_fidelity)
    initial: int = parameter(10, whole(1))
    batch: int = parameter(10, whole(1))
    candidates: int = parameter(100, whole(1))
    parents: int = parameter(5, whole(1))
    mutation: float = parameter(0.25, real(above=0, most=1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start without evaluations."""
        super().setup(view, rng)
        self.asked: set[int] = set()
        self.cells: list[Cell] = []
        self.accuracies: list[float] = []
        self.queue: list[Cell] = []

    def scores(self, candidates: Sequence[Cell]) -> npt.NDArray[np.float64]:
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

    def mutants(self) -> list[Cell]:
        """New mutants of the best cells, at most `candidates`, none of them asked before."""
        best = sorted(range(len(self.cells)), key=lambda place: -self.accuracies[place])
        found: dict[Cell, None] = {}
        for place in best[: self.parents]:
            for _ in range(self.candidates):
                if len(found) == self.candidates:
                    break
                mutant = self._mutate(self.cells[place])
                if mutant.index not in self.asked:
                    found[mutant] = None
        return list(found)

    def _mutate(self, cell: Cell) -> Cell:
        changed = self.rng.random(len(EDGES)) < self.mutation
        shifts = self.rng.integers(1, len(OPERATIONS), size=len(EDGES))
        return Cell.from_codes(((np.array(cell.codes) + changed * shifts) % len(OPERATIONS)).tolist())

    def _unseen_cell(self) -> Cell:
        cell = self.random_cell()
        while cell.index in self.asked and len(self.asked) < SPACE_SIZE:
            cell = self.random_cell()
        return cell

    def _query(self, cell: Cell) -> Query:
        self.asked.add(cell.index)
        return Query(cell, self.fidelity)
