"""Random search that also tries what its best architectures agree on: a control that exploits additive spaces."""

from __future__ import annotations

import numpy as np

from nasbench_kd import Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, integer, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.common.votes import best_share, vote


@with_parameters
class ConsensusSearch(Optimizer):
    """Uniform architectures, and every so often the votes of the best so far.

    The vote takes on every edge the operation that most of the best tenth (and of the best fifth) have: the answer
    rule of RMI-NAS (Zheng et al., CVPR 2022, "sum"). On NAS-Bench-201 it leads to the cell that DrNAS and its kin
    answer with (index 9930), because the space is nearly additive: a control for other searches, no method of
    its own.

    Args:
        fidelity: how every architecture is trained.
        every: evaluations between votes.
    """

    paper = "answer rule of Zheng et al., CVPR 2022"
    fidelity: str = parameter("target", a_fidelity)
    every: int = parameter(20, integer(1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start without evaluations."""
        super().setup(view, rng)
        self.trained = view.fidelity(self.fidelity)
        self.known = set(view.covered(self.trained).tolist())
        """Indices of the architectures that can be asked for."""
        self.asked: set[int] = set()
        self.found: list[tuple[Architecture, float]] = []
        self.voted = 0
        self.queue: list[Architecture] = []

    def ask(self) -> Query:
        """Return a vote that was not evaluated, else an unseen random architecture."""
        if len(self.found) >= self.voted + self.every:
            self.voted = len(self.found)
            votes = (self._vote(share) for share in (0.1, 0.2))
            self.queue = [cell for cell in votes if cell.index in self.known]
        while self.queue and self.queue[0].index in self.asked:
            self.queue.pop(0)
        cell = self.queue.pop(0) if self.queue else self.random_cell(self.trained)
        while cell.index in self.asked and len(self.asked) < len(self.known):
            cell = self.random_cell(self.trained)
        self.asked.add(cell.index)
        return self.query(cell, self.trained)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Keep the best; a training that diverged counts as chance."""
        self.keep_best(query, evaluation)
        self.found.append((query.cell, self.worth(evaluation)))

    def _vote(self, share: float) -> Architecture:
        places = best_share([value for _, value in self.found], share)
        return self.view.space.closest(vote([self.found[place][0].codes for place in places]))
