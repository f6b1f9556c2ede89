"""Hyperband: brackets of successive halving, from many short trainings to a few full ones, in turns."""

from __future__ import annotations

import math

import numpy as np

from nasbench_kd.simulation.optimizer import SearchView
from nasbench_kd.simulation.parameters import parameter, real, with_parameters
from nasbench_kd_baselines.successive_halving import Bracket, BracketSearch, halving


@with_parameters
class Hyperband(BracketSearch):
    """Hyperband over a ladder of fidelities (Li et al., JMLR 2018).

    With K rungs, s_max = K - 1, and bracket s = s_max, ..., 0 starts ceil((s_max + 1) eta^s / (s + 1))
    random cells at rung K - 1 - s: the paper's rule where prices grow by eta from rung to rung.
    After the last bracket the first one follows. Workers wait for the end of a rung.

    Args:
        rungs, signal: see `LadderSearch`.
        eta: of the cells of a rung, the best 1/eta climb on; the paper's 3.

    Attributes:
        brackets: the (rung, number of cells) schedules of one round, after `setup`.
    """

    paper = "Li et al., JMLR 2018"
    eta: float = parameter(3.0, real(above=1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Lay out the brackets."""
        self.brackets: list[list[tuple[int, int]]] = []
        self.brackets_begun = 0
        super().setup(view, rng)

    def next_bracket(self) -> Bracket:
        """Make the next bracket of the round."""
        if not self.brackets:
            self.brackets = hyperband_brackets(len(self.ladder), self.eta)
        self.brackets_begun += 1
        return Bracket(self.brackets[(self.brackets_begun - 1) % len(self.brackets)])


def hyperband_brackets(rungs: int, eta: float) -> list[list[tuple[int, int]]]:
    """Schedules of the brackets s = rungs - 1, ..., 0.

    >>> hyperband_brackets(3, 3)
    [[(0, 9), (1, 3), (2, 1)], [(1, 5), (2, 1)], [(2, 3)]]
    """
    return [
        halving(range(rungs - 1 - s, rungs), math.ceil(rungs * eta**s / (s + 1) - 1e-9), eta)
        for s in range(rungs - 1, -1, -1)
    ]
