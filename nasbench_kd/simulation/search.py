"""The search loop: one optimizer, one task, one budget, one seed, in simulated time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import ArgumentError, NasbenchKDError, ProtocolError
from nasbench_kd.opening import load
from nasbench_kd.simulation.border import canonical_answer, canonical_query, explain, whole_number
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import WAIT, Optimizer
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.simulation.run import Ending, Run, Step
from nasbench_kd.simulation.simulation import Outcome, Refusal, Simulation
from nasbench_kd.tasks.task import Task

MOST_WORKERS = 2**31 - 1
OnError = Literal["record", "raise"]
_FRAMES = 5
ResultT = TypeVar("ResultT")


def search(
    optimizer: Optimizer | type[Optimizer] | str,
    task: str | Benchmark,
    budget: str | Budget,
    seed: int = 0,
    *,
    workers: int = 1,
    bill_teacher: bool = True,
    on_error: OnError = "record",
) -> Run:
    """Run one search and return its course.

    `optimizer` is an instance, a class, a registered name or `package.module:Class`. `task` is a
    name or an opened `Benchmark`. An optimizer that fails ends its run with a recorded reason and
    traceback, or, with `on_error="raise"`, raises its error here. Bad arguments raise
    `UnknownNameError`, `BudgetError`, `ArgumentError` or `ProtocolError`.

    >>> run = search("random", task="cifar10", budget="5 evaluations", seed=0)
    >>> len(run.steps), run.ending
    (5, 'budget')
    """
    seed, workers = whole_number("seed", seed, 0), whole_number("workers", workers, 1, MOST_WORKERS)
    if on_error not in get_args(OnError):
        raise ArgumentError(f"on_error is one of {', '.join(get_args(OnError))}, not {on_error!r}")
    benchmark = task if isinstance(task, Benchmark) else load(task)
    if isinstance(optimizer, str):
        optimizer = make_optimizer(optimizer)
    elif isinstance(optimizer, type):
        optimizer = optimizer()
    if not isinstance(optimizer, Optimizer):
        raise ProtocolError(f"an optimizer is a nasbench_kd.Optimizer, not {type(optimizer).__name__}")
    simulation = Simulation(benchmark, Budget.parse(budget), seed, workers=workers, bill_teacher=bill_teacher)
    return _Loop(optimizer, simulation).run(on_error)


class _OptimizerFailure(Exception):
    """An exception inside the optimizer, or an ask that breaks the protocol."""


class _Loop:
    """The optimizer's side of a search: asks it, tells it, and records what it answers."""

    def __init__(self, optimizer: Optimizer, simulation: Simulation) -> None:
        self.optimizer = optimizer
        self.simulation = simulation
        self.steps: list[Step] = []
        self.optimizer_seconds = 0.0

    def run(self, on_error: OnError) -> Run:
        traceback = ""
        try:
            ending, reason = self._simulate()
        except _OptimizerFailure as failure:
            if on_error == "raise":
                raise failure.__cause__ or ProtocolError(str(failure)) from None
            ending, reason, traceback = "failed", str(failure), _last_frames(failure.__cause__)
        simulation = self.simulation
        return Run(
            task=simulation.benchmark.task.name,
            space=simulation.benchmark.task.space,
            budget=simulation.ledger.budget,
            seed=simulation.seed,
            workers=simulation.workers,
            steps=tuple(self.steps),
            ending=ending,
            reason=reason,
            training_seconds=simulation.ledger.training / 1e6,
            teacher_seconds=simulation.ledger.prerequisites / 1e6,
            optimizer_seconds=self.optimizer_seconds,
            traceback=traceback,
        )

    def _simulate(self) -> tuple[Ending, str]:
        simulation = self.simulation
        self._check_needs(simulation.benchmark.task)
        self._call(self.optimizer.setup, simulation.view(), np.random.default_rng(simulation.seed))
        over: Refusal | None = None
        while True:
            while over is None and simulation.idle:
                asked = self._call(self.optimizer.ask)
                if asked is WAIT:
                    break
                over = self._start(asked)
            outcome = simulation.finish()
            if outcome is None:
                if over is not None:
                    return over.ending, over.reason
                raise _OptimizerFailure("ask returned WAIT while no evaluation was running")
            self._tell(outcome)

    def _check_needs(self, task: Task) -> None:
        lacking = [name for name in self.optimizer.needs if name not in task.offers]
        if lacking:
            offered = ", ".join(task.offers) or "nothing beyond the codes of its architectures"
            raise _OptimizerFailure(
                f"{type(self.optimizer).__name__} needs {', '.join(lacking)}, which the task {task.name} does not "
                f"offer; it offers {offered}. Take a task that does, or a method that needs less"
            )

    def _start(self, asked: Any) -> Refusal | None:
        try:
            return self.simulation.start(canonical_query(asked, self.simulation.benchmark.task))
        except NasbenchKDError as error:
            raise _OptimizerFailure(f"{type(error).__name__}: {error}") from error

    def _tell(self, outcome: Outcome) -> None:
        tell = self.optimizer.tell if outcome.asked else self.optimizer.tell_prerequisite
        self._call(tell, outcome.query, outcome.evaluation)
        given = self._call(self.optimizer.answer)
        try:
            answer = canonical_answer(given, self.simulation.benchmark.task.space)
        except NasbenchKDError as error:
            raise _OptimizerFailure(f"{type(error).__name__}: {error}") from error
        self.steps.append(outcome.step._replace(answer=answer))

    def _call(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Call into the optimizer, book its real time and turn its errors into a recorded failure."""
        started = time.perf_counter()
        try:
            return function(*arguments)
        except Exception as error:
            name = getattr(function, "__name__", "a call")
            raise _OptimizerFailure(explain(error).replace(":", f" in {name}:", 1)) from error
        finally:
            self.optimizer_seconds += time.perf_counter() - started


def _last_frames(error: BaseException | None) -> str:
    """The last frames of an error outside this module, by file name: the same on every machine."""
    if error is None:
        return ""
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename != __file__]
    lines = [
        f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}"
        for frame in frames[-_FRAMES:]
    ]
    return "\n".join([*lines, explain(error)])
