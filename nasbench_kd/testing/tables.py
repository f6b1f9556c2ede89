"""Builds a benchmark in memory from plain arrays, for tests of search methods."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.tables.column import DIVERGED, Column, make_rows
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.task import Task

IMAGES = 50_000
"""Images behind every accuracy, so that accuracies are kept to 0.002 percentage points."""
TRAINING_SEEDS = (777, 888, 999)


def table_benchmark(
    name: str | Task,
    entries: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    source: str = "measured",
    beside: Sequence[Table] = (),
    losses: Mapping[str, Mapping[str, npt.ArrayLike]] = MappingProxyType({}),
) -> Benchmark:
    """Open a task on made-up entries: fidelity -> (validation accuracies, seconds).

    Accuracies are percent in index order, shape (n,) for one training seed of the n architectures or (n, s) for
    s = 2 or 3 of them; NaN records a training that diverged. Seconds broadcast against them.
    Tables `beside` answer first, such as the embedded ones. `losses` are further readings of a fidelity's
    trainings, by the name of their signal, in the shape of its accuracies. Searches that bill a teacher need
    entries at the fidelity of its training. Raises `UnknownNameError` and
    `FidelityError`, and `ValueError` on another shape or an accuracy outside 0..100.

    >>> accuracies = np.linspace(10, 90, len(find_task("kd-resnet").space))
    >>> bench = table_benchmark("kd-resnet", {"target": (accuracies, 60.0)})
    >>> bench.evaluate_many([63]).valid_accuracy
    array([90.])
    """
    task = name if isinstance(name, Task) else find_task(name)
    columns = tuple(
        _column(
            task,
            task.fidelity(fidelity),
            np.asarray(accuracies, dtype=float),
            seconds,
            source,
            losses.get(fidelity, {}),
        )
        for fidelity, (accuracies, seconds) in entries.items()
    )
    digest = hashlib.sha256(b"".join(column.rows.tobytes() for column in columns)).hexdigest()
    return Benchmark(task, [*beside, Table("in-memory", digest, columns, {})])


def _column(
    task: Task,
    fidelity: Fidelity,
    accuracies: npt.NDArray[np.float64],
    seconds: npt.ArrayLike,
    source: str,
    losses: Mapping[str, npt.ArrayLike],
) -> Column:
    if accuracies.ndim == 1:
        accuracies = accuracies[:, None]
    size = len(task.space)
    if accuracies.shape[0] != size or not 1 <= accuracies.shape[1] <= len(TRAINING_SEEDS):
        raise ValueError(
            f"accuracies have the shape ({size},) or ({size}, 1..{len(TRAINING_SEEDS)}), "
            f"not {accuracies.shape}"
        )
    finished = accuracies[~np.isnan(accuracies)]
    if finished.size and not (finished.min() >= 0 and finished.max() <= 100):
        raise ValueError(
            f"accuracies are percent from 0 to 100, not {finished.min():g} to {finished.max():g}"
        )
    times = np.asarray(seconds, dtype=float)
    if times.ndim == 1:
        times = times[:, None]
    correct = np.where(np.isnan(accuracies), DIVERGED, np.round(np.nan_to_num(accuracies) * (IMAGES / 100)))
    repetitions = accuracies.shape[1]
    rows = make_rows(
        np.repeat(np.arange(size), repetitions),
        np.tile(TRAINING_SEEDS[:repetitions], size),
        correct.ravel(),
        np.round(np.broadcast_to(times, accuracies.shape) * 1e6).ravel(),
        {
            name: np.asarray(values, dtype=float).reshape(accuracies.shape).ravel()
            for name, values in losses.items()
        },
    )
    return Column(task.name, fidelity, "valid", IMAGES, rows, {"source": source}, dict.fromkeys(losses))
