"""What a cluster loses is sent again, what fails there is told here, and what is left is ended."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial

import pytest

from nasbench_kd.errors import ClusterError, DataError
from nasbench_kd.executors.executor import Processes
from nasbench_kd.executors.parts import ATTEMPTS, Answer, Call, Lost, Parts


def doubled(tasks: Iterable[int], processes: int) -> Generator[int, None, None]:
    assert processes == 1
    yield from (2 * task for task in tasks)


def refused(tasks: Iterable[int], processes: int) -> Generator[int, None, None]:
    yield 1
    raise DataError("the tables are others")


class InThisProcess:
    """Makes calls when they are asked for, the last first, and loses what it is told to."""

    at_once = 3

    def __init__(self, loses: Callable[[Call, int], bool] = lambda call, attempt: False) -> None:
        self.loses = loses
        self.calls: list[Call] = []
        self.cancelled: list[int] = []
        self.most = 0

    def submit(self, calls: Sequence[Call]) -> list[int]:
        self.calls += calls
        return list(range(len(self.calls) - len(calls), len(self.calls)))

    def done(self, handles: Sequence[int]) -> list[int]:
        self.most = max(self.most, len(handles))
        return [max(handles)]

    def answer(self, handle: int) -> Answer:
        call = self.calls[handle]
        attempt = sum(other.tasks == call.tasks for other in self.calls[: handle + 1])
        if self.loses(call, attempt):
            raise Lost("the machine is gone")
        return call.make()

    def cancel(self, handles: Sequence[int]) -> None:
        self.cancelled += handles


def test_every_task_is_done_once_in_parts_of_a_size_that_keeps_all_busy() -> None:
    cluster = InThisProcess()
    assert sorted(Parts(cluster).run(doubled, range(100), most=50)) == list(range(0, 200, 2))
    assert {len(call.tasks) for call in cluster.calls} == {8, 4}
    assert cluster.most == 3
    assert cluster.cancelled == []
    assert sorted(Processes(1).run(doubled, range(100), most=50)) == list(range(0, 200, 2))


def test_tasks_are_taken_when_their_turn_comes() -> None:
    taken: list[int] = []

    def tasks() -> Iterable[int]:
        for task in range(100):
            taken.append(task)
            yield task

    results = Parts(InThisProcess()).run(doubled, tasks(), most=4)
    next(results)
    assert len(taken) == 12
    results.close()


def test_what_is_lost_is_sent_again() -> None:
    cluster = InThisProcess(lambda call, attempt: 7 in call.tasks and attempt < ATTEMPTS)
    assert sorted(Parts(cluster).run(doubled, range(12), most=2)) == list(range(0, 24, 2))
    assert sum(7 in call.tasks for call in cluster.calls) == ATTEMPTS


def test_what_is_lost_again_and_again_ends_the_work_after_the_results_of_others() -> None:
    cluster = InThisProcess(lambda call, attempt: 7 in call.tasks)
    seen = []
    with pytest.raises(ClusterError, match=f"sent {ATTEMPTS} times and never came back: the machine is gone"):
        seen += [result for result in Parts(cluster).run(doubled, range(12), most=2)]  # noqa: C416
    assert cluster.cancelled == [] or 7 not in cluster.calls[cluster.cancelled[0]].tasks


def test_an_error_of_the_project_is_raised_here_and_the_rest_ended() -> None:
    cluster = InThisProcess()
    with pytest.raises(DataError, match=r"on .+: the tables are others"):
        list(Parts(cluster).run(partial(refused), range(30), most=2))
    assert cluster.cancelled == [0, 1]
