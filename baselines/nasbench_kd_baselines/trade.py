"""TRADE-style search: a student's accuracy under distillation, optimized in a trust region of architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import ArgumentError, MissingEntryError
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, a_signal, integer, parameter, real, with_parameters
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.signals import ACCURACY
from nasbench_kd_baselines.common.fidelities import distilled_fidelities
from nasbench_kd_baselines.common.trust_region import TrustRegion
from nasbench_kd_baselines.models.gaussian_process import MOST_WEIGHTS, GaussianProcess, covariance_table

MACS = "multiply_accumulates"
MOST_STUDENTS = 4000
"""Most students of which a joint sample is drawn without the structure of a grid."""


@with_parameters
class Trade(Optimizer):
    """Trust-region Bayesian optimization of the distilled student (Kim, Myeong and Yun, 2022).

    Only the paper's abstract is known to us. Ours are the search space, the objective and the constants:
    TuRBO-1's trust region (Eriksson et al., NeurIPS 2019) carried over to cells, a Hamming ball around the
    region's best one, with a Gaussian process and Thompson sampling (`sample_posterior`) inside it. A space that is
    no small grid may have at most `MOST_STUDENTS` students, of which a joint sample is drawn.

    The objective is accuracy or minus a loss, with `cost_target` times (cost / target)^`cost_exponent` (MnasNet, Tan et
    al., CVPR 2019). A family is a width and a depth that cells are put into; with several `families` it is
    one more coordinate, and the answer is the best student's cell.

    Args:
        fidelity: how students of the only family are trained; by default the task's target where it distils, else
            the dearest distilled one.
        families: in place of `fidelity`, at least two that differ in `channels` or `cells` alone:
            `("nst@12", "nst@12 channels=8")`.
        initial: random cells at the start of each region; by default TuRBO's, twice the number of coordinates.
        initial_length, minimum_length, maximum_length, success_tolerance: see `TrustRegion`.
        failure_tolerance: see `TrustRegion`; by default the number of coordinates.
        improvement: a success is better than the region's best by this share of it.
        refit_growth: growth of the region's evaluations at which the model is fitted again; TuRBO's: 1.0.
        cost_target: wanted cost, in millions of multiply-accumulates of an image unless `cost` is given.
        cost: cost of a student (cell, family) in any unit, a function that can be pickled.
        cost_exponent: of the penalty, at most 0.
        maximum: students after which the best ones' cells are trained at the target, one after another.
            None never goes on so.
        signal: what evaluations below the full training are judged by, where their fidelity records it
            (`nasbench_kd.tasks.signals`); full trainings are judged by validation accuracy.

    Attributes:
        trainings: how the students of each family are trained, after `setup`.

    Raises `ArgumentError` on a cost without a target and families that are not families; at the beginning of a run
    on a maximum of students that are trained at the target anyway and on a space with too many students, and
    `MissingEntryError` on a `cost_target` where the task does not know its networks' multiply-accumulates.
    """

    paper = "Kim, Myeong and Yun, HAET workshop at ICML 2022"
    prerequisites = ("teacher",)
    basis = "after the abstract"
    fidelity: str | None = parameter(None, a_fidelity)
    families: Sequence[str] | None = None
    initial: int | None = parameter(None, integer(2))
    initial_length: float = parameter(0.8, real(above=0))
    minimum_length: float = parameter(2**-7, real(above=0))
    maximum_length: float = parameter(1.6, real(above=0))
    success_tolerance: int = parameter(3, integer(1))
    failure_tolerance: int | None = parameter(None, integer(1))
    improvement: float = parameter(1e-3, real(0))
    refit_growth: float = parameter(1.1, real(1))
    cost_target: float | None = parameter(None, real(above=0))
    cost: Callable[[Architecture, Fidelity], float] | None = None
    cost_exponent: float = parameter(-0.07, real(most=0))
    maximum: int | None = parameter(None, integer(1))
    signal: str = parameter(ACCURACY, a_signal)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cost is not None and self.cost_target is None:
            raise ArgumentError("a cost needs a cost_target to be measured against")
        if self.families is not None:
            if self.fidelity is not None:
                raise ArgumentError("name a fidelity or families, not both")
            _checked(self.families)

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Settle the families; raises `MissingEntryError` where there is no distilled fidelity."""
        super().setup(view, rng)
        self.trainings: tuple[Fidelity, ...]
        if self.families is not None:
            self.trainings = _checked(self.families)
        elif self.fidelity is not None:
            self.trainings = (view.fidelity(self.fidelity),)
        elif view.target.distillation != "none":
            self.trainings = (view.target,)
        else:
            self.trainings = distilled_fidelities(view)[-1:]
        if self.maximum is not None and view.target in self.trainings:
            raise ArgumentError(
                f"maximum is of students of a cheaper fidelity than {view.target}, by which answers are judged"
            )
        self.settle_signal(self.trainings)
        self.codes = student_codes(view.space, len(self.trainings))
        if not _is_small_grid(view.space, len(self.trainings)) and len(self.codes) > MOST_STUDENTS:
            raise ArgumentError(
                f"{view.space.name} has {len(self.codes)} students, and no joint sample of more than {MOST_STUDENTS} "
                f"is drawn unless they are a grid of at most {MOST_WEIGHTS} coordinates: take another method"
            )
        if self.cost_target is not None and self.cost is None and MACS not in view.sizes(view.space[0]):
            raise MissingEntryError(
                f"the {MACS.replace('_', '-')} of networks of {view.task} are not known: give a cost of your own "
                "(argument `cost`), or no cost_target"
            )
        self.random_students = self.initial or 2 * len(view.space.choices)
        self.unseen = np.zeros(len(self.codes), dtype=bool)
        for family, training in enumerate(self.trainings):
            self.unseen[family * len(view.space) + view.covered(training)] = True
        self.trained_students = 0
        self.next_fit: float
        self.waiting: dict[int, float] = {}
        """Cells that have not been trained in full, with the objective of their best student."""
        self.finalists: set[int] = set()
        """Cells that have been asked for in full."""
        self._new_region()

    def ask(self) -> Query:
        """Return a random student for a young region, else a Thompson sample's best unseen one in the ball.

        From `maximum` students on, return the cell of the best one that was not trained in full.
        """
        if self.maximum is not None and self.trained_students >= self.maximum and self.waiting:
            cell = max(self.waiting, key=self.waiting.__getitem__)
            del self.waiting[cell]
            self.finalists.add(cell)
            return self.query(self.view.space[cell], self.view.target)
        if not self.unseen.any():
            return self.query(self.random_cell(self.trainings[0]), self.trainings[0])
        if self.region.over:
            self._new_region()
        if len(self.owner) < self.random_students or len(self.values) < 2:
            return self._query(int(self.rng.choice(np.flatnonzero(self.unseen))))
        centre = self.students[int(np.argmax(self.values))]
        ball = (self.codes != self.codes[centre]).sum(axis=1) <= self.region.radius
        if not (ball & self.unseen).any():
            self._new_region()
            return self.ask()
        if len(self.students) >= self.next_fit:
            self.model.fit(self.students, self._targets())
            self.next_fit = self.refit_growth * len(self.students)
        sample = sample_posterior(self.model, self._targets(), self.rng, self.view.space, len(self.trainings))
        return self._query(int(np.argmax(np.where(ball & self.unseen, sample, -np.inf))))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome; one that a former region asked for changes the answer alone."""
        trained, cell = self.view.fidelity(query.fidelity), query.cell.index
        objective = self._objective(query, evaluation)
        self.keep_best(query, evaluation, value=objective)
        if trained not in self.trainings:
            return
        self.trained_students += 1
        if not evaluation.failed and cell not in self.finalists:
            self.waiting[cell] = max(objective, self.waiting.get(cell, -np.inf))
        student = self.trainings.index(trained) * len(self.view.space) + cell
        if student not in self.owner:
            return
        self.students.append(student)
        self.values.append(objective)
        self.model.add(student)
        if len(self.students) > self.random_students:
            best = max(self.values[:-1])
            self.region.record(success=objective > best + self.improvement * abs(best))

    def tell_prerequisite(self, query: Query, evaluation: Evaluation) -> None:
        """The teacher is judged as a student of the full training would be, by its objective."""
        self.keep_prerequisite(query, evaluation, value=self._objective(query, evaluation))

    def _objective(self, query: Query, evaluation: Evaluation) -> float:
        worth, penalty = self.worth(evaluation), self.penalty(query.cell, self.view.fidelity(query.fidelity))
        return worth * penalty if worth > 0 else worth / penalty

    def penalty(self, cell: Architecture, family: Fidelity) -> float:
        """Factor on the worth of a student, a divisor of one below zero: 1 at the cost target or without one."""
        if self.cost_target is None:
            return 1.0
        if self.cost is not None:
            cost = self.cost(cell, family)
        else:
            network = replace(
                self.view.target, channels=family.channels, cells_per_stage=family.cells_per_stage
            )
            cost = 1e-6 * self.view.sizes(cell, network)[MACS]
        return float((cost / self.cost_target) ** self.cost_exponent)

    def _new_region(self) -> None:
        self.next_fit = 0.0
        self.region: TrustRegion = TrustRegion(
            self.initial_length,
            self.minimum_length,
            self.maximum_length,
            self.success_tolerance,
            self.failure_tolerance or len(self.view.space.choices),
            coordinates=self.codes.shape[1],
        )
        self.owner: set[int] = set()
        self.students: list[int] = []
        self.values: list[float] = []
        self.model: GaussianProcess = GaussianProcess(self.codes)

    def _query(self, student: int) -> Query:
        self.unseen[student] = False
        self.owner.add(student)
        family, cell = divmod(student, len(self.view.space))
        return self.query(self.view.space[cell], self.trainings[family])

    def _targets(self) -> npt.NDArray[np.float64]:
        """The region's objectives, minus their median and in units of their deviation, as TuRBO's."""
        values = np.array(self.values)
        standard: npt.NDArray[np.float64] = (values - np.median(values)) / (values.std() or 1.0)
        return standard


def student_codes(space: SearchSpace, families: int) -> npt.NDArray[np.integer]:
    """Coordinates of all students, family by family: those of their cells, and the family where there are several.

    The shape is (cells, coordinates) for one family and (families x cells, coordinates + 1) for several.
    """
    cells: npt.NDArray[np.integer] = space.codes
    if families == 1:
        return cells
    blocks = [np.insert(cells, len(space.choices), family, axis=1) for family in range(families)]
    return np.concatenate(blocks, dtype=np.int8)


def _checked(families: Sequence[str]) -> tuple[Fidelity, ...]:
    """The families; raises `ArgumentError` where they are fewer than two, repeat, or differ in their training."""
    parsed = tuple(map(Fidelity.parse, families))
    trainings = {
        replace(family, channels=FULL.channels, cells_per_stage=FULL.cells_per_stage) for family in parsed
    }
    if isinstance(families, str) or len(parsed) < 2 or len(set(parsed)) < len(parsed) or len(trainings) > 1:
        raise ArgumentError(
            "families are at least two different fidelities that differ in channels or cells alone, not "
            f"{families!r}: accuracies after other trainings cannot be compared"
        )
    return parsed


def sample_posterior(
    model: GaussianProcess,
    targets: npt.NDArray[np.float64],
    rng: np.random.Generator,
    space: SearchSpace,
    families: int = 1,
) -> npt.NDArray[np.float64]:
    """Draw one function from the posterior over all students: joint, without approximation, (students,).

    A draw from the prior is corrected by the observations (Matheron's rule): f + k K^-1 (y - f - e).
    The candidates of `model` must be `student_codes`.
    """
    table = covariance_table(model.hyperparameters, model.coordinates)
    if _is_small_grid(space, families):
        prior = sample_grid_prior(table, rng, space, families)
    else:
        prior = sample_prior(table[model.patterns(range(len(model.codes)))], rng)
    noise = np.sqrt(model.hyperparameters.noise) * rng.standard_normal(len(targets))
    return prior + model.mean(targets - prior[model.observed] - noise)


def _is_small_grid(space: SearchSpace, families: int) -> bool:
    """Whether every combination is there, and each coordinate has a weight of its own."""
    return space.grid and len(space.choices) + (families > 1) <= MOST_WEIGHTS


def sample_prior(covariance: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw from a normal distribution without mean, covariance (n, n), shape (n,)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.standard_normal(len(values))))


def sample_grid_prior(
    table: npt.NDArray[np.float64], rng: np.random.Generator, space: SearchSpace, families: int = 1
) -> npt.NDArray[np.float64]:
    """Draw one function over all students from a Gaussian process, in the order of `student_codes`.

    `table` is the covariance for each pattern of differing coordinates (bit i for coordinate i).
    Such a covariance is diagonal in the basis that splits the choices of every coordinate into
    their mean and the deviations from it, so that the draw costs a small product for each.
    """
    sizes = (*map(len, space.choices), *((families,) if families > 1 else ()))
    eigenvalues = table.reshape((2,) * len(sizes))
    # The table's first axis is its highest bit, the last coordinate.
    for axis, size in enumerate(reversed(sizes)):
        split = np.array([[1.0, size - 1.0], [1.0, -1.0]])
        eigenvalues = np.moveaxis(np.tensordot(split, eigenvalues, axes=(1, axis)), 0, axis)
    roots = np.sqrt(np.maximum(eigenvalues, 0.0)).transpose()
    grid = rng.standard_normal(sizes)
    grid *= roots[np.ix_(*[(0,) + (1,) * (size - 1) for size in sizes])]
    for axis, size in enumerate(sizes):
        grid = np.moveaxis(np.tensordot(_basis(size), grid, axes=(1, axis)), 0, axis)
    return np.asarray(grid.ravel()[_grid_places(space, families)])


@lru_cache(maxsize=8)
def _basis(size: int) -> npt.NDArray[np.float64]:
    """Orthonormal columns, (size, size): the mean of the choices, and the deviations from it."""
    return np.linalg.qr(np.column_stack((np.ones(size), np.eye(size)[:, 1:])))[0]


@lru_cache(maxsize=8)
def _grid_places(space: SearchSpace, families: int) -> npt.NDArray[np.intp]:
    """Where each student lies in the array of all combinations, (students,)."""
    sizes = (*map(len, space.choices), *((families,) if families > 1 else ()))
    return np.asarray(np.ravel_multi_index(tuple(student_codes(space, families).T), sizes))
