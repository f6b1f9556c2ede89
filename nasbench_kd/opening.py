"""Opens a task: the only place that knows both the tables and live training."""

from __future__ import annotations

from nasbench_kd.arguments import truth
from nasbench_kd.benchmark.benchmark import Benchmark, LiveTrainer
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tasks.registry import find_task


def load(
    name: str, *, data: Data = "installed", live: bool = False, mean_over_seeds: bool = False
) -> Benchmark:
    """Open a task by name, in milliseconds.

    With `data="embedded"` only the tables that ship are used, so that results do not depend on
    what is installed. With `live=True` missing entries are trained (needs the `live` extra).
    With `mean_over_seeds=True` a query gives the mean over a cell's training seeds, as in much of the literature,
    for the price of one.
    Raises `UnknownNameError`, `ArgumentError` and `DataError`.
    """
    task = find_task(name)
    trainer: LiveTrainer | None = None
    if truth("live", live):
        from nasbench_kd.live.oracle import LiveOracle  # noqa: PLC0415  # deferred: imports torch

        trainer = LiveOracle()
    return Benchmark(
        task, tables(data, task), trainer, mean_over_seeds=truth("mean_over_seeds", mean_over_seeds)
    )
