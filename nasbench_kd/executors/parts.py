"""Works on tasks in parts on a cluster, and sends a part that is lost again."""

from __future__ import annotations

import platform
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from nasbench_kd import errors
from nasbench_kd.errors import ClusterError, NasbenchKDError
from nasbench_kd.executors.executor import ResultT, TaskT, Work

ATTEMPTS: Final = 5
"""A part whose process, machine or job ends without a result is sent so often."""
_ROUNDS = 4
"""Into how many parts the work of one process is cut at least, so that all end at about the same time."""
HandleT = TypeVar("HandleT")


class Lost(Exception):
    """A part that ended without a result, as its process or machine died."""


class Call(NamedTuple):
    """A part of the tasks and what is done with it, as it is sent to a cluster."""

    work: Any
    tasks: Sequence[Any]
    paths: tuple[str, ...]
    """Where the sender finds modules."""

    def make(self) -> Answer:
        """Work on the part, in the process that it was sent to."""
        sys.path += [path for path in self.paths if path not in sys.path]
        try:
            with closing(self.work(self.tasks, 1)) as results:
                return Answer(list(results))
        except NasbenchKDError as error:
            return Answer([], type(error).__name__, f"on {platform.node() or 'a machine'}: {error}")


class Answer(NamedTuple):
    """What came of a call."""

    results: list[Any]
    error: str = ""
    """The type of an error of the project."""
    message: str = ""


class Cluster(Protocol[HandleT]):
    """Takes calls and tells when they are done."""

    at_once: int
    """How many calls are handed over before one is done."""

    def submit(self, calls: Sequence[Call]) -> Sequence[HandleT]:
        """Hand calls over."""
        ...

    def done(self, handles: Sequence[HandleT]) -> Sequence[HandleT]:
        """Wait a moment, at most, and return those that have ended."""
        ...

    def answer(self, handle: HandleT) -> Answer:
        """What came of a call that has ended; raises `Lost`."""
        ...

    def cancel(self, handles: Sequence[HandleT]) -> None:
        """End what still runs."""
        ...


def _parts(tasks: Iterable[TaskT], size: int) -> Iterator[list[TaskT]]:
    tasks = iter(tasks)
    while part := list(islice(tasks, size)):
        yield part


class Parts(Generic[HandleT]):
    """The executor of a cluster."""

    def __init__(self, cluster: Cluster[HandleT]) -> None:
        self._cluster = cluster

    def run(
        self, work: Work[TaskT, ResultT], tasks: Iterable[TaskT], *, most: int
    ) -> Generator[ResultT, None, None]:
        """See `executor.Executor.run`."""
        cluster, paths = self._cluster, tuple(path for path in sys.path if path)
        size = (
            max(1, min(most, len(tasks) // (_ROUNDS * cluster.at_once))) if isinstance(tasks, Sized) else most
        )
        new = (Call(work, part, paths) for part in _parts(tasks, size))
        again: deque[tuple[Call, int]] = deque()
        running: dict[HandleT, tuple[Call, int]] = {}
        try:
            while True:
                room = cluster.at_once - len(running)
                sent = [again.popleft() for _ in range(min(room, len(again)))]
                sent += [(call, 1) for call in islice(new, room - len(sent))]
                if sent:
                    running.update(zip(cluster.submit([call for call, _ in sent]), sent, strict=True))
                if not running:
                    return
                for handle in cluster.done(list(running)):
                    call, attempt = running.pop(handle)
                    try:
                        answer = cluster.answer(handle)
                    except Lost as lost:
                        if attempt == ATTEMPTS:
                            raise ClusterError(
                                f"a part of the work was sent {ATTEMPTS} times and never came back: {lost}. What is "
                                "finished is kept: the same command goes on"
                            ) from lost
                        again.append((call, attempt + 1))
                        continue
                    if answer.error:
                        raise getattr(errors, answer.error, NasbenchKDError)(answer.message)
                    yield from answer.results
        finally:
            cluster.cancel(list(running))
