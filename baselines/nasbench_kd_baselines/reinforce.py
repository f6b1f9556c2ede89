"""REINFORCE: a policy with independent choices at the coordinates, trained by its own rewards."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasbench_kd import Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, parameter, real, with_parameters
from nasbench_kd.tasks.fidelity import TARGET


@with_parameters
class Reinforce(Optimizer):
    """Policy gradient over logits, 6 x 5 of a cell (Williams, Machine Learning 1992; Dong and Yang, ICLR 2020).

    The constants are those of the benchmark authors' scripts (AutoDL-Projects,
    `exps/NATS-algos/reinforce.py`): logits start at 0.001 N(0, 1), the reward is the accuracy in
    percent, the baseline is its bias-corrected moving average with momentum 0.9 (updated before it
    is subtracted), and Adam (0.9, 0.999, 1e-8) has the learning rate 0.01 of the script's examples; the
    NAS-Bench-201 script has 0.5. A training that diverged has the reward of chance. Where a space is no grid, a
    sample of the policy is taken for the closest architecture that is there.

    Args:
        fidelity: how every cell is trained.
        learning_rate: Adam's.
        momentum: of the reward's moving average.
    """

    paper = "Williams, Machine Learning 1992"
    compared = "docs/reproduction.md"
    fidelity: str = parameter(TARGET, a_fidelity)
    learning_rate: float = parameter(0.01, real(above=0))
    momentum: float = parameter(0.9, real(0, below=1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Draw the first logits."""
        super().setup(view, rng)
        counts = np.array([len(names) for names in view.space.choices])
        self.logits = 1e-3 * rng.standard_normal((len(counts), int(counts.max())))
        self.logits[np.arange(self.logits.shape[1]) >= counts[:, None]] = -np.inf  # no such choice
        self.updates = 0
        self.average = 0.0
        self.first_moment = np.zeros_like(self.logits)
        self.second_moment = np.zeros_like(self.logits)

    def ask(self) -> Query:
        """Sample a cell from the policy."""
        cumulative = np.cumsum(self.probabilities(), axis=1)
        below = cumulative[:, :-1] < self.rng.random((len(cumulative), 1))
        return Query(self.view.space.closest(below.sum(axis=1).tolist()), self.fidelity)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Take one Adam step along the gradient of log p(cell) (reward - baseline)."""
        self.keep_best(query, evaluation)
        reward = self.worth(evaluation)
        self.updates += 1
        self.average = self.momentum * self.average + (1 - self.momentum) * reward
        baseline = self.average / (1 - self.momentum**self.updates)
        chosen = np.eye(self.logits.shape[1])[list(query.cell.codes)]
        gradient = (chosen - self.probabilities()) * (reward - baseline)
        self.first_moment = 0.9 * self.first_moment + 0.1 * gradient
        self.second_moment = 0.999 * self.second_moment + 0.001 * gradient**2
        mean = self.first_moment / (1 - 0.9**self.updates)
        deviation = np.sqrt(self.second_moment / (1 - 0.999**self.updates))
        self.logits = self.logits + self.learning_rate * mean / (deviation + 1e-8)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """The policy: probability of every choice at every coordinate, shape (coordinates, most choices)."""
        weights = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
