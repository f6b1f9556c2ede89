"""What a search leaves behind: its steps, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from nasbench_kd.benchmark.benchmark import accuracy_of
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.signals import ACCURACY

Ending = Literal["budget", "stalled", "failed"]


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
    value: float
    """Value of the signal that was asked for; NaN where the training diverged."""
    charged: int
    """Training time charged; 0 for a paid entry, the difference for a resumed one."""
    teacher: int
    """Time charged for prerequisites. A teacher's training is a step of its own, before its first student's."""
    spent: int
    """All that the search had committed when this evaluation was started, itself included."""
    source: str
    answer: int
    """Index of the cell that the search would have returned after this step; -1 for none."""
    signal: str = ACCURACY

    @property
    def valid_accuracy(self) -> float:
        """Validation accuracy in percent; raises `SignalError` where another signal was asked for."""
        return accuracy_of(self.value, self.signal)


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
    traceback: str = ""
    """Last frames of the error that ended a failed search; empty where nothing was raised."""

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
