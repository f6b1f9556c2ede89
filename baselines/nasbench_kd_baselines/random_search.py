"""Random search: independent uniform cells at one fidelity."""

from __future__ import annotations

from nasbench_kd import Evaluation, Optimizer, Query


class RandomSearch(Optimizer):
    """Evaluates uniform random cells and returns the best (Bergstra and Bengio, JMLR 2012).

    Repeated draws are free, so a budget counts distinct cells.
    """

    paper = "Bergstra and Bengio, JMLR 2012"

    def __init__(self, fidelity: str = "none@200") -> None:
        self.fidelity = fidelity

    def ask(self) -> Query:
        """Draw a cell."""
        return Query(self.random_cell(), self.fidelity)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Keep the best."""
        self.keep_best(query, evaluation)
