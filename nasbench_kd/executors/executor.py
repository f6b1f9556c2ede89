"""What executors have in common, and the one that needs nothing: this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Protocol, TypeVar

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
Work = Callable[[Iterable[TaskT], int], Generator[ResultT, None, None]]
"""Called with tasks and the number of processes that it may use; yields one result for each task as they finish."""


class Executor(Protocol):
    """Has tasks worked on somewhere."""

    def run(
        self, work: Work[TaskT, ResultT], tasks: Iterable[TaskT], *, most: int
    ) -> Generator[ResultT, None, None]:
        """Yield what `work` yields for all tasks, in any order; close the generator to stop.

        A task is taken when its turn comes.
        Elsewhere `work` is called with parts of the tasks: it is importable there (or a `functools.partial` of
        what is), and tasks and results can be pickled. `most` is how many tasks one call may be given, and so how
        many are lost where it dies. Errors of the project that `work` raises are raised here. Raises `ClusterError`
        where a part is lost again and again, or the other machines lack what it needs.
        """
        ...


class Processes:
    """In processes of this machine.

    Args:
        count: how many run at once.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def run(
        self, work: Work[TaskT, ResultT], tasks: Iterable[TaskT], *, most: int
    ) -> Generator[ResultT, None, None]:
        """See `Executor.run`: all tasks are one part, since nothing is sent anywhere."""
        del most
        with closing(work(tasks, self.count)) as results:
            yield from results
