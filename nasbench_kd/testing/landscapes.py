"""The made-up landscapes on which the conformance kit searches."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, SPACE_SIZE, code_matrix, isomorphism_classes
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.testing.tables import table_benchmark

Landscape = Callable[[Fidelity], npt.NDArray[np.float64]]
"""Validation accuracies in percent at a fidelity, shape (15625,) or (15625, training seeds)."""

SECONDS_PER_EPOCH = 10.0


@cache
def landscape_benchmark(task: str, fidelities: tuple[str, ...], landscape: Landscape) -> Benchmark:
    """Open a task on a landscape at these fidelities; seconds are ten times the epochs."""
    parsed = {str(fidelity): fidelity for fidelity in map(Fidelity.parse, fidelities)}
    return table_benchmark(
        task,
        {name: (landscape(item), SECONDS_PER_EPOCH * item.epochs) for name, item in parsed.items()},
    )


@cache
def loss_benchmark(task: str, fidelities: tuple[str, ...]) -> Benchmark:
    """Open a task whose short trainings say everything by their train loss and nothing by their accuracy.

    Full trainings are `hilly`'s; below them accuracies are noise, and the train loss is lower the higher
    the cell's hill, on a scale that goes below zero.
    """
    entries, losses = {}, {}
    for fidelity in map(Fidelity.parse, fidelities):
        height = hilly(fidelity)
        if fidelity != FULL:
            noise = np.random.default_rng(zlib.crc32(str(fidelity).encode())).normal(size=height.shape)
            losses[str(fidelity)] = {"train_loss": 1 - height / 20}
            height = (40 + 8 * noise).clip(0, 95)
        entries[str(fidelity)] = (height, SECONDS_PER_EPOCH * fidelity.epochs)
    return table_benchmark(task, entries, losses=losses)


def hilly(fidelity: Fidelity) -> npt.NDArray[np.float64]:
    """Every edge adds something, pairs of edges interact, fewer epochs learn less; two noisy seeds."""
    rng = np.random.default_rng(88)
    codes = code_matrix()
    height = np.zeros(SPACE_SIZE)
    for edge in range(len(EDGES)):
        height += rng.normal(size=len(OPERATIONS))[codes[:, edge]]
    for edge in range(1, len(EDGES)):
        pairs = rng.normal(scale=0.5, size=(len(OPERATIONS), len(OPERATIONS)))
        height += pairs[codes[:, edge - 1], codes[:, edge]]
    noise = np.random.default_rng(zlib.crc32(str(fidelity).encode())).normal(size=(SPACE_SIZE, 2))
    learnt = min(1.0, (fidelity.epochs / 200) ** 0.2)
    accuracies: npt.NDArray[np.float64] = 10 + learnt * (45 + 8 * height[:, None] + 0.5 * noise)
    return accuracies.clip(0, 95)


def treacherous(fidelity: Fidelity) -> npt.NDArray[np.float64]:
    """As `hilly`, but three cells in ten diverge."""
    diverges = np.random.default_rng(3).random(SPACE_SIZE) < 0.3
    return np.where(diverges[:, None], np.nan, hilly(fidelity))


def hopeless(_fidelity: Fidelity) -> npt.NDArray[np.float64]:
    """Every training diverges."""
    return np.full(SPACE_SIZE, np.nan)


def flat(_fidelity: Fidelity) -> npt.NDArray[np.float64]:
    """Every training ends at the same accuracy."""
    return np.full(SPACE_SIZE, 50.0)


def twins(fidelity: Fidelity) -> npt.NDArray[np.float64]:
    """As `hilly`, but all cells of an isomorphism class have the values of its representative."""
    return hilly(fidelity)[isomorphism_classes()]
