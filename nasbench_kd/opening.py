"""Opens a task: the only place that knows both the tables and live training."""

from __future__ import annotations

from nasbench_kd.arguments import truth
from nasbench_kd.benchmark.benchmark import Benchmark, LiveTrainer
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.task import Task

_MOST_OPENED = 4
_opened: dict[tuple[str, bool, tuple[tuple[str, str], ...]], Benchmark] = {}
"""Benchmarks by what they answer from, the last one used last: each holds some ten megabytes."""


def load(
    name: str, *, data: Data = "installed", live: bool = False, mean_over_seeds: bool = False
) -> Benchmark:
    """Open a task by name, in milliseconds.

    With `data="embedded"` only the tables that ship are used, so that results do not depend on
    what is installed. With `live=True` missing entries are trained (needs the `live` extra); else a task that was
    opened on the same tables before is the same object, and quick to search.
    With `mean_over_seeds=True` a query gives the mean over a cell's training seeds, as in much of the literature,
    for the price of one.
    Raises `UnknownNameError`, `ArgumentError` and `DataError`.
    """
    task, mean_over_seeds = find_task(name), truth("mean_over_seeds", mean_over_seeds)
    trainer: LiveTrainer | None = None
    if truth("live", live):
        from nasbench_kd.live.oracle import LiveOracle  # noqa: PLC0415  # deferred: imports torch

        trainer = LiveOracle()
    found = tables(data, task)
    if trainer is not None:
        return Benchmark(task, found, trainer, mean_over_seeds=mean_over_seeds)
    return _shared(task, found, mean_over_seeds)


def _shared(task: Task, found: tuple[Table, ...], mean_over_seeds: bool) -> Benchmark:
    """The benchmark of a task on tables of these contents, opened once with all that it has worked out since."""
    key = task.name, mean_over_seeds, tuple((table.name, table.sha256) for table in found)
    known = _opened.pop(key, None)
    if known is None or known.task is not task:
        known = Benchmark(task, found, mean_over_seeds=mean_over_seeds)
    _opened[key] = known
    if len(_opened) > _MOST_OPENED:
        del _opened[next(iter(_opened))]
    return known
