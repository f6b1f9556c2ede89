"""Successive halving: train many cells briefly, keep the best part, train it longer, and so on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.simulation.optimizer import WAIT, Optimizer, Query, SearchView, Wait
from nasbench_kd.simulation.parameters import (
    a_signal,
    different_fidelities,
    integer,
    parameter,
    real,
    with_parameters,
)
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.signals import ACCURACY
from nasbench_kd_baselines.common.fidelities import ladder


@with_parameters
class LadderSearch(Optimizer):
    """Base of the searches that climb a ladder of fidelities (the rungs).

    Args:
        rungs: fidelities, cheapest first; by default those without distillation that the task has,
            each at most 1/`spacing` of the price of the next (`fidelities.ladder`). Epochs of one
            schedule, such as `nst@1/12`, `nst@4/12`, `nst@12`, are one training that is paused and
            resumed: going on costs the difference. Cells that lack one of them are not searched.
        signal: what evaluations below the full training are judged by, where their fidelity records it
            (`nasbench_kd.tasks.signals`); full trainings are judged by validation accuracy.

    Attributes:
        ladder: the fidelities of the rungs, cheapest first, after `setup`.
        eligible: which cells have all of them, shape (n,).
    """

    rungs: Sequence[str] | None = parameter(None, different_fidelities(1))
    signal: str = parameter(ACCURACY, a_signal)

    @property
    def spacing(self) -> float:
        """How much dearer a rung of the default ladder is at least than the one below."""
        raise NotImplementedError

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Settle the rungs; raises `MissingEntryError` where the task has no cheap fidelity or no cell has all."""
        super().setup(view, rng)
        self.ladder: tuple[Fidelity, ...] = ladder(view, self.rungs, self.spacing)
        self.settle_signal(self.ladder)
        self.eligible = np.zeros(len(view.space), dtype=bool)
        self.eligible[view.covered(*self.ladder)] = True
        self.most = int(self.eligible.sum())
        if not self.most:
            raise MissingEntryError(
                f"no architecture of {view.task} has an entry at each of {', '.join(map(str, self.ladder))}: name "
                "other rungs (argument `rungs`)"
            )
        self.asked: set[int] = set()

    def level(self, fidelity: Fidelity) -> int:
        """The rung; a full training above all of them is what a teacher may be."""
        return self.ladder.index(fidelity) if fidelity in self.ladder else len(self.ladder)

    def new_cell(self) -> Architecture:
        """Propose a cell that this search has not asked for before, as long as there is one."""
        cell = self.propose()
        for _ in range(100):
            if cell.index not in self.asked and self.eligible[cell.index]:
                break
            cell = self.random_eligible() if len(self.asked) < self.most else cell
        self.asked.add(cell.index)
        return cell

    def propose(self) -> Architecture:
        """Draw a cell for the lowest rung; override to propose by a model."""
        return self.random_eligible()

    def random_eligible(self) -> Architecture:
        """Draw uniformly among the cells that can climb all rungs."""
        return self.random_cell(*self.ladder)


class Bracket:
    """One run of successive halving: synchronous rungs of given sizes.

    Attributes:
        schedule: (rung, number of cells) pairs, from the first to the last.
    """

    def __init__(self, schedule: Sequence[tuple[int, int]]) -> None:
        self.schedule = tuple(schedule)
        self.stage = 0
        self.queue: list[int] = []
        self.started = 0
        self.results: list[tuple[float, int]] = []

    @property
    def rung(self) -> int:
        """The rung at work."""
        return self.schedule[self.stage][0]

    @property
    def size(self) -> int:
        """Number of cells of the rung at work."""
        return self.schedule[self.stage][1]

    @property
    def full(self) -> bool:
        """Whether every cell of the rung at work has been started."""
        return self.started == self.size

    @property
    def over(self) -> bool:
        """Whether the last rung is finished."""
        return self.stage == len(self.schedule) - 1 and len(self.results) == self.size

    def start(self) -> int | None:
        """Count one start; return the cell to train on, None where the rung takes new cells."""
        self.started += 1
        return self.queue.pop(0) if self.queue else None

    def finish(self, cell: int, accuracy: float) -> None:
        """Take a result; the last one of a rung sends the best on to the next."""
        self.results.append((-math.inf if math.isnan(accuracy) else accuracy, cell))
        if len(self.results) == self.size and not self.over:
            ranked = sorted(self.results, key=lambda result: -result[0])
            self.stage += 1
            self.queue = [cell for _, cell in ranked[: self.size]]
            self.results, self.started = [], 0


@with_parameters
class BracketSearch(LadderSearch):
    """Base of the searches that finish one bracket of synchronous rungs after another: override `next_bracket`.

    Workers that find a rung started but not finished wait. A search is not told its budget, so a finished
    bracket is followed by another.

    Args:
        rungs, signal: see `LadderSearch`.
        eta: of the cells of a rung, the best 1/eta climb on.

    Attributes:
        schedule: (fidelity, number of cells) of each rung of the bracket at work, after `setup`.
    """

    anytime = False
    eta: float = parameter(2.0, real(above=1))

    @property
    def spacing(self) -> float:
        """Rungs get dearer as fast as they get smaller."""
        return self.eta

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Lay out the first bracket."""
        super().setup(view, rng)
        self.bracket = self.next_bracket()

    @property
    def schedule(self) -> list[tuple[Fidelity, int]]:
        """(fidelity, number of cells) of each rung of the bracket at work."""
        return [(self.ladder[rung], size) for rung, size in self.bracket.schedule]

    def next_bracket(self) -> Bracket:
        """Make the next bracket: override."""
        raise NotImplementedError

    def ask(self) -> Query | Wait:
        """Return the next cell of the rung, or `WAIT` for its last results."""
        if self.bracket.over:
            self.bracket = self.next_bracket()
        if self.bracket.full:
            return WAIT
        known = self.bracket.start()
        cell = self.new_cell() if known is None else self.view.space[known]
        return self.query(cell, self.ladder[self.bracket.rung])

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome; a training that diverged ranks last."""
        self.keep_best(query, evaluation)
        self.bracket.finish(query.cell.index, evaluation.utility)


@with_parameters
class SuccessiveHalving(BracketSearch):
    """Successive halving, one bracket after another (Jamieson and Talwalkar, AISTATS 2016).

    The constants are those of a public NAS-Bench-201 implementation (MF-NAS): 32 random cells, halved at
    each rung (its rungs are 12, 25, 50, 100 and 200 epochs). The answer is the best by validation; that code
    answers with the best by test accuracy of the cells that it trained last.

    Args:
        rungs, signal: see `LadderSearch`.
        eta: of the cells of a rung, the best 1/eta climb on.
        initial: cells of a bracket at the lowest rung.
    """

    paper = "Jamieson and Talwalkar, AISTATS 2016"
    initial: int = parameter(32, integer(1))

    def next_bracket(self) -> Bracket:
        """Make a bracket of `initial` cells."""
        return Bracket(halving(range(len(self.ladder)), self.initial, self.eta))


def halving(rungs: Sequence[int], size: int, eta: float) -> list[tuple[int, int]]:
    """Sizes floor(size / eta^i) of successive rungs, at least 1.

    >>> halving(range(5), 32, 2)
    [(0, 32), (1, 16), (2, 8), (3, 4), (4, 2)]
    """
    # The small addend undoes the rounding of eta**i where eta is a fraction.
    return [(rung, max(1, math.floor(size / eta**i + 1e-9))) for i, rung in enumerate(rungs)]
