"""What the surrogate knows of every cell without a cheap training: its structure and its 200-epoch results."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import rankdata

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.spaces.complexity import multiply_accumulates, parameters
from nasbench_kd.spaces.nasbench201 import (
    EDGES,
    OPERATIONS,
    SPACE_SIZE,
    all_cells,
    code_matrix,
    one_hot_matrix,
)
from nasbench_kd.tasks.nasbench201 import TASKS

Array = npt.NDArray[np.float64]
_NONE = OPERATIONS.index("none")
_CONVOLUTIONS = [code for code, name in enumerate(OPERATIONS) if name.startswith("nor_conv")]
_WIDEST = 4.0
"""Standard scores are cut here, so that a broken training after 200 epochs does not stretch the axis."""


def features(task: str) -> Array:
    """Features of all cells on a task, shape (15625, features), rows in index order.

    The 200-epoch results (of the embedded tables) are given as normal scores and standard scores within
    their task.
    """
    others = [normal_scores(name) for name in TASKS if name != task]
    results = full_accuracy(task)
    standard = np.clip((results - results.mean()) / results.std(), -_WIDEST, _WIDEST)
    return np.column_stack((structure(), normal_scores(task), standard, np.mean(others, axis=0)))


@cache
def full_accuracy(task: str) -> Array:
    """Mean validation accuracy after 200 epochs over the training seeds, percent, shape (15625,), read-only."""
    accuracy: Array = np.nanmean(open_scorer(task, "embedded").valid, axis=1)
    accuracy.setflags(write=False)
    return accuracy


@cache
def normal_scores(task: str) -> Array:
    """Ranks of the 200-epoch results of all cells as quantiles of a normal distribution, shape (15625,)."""
    return np.asarray(ndtri(rankdata(full_accuracy(task)) / (SPACE_SIZE + 1)))


def live_edges() -> npt.NDArray[np.bool_]:
    """Whether an edge lies on a path from input to output free of `none`, shape (15625, 6)."""
    codes = code_matrix()
    carries = codes != _NONE
    reached = np.zeros((SPACE_SIZE, 4), dtype=bool)
    leads_out = reached.copy()
    reached[:, 0] = leads_out[:, 3] = True
    for edge, (source, target) in enumerate(EDGES):
        reached[:, target] |= reached[:, source] & carries[:, edge]
    for edge, (source, target) in reversed(list(enumerate(EDGES))):
        leads_out[:, source] |= leads_out[:, target] & carries[:, edge]
    sources, targets = np.array(EDGES).T
    return np.asarray(carries & reached[:, sources] & leads_out[:, targets])


@cache
def structure() -> Array:
    """Operations, live edges, paths, depth and size of every cell, shape (15625, features)."""
    live, codes = live_edges(), code_matrix()
    operations = np.eye(len(OPERATIONS))[codes] * live[:, :, None]
    convolution = np.isin(codes, _CONVOLUTIONS)
    paths = np.zeros((SPACE_SIZE, 4))
    paths[:, 0] = 1
    deepest = np.where(np.arange(4) == 0, 0.0, -np.inf) * np.ones((SPACE_SIZE, 1))
    shallowest = -deepest
    for edge, (source, target) in enumerate(EDGES):
        alive = live[:, edge]
        paths[:, target] += np.where(alive, paths[:, source], 0)
        steps = convolution[:, edge]
        deepest[:, target] = np.maximum(
            deepest[:, target], np.where(alive, deepest[:, source] + steps, -np.inf)
        )
        shallowest[:, target] = np.minimum(
            shallowest[:, target], np.where(alive, shallowest[:, source] + steps, np.inf)
        )
    depths = np.column_stack((deepest[:, 3], shallowest[:, 3]))
    size = [(parameters(cell, 10) / 1e6, multiply_accumulates(cell, 10) / 1e6) for cell in all_cells()]
    return np.column_stack(
        (
            one_hot_matrix(),
            operations[:, :, 1:].reshape(SPACE_SIZE, -1),
            operations[:, :, 1:].sum(axis=1),
            paths[:, 3],
            np.where(np.isfinite(depths), depths, -1),
            np.array(size),
        )
    )
