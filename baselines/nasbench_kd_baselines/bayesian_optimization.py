"""Bayesian optimization: a Gaussian process scores every cell of the space before each evaluation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nasbench_kd import Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, integer, parameter, real, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import TARGET
from nasbench_kd_baselines.models.gaussian_process import GaussianProcess


@with_parameters
class BayesianOptimization(Optimizer):
    """Upper confidence bounds over the whole space (Srinivas, Krause, Kakade and Seeger, ICML 2010).

    The model is a Gaussian process over the classes of the space, 6,466 in NAS-Bench-201 (see `gaussian_process`), so
    that twins share their score; each class is evaluated once, at its representative. Accuracies
    are centred on their median, divided by their interquartile range, their lower half is
    compressed by log(1 + x), and they are standardized, so that cells that barely learn do not
    drown the differences at the top. A training that diverged counts as chance. The answer is the
    evaluated cell with the highest posterior mean, since one accuracy is one noisy training.
    The constants are ours, chosen alike for all tasks; 10 initial cells are naszilla's.

    Args:
        fidelity: how every cell is trained.
        initial: random cells before the first model.
        beta: deviations above the mean in the confidence bound.
        refit_growth: the parameters are fitted anew when the observations have grown by this factor.
    """

    paper = "Srinivas et al., ICML 2010"
    fidelity: str = parameter(TARGET, a_fidelity)
    initial: int = parameter(10, integer(2))
    beta: float = parameter(4.0, real(0))
    refit_growth: float = parameter(1.15, real(1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Lay out the classes of equal architectures."""
        super().setup(view, rng)
        self.representatives, self.class_of_cell = np.unique(view.space.classes, return_inverse=True)
        self.unasked = np.ones(len(self.representatives), dtype=bool)
        self.model = GaussianProcess(view.space.codes[self.representatives])
        self.fit_at = self.initial
        self.asked = 0
        self.running: list[int] = []
        self.cells: list[Architecture] = []
        self.accuracies: list[float] = []

    def ask(self) -> Query:
        """Return a random cell at first, then the one with the highest upper confidence bound."""
        self.asked += 1
        if self.asked <= self.initial or len(self.cells) < 2 or not self.unasked.any():
            cell = self.random_cell()
        else:
            if len(self.cells) >= self.fit_at:
                self.model.fit(self.model.observed, self.targets())
                self.fit_at = max(len(self.cells) + 1, math.ceil(len(self.cells) * self.refit_growth))
            bounds = np.where(self.unasked, self.upper_bounds(), -np.inf)
            cell = self.view.space[int(self.representatives[np.argmax(bounds)])]
        point = int(self.class_of_cell[cell.index])
        self.unasked[point] = False
        self.running.append(point)
        return Query(cell, self.fidelity)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Add the evaluation to the model."""
        self.keep_best(query, evaluation)
        point = int(self.class_of_cell[query.cell.index])
        self.running.remove(point)
        self.cells.append(query.cell)
        self.accuracies.append(self.worth(evaluation))
        self.model.add(point)

    def answer(self) -> Architecture | None:
        """The evaluated cell with the highest posterior mean, no diverged one; None while all have diverged.

        A teacher that was trained in full stands above cells that were not.
        """
        if self.incumbent is None:
            return None
        if self.level(self.incumbent.fidelity) > self.level(self.view.fidelity(self.fidelity)):
            return self.incumbent.cell
        means = np.round(self.model.mean(self.targets(), self.model.observed), 6)
        alive = [place for place, cell in enumerate(self.cells) if not self.diverged(cell)]
        return self.cells[max(alive, key=lambda place: (means[place], self.accuracies[place]))]

    def upper_bounds(self) -> npt.NDArray[np.float64]:
        """Upper confidence bound of every class, shape (classes,), in units of `targets`.

        Rounded, so that the last bits of a machine's arithmetic do not decide between cells.
        """
        deviation = np.sqrt(self.model.variance(pending=self.running))
        return np.round(self.model.mean(self.targets()) + self.beta * deviation, 6)

    def targets(self) -> npt.NDArray[np.float64]:
        """What the model is trained on: the accuracies so far, compressed and standardized."""
        accuracies = np.array(self.accuracies)
        lower, median, upper = np.quantile(accuracies, (0.25, 0.5, 0.75))
        relative = (accuracies - median) / (upper - lower or accuracies.std() or 1.0)
        compressed = np.where(relative < 0, -np.log1p(np.maximum(-relative, 0)), relative)
        return np.asarray((compressed - compressed.mean()) / (compressed.std() or 1.0))
