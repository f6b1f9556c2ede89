"""Opens a task: the only place that knows both the tables and live training."""

from __future__ import annotations

from nasbench_kd.benchmark.benchmark import Benchmark, LiveTrainer
from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tasks.task import TASKS


def load(task: str, *, data: Data = "installed", live: bool = False) -> Benchmark:
    """Open a task in milliseconds.

    With `data="embedded"` only the tables that ship are used, so that results do not depend on
    what is installed. With `live=True` missing entries are trained (needs the `live` extra).
    Raises `UnknownNameError` and `DataError`.
    """
    if task not in TASKS:
        raise UnknownNameError(
            f"unknown task {task!r}: expected {', '.join(TASKS)}.{nearest(str(task), TASKS)}"
        )
    trainer: LiveTrainer | None = None
    if live:
        from nasbench_kd.live.oracle import LiveOracle  # noqa: PLC0415  # deferred: imports torch

        trainer = LiveOracle()
    return Benchmark(TASKS[task], tables(data), trainer)
