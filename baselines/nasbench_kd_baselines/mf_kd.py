"""MF-KD: multi-fidelity Bayesian optimization whose low fidelity is a short distilled training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import ArgumentError, ProtocolError
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import (
    a_fidelity,
    a_signal,
    integer,
    one_of,
    parameter,
    real,
    with_parameters,
)
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd_baselines.common.fidelities import measured_reading, price
from nasbench_kd_baselines.models.co_kriging import HIGH, LOW, CoKriging
from nasbench_kd_baselines.models.stacked_boosting import StackedBoosting

Allocation = Literal["ratio", "cost-aware"]
Surrogate = Literal["co-kriging", "boosting"]
Score = Literal["low", "high"]


class TwoLevelModel(Protocol):
    """What MF-KD needs of a surrogate; see `CoKriging` for the meaning of the arguments."""

    def fit(
        self, cells: Sequence[int], levels: Sequence[int], targets: Sequence[float], rng: np.random.Generator
    ) -> None:
        """Fit to evaluations of both levels."""

    def predict(
        self, level: int, cells: Sequence[int], levels: Sequence[int], targets: Sequence[float]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Mean and standard deviation of a level over the whole space, each (n,)."""


@with_parameters
class MFKD(Optimizer):
    """Co-kriging of distilled short trainings and full trainings, with UCB over all cells.

    Trofimov, Klyuchnikov, Salnikov, Filippov and Burnaev, IEEE Access 11, 2023. Constants are the released
    demo's where it has them (`beta`, `restarts`, `prior_rho`, three high evaluations before rho is fitted)
    and ours elsewhere. Unlike the released code, a low-fidelity prediction is the low level's posterior,
    and its steps maximise the score.

    Args:
        low_fidelity: the short training; by default the distilled one that ranks cells best where every
            cell has it (`fidelities.measured_reading`), else the cheapest distilled one. One without
            distillation gives the plain multi-fidelity control. Cells that lack it are asked for at the
            high fidelity alone.
        high_fidelity: the training that the answer is chosen by.
        ratio: r of the paper: every r-th evaluation is a high one; 2 in the demo. Ours: 4, the best of
            2, 4 and 11 over the KD worlds.
        initial_low: random low-fidelity cells at the start. Ours: 40, chosen with `ratio`. With 0
            and `ratio=1` the search is the high-fidelity-only variant and needs no low fidelity.
        initial_high: random high-fidelity cells at the start; 3 in the demo. Ours: 0, the model chooses.
        beta: weight of the standard deviation in the score mean + beta * deviation.
        allocation: `ratio`, or `cost-aware`: the high level's winner is evaluated at the fidelity
            that removes more of its posterior variance for each second.
        surrogate: `co-kriging`, or `boosting` (stacked gradient boosting, needs scikit-learn).
        low_score: what ranks cells in a low-fidelity step: the `low` level's own posterior, or the
            `high` level's.
        maximum_low: low-fidelity evaluations after which all are high ones. Ours: 300.
        refit_growth: hyper-parameters are fitted again when the evaluations have grown by this
            factor (the released code fits at every step: 1.0). The posterior is always up to date.
        candidates: indices of the cells that may be asked for; by default the whole space.
        restarts, prior_rho, rho_bounds, minimum_high: see `CoKriging`.
        signal: what evaluations below the full training are judged by, where their fidelity records it
            (`nasbench_kd.tasks.signals`); None is what ranks best at the default low fidelity, and the
            accuracy of a named one. Full trainings are judged by validation accuracy.

    Raises `ArgumentError` where the cost-aware allocation is asked of a model without covariances.
    """

    paper = "Trofimov et al., IEEE Access 2023"
    prerequisites = ("teacher",)
    basis = "after the abstract and the authors' code"
    low_fidelity: str | None = parameter(None, a_fidelity)
    high_fidelity: str = parameter(TARGET, a_fidelity)
    ratio: int = parameter(4, integer(1))
    initial_low: int = parameter(40, integer(0))
    initial_high: int = parameter(0, integer(0))
    beta: float = parameter(1.0, real(0))
    allocation: Allocation = parameter("ratio", one_of(get_args(Allocation)))
    surrogate: Surrogate = parameter("co-kriging", one_of(get_args(Surrogate)))
    low_score: Score = parameter("low", one_of(get_args(Score)))
    maximum_low: int = parameter(300, integer(0))
    refit_growth: float = parameter(1.1, real(1))
    candidates: Sequence[int] | None = None
    restarts: int = parameter(3, integer(0))
    prior_rho: float = parameter(1.0, real())
    rho_bounds: tuple[float, float] = (-1.0, 1.0)
    minimum_high: int = parameter(3, integer(1))
    signal: str | None = parameter(None, a_signal)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.allocation == "cost-aware" and self.surrogate != "co-kriging":
            raise ArgumentError("the cost-aware allocation needs the co-kriging surrogate's covariances")

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Settle the fidelities; raises `MissingEntryError` where there is no distilled one."""
        super().setup(view, rng)
        self.high = view.fidelity(self.high_fidelity)
        self.initial = (self.initial_low, self.initial_high)
        self.needs_low = self.ratio > 1 or self.initial_low > 0
        self.low = self.high
        if self.needs_low:
            named = self.low_fidelity
            if named is None:
                self.low, best = measured_reading(view, "low_fidelity")
                self.reading = self.signal or best
            else:
                self.low = view.fidelity(named)
            if self.low == self.high:
                raise ProtocolError(f"the low and the high fidelity are both {self.low}")
        self.settle_signal((self.low, self.high))
        self.cells: list[int] = []
        self.levels: list[int] = []
        self.targets: list[float] = []
        self.pending: dict[tuple[int, int], int] = {}
        self.allowed = np.ones(len(view.space), dtype=bool)
        if self.candidates is not None:
            self.allowed[:] = False
            self.allowed[list(self.candidates)] = True
        self.open = (self._open_at(self.low), self._open_at(self.high))
        self.next_fit = 0.0
        self.model: TwoLevelModel = (
            CoKriging(view.space, self.restarts, self.prior_rho, self.rho_bounds, self.minimum_high)
            if self.surrogate == "co-kriging"
            else StackedBoosting(view.space)
        )

    def ask(self) -> Query:
        """Return a random initial cell, or the winner of the score at the fidelity whose turn it is."""
        if not self.open[HIGH].any():
            return self.query(
                self.view.space[int(self.rng.choice(np.flatnonzero(self._open_at(self.high))))], self.high
            )
        counts = (self.levels.count(LOW), self.levels.count(HIGH))
        can_go_low = self.needs_low and counts[LOW] < self.maximum_low and bool(self.open[LOW].any())
        if can_go_low and counts[LOW] < self.initial[LOW]:
            return self._query(LOW, self._random(LOW), None)
        if counts[HIGH] < self.initial[HIGH] or not self.cells:
            return self._query(HIGH, self._random(HIGH), None)
        if len(self.cells) >= self.next_fit:
            self.model.fit(self.cells, self.levels, self.targets, self.rng)
            self.next_fit = len(self.cells) * self.refit_growth
        if self.allocation == "cost-aware":
            mean, deviation = self._predict(HIGH)
            cell = self._best(HIGH, mean + self.beta * deviation)
            level = LOW if can_go_low and self.open[LOW][cell] and self._low_pays(cell) else HIGH
            return self._query(level, cell, self._predict(LOW)[0] if level == LOW else mean)
        level = LOW if can_go_low and (sum(counts) + 1) % self.ratio else HIGH
        mean, deviation = self._predict(level)
        scored = (mean, deviation) if self.low_score == "low" or level == HIGH else self._predict(HIGH)
        return self._query(level, self._best(level, scored[0] + self.beta * scored[1]), mean)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome; a training that diverged counts as the worst one seen at its fidelity."""
        fidelity = self.view.fidelity(query.fidelity)
        level = HIGH if fidelity == self.high else LOW
        position = self.pending.pop((query.cell.index, level), None)
        if position is not None:
            known = [value for value, one in zip(self.targets, self.levels, strict=True) if one == level]
            self.targets[position] = min(known) if evaluation.failed else self.worth(evaluation)
        self.keep_best(query, evaluation)

    def level(self, fidelity: Fidelity) -> int:
        """The high fidelity is what answers are chosen by; a teacher's full training is above both."""
        return 2 if fidelity == self.view.target else int(fidelity == self.high)

    def _query(self, level: int, cell: int, believed: npt.NDArray[np.float64] | None) -> Query:
        """Open an evaluation; until it is told, the model takes the value it believes in for it."""
        known = [value for value, one in zip(self.targets, self.levels, strict=True) if one == level]
        fidelity = self.low if level == LOW else self.high
        unknown = float(np.mean(known)) if known else self.floor(self.signal_at(fidelity))
        self.pending[cell, level] = len(self.cells)
        self.open[level][cell] = False
        self.cells.append(cell)
        self.levels.append(level)
        self.targets.append(unknown if believed is None else float(believed[cell]))
        return self.query(self.view.space[cell], fidelity)

    def _open_at(self, fidelity: Fidelity) -> npt.NDArray[np.bool_]:
        """Which cells may be asked for at a fidelity, shape (n,)."""
        covered = np.zeros(len(self.view.space), dtype=bool)
        covered[self.view.covered(fidelity)] = True
        return covered & self.allowed

    def _predict(self, level: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return self.model.predict(level, self.cells, self.levels, self.targets)

    def _random(self, level: int) -> int:
        return int(self.rng.choice(np.flatnonzero(self.open[level])))

    def _best(self, level: int, score: npt.NDArray[np.float64]) -> int:
        """The open cell of the highest score; many tie exactly, so ties are drawn at random.

        Rounding keeps the last bits, which depend on the machine, out of the choice.
        """
        rounded = np.where(self.open[level], np.round(score, 6), -np.inf)
        return int(self.rng.choice(np.flatnonzero(rounded == rounded.max())))

    def _low_pays(self, cell: int) -> bool:
        """Whether the low fidelity removes more of the cell's high-level variance for each second."""
        assert isinstance(self.model, CoKriging)
        by_low, by_high = self.model.variance_reductions(cell)
        return by_low / price(self.view, self.low) > by_high / price(self.view, self.high)
