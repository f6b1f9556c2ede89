"""The search loop: one optimizer, one task, one budget, one seed, in simulated time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import NasbenchKDError, ProtocolError
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import WAIT, Optimizer, Query
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.simulation.run import Ending, Run, Step
from nasbench_kd.simulation.simulation import Outcome, Refusal, Simulation
from nasbench_kd.spaces.nasbench201 import Cell

ResultT = TypeVar("ResultT")


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
    simulation = Simulation(benchmark, Budget.parse(budget), seed, workers=workers, bill_teacher=bill_teacher)
    return _Loop(optimizer, simulation).run()


class _OptimizerFailure(Exception):
    """An exception inside the optimizer, or an ask that breaks the protocol."""


class _Loop:
    """The optimizer's side of a search: asks it, tells it, and records what it answers."""

    def __init__(self, optimizer: Optimizer, simulation: Simulation) -> None:
        self.optimizer = optimizer
        self.simulation = simulation
        self.steps: list[Step] = []
        self.optimizer_seconds = 0.0

    def run(self) -> Run:
        try:
            ending, reason = self._simulate()
        except _OptimizerFailure as failure:
            ending, reason = "failed", str(failure)
        simulation = self.simulation
        return Run(
            task=simulation.benchmark.task.name,
            budget=simulation.ledger.budget,
            seed=simulation.seed,
            workers=simulation.workers,
            steps=tuple(self.steps),
            ending=ending,
            reason=reason,
            training_seconds=simulation.ledger.training / 1e6,
            teacher_seconds=simulation.ledger.prerequisites / 1e6,
            optimizer_seconds=self.optimizer_seconds,
        )

    def _simulate(self) -> tuple[Ending, str]:
        simulation = self.simulation
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

    def _start(self, asked: Any) -> Refusal | None:
        if not isinstance(asked, Query) or not isinstance(asked.cell, Cell):
            raise _OptimizerFailure(f"ask returned {asked!r:.200}, not a Query with a Cell")
        try:
            return self.simulation.start(asked)
        except NasbenchKDError as error:
            raise _OptimizerFailure(f"{type(error).__name__}: {error}") from error

    def _tell(self, outcome: Outcome) -> None:
        tell = self.optimizer.tell if outcome.asked else self.optimizer.tell_prerequisite
        self._call(tell, outcome.query, outcome.evaluation)
        answer = self._call(self.optimizer.answer)
        if answer is not None and not isinstance(answer, Cell):
            raise _OptimizerFailure(f"answer returned {answer!r:.200}, not a Cell or None")
        self.steps.append(outcome.step._replace(answer=-1 if answer is None else answer.index))

    def _call(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Call into the optimizer, book its real time and turn its errors into a recorded failure."""
        started = time.perf_counter()
        try:
            return function(*arguments)
        except Exception as error:
            raise _OptimizerFailure(f"{type(error).__name__} in {function.__name__}: {error}") from error
        finally:
            self.optimizer_seconds += time.perf_counter() - started
