"""Optimizers that misbehave, for tests of the runner."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from nasbench_kd import Evaluation, Optimizer, Query, SearchView, load
from nasbench_kd.errors import NasbenchKDError


class Plain(Optimizer):
    """Random search, the base of the others."""

    def ask(self) -> Query:
        return Query(self.random_cell())

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        self.keep_best(query, evaluation)
        if len(self.seen()) == 3:
            self.misbehave()

    def seen(self) -> list[int]:
        self.__dict__.setdefault("told", []).append(1)
        return self.told

    def misbehave(self) -> None:
        """Overridden."""


class Raises(Plain):
    def misbehave(self) -> None:
        raise ValueError(f"broken at {object()}")


class Exits(Plain):
    """Leaves the process without a word."""

    def __init__(self, code: int = 0) -> None:
        self.code = code

    def misbehave(self) -> None:
        os._exit(self.code)


class SystemExits(Plain):
    def misbehave(self) -> None:
        sys.exit("enough")


class Segfaults(Plain):
    def misbehave(self) -> None:
        ctypes.string_at(0)


class Hangs(Plain):
    def misbehave(self) -> None:
        while True:
            time.sleep(0.05)


class KilledOnce(Plain):
    """Is killed from outside the first time that it runs anywhere."""

    def __init__(self, marker: str, times: int = 1) -> None:
        self.marker = marker
        self.times = times

    def misbehave(self) -> None:
        for attempt in range(self.times):
            try:
                Path(f"{self.marker}.{attempt}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)


class Prints(Plain):
    def misbehave(self) -> None:
        print("noise from the optimizer", flush=True)


class MissingFidelity(Plain):
    def ask(self) -> Query:
        return Query(self.random_cell(), "nst@3")


class UnicodeReason(Plain):
    def misbehave(self) -> None:
        raise ValueError("\udcff" * 10_000)


class Slow(Plain):
    """Takes a while for each step, without any effect on the results."""

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        time.sleep(0.004 * random.random())
        super().tell(query, evaluation)


class Refuses(Plain):
    def __init__(self, population: int = 10) -> None:
        if population < 2:
            raise ValueError(f"population must be at least 2, not {population}")


class RemembersOnTheClass(Plain):
    """Asks for other cells in every further run of its process."""

    runs = 0

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        super().setup(view, rng)
        type(self).runs += 1
        rng.random(type(self).runs)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class RaisesWithoutText(Plain):
    def misbehave(self) -> None:
        raise Unspeakable


class ExitsInItsConstructor(Plain):
    def __init__(self) -> None:
        sys.exit(0)


class HangsInItsConstructor(Plain):
    def __init__(self) -> None:
        while True:
            time.sleep(0.05)


class PrintsForever(Plain):
    def misbehave(self) -> None:
        while True:
            print("noise " * 1000)


class TakesMemory(Plain):
    def misbehave(self) -> None:
        self.hoard = np.ones(10**12)


class NeedsMemory(Plain):
    """An honest one, of 1 GB."""

    def misbehave(self) -> None:
        self.hoard = np.ones(10**9, dtype=np.uint8)


class LeavesChildren(Plain):
    """Leaves processes that hold its output open; some have left its session."""

    def __init__(self, pids: str) -> None:
        self.pids = pids

    def misbehave(self) -> None:
        for number in range(4):
            if os.fork() == 0:
                if number % 2:
                    os.setsid()
                if number > 1 and os.fork():
                    os._exit(0)
                # What it is called outside of a namespace of processes.
                name = os.readlink("/proc/self")
                with Path(self.pids).open("a") as file:
                    file.write(f"{name}\n")
                time.sleep(600)


class ClosesEverything(Plain):
    def misbehave(self) -> None:
        os.closerange(0, 4096)


class AsksToBeTraced(Plain):
    """Stops, for its parent to look at it, when a signal comes."""

    def misbehave(self) -> None:
        ctypes.CDLL(None).ptrace(0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGUSR1)


class KillsAround(Plain):
    """Kills its parents and all processes beside it, as far as it may."""

    def misbehave(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and "forkserver" in (entry / "cmdline").read_text():
                with suppress(OSError):
                    os.kill(int(entry.name), signal.SIGKILL)
        with suppress(OSError):
            os.kill(os.getppid(), signal.SIGKILL)


class WritesToDescriptors(Plain):
    """Writes a message of its own to everything that it finds open, and leaves or goes on."""

    def __init__(self, message: str, leaves: bool = True) -> None:
        self.message = message.encode("latin1")
        self.leaves = leaves

    def misbehave(self) -> None:
        for name in os.listdir("/dev/fd"):
            if int(name) > 2:
                with suppress(OSError):
                    os.write(int(name), self.message)
        if self.leaves:
            os._exit(0)


class Spies(Plain):
    """Fails with a list of all that it could find out or do to others."""

    def __init__(self, folders: list[str], port: int, pid: int) -> None:
        self.folders = [Path(folder) for folder in folders]
        self.port = port
        self.pid = pid

    def misbehave(self) -> None:
        found = [name for name in ("memory", *ATTEMPTS) if self.managed(getattr(self, f"try_{name}"))]
        raise ValueError(f"managed: {', '.join(found) or 'nothing'}.")

    @staticmethod
    def managed(attempt: Callable[[], object]) -> bool:
        try:
            return bool(attempt())
        except (OSError, NasbenchKDError, subprocess.CalledProcessError):
            return False

    def try_memory(self) -> bool:
        """Arrays as large as a table, or what holds them."""
        return any(isinstance(each, np.ndarray) and each.nbytes > 10**6 for each in gc.get_objects()) or any(
            type(each).__name__ in ("Table", "Benchmark", "Simulation") for each in gc.get_objects()
        )

    def try_load(self) -> object:
        return load("cifar10", data="embedded")

    def try_read(self) -> object:
        return [path.read_bytes() for folder in self.folders for path in folder.rglob("*") if path.is_file()]

    def try_cat(self) -> object:
        path = next(path for path in self.folders[0].rglob("*.npy"))
        return subprocess.run(["cat", path], capture_output=True, check=True).stdout

    def try_link(self) -> object:
        place = Path(tempfile.mkdtemp()) / "link"
        os.link(next(self.folders[0].rglob("*.npy")), place)
        return place.read_bytes()

    def try_trace(self) -> object:
        """The memory of the suite, and of whatever else runs."""
        with open(f"/proc/{self.pid}/mem", "rb") as file:
            return file

    def try_write(self) -> object:
        return (self.folders[-1] / "planted").write_text("planted")

    def try_signal(self) -> object:
        return os.kill(self.pid, 0) is None

    def try_connect(self) -> object:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)


ATTEMPTS = ("load", "read", "cat", "link", "trace", "write", "signal", "connect")
