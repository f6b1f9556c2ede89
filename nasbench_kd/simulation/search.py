"""The search loop: one optimizer, one task, one budget, one seed, in simulated time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from nasbench_kd.arguments import truth, whole_number
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import ArgumentError, NasbenchKDError, ProtocolError
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import Optimizer
from nasbench_kd.simulation.optimizer_side import LocalOptimizer, OptimizerFailure, OptimizerSide, failure_of
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.simulation.run import Ending, Run, Step
from nasbench_kd.simulation.simulation import Refusal, Simulation
from nasbench_kd.tasks.registry import check_prerequisites

MOST_WORKERS = 2**31 - 1
OnError = Literal["record", "raise"]


def search(
    optimizer: Optimizer | type[Optimizer] | str,
    task: str | Benchmark,
    budget: str | Budget,
    seed: int = 0,
    *,
    workers: int = 1,
    bill_teacher: bool = True,
    given: Collection[str] = (),
    on_error: OnError = "record",
) -> Run:
    """Run one search and return its course.

    `optimizer` is an instance, a class, a registered name or `package.module:Class`. `task` is a
    name or an opened `Benchmark`. With `bill_teacher=False` no prerequisite is paid for, and those of the names in
    `given` (`Task.prerequisites`) are not in any case. An optimizer that fails ends its run with a recorded reason and
    traceback, or, with `on_error="raise"`, raises its error here. Bad arguments raise
    `UnknownNameError`, `BudgetError`, `ArgumentError` or `ProtocolError`.

    >>> run = search("random", task="cifar10", budget="5 evaluations", seed=0)
    >>> len(run.steps), run.ending
    (5, 'budget')
    """
    seed, workers = whole_number("seed", seed, 0), whole_number("workers", workers, 1, MOST_WORKERS)
    bill_teacher = truth("bill_teacher", bill_teacher)
    if on_error not in get_args(OnError):
        raise ArgumentError(f"on_error is one of {', '.join(get_args(OnError))}, not {on_error!r}")
    benchmark = task if isinstance(task, Benchmark) else load(task)
    if isinstance(optimizer, str):
        optimizer = make_optimizer(optimizer)
    elif isinstance(optimizer, type):
        optimizer = optimizer()
    if not isinstance(optimizer, Optimizer):
        raise ProtocolError(f"an optimizer is a nasbench_kd.Optimizer, not {type(optimizer).__name__}")
    check_prerequisites(given, [benchmark.task])
    simulation = Simulation(
        benchmark, Budget.parse(budget), seed, workers=workers, bill_teacher=bill_teacher, given=given
    )
    return run_search(LocalOptimizer(optimizer), simulation, on_error)


def run_search(side: OptimizerSide, simulation: Simulation, on_error: OnError = "record") -> Run:
    """Run a search to its end, wherever its optimizer lives; as `search`, which checks its arguments first."""
    return _Loop(side, simulation).run(on_error)


class _Loop:
    """Asks an optimizer, tells it, and records what it answers."""

    def __init__(self, side: OptimizerSide, simulation: Simulation) -> None:
        self.side = side
        self.simulation = simulation
        self.steps: list[Step] = []

    def run(self, on_error: OnError) -> Run:
        traceback = ""
        try:
            ending, reason = self._simulate()
        except OptimizerFailure as failure:
            if on_error == "raise":
                raise failure.__cause__ or ProtocolError(failure.reason) from None
            ending, reason, traceback = "failed", failure.reason, failure.traceback
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
            optimizer_seconds=self.side.seconds,
            traceback=traceback,
        )

    def _simulate(self) -> tuple[Ending, str]:
        side, simulation = self.side, self.simulation
        side.setup(simulation.benchmark.task, simulation.view(), simulation.seed)
        over: Refusal | None = None
        while True:
            while over is None and simulation.idle:
                query = side.ask()
                if query is None:
                    break
                try:
                    over = simulation.start(query)
                except NasbenchKDError as error:
                    raise failure_of(error) from error
            outcome = simulation.finish()
            if outcome is None:
                if over is not None:
                    return over.ending, over.reason
                raise OptimizerFailure("ask returned WAIT while no evaluation was running")
            ask_follows = over is None and simulation.idle > 0
            query, evaluation, _, asked = outcome
            answer = side.tell(query, evaluation, asked=asked, ask_follows=ask_follows)
            self.steps.append(outcome.step(answer))
