"""The other side of `isolation`: a server from which every run gets a fresh process, and what keeps that process in.

    suite ── server ── keeper ── (first process of a namespace) ── worker ── whatever it starts
                └── partners' server ── keeper ── ... ── the worker's partner ── whatever it starts

The server imports and opens what runs have in common and never runs an optimizer's code. It forks a keeper for
each run, which forks the worker, hands its output on and, when it ends or the suite says so, ends whatever it
has started. Where the system lets it (Linux), the worker lives in a process namespace: it can signal no process
outside, and all that it leaves behind ends with it. Elsewhere its session is killed, and on Linux also those of
its descendants that left the session.

A worker that must not share its memory with an optimizer has it in a partner: a process that is forked from where
nothing was opened, and that ends with the worker. They talk over a socket.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from nasbench_kd.errors import NasbenchKDError

STARTED: Final = b"s"
"""The first byte from a keeper: its worker runs."""
RESULT: Final = b"r"
ERROR: Final = b"e"
_RESULT_DESCRIPTOR: Final = 3
_TALK_DESCRIPTOR: Final = 4
_PLACES: Final = 10
"""From here on descriptors lie that are about to be moved below."""
_MOST_OUTPUT: Final = 1 << 16
_ATOMIC: Final = 512
"""Bytes that a pipe takes at once, or not at all."""
_MOST_RESULT: Final = 1 << 28
_STRAYS_SECONDS: Final = 5.0
_NEW_USERS: Final = 0x10000000
_NEW_PROCESSES: Final = 0x20000000
_SET_PARENT_DEATH_SIGNAL: Final = 1
_SET_CHILD_SUBREAPER: Final = 36


class Request(NamedTuple):
    """A task as it is handed to the server."""

    task: Any
    memory_bytes: int
    only_prepare: bool = False


class Partner(NamedTuple):
    """What a worker's partner runs. Both are importable and are called with the worker's task."""

    function: Callable[[Any, socket.socket], bytes]
    """Talks to the worker over the socket; what it returns is not looked at."""
    prepare: Callable[[Any], None]
    """Called in the process that partners are forked from."""


class PartnerProcess:
    """A worker's partner, as the worker sees it."""

    def __init__(self, link: socket.socket, connection: Connection) -> None:
        self._link = link
        self.connection = connection

    def share_its_end(self) -> NoReturn:
        """Wait for the end of the partner and end as it did."""
        found = bytearray()
        while more := self._link.recv(1 << 16):
            found += more
        status = bytes(found[len(STARTED) : len(STARTED) + 4])
        os._exit(struct.unpack("!i", status)[0] or 1 if len(status) == 4 else 1)


class Partners:
    """The way from a worker to the process that partners are forked from."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def start(self, request: Request) -> PartnerProcess:
        """Have a partner forked; raises `OSError` where nobody does that any more."""
        talk, far = socket.socketpair()
        with far:
            link = self._hand_over(request, far)
        return PartnerProcess(link, Connection(talk.detach()))

    def prepare(self, request: Request) -> None:
        """Have a partner prepared for, and wait for that."""
        with suppress(OSError), self._hand_over(request) as link:
            while link.recv(1 << 16):
                pass

    def _hand_over(self, request: Request, *further: socket.socket) -> socket.socket:
        link, far = socket.socketpair()
        with far:
            socket.send_fds(self._control, [b"."], [each.fileno() for each in (far, *further)])
        send(link, pickle.dumps(request))
        return link


def serve(
    control: socket.socket,
    function: Callable[..., bytes],
    prepare: Callable[[Any], None],
    partner: Partner | None,
    data_folder: str,
) -> None:
    """Fork a keeper for every connection that comes over `control`, until its other end is closed.

    With a `partner`, this process forks the partners, and one of its own the workers: it opens nothing.
    """
    os.environ["NASBENCH_KD_DATA"] = data_folder
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    if partner is None:
        _serve(control, function, prepare, None)
        return
    near, far = socket.socketpair()
    if os.fork() == 0:
        far.close()
        _control_process(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        _as_last_act(_serve, control, function, prepare, near)
    near.close()
    control.close()
    _serve(far, partner.function, partner.prepare, None)


def _serve(
    control: socket.socket,
    function: Callable[..., bytes],
    prepare: Callable[[Any], None],
    partners: socket.socket | None,
) -> None:
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not descriptors:
            return
        opened = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        link = opened[0]
        talk = partners if len(opened) == 1 else opened[1]
        with link:
            message = _received(link)
            if message is not None:
                request: Request = pickle.loads(message)  # noqa: TID251  # from the suite's own process
                if _prepared(link, prepare, request, partners):
                    gc.collect(0)
                    gc.freeze()
                    if os.fork() == 0:
                        control.close()
                        _as_last_act(_keep, link, function, request, talk)
        for each in opened[1:]:
            each.close()


def _prepared(
    link: socket.socket, prepare: Callable[[Any], None], request: Request, partners: socket.socket | None
) -> bool:
    """Prepare for a task; False where that alone was asked for, or where it cannot be made at all, as is said then."""
    try:
        prepare(request.task)
    except NasbenchKDError as error:
        with suppress(OSError):
            link.sendall(ERROR + json.dumps([type(error).__name__, str(error)]).encode())
        return False
    except Exception:
        pass  # the worker meets it again
    if request.only_prepare:
        return False
    if partners is not None:
        Partners(partners).prepare(request._replace(only_prepare=True))
    return True


def send(link: socket.socket, message: bytes) -> None:
    """Send bytes, their number first."""
    link.sendall(struct.pack("!Q", len(message)) + message)


def _received(link: socket.socket) -> bytes | None:
    """The bytes that `send` sent; None where the other side is gone."""

    def read(count: int) -> bytes | None:
        found = bytearray()
        while len(found) < count:
            more = link.recv(min(count - len(found), 1 << 20))
            if not more:
                return None
            found += more
        return bytes(found)

    header = read(8)
    return None if header is None else read(struct.unpack("!Q", header)[0])


def _as_last_act(function: Callable[..., None], *arguments: Any) -> NoReturn:
    """Call a function and leave the process, whatever happens: nothing of what was forked goes on."""
    try:
        function(*arguments)
        os._exit(0)
    except BaseException:
        with suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(1)


def _keep(
    link: socket.socket, function: Callable[..., bytes], request: Request, talk: socket.socket | None
) -> None:
    """Start the worker, wait for its end, end what it left and send status and result."""
    _control_process(_SET_PARENT_DEATH_SIGNAL, 0)
    _control_process(_SET_CHILD_SUBREAPER, 1)
    os.setsid()
    results, result_end = os.pipe()
    output, output_end = os.pipe()
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    apart = _new_process_namespace()  # from here on no thread can be started
    child = os.fork()
    if child == 0:
        _control_process(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link.close()
        _as_last_act(_be_first if apart else _work, function, request, (result_end, output_end), talk)
    if talk is not None:
        talk.close()
    os.close(result_end)
    os.close(output_end)
    with suppress(OSError):  # nobody is there any more: the loop below meets that as well
        link.sendall(STARTED)
    kept, printed = bytearray(), _Output()
    open_ends = [link.fileno(), awake, results, output]
    status: int | None = None
    deadline = float("inf")
    while {results, output} & set(open_ends) and time.monotonic() < deadline:
        ready, _, _ = select.select(open_ends, [], [], None if status is None else _STRAYS_SECONDS)
        for descriptor in ready:
            more = _read(descriptor)
            if descriptor == awake:
                if status is None and (status := _status_of(child, os.WNOHANG)) is not None:
                    _end(child)
                    _end_strays()
                    deadline = time.monotonic() + _STRAYS_SECONDS
            elif not more:
                open_ends.remove(descriptor)
                if descriptor == link.fileno():  # the suite hangs up
                    _end(child)
            elif descriptor == results:
                kept += more[: _MOST_RESULT - len(kept)]
            elif descriptor == output:
                printed.hand_on(more)
    while status is None:
        status = _status_of(child, 0)
    _end_strays()
    code = os.waitstatus_to_exitcode(status)
    with suppress(ConnectionError):  # who asked for the task is gone
        link.sendall(struct.pack("!i", code if code >= 0 else 128 - code) + kept)


def _read(descriptor: int) -> bytes:
    """What has come; nothing where the other side is gone."""
    try:
        return os.read(descriptor, 1 << 16)
    except ConnectionResetError:
        return b""


def _status_of(child: int, options: int) -> int | None:
    """How a process has ended; None where it has not. One that asked to be traced, and stops for it, is killed."""
    ended, status = os.waitpid(child, options)
    if ended == child and os.WIFSTOPPED(status):
        _end(child)
        return None
    return status if ended == child else None


def _end(child: int) -> None:
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            end(child, signal.SIGKILL)


class _Output:
    """Writes what a run prints to stderr, up to a limit, and never waits for who reads it."""

    left = _MOST_OUTPUT

    def hand_on(self, printed: bytes) -> None:
        for start in range(0, min(self.left, len(printed)), _ATOMIC):
            if not select.select([], [2], [], 0)[1]:
                return
            with suppress(OSError):
                os.write(2, printed[start : start + _ATOMIC])
        if self.left and len(printed) >= self.left:
            with suppress(OSError):
                os.write(2, b"\n[what this run prints beyond 64 kB is left out]\n")
        self.left -= min(self.left, len(printed))


def _be_first(
    function: Callable[..., bytes], request: Request, ends: tuple[int, int], talk: socket.socket | None
) -> None:
    """Be the first process of a namespace, to which signals mean nothing, and end with the worker."""
    worker = os.fork()
    if worker == 0:
        _as_last_act(_work, function, request, ends, talk)
    for end in ends:
        os.close(end)
    if talk is not None:
        talk.close()
    while True:
        ended, status = os.waitpid(-1, 0)
        if os.WIFSTOPPED(status):  # it asked to be traced, and stops for that
            os.kill(ended, signal.SIGKILL)
        elif ended == worker:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _work(
    function: Callable[..., bytes], request: Request, ends: tuple[int, int], talk: socket.socket | None
) -> None:
    """Run the task with nothing open but its output, the way for its result, and that to a partner."""
    with suppress(PermissionError):
        os.setsid()
    results, output = ends
    moved = {0: os.open(os.devnull, os.O_RDONLY), 1: output, 2: output, _RESULT_DESCRIPTOR: results}
    if talk is not None:
        moved[_TALK_DESCRIPTOR] = talk.detach()
    # Out of the way first: none may lie where another goes.
    moved = {place: fcntl.fcntl(descriptor, fcntl.F_DUPFD, _PLACES) for place, descriptor in moved.items()}
    for place, descriptor in moved.items():
        os.dup2(descriptor, place)
    for name in os.listdir("/dev/fd"):
        if int(name) > max(moved):
            with suppress(OSError):
                os.close(int(name))
    for what, most in ((resource.RLIMIT_DATA, request.memory_bytes), (resource.RLIMIT_CORE, 0)):
        _, before = resource.getrlimit(what)
        most = most if before == resource.RLIM_INFINITY else min(most, before)
        resource.setrlimit(what, (most, most))
    try:
        way = [] if talk is None else [socket.socket(fileno=_TALK_DESCRIPTOR)]
        answer = RESULT + function(request.task, *way)
    except Exception as error:
        traceback.print_exc()
        answer = ERROR + json.dumps([type(error).__name__, str(error)]).encode()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    view = memoryview(answer)
    while view:
        view = view[os.write(_RESULT_DESCRIPTOR, view) :]


def _end_strays() -> None:
    """Kill the descendants that a worker left and wait for their end (on Linux they become our children)."""
    deadline = time.monotonic() + _STRAYS_SECONDS
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    while time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended == 0:
            with suppress(OSError):
                for stray in children.read_text().split():
                    os.kill(int(stray), signal.SIGKILL)
            time.sleep(0.005)


def _new_process_namespace() -> bool:
    """Let children live in a process namespace of their own; whether the system does so."""
    if sys.platform != "linux":
        return False
    user, group = os.geteuid(), os.getegid()
    # Root needs no namespace of users, in which it could not read the files of others.
    if ctypes.CDLL(None).unshare(_NEW_PROCESSES if user == 0 else _NEW_PROCESSES | _NEW_USERS) != 0:
        return False
    if user != 0:
        with suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return True


def _control_process(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
