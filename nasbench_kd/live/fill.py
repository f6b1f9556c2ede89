"""Fills a table: trains class representatives in one fixed random order, in several processes, crash-safe."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nasbench_kd.errors import StoreError
from nasbench_kd.executors.executor import Executor, Work
from nasbench_kd.live.checks import usable_device
from nasbench_kd.live.clock import measure_clock, use_one_thread
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.store import LEASE_SECONDS, Finished, Store, TrainingJob, setup_of
from nasbench_kd.spaces.nasbench201 import Cell, representatives
from nasbench_kd.tables.column import Column
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import Fidelity

_MOST_TOGETHER = 4
"""Trainings that are sent to another machine together: images are read once for them."""
ORDER_SEED = 201
"""Seed of the order of the classes: the same for all tasks and fidelities, so that they can be compared."""

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


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
        validate: whether validation is run after each epoch; without it a training is cheaper and is read by its
            training images alone.
    """

    task: str
    curves: tuple[str, ...]
    seeds: tuple[int, ...] = (777,)
    classes: int | None = None
    validate: bool = True

    def jobs(self) -> Iterator[TrainingJob]:
        """The trainings in order."""
        for cell in class_order()[: self.classes]:
            for seed in self.seeds:
                for curve in self.curves:
                    yield TrainingJob(self.task, curve, seed, cell.index)


def tabulated(phases: Sequence[Phase], tables: Iterable[Table], laboratory: Laboratory) -> set[TrainingJob]:
    """The trainings of the phases that tables hold as measured, and a fill need not repeat.

    Of those that live mode has measured, only what was measured in the setup of this laboratory.
    """
    wanted = {(phase.task, Fidelity.parse(curve)) for phase in phases for curve in phase.curves}

    def is_of_this_setup(column: Column) -> bool:
        if "images" not in column.provenance:
            return True
        here = laboratory.in_setup(TrainingJob(column.task, str(column.fidelity), 1, 0))
        return here.setup == setup_of(column.provenance, validated=True)

    return {
        TrainingJob(column.task, str(column.fidelity), int(seed), int(cell))
        for table in tables
        for column in table.columns
        if (column.task, column.fidelity) in wanted
        and column.split == "valid"
        and column.provenance.get("source") != "surrogate"
        and not column.means
        and is_of_this_setup(column)
        for cell, seed in zip(column.rows["cell"], column.rows["seed"], strict=True)
    }


def work(
    database: Path,
    phases: Sequence[Phase],
    sources: Sources,
    *,
    clock: Mapping[str, Any] | None = None,
    device: str = "cpu",
    deadline: float = float("inf"),
    skip: AbstractSet[TrainingJob] = frozenset(),
) -> None:
    """One worker: claim, train and commit until nothing is left, `deadline` (`time.monotonic()`) or orphaned."""
    keep_freed_memory()
    use_one_thread()
    laboratory = Laboratory(sources, device=device, clock=clock)
    store = Store(database)
    parent = multiprocessing.parent_process()
    for phase in phases:
        done = store.done()
        for plain in phase.jobs():
            job = laboratory.in_setup(plain, validate=phase.validate)
            if job in done or plain in skip:
                continue
            if time.monotonic() > deadline or (parent is not None and not parent.is_alive()):
                return
            if not store.claim(job):
                continue
            try:
                store.finish(laboratory.train(job, validate=phase.validate))
            except BaseException:
                store.release(job)
                raise


def train_part(
    jobs: Iterable[tuple[TrainingJob, bool]],
    processes: int,
    *,
    sources: Sources,
    device: str,
) -> Generator[Finished, None, None]:
    """Train jobs, each with whether it is validated, one after another on this machine: an executor's work."""
    del processes  # on one thread, as every training
    keep_freed_memory()
    use_one_thread()
    laboratory = Laboratory(sources, device=device, clock=_clock_of(device))
    for job, validate in jobs:
        yield laboratory.train(job, validate=validate)


@cache
def _clock_of(device: str) -> Mapping[str, Any]:
    return measure_clock(class_order()[:5], device=device)


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory: fresh pages for every activation cost a third of the time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    for option, value in ((-3, 1 << 25), (-1, (1 << 31) - 1), (-2, 1 << 26)):
        libc.mallopt(option, value)


def fill(  # noqa: PLR0913  # each is a wish of its own
    database: Path,
    phases: Sequence[Phase],
    sources: Sources,
    *,
    clock: Mapping[str, Any] | None = None,
    hours: float | None = None,
    devices: Sequence[str] = ("cpu",),
    skip: AbstractSet[TrainingJob] = frozenset(),
    executor: Executor | None = None,
    progress: bool = True,
) -> None:
    """Train what the phases ask for and the database lacks in this setup; begins nothing more after `hours`.

    May be killed at any moment and started again, also several times at once on one database.

    Args:
        devices: one worker process for each, such as `["cpu", "cpu"]` or `["cuda:0", "cuda:1"]`. With an `executor`
            one name, that of the device on each of its machines.
        clock: what `measure_clock` found on this machine, for the provenance.
        executor: a cluster that trains, while this process claims and stores. Its machines measure their own clocks.
        skip: trainings that are known already, such as `tabulated` finds.
        progress: whether a bar with the finish estimate is shown for each phase.

    Raises:
        DataError, FidelityError: images, a teacher or a device are absent, or a training can not be had of them.
        StoreError: a worker failed (its own message is on the standard error), or entries are missing at the end;
            it says which and why.
    """
    laboratory = Laboratory(sources)
    wanted = [
        {laboratory.in_setup(job, validate=phase.validate) for job in phase.jobs() if job not in skip}
        for phase in phases
    ]
    deadline = time.monotonic() + 3600 * hours if hours is not None else float("inf")
    store = Store(database)
    if executor is None:
        for device in devices:
            usable_device(device)
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(
                target=work,
                args=(database, phases, sources),
                kwargs={"clock": clock, "device": device, "deadline": deadline, "skip": skip},
                daemon=True,
            )
            for device in devices
        ]
        for worker in workers:
            worker.start()
        _watch(store, phases, wanted, workers, progress)
        failed = [worker.exitcode for worker in workers if worker.exitcode]
        if failed:
            raise StoreError(
                f"{len(failed)} of {len(workers)} workers of the fill failed (exit codes {failed}); finished entries "
                f"are in {database}, run the same command to go on"
            )
    else:
        jobs = (
            (laboratory.in_setup(job, validate=phase.validate), phase.validate)
            for phase in phases
            for job in phase.jobs()
            if job not in skip
        )
        part = partial(train_part, sources=sources, device=devices[0])
        _fill_elsewhere(store, jobs, sum(map(len, wanted)), part, executor, deadline, progress)
    if missing := set().union(*wanted) - store.done():
        raise StoreError(_explain_missing(missing, store, hours if time.monotonic() > deadline else None))


def _fill_elsewhere(
    store: Store,
    jobs: Iterable[tuple[TrainingJob, bool]],
    total: int,
    part: Work[tuple[TrainingJob, bool], Finished],
    executor: Executor,
    deadline: float,
    progress: bool,
) -> None:
    """Have jobs trained that nobody has claimed, store them, and release what did not come back."""
    done = store.done()
    claimed = set()

    def claims() -> Iterator[tuple[TrainingJob, bool]]:
        for job, validate in jobs:
            if time.monotonic() > deadline:
                return
            if job not in done and store.claim(job):
                claimed.add(job)
                yield job, validate

    with Progress(*_COLUMNS, speed_estimate_period=600, disable=not progress) as bars:
        bar = bars.add_task("fill", total=total, completed=len(done))
        try:
            with closing(executor.run(part, claims(), most=_MOST_TOGETHER)) as entries:
                for entry in entries:
                    store.finish(entry)
                    claimed.discard(entry.job)
                    bars.advance(bar)
        finally:
            for job in claimed:
                store.release(job)


def _explain_missing(missing: AbstractSet[TrainingJob], store: Store, hours: float | None) -> str:
    """Which entries a fill has ended without, and why; `hours` where its time was over."""
    holders = store.holders()
    why = "not begun" if hours is None else f"not begun when the {hours:g} hours were over"
    listed = [
        f"cell {job.cell} at {job.curve} on {job.task}, seed {job.seed}: "
        + (f"claimed by {holders[job]}" if job in holders else why)
        for job in sorted(missing, key=TrainingJob.key)
    ]
    more = [f"and {len(listed) - 10} more"] if len(listed) > 10 else []
    listing = "\n  ".join(listed[:10] + more)
    return (
        f"{len(missing)} entries are missing in {store.path}; the same command goes on (a claim without a sign of "
        f"life is free after {LEASE_SECONDS} s):\n  {listing}"
    )


def _watch(
    store: Store,
    phases: Sequence[Phase],
    wanted: Sequence[AbstractSet[TrainingJob]],
    workers: Sequence[Any],
    progress: bool,
) -> None:
    with Progress(*_COLUMNS, speed_estimate_period=600, disable=not progress) as bars:
        names = [f"{phase.task} {', '.join(phase.curves)}" for phase in phases]
        tasks = [bars.add_task(name, total=len(jobs)) for name, jobs in zip(names, wanted, strict=True)]
        while True:
            running = any(worker.is_alive() for worker in workers)
            done = store.done()
            for task, jobs in zip(tasks, wanted, strict=True):
                bars.update(task, completed=len(jobs & done))
            if not running:
                return
            for worker in workers:
                worker.join(timeout=2 / len(workers))
