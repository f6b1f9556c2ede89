"""Regularized (aging) evolution: mutate the best of a small tournament, retire the oldest."""

from __future__ import annotations

from collections import deque

import numpy as np

from nasbench_kd import Architecture, Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, integer, parameter, with_parameters
from nasbench_kd.tasks.fidelity import TARGET


@with_parameters
class RegularizedEvolution(Optimizer):
    """Aging evolution (Real, Aggarwal, Huang and Le, AAAI 2019).

    The constants are those of the NAS-Bench-201 authors' script (AutoDL-Projects,
    `exps/NAS-Bench-201-algos/R_EA.py`): a population of 10 random cells, tournaments of 3 drawn
    with replacement, one edge changed in each child. Ours: all edges are changed equally often, where the
    script draws a node first and then one of its edges. With parallel workers a child enters the
    population when its evaluation ends. A training that diverged has the fitness of chance.

    Args:
        fidelity: how every cell is trained.
        population: size of the population, P in the paper.
        tournament: members drawn for each tournament, S in the paper.
    """

    paper = "Real et al., AAAI 2019"
    compared = "docs/reproduction.md"
    fidelity: str = parameter(TARGET, a_fidelity)
    population: int = parameter(10, integer(1))
    tournament: int = parameter(3, integer(1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Start with an empty population."""
        super().setup(view, rng)
        self.members: deque[tuple[float, Architecture]] = deque(maxlen=self.population)
        self.random_asks_left = self.population

    def ask(self) -> Query:
        """Draw a random cell for the first population, then mutate the winner of a tournament."""
        if self.random_asks_left > 0 or not self.members:
            self.random_asks_left -= 1
            return Query(self.random_cell(), self.fidelity)
        drawn = self.rng.integers(len(self.members), size=self.tournament)
        _, parent = max((self.members[i] for i in drawn), key=lambda member: member[0])
        return Query(parent.mutate(self.rng), self.fidelity)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Append to the population; the oldest member drops out of a full one."""
        fitness = self.worth(evaluation)
        self.members.append((fitness, query.cell))
        self.keep_best(query, evaluation)
