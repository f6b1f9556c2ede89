"""The made-up landscapes on which the conformance kit searches."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.task import Task
from nasbench_kd.testing.tables import table_benchmark

Landscape = Callable[[Fidelity, Task], npt.NDArray[np.float64]]
"""Validation accuracies in percent at a fidelity of a task, shape (n,) or (n, training seeds)."""

SECONDS_PER_EPOCH = 10.0


@cache
def landscape_benchmark(task: str, fidelities: tuple[str, ...], landscape: Landscape) -> Benchmark:
    """Open a task on a landscape at these fidelities; seconds are ten times the epochs."""
    about = find_task(task)
    parsed = {str(fidelity): fidelity for fidelity in map(about.fidelity, fidelities)}
    return table_benchmark(
        task,
        {name: (landscape(item, about), SECONDS_PER_EPOCH * item.epochs) for name, item in parsed.items()},
    )


@cache
def loss_benchmark(task: str, fidelities: tuple[str, ...]) -> Benchmark:
    """Open a task whose short trainings say everything by their train loss and nothing by their accuracy.

    Full trainings are `hilly`'s; below them accuracies are noise, and the train loss is lower the higher
    the cell's hill, on a scale that goes below zero.
    """
    about, entries, losses = find_task(task), {}, {}
    for fidelity in map(about.fidelity, fidelities):
        height = hilly(fidelity, about)
        if fidelity != about.target:
            noise = np.random.default_rng(zlib.crc32(str(fidelity).encode())).normal(size=height.shape)
            losses[str(fidelity)] = {"train_loss": 1 - height / 20}
            height = (40 + 8 * noise).clip(0, 95)
        entries[str(fidelity)] = (height, SECONDS_PER_EPOCH * fidelity.epochs)
    return table_benchmark(task, entries, losses=losses)


def hilly(fidelity: Fidelity, task: Task) -> npt.NDArray[np.float64]:
    """Every coordinate adds something, consecutive ones interact, fewer epochs learn less; two noisy seeds.

    Heights have one mean and one spread in every space: else those of many coordinates were flat at the top.
    """
    rng = np.random.default_rng(88)
    codes, counts = task.space.codes, [len(names) for names in task.space.choices]
    height = np.zeros(len(task.space))
    for place, count in enumerate(counts):
        height += rng.normal(size=count)[codes[:, place]]
    for place in range(1, len(counts)):
        pairs = rng.normal(scale=0.5, size=(counts[place - 1], counts[place]))
        height += pairs[codes[:, place - 1], codes[:, place]]
    height = (height - height.mean()) / height.std()
    noise = np.random.default_rng(zlib.crc32(str(fidelity).encode())).normal(size=(len(height), 2))
    learnt = min(1.0, (fidelity.epochs / task.target.epochs) ** 0.2)
    accuracies: npt.NDArray[np.float64] = 10 + learnt * (45 + 12 * height[:, None] + 0.5 * noise)
    return accuracies.clip(0, 95)


def treacherous(fidelity: Fidelity, task: Task) -> npt.NDArray[np.float64]:
    """As `hilly`, but three cells in ten diverge."""
    diverges = np.random.default_rng(3).random(len(task.space)) < 0.3
    return np.where(diverges[:, None], np.nan, hilly(fidelity, task))


def hopeless(_fidelity: Fidelity, task: Task) -> npt.NDArray[np.float64]:
    """Every training diverges."""
    return np.full(len(task.space), np.nan)


def flat(_fidelity: Fidelity, task: Task) -> npt.NDArray[np.float64]:
    """Every training ends at the same accuracy."""
    return np.full(len(task.space), 50.0)


def twins(fidelity: Fidelity, task: Task) -> npt.NDArray[np.float64]:
    """As `hilly`, but all cells of a class have the values of its representative."""
    return hilly(fidelity, task)[task.space.classes]
