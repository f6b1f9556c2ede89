"""The search loop: one optimizer, one task, one budget, one seed, in simulated time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from nasbench_kd.benchmark.benchmark import Benchmark, Evaluation
from nasbench_kd.errors import NasbenchKDError, ProtocolError
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget, Ledger
from nasbench_kd.simulation.event_clock import EventClock
from nasbench_kd.simulation.optimizer import WAIT, Optimizer, Query, SearchView
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity

MAX_FREE_ASKS = 1000
"""Asks in a row for entries that are already paid after which a search ends as stalled."""

Ending = Literal["budget", "stalled", "failed"]
ResultT = TypeVar("ResultT")


class Step(NamedTuple):
    """One evaluation of a run, in the order in which the evaluations finished. Times are microseconds."""

    start: int
    """When it started on the simulated clock."""
    finish: int
    """When it finished and was told."""
    cell: int
    """Index of the cell."""
    fidelity: str
    seed: int
    """Training seed that was shown."""
    valid_accuracy: float
    """Percent; NaN where the training diverged."""
    charged: int
    """Training time charged; 0 for a paid entry, the difference for a resumed one."""
    teacher: int
    """Teacher time charged with this evaluation."""
    spent: int
    """All that the search had committed when this evaluation was started, itself included."""
    source: str
    answer: int
    """Index of the cell that the search would have returned after this step; -1 for none."""


@dataclass(frozen=True, slots=True)
class Run:
    """The whole course of one search. Everything but `optimizer_seconds` is reproducible to the byte."""

    task: str
    budget: Budget
    seed: int
    workers: int
    steps: tuple[Step, ...]
    ending: Ending
    reason: str
    """Why the search ended, in words; for a failure the error."""
    training_seconds: float
    teacher_seconds: float
    optimizer_seconds: float
    """Measured real time inside the optimizer; never part of the simulated clock."""

    @property
    def answer(self) -> Cell | None:
        """The cell that the search returned; None where it evaluated nothing."""
        return Cell.from_index(self.steps[-1].answer) if self.steps and self.steps[-1].answer >= 0 else None

    @property
    def seconds(self) -> float:
        """Simulated seconds charged, the teacher's included."""
        return self.training_seconds + self.teacher_seconds

    @property
    def trajectory(self) -> list[tuple[float, Cell | None]]:
        """(simulated seconds on the clock, answer) after each step."""
        return [
            (step.finish / 1e6, Cell.from_index(step.answer) if step.answer >= 0 else None)
            for step in self.steps
        ]


def search(
    optimizer: Optimizer | type[Optimizer] | str,
    task: str | Benchmark,
    budget: str | Budget,
    seed: int = 0,
    *,
    workers: int = 1,
    bill_teacher: bool = True,
) -> Run:
    """Run one search and return its course.

    `optimizer` is an instance, a class, a registered name or `package.module:Class`. `task` is a
    name or an opened `Benchmark`. An optimizer that fails ends its run with a recorded reason; bad
    arguments raise `UnknownNameError`, `BudgetError` or `ProtocolError`.

    >>> run = search("random", task="cifar10", budget="5 evaluations", seed=0)
    >>> len(run.steps), run.ending
    (5, 'budget')
    """
    benchmark = task if isinstance(task, Benchmark) else load(task)
    if isinstance(optimizer, str):
        optimizer = make_optimizer(optimizer)
    elif isinstance(optimizer, type):
        optimizer = optimizer()
    if not isinstance(optimizer, Optimizer):
        raise ProtocolError(f"an optimizer is a nasbench_kd.Optimizer, not {type(optimizer).__name__}")
    return _Loop(optimizer, benchmark, Budget.parse(budget), seed, workers, bill_teacher).run()


class _Job(NamedTuple):
    query: Query
    fidelity: Fidelity
    evaluation: Evaluation
    start: int
    charged: int
    teacher: int
    spent: int


class _OptimizerFailure(Exception):
    """An exception inside the optimizer, or an ask that breaks the protocol."""


class _Loop:
    """State of one search while it runs."""

    def __init__(
        self,
        optimizer: Optimizer,
        benchmark: Benchmark,
        budget: Budget,
        seed: int,
        workers: int,
        bill_teacher: bool,
    ) -> None:
        self.optimizer = optimizer
        self.benchmark = benchmark
        self.budget = budget
        self.seed = seed
        self.workers = workers
        self.teacher_price = round(benchmark.teacher_seconds * 1e6) if bill_teacher else 0
        self.clock: EventClock[_Job] = EventClock(workers)
        self.ledger = Ledger()
        self.paid: dict[tuple[int, Fidelity], tuple[int, int]] = {}
        self.teacher_ready: int | None = None
        self.free_asks = 0
        self.steps: list[Step] = []

    def run(self) -> Run:
        try:
            ending, reason = self._simulate()
        except _OptimizerFailure as failure:
            ending, reason = "failed", str(failure)
        return Run(
            task=self.benchmark.task.name,
            budget=self.budget,
            seed=self.seed,
            workers=self.workers,
            steps=tuple(self.steps),
            ending=ending,
            reason=reason,
            training_seconds=self.ledger.training / 1e6,
            teacher_seconds=self.ledger.teacher / 1e6,
            optimizer_seconds=self.ledger.optimizer_seconds,
        )

    def _simulate(self) -> tuple[Ending, str]:
        self._call(self.optimizer.setup, self._view(), np.random.default_rng(self.seed))
        over: tuple[Ending, str] | None = None
        while True:
            while over is None and self.clock.idle:
                asked = self._call(self.optimizer.ask)
                if asked is WAIT:
                    break
                over = self._start(asked)
            job = self.clock.next_finished()
            if job is None:
                if over is not None:
                    return over
                raise _OptimizerFailure("ask returned WAIT while no evaluation was running")
            self._tell(job)

    def _view(self) -> SearchView:
        fidelities, live = self.benchmark.fidelities, self.benchmark.live
        return SearchView(
            task=self.benchmark.task.name,
            classes=self.benchmark.task.classes,
            workers=self.workers,
            fidelities=fidelities,
            mean_seconds=tuple(map(self.benchmark.mean_seconds, fidelities)),
            partial=frozenset(each for each in fidelities if not live and not self.benchmark.covers(each)),
            teacher_seconds=self.teacher_price / 1e6,
            live=live,
        )

    def _start(self, asked: Any) -> tuple[Ending, str] | None:
        """Start what was asked for, or return why the search is over."""
        if not isinstance(asked, Query) or not isinstance(asked.cell, Cell):
            raise _OptimizerFailure(f"ask returned {asked!r:.200}, not a Query with a Cell")
        try:
            fidelity = Fidelity.parse(asked.fidelity)
            evaluation = self.benchmark.draw(asked.cell, fidelity, self.seed)
        except NasbenchKDError as error:
            raise _OptimizerFailure(f"{type(error).__name__}: {error}") from error
        key = (asked.cell.index, fidelity.curve)
        paid, ready = self.paid.get(key, (0, 0))
        price = round(evaluation.seconds * 1e6)
        charged = max(0, price - paid)
        distilled = fidelity.distillation != "none"
        teacher = self.teacher_price if distilled and self.teacher_ready is None else 0
        if not self.ledger.fits(self.budget, charged, teacher):
            return "budget", f"the next evaluation did not fit into the budget of {self.budget}"
        self.free_asks = self.free_asks + 1 if charged + teacher == 0 else 0
        if self.free_asks > MAX_FREE_ASKS:
            return "stalled", f"{MAX_FREE_ASKS} asks in a row were for entries that are already paid"
        self.ledger.pay(charged, teacher)
        spent = (
            self.ledger.training + self.ledger.teacher
            if self.budget.unit == "seconds"
            else self.ledger.evaluations
        )
        if distilled and self.teacher_ready is not None:
            ready = max(ready, self.teacher_ready)
        start = max(self.clock.now, ready)
        told = evaluation._replace(seconds=charged / 1e6)
        job = _Job(asked, fidelity, told, start, charged, teacher, spent)
        _, finish = self.clock.start(job, teacher + charged, not_before=ready)
        if teacher:
            self.teacher_ready = start + teacher
        elif distilled and self.teacher_ready is None:
            self.teacher_ready = start
        self.paid[key] = (max(paid, price), finish)
        return None

    def _tell(self, job: _Job) -> None:
        self._call(self.optimizer.tell, job.query, job.evaluation)
        answer = self._call(self.optimizer.answer)
        if answer is not None and not isinstance(answer, Cell):
            raise _OptimizerFailure(f"answer returned {answer!r:.200}, not a Cell or None")
        self.steps.append(
            Step(
                start=job.start,
                finish=self.clock.now,
                cell=job.query.cell.index,
                fidelity=str(job.fidelity),
                seed=job.evaluation.seed,
                valid_accuracy=job.evaluation.valid_accuracy,
                charged=job.charged,
                teacher=job.teacher,
                spent=job.spent,
                source=job.evaluation.source,
                answer=-1 if answer is None else answer.index,
            )
        )

    def _call(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Call into the optimizer, book its real time and turn its errors into a recorded failure."""
        started = time.perf_counter()
        try:
            return function(*arguments)
        except Exception as error:
            raise _OptimizerFailure(f"{type(error).__name__} in {function.__name__}: {error}") from error
        finally:
            self.ledger.optimizer_seconds += time.perf_counter() - started
