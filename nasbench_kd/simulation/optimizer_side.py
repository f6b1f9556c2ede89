"""The optimizer's side of a search: what the loop calls, and what becomes of an optimizer's errors."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from traceback import extract_tb
from typing import Protocol

import numpy as np

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.simulation.border import canonical_answer, canonical_query, explain
from nasbench_kd.simulation.optimizer import WAIT, Optimizer, Query, SearchView
from nasbench_kd.simulation.registry import methods_for
from nasbench_kd.tasks.task import Task

_FRAMES = 5


class OptimizerFailure(Exception):
    """An exception inside an optimizer, or a call that breaks the protocol: the end of its run."""

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.traceback = traceback
        """Its last frames, as `last_frames` gives them."""


class OptimizerSide(Protocol):
    """An optimizer as the loop calls it. Every call raises `OptimizerFailure`."""

    @property
    def seconds(self) -> float:
        """Real seconds that the calls have taken so far."""

    def setup(self, task: Task, view: SearchView, seed: int) -> None:
        """Begin a run on a task with a seed."""

    def ask(self) -> Query | None:
        """The next query, of exact types; None for `WAIT`."""

    def tell(self, query: Query, evaluation: Evaluation, *, asked: bool, ask_follows: bool) -> int:
        """Hand over an outcome and return the index of the cell that is the answer then, -1 for none.

        `asked` is False for the training of a prerequisite that was paid for; `ask_follows` says that the next
        call is `ask`.
        """


class LocalOptimizer:
    """An optimizer that lives in this process."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.seconds = 0.0
        self._task: Task
        self._given: object = None
        """What `answer` returned last, and the index of its cell: it is read once however often it is given."""
        self._answer = -1

    def setup(self, task: Task, view: SearchView, seed: int) -> None:
        """Begin a run, where the task offers what the optimizer needs."""
        self._task = task
        self._given, self._answer = None, -1
        lacking = [name for name in self.optimizer.needs if name not in task.offers]
        if lacking:
            raise OptimizerFailure(
                f"{type(self.optimizer).__name__} needs {', '.join(lacking)}, which the task {task.name} does not "
                f"offer; it offers {', '.join(task.offers)}. Take a task that does, or a method that needs less: "
                f"{', '.join(methods_for(task.offers))}"
            )
        started = perf_counter()
        try:
            self.optimizer.setup(view, np.random.default_rng(seed))
        except Exception as error:
            raise _failure_in("setup", error) from error
        finally:
            self.seconds += perf_counter() - started

    def ask(self) -> Query | None:
        """The next query."""
        started = perf_counter()
        try:
            asked = self.optimizer.ask()
        except Exception as error:
            raise _failure_in("ask", error) from error
        finally:
            self.seconds += perf_counter() - started
        if asked is WAIT:
            return None
        try:
            return canonical_query(asked, self._task)
        except NasbenchKDError as error:
            raise failure_of(error) from error

    def tell(
        self,
        query: Query,
        evaluation: Evaluation,
        *,
        asked: bool,
        ask_follows: bool = False,  # noqa: ARG002
    ) -> int:
        """Hand over an outcome and return the answer."""
        optimizer = self.optimizer
        calling = "tell" if asked else "tell_prerequisite"
        started = perf_counter()
        try:
            if asked:
                optimizer.tell(query, evaluation)
            else:
                optimizer.tell_prerequisite(query, evaluation)
            calling = "answer"
            given = optimizer.answer()
        except Exception as error:
            raise _failure_in(calling, error) from error
        finally:
            self.seconds += perf_counter() - started
        if given is not self._given:
            try:
                self._given, self._answer = given, canonical_answer(given, self._task.space)
            except NasbenchKDError as error:
                raise failure_of(error) from error
        return self._answer


def _failure_in(call: str, error: Exception) -> OptimizerFailure:
    """The failure of an optimizer that raised an error in a call."""
    return OptimizerFailure(explain(error).replace(":", f" in {call}:", 1), last_frames(error))


def failure_of(error: NasbenchKDError) -> OptimizerFailure:
    """The failure of an optimizer that asked for what there is not."""
    return OptimizerFailure(f"{type(error).__name__}: {error}", last_frames(error))


def last_frames(error: BaseException) -> str:
    """The last frames of an error outside the loop, by file name: the same on every machine."""
    own = {__file__, str(Path(__file__).with_name("search.py"))}
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename not in own]
    lines = [
        f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}"
        for frame in frames[-_FRAMES:]
    ]
    return "\n".join([*lines, explain(error)])
