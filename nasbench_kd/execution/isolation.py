"""Runs tasks in separate processes, each under a wall-clock cap, and outlives the death of any of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from enum import Enum
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for_sentinel
from typing import Any, Final, Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.tables.catalog import user_folder

ATTEMPTS = 3
"""A task whose process dies is tried again; after this many deaths it is given up."""
_MOST_FAILED_STARTS = 10
_TICK_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_STARTED_SECONDS = 5.0
# One thread each, and one order of hashes: neither may change what an optimizer does, and the
# processes share the cores already.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
AnyT = TypeVar("AnyT")


class Failure(Enum):
    """Why a task has no result."""

    TIMEOUT = "it exceeded the wall-clock cap"
    DEATH = "its process died"


_RUNNING: Final = object()


def run_isolated(
    function: Callable[[TaskT], ResultT], tasks: Iterable[TaskT], *, jobs: int, cap_seconds: float
) -> Generator[tuple[TaskT, ResultT | Failure], None, None]:
    """Yield every task with its result, or with the reason why it has none, as they finish.

    `function` is importable; each of the `jobs` processes works on one task at a time and is reused.
    A process that dies is replaced: its task is tried `ATTEMPTS` times. One that passes the cap (by a
    clock that nobody can set) is killed. What `function` raises is raised here. Close the iterator
    to stop; the processes also end by themselves when this one does.
    """
    waiting = deque((task, 1) for task in tasks)
    if not waiting:
        return
    with _environment():
        slots: list[_Slot[TaskT, ResultT]] = []
        try:
            with _interrupts_deferred():
                _start_server(function.__module__)
                slots += [_Slot(function) for _ in range(min(jobs, len(waiting)))]
            yield from _drive(slots, waiting, cap_seconds)
        finally:
            with _interrupts_deferred():
                wait([slot.process for slot in slots], timeout=_STARTED_SECONDS)
                for slot in slots:
                    slot.pool.stop()  # type: ignore[no-untyped-call]
                for slot in slots:
                    slot.pool.join()


def _drive(
    slots: list[_Slot[TaskT, ResultT]], waiting: deque[tuple[TaskT, int]], cap_seconds: float
) -> Iterator[tuple[TaskT, ResultT | Failure]]:
    failed_starts = 0
    while True:
        for slot in slots:
            if slot.future is None and waiting:
                slot.start(*waiting.popleft())
        futures = [slot.future for slot in slots if slot.future is not None]
        if not futures:
            return
        wait(futures, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
        finished: list[tuple[TaskT, ResultT | Failure]] = []
        for position, slot in enumerate(slots):
            outcome = slot.poll(cap_seconds)
            if outcome is _RUNNING:
                continue
            task, attempt = slot.take()
            if not isinstance(outcome, Failure):
                failed_starts = 0
                finished.append((task, outcome))
                continue
            with _interrupts_deferred():
                slots[position] = slot.replaced()
            failed_starts += not slot.started
            if failed_starts > _MOST_FAILED_STARTS:
                raise NasbenchKDError("worker processes die while they start; the message above may say why")
            if outcome is Failure.DEATH and (not slot.started or attempt < ATTEMPTS):
                waiting.appendleft((task, attempt + slot.started))
            else:
                finished.append((task, outcome))
        yield from finished


class _Slot(Generic[TaskT, ResultT]):
    """One worker process with at most one task.

    Each has a pool of its own, which is thrown away with its process: a process killed at a bad moment
    leaves locks taken and half a message behind, and nobody else waits for either.
    """

    def __init__(self, function: Callable[[TaskT], ResultT]) -> None:
        self.function = function
        self.pool = ProcessPool(
            max_workers=1,
            context=multiprocessing.get_context("forkserver"),
            initializer=_prepare_worker,
            initargs=(str(user_folder()),),
        )
        self.process = self._schedule(os.getpid)
        self.future: Future[ResultT] | None = None
        self.task: tuple[TaskT, int] | None = None
        self.began: float | None = None
        self.missed: float | None = None

    @property
    def started(self) -> bool:
        """Whether the process ever came up."""
        return self.process.done() and self.process.exception() is None

    def start(self, task: TaskT, attempt: int) -> None:
        self.task, self.began, self.missed = (task, attempt), None, None
        self.future = self._schedule(self.function, task)

    def _schedule(self, function: Callable[..., AnyT], *arguments: Any) -> Future[AnyT]:
        try:
            return self.pool.schedule(function, args=arguments)
        except RuntimeError as error:  # the process cannot be started, or died idle and took its pool along
            broken: Future[AnyT] = Future()
            broken.set_exception(BrokenProcessPool(str(error)))
            return broken

    def take(self) -> tuple[TaskT, int]:
        assert self.task is not None
        taken, self.task, self.future = self.task, None, None
        return taken

    def poll(self, cap_seconds: float) -> Any:
        """The result, a `Failure`, or `_RUNNING`; raises what the task raised."""
        future, now = self.future, time.monotonic()
        if future is None:
            return _RUNNING
        if future.done():
            error = future.exception()
            if error is None:
                return future.result()
            if isinstance(error, ProcessExpired | BrokenProcessPool):
                return Failure.DEATH
            raise error
        if self.started and not _exists(self.process.result()):
            # Pebble reports most deaths by itself, but not an exit with code 0.
            self.missed = self.missed or now
            return Failure.DEATH if now - self.missed > _GRACE_SECONDS else _RUNNING
        if future.running():
            self.began = self.began or now
            return Failure.TIMEOUT if now - self.began > cap_seconds else _RUNNING
        return _RUNNING

    def replaced(self) -> _Slot[TaskT, ResultT]:
        """End the process, whatever it is doing, and return a new slot."""
        if self.started:
            with suppress(ProcessLookupError):
                os.kill(self.process.result(), signal.SIGKILL)
        self.pool.stop()  # type: ignore[no-untyped-call]
        self.pool.join()
        return _Slot(self.function)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: a process that is left while it starts complains loudly."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


@contextmanager
def _environment() -> Iterator[None]:
    """Let processes that start within inherit `_ENVIRONMENT`."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_server(preloaded: str) -> None:
    """Start the process that workers are forked from, with a module imported, deaf to Ctrl-C from the start."""
    forkserver.set_forkserver_preload(["__main__", preloaded])
    resource_tracker.ensure_running()  # first, because starting it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_worker(data_folder: str) -> None:
    """Set up a worker process: same data folder, no writing to our stdout, no life after the parent."""
    os.environ["NASBENCH_KD_DATA"] = data_folder
    sys.stdout.flush()
    os.dup2(2, 1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait_for_sentinel([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
