"""A control: train the classes of cells in the order of their size, with nothing else known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd import Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture


@with_parameters
class Parameters(Optimizer):
    """Trains one cell of each isomorphism class, those with most parameters first; a control, of no paper.

    Ties are in random order. What a method finds that this does
    not is what it is worth.

    Args:
        fidelity: how every cell is trained.
    """

    basis = "control"
    needs = ("sizes",)
    fidelity: str = parameter("target", a_fidelity)

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Sort the classes."""
        super().setup(view, rng)
        cells = [view.space[index] for index in view.space.representatives.tolist()]
        self.order: list[Architecture] = [
            cells[place] for place in np.lexsort((rng.random(len(cells)), self.sizes(cells)))
        ]

    def sizes(self, cells: Sequence[Architecture]) -> npt.NDArray[np.int64]:
        """What the cells are sorted by, (n,)."""
        return np.array([self.view.sizes(cell)["parameters"] for cell in cells])

    def ask(self) -> Query:
        """Return the largest cell that is left, then random ones."""
        return Query(self.order.pop() if self.order else self.random_cell(), self.fidelity)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Keep the best."""
        self.keep_best(query, evaluation)
