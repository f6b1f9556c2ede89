"""Runs tasks, each in a fresh process under caps on time and memory, and outlives the death of any of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from typing import Final, Generic, NamedTuple, TypeVar

from nasbench_kd import errors
from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.execution.workers import ERROR, RESULT, STARTED, Partner, Request, send, serve
from nasbench_kd.tables.catalog import user_folder

ATTEMPTS: Final = 3
"""A task whose process dies is tried again; after this many deaths it is given up."""
_MOST_FAILED_STARTS = 10
_PAUSE_SECONDS = 0.05
_TICK_SECONDS = 1.0
_ENDING_SECONDS = 10.0
# One thread each, and one order of hashes: neither may change what an optimizer does, and the
# processes share the cores already.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONSAFEPATH": "1",  # files of the working folder never stand for modules of the standard library
}
TaskT = TypeVar("TaskT")


class Caps(NamedTuple):
    """What one task may take."""

    seconds: float
    """Real time, by a clock that nobody can set."""
    memory_bytes: int
    """Data of each of its processes: what they allocate, not what they map from files."""


class Failure(NamedTuple):
    """Why a task has no result."""

    reason: str


def run_isolated(
    function: Callable[..., bytes],
    tasks: Iterable[TaskT],
    *,
    jobs: int,
    caps: Caps,
    prepare: Callable[[TaskT], None],
    partner: Partner | None = None,
) -> Generator[tuple[TaskT, bytes | Failure], None, None]:
    """Yield every task with its result, or with the reason why it has none, as they finish.

    `function` and `prepare` are importable. Every task runs in a process of its own, `jobs` at a time,
    forked from one that has called `prepare` with it: what is opened and imported there is paid once,
    and runs none of the task's own code. With a `partner`, `function` is also given a socket
    (see `workers.Partners`) by which it can have a second process forked, from where `prepare` was never
    called. A task is taken from `tasks` when its turn comes. One whose process dies is tried `ATTEMPTS`
    times; one that passes the cap on time is killed. All processes that a task starts end with it. What
    `function` raises, or a process hands over that is no answer, is the task's `Failure`; errors of the
    project in `prepare` are raised here. Close the iterator to stop; the processes also end by themselves
    when this one does.
    """
    server = _Server(function, prepare, partner)
    try:
        yield from _drive(server, iter(tasks), jobs, caps)
    finally:
        with _interrupts_deferred():
            server.close()


def _drive(
    server: _Server[TaskT], tasks: Iterator[TaskT], jobs: int, caps: Caps
) -> Iterator[tuple[TaskT, bytes | Failure]]:
    again: deque[tuple[TaskT, int]] = deque()
    failed_starts = 0
    while True:
        while len(server.running) < jobs:
            task, attempt = again.popleft() if again else (next(tasks, None), 1)
            if task is None:
                break
            with _interrupts_deferred():
                server.start(task, attempt, caps)
        if not server.running:
            return
        for each in server.poll(caps.seconds):
            if each.late:
                reason = f"timed out: not finished within the wall-clock cap of {caps.seconds:g} seconds"
                yield each.task, Failure(reason)
                continue
            result = each.result()
            if result is not None:
                failed_starts = 0
                yield each.task, result
            elif each.began is None:
                failed_starts += 1
                if failed_starts > _MOST_FAILED_STARTS:
                    raise NasbenchKDError(
                        "worker processes die while they start; the message above may say why"
                    )
                time.sleep(_PAUSE_SECONDS * failed_starts)  # what was killed may not be gone yet
                again.append((each.task, each.attempt))
            elif each.attempt < ATTEMPTS:
                again.append((each.task, each.attempt + 1))
            else:
                yield each.task, Failure(f"process died: in each of {ATTEMPTS} attempts {each.death}")


def _complaint(answer: bytes) -> str:
    """What a worker says that its function raised."""
    try:
        if not answer.startswith(ERROR):
            raise ValueError(answer)
        kind, text = json.loads(answer[len(ERROR) :])
        return f"{kind}: {text}"
    except (ValueError, TypeError, RecursionError):
        return "what its process handed over is no answer"


@dataclass
class _Running(Generic[TaskT]):
    """A task in a process, and what has come from there."""

    task: TaskT
    attempt: int
    link: socket.socket
    received: bytearray
    began: float | None = None
    late: bool = False

    def read(self) -> bool:
        """Take what has come; whether nothing more will."""
        try:
            while more := self.link.recv(1 << 20):
                self.received += more
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            if self.received and self.began is None:
                self.began = time.monotonic()
        return True

    def result(self) -> bytes | Failure | None:
        """What the task's function returned, or why it did not; None where the process died.

        Raises what stood against the task in the process that workers are forked from. What a worker says
        is believed by nobody: an optimizer may have written it.
        """
        if self.received.startswith(ERROR):
            kind, text = json.loads(self.received[len(ERROR) :])
            raise getattr(errors, kind, NasbenchKDError)(text)
        answer = bytes(self.received[len(STARTED) + 4 :])
        if self.status != 0 or not answer:
            return None
        return answer[len(RESULT) :] if answer.startswith(RESULT) else Failure(_complaint(answer))

    @property
    def status(self) -> int | None:
        """The process's exit status; 128 and more is a signal; None where nobody could tell it."""
        status = self.received[len(STARTED) : len(STARTED) + 4]
        return int(struct.unpack("!i", status)[0]) if len(status) == 4 else None

    @property
    def death(self) -> str:
        """How the process ended."""
        if self.status is None:
            return "it and what watches over it were killed"
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(self.status - 128).name}"
        return f"it exited with status {self.status}"


class _Server(Generic[TaskT]):
    """The process that workers are forked from, started when it is needed, and what runs in them."""

    def __init__(
        self, function: Callable[..., bytes], prepare: Callable[[TaskT], None], partner: Partner | None
    ) -> None:
        self.function = function
        self.prepare = prepare
        self.partner = partner
        self.running: list[_Running[TaskT]] = []
        self._control: socket.socket | None = None
        self._process: multiprocessing.process.BaseProcess | None = None

    def start(self, task: TaskT, attempt: int, caps: Caps) -> None:
        """Have a process forked for a task."""
        link, far = socket.socketpair()
        with far:
            request = pickle.dumps(Request(task, caps.memory_bytes))
            try:
                self._hand_over(far)
                send(link, request)
            except (OSError, EOFError):  # the server has died: the link ends, and the task is started again
                self._end()
        link.setblocking(False)
        self.running.append(_Running(task, attempt, link, bytearray()))

    def poll(self, cap_seconds: float) -> list[_Running[TaskT]]:
        """Wait a moment, and return what has ended, or was ended for being late."""
        ready = wait([each.link for each in self.running], timeout=_TICK_SECONDS)
        ended, now = [], time.monotonic()
        for each in list(self.running):
            over = each.link in ready and each.read()
            if not over and each.began is not None and now - each.began > cap_seconds:
                if not each.late:
                    each.late = True
                    with suppress(OSError):
                        each.link.shutdown(socket.SHUT_WR)
                over = now - each.began > cap_seconds + _ENDING_SECONDS
            if over:
                each.link.close()
                self.running.remove(each)
                ended.append(each)
        return ended

    def close(self) -> None:
        """End all processes, and wait for that."""
        for each in self.running:
            with suppress(OSError):
                each.link.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _ENDING_SECONDS
        while self.running and time.monotonic() < deadline:
            for link in wait([each.link for each in self.running], timeout=_TICK_SECONDS):
                self.running = [each for each in self.running if each.link is not link or not each.read()]
        self._end()

    def _hand_over(self, far: socket.socket) -> None:
        if self._control is None:
            with _environment():
                self._control, serving = socket.socketpair()
                with serving:
                    _start_forkserver(self.function.__module__)
                    process = multiprocessing.get_context("forkserver").Process(
                        target=serve,
                        args=(serving, self.function, self.prepare, self.partner, str(user_folder())),
                    )
                    process.start()
                    self._process = process
        socket.send_fds(self._control, [b"."], [far.fileno()])

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.join(_ENDING_SECONDS)
            self._process.kill()
            self._process.join()
        self._control = self._process = None


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


def _start_forkserver(preloaded: str) -> None:
    """Start the process that workers are forked from, with a module imported, deaf to Ctrl-C from the start."""
    forkserver.set_forkserver_preload(["__main__", preloaded])
    resource_tracker.ensure_running()  # first, because starting it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
