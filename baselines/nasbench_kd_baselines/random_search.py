"""Random search: independent uniform cells at one fidelity."""

from __future__ import annotations

from nasbench_kd import Evaluation, Optimizer, Query
from nasbench_kd.simulation.parameters import a_fidelity, parameter, with_parameters
from nasbench_kd.tasks.fidelity import TARGET


@with_parameters
class RandomSearch(Optimizer):
    """Evaluates uniform random cells and returns the best (Bergstra and Bengio, JMLR 2012).

    Repeated draws are free, so a budget counts distinct cells.
    """

    paper = "Bergstra and Bengio, JMLR 2012"
    compared = "docs/reproduction.md"
    fidelity: str = parameter(TARGET, a_fidelity)

    def ask(self) -> Query:
        """Draw a cell."""
        return Query(self.random_cell(), self.fidelity)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Keep the best."""
        self.keep_best(query, evaluation)
