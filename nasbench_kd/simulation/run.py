"""What a search leaves behind: its steps, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nasbench_kd.benchmark.evaluation import accuracy_of
from nasbench_kd.errors import ArgumentError
from nasbench_kd.frames import frame
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tasks.signals import ACCURACY

if TYPE_CHECKING:
    import pandas as pd

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
    seed: int | None
    """Training seed that was shown; None for a mean over seeds."""
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


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """The whole course of one search. Everything but `optimizer_seconds` is reproducible to the byte."""

    task: str
    space: SearchSpace
    """Of the task: what the indices of its steps are of."""
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
    def answer(self) -> Architecture | None:
        """The cell that the search returned; None where it evaluated nothing."""
        return self.space[self.steps[-1].answer] if self.steps and self.steps[-1].answer >= 0 else None

    @property
    def seconds(self) -> float:
        """Simulated seconds charged, the teacher's included."""
        return self.training_seconds + self.teacher_seconds

    @property
    def trajectory(self) -> list[tuple[float, Architecture | None]]:
        """(simulated seconds on the clock, answer) after each step."""
        return [
            (step.finish / 1e6, self.space[step.answer] if step.answer >= 0 else None) for step in self.steps
        ]

    def to_frame(self) -> pd.DataFrame:
        """One row an evaluation, in the order in which they finished, as a pandas DataFrame.

        Columns: `cell`, `fidelity`, `signal`, `value` (NaN where the training diverged), `training_seed`, `source`;
        `start_seconds` and `finish_seconds` on the simulated clock; `training_seconds` and
        `prerequisite_seconds` charged, `spent_seconds` (all that had been committed by then); `answer`
        (index of the architecture that would have been returned then, -1 for none). Raises
        `MissingDependencyError` where pandas is not installed.
        """
        return frame(
            {
                "cell": [step.cell for step in self.steps],
                "fidelity": [step.fidelity for step in self.steps],
                "signal": [step.signal for step in self.steps],
                "value": [step.value for step in self.steps],
                "training_seed": [step.seed for step in self.steps],
                "source": [step.source for step in self.steps],
                "answer": [step.answer for step in self.steps],
                "start_seconds": [step.start / 1e6 for step in self.steps],
                "finish_seconds": [step.finish / 1e6 for step in self.steps],
                "spent_seconds": [step.spent / 1e6 for step in self.steps],
                "training_seconds": [step.charged / 1e6 for step in self.steps],
                "prerequisite_seconds": [step.teacher / 1e6 for step in self.steps],
            }
        )

    def plot(self) -> Any:
        """Return a matplotlib figure of the values told over simulated GPU-hours, and of the answer's value.

        A notebook shows it; `run.plot().savefig("run.pdf")` stores it. Raises `ArgumentError` where nothing was
        evaluated and `MissingDependencyError` where the extra `report` is not installed.
        """
        from nasbench_kd.simulation.run_figure import draw_told  # noqa: PLC0415  # figures are an extra

        if not self.steps:
            raise ArgumentError(f"this run has no evaluations to draw: {self.reason}")
        return draw_told(self.to_frame(), f"{self.task}, {self.budget}, seed {self.seed}; lines: the answer")

    def __repr__(self) -> str:
        answer = f"cell {self.steps[-1].answer}" if self.answer is not None else "none"
        return (
            f"Run({self.task}, {self.budget}, seed {self.seed}: {len(self.steps)} evaluations in "
            f"{self.seconds / 3600:.2f} GPU-hours, answer {answer}, {self.ending})"
        )
