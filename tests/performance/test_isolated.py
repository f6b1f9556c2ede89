"""What a step of the search loop costs where the optimizer lives in another process, beside one where it does not.

`pytest tests/performance/test_isolated.py` prints the table; `docs/trust.md` quotes it.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import pytest

import nasbench_kd as nk
from nasbench_kd.execution.remote import RemoteOptimizer, serve_optimizer
from nasbench_kd.execution.workers import PartnerProcess
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer_side import LocalOptimizer, OptimizerSide
from nasbench_kd.simulation.search import run_search
from nasbench_kd.simulation.simulation import Simulation
from nasbench_kd_baselines.random_search import RandomSearch

STEPS = 30
REPEATS = 60
"""Many short searches: the fastest one was left alone by whatever else runs."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


@contextmanager
def other_process(serve: Callable[[socket.socket], None]) -> Iterator[Connection]:
    """A connection to a process that serves its other end until this one is closed."""
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        near.close()
        with suppress(BaseException):
            serve(far)
        os._exit(0)
    far.close()
    try:
        with Connection(near.detach()) as connection:
            yield connection
    finally:
        os.waitpid(child, 0)


def echo(talk: socket.socket) -> None:
    connection = Connection(talk.detach())
    while True:
        connection.send_bytes(connection.recv_bytes())


def fastest(measure: Callable[[], float]) -> float:
    """Microseconds a step, of the fastest of many tries."""
    return 1e6 * min(measure() for _ in range(REPEATS)) / STEPS


def test_a_step_with_the_optimizer_in_another_process(figure):
    bench = nk.load("cifar10", data="embedded")

    def search(side: OptimizerSide) -> float:
        simulation, begun = Simulation(bench, Budget.parse(f"{STEPS} evaluations"), 0), []
        set_up = side.setup

        def begin(*arguments: Any) -> None:
            set_up(*arguments)
            begun.append(time.perf_counter())

        side.setup = begin
        run = run_search(side, simulation)
        assert len(run.steps) == STEPS
        return time.perf_counter() - begun[0]

    def isolated() -> float:
        link, _ = socket.socketpair()
        with other_process(lambda talk: serve_optimizer(RandomSearch, talk)) as connection:
            return search(RemoteOptimizer(PartnerProcess(link, connection)))

    def round_trips() -> float:
        with other_process(echo) as connection:
            started = time.perf_counter()
            for _ in range(STEPS):
                connection.send_bytes(b"x" * 100)
                connection.recv_bytes()
            return time.perf_counter() - started

    here, there, bare = (
        fastest(lambda: search(LocalOptimizer(RandomSearch()))),
        fastest(isolated),
        fastest(round_trips),
    )
    figure("a step, us", here)
    figure("a step with the optimizer in another process, us", there)
    figure("a bare round trip between two processes, us", bare)
    # One round trip a step, which carries the outcome and brings the next question, and what is said in JSON.
    assert there - here < 12 * bare
