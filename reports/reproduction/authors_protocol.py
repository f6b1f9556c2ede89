"""The benchmark authors' own search loops and accounting, apart from this project's, to explain differences.

Random search, regularized evolution and REINFORCE as in AutoDL-Projects (`exps/NAS-Bench-201-algos`
and `exps/NATS-algos`), on plain arrays. Unlike `nasbench_kd.search`, a repeated query is paid again,
each query pays a validation pass, each draws its training seed, and evolution mutates a node first
and then one of its edges, so that edges are not equally likely.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, code_matrix, isomorphism_classes

Array = npt.NDArray[np.float64]
VALIDATION_PASS = {"cifar10": 0.033, "cifar100": 0.0033, "imagenet16-120": 0.0007}
"""Length of a validation pass as a share of a 12-epoch training: mean over the three public archives."""
_POPULATION, _TOURNAMENT = 10, 3
_NODES = ((0,), (1, 2), (3, 4, 5))
"""Edges into each node."""


@dataclass(slots=True)
class Bill:
    """What one search has paid, and the best answer it has paid for.

    Attributes:
        accuracy: validation accuracy of every cell in percent, shape (15625,).
        seconds: price of every cell, shape (15625,).
        seed_deviation: standard deviation of the simulated noise between training seeds, where
            `accuracy` is a mean over seeds; 0 where it is of one seed.
    """

    accuracy: Array
    seconds: Array
    budget: float
    seed_deviation: float = 0.0
    paid: float = 0.0
    queries: int = 0
    best: float = -1.0
    answer: int = -1

    def query(self, cell: int, rng: np.random.Generator) -> float | None:
        """Pay for a cell and return its accuracy; None where the budget does not suffice."""
        if self.paid + self.seconds[cell] > self.budget:
            return None
        self.paid += float(self.seconds[cell])
        self.queries += 1
        accuracy = float(self.accuracy[cell])
        if self.seed_deviation:
            accuracy += self.seed_deviation * float(rng.standard_normal())
        if accuracy > self.best:
            self.best, self.answer = accuracy, cell
        return accuracy


def random_search(bill: Bill, rng: np.random.Generator) -> None:
    """Independent uniform cells."""
    while bill.query(int(rng.integers(SPACE_SIZE)), rng) is not None:
        pass


def regularized_evolution(
    bill: Bill, rng: np.random.Generator, population: int = _POPULATION, tournament: int = _TOURNAMENT
) -> None:
    """Aging evolution with the authors' mutation: a uniform node, then a uniform edge into it."""
    members: deque[tuple[float, npt.NDArray[np.int64]]] = deque(maxlen=population)
    while True:
        if len(members) < population:
            codes = rng.integers(5, size=6)
        else:
            drawn = [members[int(place)] for place in rng.integers(population, size=tournament)]
            codes = max(drawn, key=lambda member: member[0])[1].copy()
            edges = _NODES[int(rng.integers(3))]
            edge = edges[int(rng.integers(len(edges)))]
            codes[edge] = (codes[edge] + 1 + rng.integers(4)) % 5
        accuracy = bill.query(_index(codes), rng)
        if accuracy is None:
            return
        members.append((accuracy, codes))


def reinforce(bill: Bill, rng: np.random.Generator, learning_rate: float) -> None:
    """Policy gradient over 6 x 5 logits with Adam and a moving average of the reward as baseline."""
    logits = 1e-3 * rng.standard_normal((6, 5))
    first, second = np.zeros((6, 5)), np.zeros((6, 5))
    total = weight = 0.0
    while True:
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        policy = weights / weights.sum(axis=1, keepdims=True)
        codes = (policy.cumsum(axis=1)[:, :-1] < rng.random((6, 1))).sum(axis=1)
        reward = bill.query(_index(codes), rng)
        if reward is None:
            return
        total, weight = 0.9 * total + 0.1 * reward, 0.9 * weight + 0.1
        gradient = (np.eye(5)[codes] - policy) * (reward - total / weight)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean = first / (1 - 0.9**bill.queries)
        logits = logits + learning_rate * mean / (np.sqrt(second / (1 - 0.999**bill.queries)) + 1e-8)


def twin_deviation(accuracy: Array, above: float) -> float:
    """Standard deviation between cells that compute the same function and reach some accuracy, in points.

    Such cells differ in the randomness of their trainings alone. Pooled over the classes whose mean
    exceeds `above`; `accuracy` has shape (15625,).
    """
    classes = isomorphism_classes()
    counts = np.bincount(classes, minlength=SPACE_SIZE)
    means = np.bincount(classes, weights=accuracy, minlength=SPACE_SIZE) / np.maximum(counts, 1)
    chosen = (means[classes] > above) & (counts[classes] > 1)
    squares = (accuracy[chosen] - means[classes[chosen]]) ** 2
    freedom = chosen.sum() - len(np.unique(classes[chosen]))
    return float(np.sqrt(squares.sum() / freedom))


@cache
def _indices() -> npt.NDArray[np.int64]:
    """Cell index by the base-5 number of its operation codes."""
    table = np.empty(SPACE_SIZE, dtype=np.int64)
    table[code_matrix().astype(np.int64) @ 5 ** np.arange(6)] = np.arange(SPACE_SIZE)
    return table


def _index(codes: npt.NDArray[np.int64]) -> int:
    return int(_indices()[codes @ 5 ** np.arange(6)])
