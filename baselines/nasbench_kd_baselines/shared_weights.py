"""Searches that score architectures with weights that all of them share, and train the best-scored in full."""

from __future__ import annotations

import numpy as np

from nasbench_kd import WAIT, Evaluation, Optimizer, Query, SearchView
from nasbench_kd.errors import MissingEntryError, nearest
from nasbench_kd.simulation.optimizer import Wait
from nasbench_kd.simulation.parameters import a_fidelity, integer, parameter, real, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.common.votes import best_share, vote


@with_parameters
class DNA(Optimizer):
    """Block-wise distillation (Li et al., CVPR 2020) as a search on tables.

    Random architectures are scored, which pays for the teacher and the trained stages with the first query and for
    one pass of an architecture with every further one. Then the vote of the best tenth is trained in full, and after
    it the architectures in the order of their scores, until the budget is spent. The paper ranks the whole
    space by its score and answers with the best one; the vote is better on this space (`reports/one-shot`).

    Args:
        score: the fidelity of the scores: `dna`, on ImageNet16-120 `dna on=cifar100`; any other, too.
        candidates: architectures that are scored.
        share: of the candidates, the best that vote.
    """

    paper = "Li et al., CVPR 2020"
    prerequisites = ("teacher", "stages")
    score: str = parameter("dna", a_fidelity)
    candidates: int = parameter(1000, integer(1))
    share: float = parameter(0.1, real(above=0, most=1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start before the first score; raises `MissingEntryError` where the task has no such scores."""
        super().setup(view, rng)
        fidelity = view.fidelity(self.score)
        if fidelity not in view.fidelities and not view.live:
            scores = [each for each in view.fidelities if each.score is not None]
            known = [each.alias for each in scores or view.fidelities]
            raise MissingEntryError(
                f"{view.task} has no scores {fidelity.alias!r}; it has {', '.join(known)}."
                f"{nearest(fidelity.alias, known)} Name another fidelity (argument `score`), such as one of another "
                "task (on=...), install more results (`nasbench-kd data pull`), or make scores (`nasbench-kd score`)"
            )
        scored = view.covered(fidelity)
        drawn = scored[rng.choice(len(scored), size=min(self.candidates, len(scored)), replace=False)]
        self.left: list[Architecture] = [view.space[int(index)] for index in drawn]
        self.running = 0
        self.scored: list[tuple[Architecture, float]] = []
        self.order: list[Architecture] | None = None

    def ask(self) -> Query | Wait:
        """Return the next to be scored; when all are, the next of their order to be trained in full."""
        if self.left:
            self.running += 1
            return self.query(self.left.pop(), self.view.fidelity(self.score))
        if self.order is None:
            if self.running:
                return WAIT
            self.order = self._ranked()
        cell = self.order.pop(0) if self.order else self.random_cell()
        return self.query(cell, self.view.target)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn a score or a full training; only the latter decides the answer once there is one."""
        self.keep_best(query, evaluation)
        if self.order is None and self.view.fidelity(query.fidelity) == self.view.fidelity(self.score):
            self.running -= 1
            self.scored.append((query.cell, self.worth(evaluation)))

    def _ranked(self) -> list[Architecture]:
        values = [value for _, value in self.scored]
        elected = self.view.space.closest(
            vote([self.scored[place][0].codes for place in best_share(values, self.share)])
        )
        ranked = [self.scored[place][0] for place in best_share(values, 1.0)]
        return [elected, *(each for each in ranked if each != elected)]
