"""TRADE-style search: a student's accuracy under distillation, optimized in a trust region of cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from baselines.fidelities import distilled_fidelities
from baselines.gaussian_process import GaussianProcess, covariance_table
from baselines.trust_region import TrustRegion
from nasbench_kd.benchmark import TASKS, Evaluation
from nasbench_kd.complexity import multiply_accumulates
from nasbench_kd.errors import ProtocolError
from nasbench_kd.fidelity import FULL, Fidelity
from nasbench_kd.optimizer import Incumbent, Optimizer, Query, SearchView
from nasbench_kd.space import EDGES, OPERATIONS, SPACE_SIZE, Cell, code_matrix


class Trade(Optimizer):
    """Trust-region Bayesian optimization of the distilled student (Kim, Myeong and Yun, 2022).

    Only the paper's abstract is public: the search space, the constants and the loss are not. The
    trust region is TuRBO-1's (Eriksson et al., NeurIPS 2019) with its reference constants, carried
    over to cells: a Hamming ball around the region's best cell, a Gaussian process with one length
    scale for each edge, and Thompson sampling over every cell of the ball that was not evaluated
    yet. The sample is joint and exact (see `sample_posterior`). A region that is too small, or
    whose ball is used up, gives way to a new one that starts from random cells.

    The objective is the accuracy under distillation; with `cost_target` it is that times
    (cost / target)^`cost_exponent`, the soft penalty of MnasNet (Tan et al., CVPR 2019), and
    `answer` maximises this objective. A student family other than cells is out of scope here.

    Args:
        fidelity: how students are trained; by default the dearest distilled one that the task has,
            the nearest to a student that is trained for good.
        initial: random cells at the start of each region; TuRBO's twice the number of dimensions.
        initial_length, minimum_length, maximum_length, success_tolerance, failure_tolerance: see
            `TrustRegion`.
        improvement: a success is better than the region's best by this share of it.
        refit_growth: the model's parameters are fitted again when the region's evaluations have
            grown by this factor. TuRBO fits at every step: 1.0.
        maximum: students trained at `fidelity` after which the best of them are trained at none@200,
            one after another, and the answer is the best of those; new students follow only when all
            have been. For a cheap `fidelity`, which would otherwise be asked for the whole space.
            Ours; None never goes on to the full training.
        cost_target: wanted cost, in millions of multiply-accumulates unless `cost` is given.
        cost: cost of a cell in any unit, a function that can be pickled.
        cost_exponent: of the penalty, at most 0.

    Raises `ProtocolError` on a cost without a target, a positive exponent, a count that is too small,
    or a `maximum` where the students are trained in full anyway.
    """

    paper = "Kim, Myeong and Yun, HAET workshop at ICML 2022"
    region: TrustRegion
    model: GaussianProcess
    next_fit: float
    owner: set[int]
    cells: list[int]
    values: list[float]

    def __init__(
        self,
        fidelity: str | None = None,
        initial: int = 2 * len(EDGES),
        initial_length: float = 0.8,
        minimum_length: float = 2**-7,
        maximum_length: float = 1.6,
        success_tolerance: int = 3,
        failure_tolerance: int = len(EDGES),
        improvement: float = 1e-3,
        refit_growth: float = 1.1,
        maximum: int | None = None,
        cost_target: float | None = None,
        cost: Callable[[Cell], float] | None = None,
        cost_exponent: float = -0.07,
    ) -> None:
        if cost is not None and cost_target is None:
            raise ProtocolError("a cost needs a cost_target to be measured against")
        if cost_exponent > 0:
            raise ProtocolError(f"cost_exponent is at most 0, so that cost is a penalty, not {cost_exponent}")
        if initial < 2:
            raise ProtocolError(f"a region needs at least 2 initial cells, not {initial}")
        if maximum is not None and maximum < 1:
            raise ProtocolError(f"maximum is at least 1 student, or None, not {maximum}")
        if maximum is not None and fidelity is not None and Fidelity.parse(fidelity) == FULL:
            raise ProtocolError(
                f"students trained at {FULL} cannot go on to it: maximum needs a cheaper fidelity"
            )
        self.fidelity = fidelity
        self.initial = initial
        self.maximum = maximum
        self.region_arguments = (
            initial_length,
            minimum_length,
            maximum_length,
            success_tolerance,
            failure_tolerance,
        )
        self.improvement = improvement
        self.refit_growth = refit_growth
        self.cost_target = cost_target
        self.cost = cost
        self.cost_exponent = cost_exponent

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Settle the fidelity; raises `MissingEntryError` where there is no distilled one."""
        super().setup(view, rng)
        if self.fidelity is None:
            self.trained = distilled_fidelities(view)[-1]
        else:
            self.trained = Fidelity.parse(self.fidelity)
        self.unseen = np.ones(SPACE_SIZE, dtype=bool)
        self.best: tuple[bool, float] = (False, -np.inf)
        """Whether the incumbent was trained in full, and its objective."""
        self.finalists: dict[int, float] = {}
        """Objectives of students that could go on to the full training, by cell."""
        self.students = 0
        """Students told of at `fidelity`."""
        self.regions = 0
        """Regions started so far."""
        self._new_region()

    def ask(self) -> Query:
        """Return a random cell for a young region, else a Thompson sample's best unseen one in the ball.

        After `maximum` students, return the best one that has not been trained in full.
        """
        if self.maximum is not None and self.students >= self.maximum and self.finalists:
            cell = max(self.finalists, key=self.finalists.__getitem__)
            del self.finalists[cell]
            return Query(Cell.from_index(cell), FULL)
        if not self.unseen.any():
            return Query(self.random_cell(), self.trained)
        if self.region.over:
            self._new_region()
        if len(self.owner) < self.initial or len(self.values) < 2:
            return self._query(int(self.rng.choice(np.flatnonzero(self.unseen))))
        centre = self.cells[int(np.argmax(self.values))]
        codes = code_matrix()
        ball = (codes != codes[centre]).sum(axis=1) <= self.region.radius
        if not (ball & self.unseen).any():
            self._new_region()
            return self.ask()
        if len(self.cells) >= self.next_fit:
            self.model.fit(self.cells, self._targets())
            self.next_fit = self.refit_growth * len(self.cells)
        sample = sample_posterior(self.model, self._targets(), self.rng)
        return self._query(int(np.argmax(np.where(ball & self.unseen, sample, -np.inf))))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome; one that a former region asked for changes the answer alone."""
        accuracy = 100 / self.view.classes if evaluation.failed else evaluation.valid_accuracy
        objective = accuracy * self.penalty(query.cell)
        trained = Fidelity.parse(query.fidelity)
        if not evaluation.failed and (trained == FULL, objective) > self.best:
            self.best = (trained == FULL, objective)
            self.incumbent = Incumbent(query.cell, evaluation.valid_accuracy, trained)
        if trained != self.trained:
            return
        self.students += 1
        if not evaluation.failed:
            self.finalists[query.cell.index] = objective
        if query.cell.index not in self.owner:
            return
        self.cells.append(query.cell.index)
        self.values.append(objective)
        self.model.add(query.cell.index)
        if len(self.cells) > self.initial:
            best = max(self.values[:-1])
            self.region.record(success=objective > best + self.improvement * abs(best))

    def penalty(self, cell: Cell) -> float:
        """Factor on the accuracy of a cell: 1 at the cost target or without one."""
        if self.cost_target is None:
            return 1.0
        if self.cost is not None:
            cost = self.cost(cell)
        else:
            size = TASKS[self.view.task].image_size
            cost = multiply_accumulates(cell, self.view.classes, size) / 1e6
        return float((cost / self.cost_target) ** self.cost_exponent)

    def _new_region(self) -> None:
        self.next_fit = 0.0
        self.region = TrustRegion(*self.region_arguments)
        self.regions += 1
        self.owner = set()
        self.cells = []
        self.values = []
        self.model = GaussianProcess(code_matrix())

    def _query(self, cell: int) -> Query:
        self.unseen[cell] = False
        self.owner.add(cell)
        return Query(Cell.from_index(cell), self.trained)

    def _targets(self) -> npt.NDArray[np.float64]:
        """The region's objectives, minus their median and in units of their deviation, as TuRBO's."""
        values = np.array(self.values)
        standard: npt.NDArray[np.float64] = (values - np.median(values)) / (values.std() or 1.0)
        return standard


def sample_posterior(
    model: GaussianProcess, targets: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw one function from the posterior over the whole space: joint, without approximation, (15625,).

    A draw from the prior is corrected by the observations (Matheron's rule): f + k K^-1 (y - f - e).
    `model` must have the whole space as its candidates, in index order.
    """
    prior = sample_prior(covariance_table(model.hyperparameters), rng)
    noise = np.sqrt(model.hyperparameters.noise) * rng.standard_normal(len(targets))
    return prior + model.mean(targets - prior[model.observed] - noise)


def sample_prior(table: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw one function over the space from a Gaussian process, index order, shape (15625,).

    `table` is the covariance for each of the 64 patterns of differing edges (bit e for edge e).
    Such a covariance is diagonal in the basis that splits the five operations of every edge into
    their mean and the deviations from it, so that the draw costs six small products.
    """
    edges, operations = len(EDGES), len(OPERATIONS)
    eigenvalues = table.reshape((2,) * edges)
    split = np.array([[1.0, operations - 1.0], [1.0, -1.0]])
    for axis in range(edges):
        eigenvalues = np.moveaxis(np.tensordot(split, eigenvalues, axes=(1, axis)), 0, axis)
    # The table's first axis is its highest bit, the last edge; the grid's first axis is the first edge.
    roots = np.sqrt(np.maximum(eigenvalues, 0.0)).transpose()
    basis, _ = np.linalg.qr(np.column_stack((np.ones(operations), np.eye(operations)[:, 1:])))
    grid = rng.standard_normal((operations,) * edges)
    grid *= roots[np.ix_(*[(0,) + (1,) * (operations - 1)] * edges)]
    for axis in range(edges):
        grid = np.moveaxis(np.tensordot(basis, grid, axes=(1, axis)), 0, axis)
    return np.asarray(grid[tuple(code_matrix().T)])
