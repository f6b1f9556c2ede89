"""Fills a table: trains class representatives in one fixed random order, in several processes, crash-safe."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_kd.live.store import Job, Store
from nasbench_kd.space import Cell, representatives

ORDER_SEED = 201
"""Seed of the order of the classes: the same for all tasks and fidelities, so that they can be compared."""


@cache
def class_order() -> tuple[Cell, ...]:
    """The 6,466 class representatives in the order of every fill; any prefix is a uniform sample."""
    cells = representatives()
    return tuple(cells[i] for i in np.random.default_rng(ORDER_SEED).permutation(len(cells)))


@dataclass(frozen=True)
class Phase:
    """A block of trainings: for each class in turn, all fidelities and seeds.

    Attributes:
        task: name of the task.
        curves: fidelities whose whole curve is trained, as strings.
        seeds: training seeds.
        classes: how many classes of the fixed order; None is all.
    """

    task: str
    curves: tuple[str, ...]
    seeds: tuple[int, ...] = (777,)
    classes: int | None = None

    def jobs(self) -> Iterator[Job]:
        """The trainings in order."""
        for cell in class_order()[: self.classes]:
            for seed in self.seeds:
                for curve in self.curves:
                    yield Job(self.task, curve, seed, cell.index)


def work(
    database: Path, phases: Sequence[Phase], sources: Any, clock: Mapping[str, Any] | None, deadline: float
) -> None:
    """One worker: claim, train and commit until nothing is left or the deadline (a time stamp) has passed."""
    import torch

    from nasbench_kd.live.laboratory import Laboratory

    keep_freed_memory()
    torch.set_num_threads(1)
    laboratory = Laboratory(sources, clock=clock)
    store = Store(database)
    for phase in phases:
        done = store.done()
        for job in phase.jobs():
            if job in done or not store.claim(job):
                continue
            if time.time() > deadline:
                store.release(job)
                return
            try:
                store.finish(laboratory.train(job))
            except BaseException:
                store.release(job)
                raise


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory: fresh pages for every activation cost a third of the time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    for option, value in ((-3, 1 << 25), (-1, (1 << 31) - 1), (-2, 1 << 26)):
        libc.mallopt(option, value)


def fill(
    database: Path,
    phases: Sequence[Phase],
    sources: Any,
    *,
    clock: Mapping[str, Any] | None = None,
    hours: float | None = None,
    processes: int = 1,
) -> None:
    """Train what the phases ask for and the database lacks; stops after `hours`.

    May be killed at any moment and started again, also several times at once on one database.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    deadline = time.time() + (3600 * hours if hours is not None else float("inf"))
    store = Store(database)
    wanted = [set(phase.jobs()) for phase in phases]
    context = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = "1"
    workers = [
        context.Process(target=work, args=(database, phases, sources, clock, deadline), daemon=True)
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as progress:
        bars = [
            progress.add_task(f"{phase.task} {' '.join(phase.curves)}"[:70], total=len(jobs))
            for phase, jobs in zip(phases, wanted, strict=True)
        ]
        while any(worker.is_alive() for worker in workers):
            done = store.done()
            for bar, jobs in zip(bars, wanted, strict=True):
                progress.update(bar, completed=len(jobs & done))
            time.sleep(2)
    for worker in workers:
        worker.join()
