"""What the accuracies of other data sets say of vision transformers under distillation: leave one data set out.

Auto-Prox publishes no teacher's weights, so that DaSS's view of teacher and student cannot be had: what remains is a
predictor of the architecture alone, learned on other data sets, with or without some students of the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, spearmanr

import nasbench_kd as nk
from nasbench_kd.report.tables import pipe_table
from nasbench_kd.spaces.vision_transformers import AUTOFORMER, PIT

Array = npt.NDArray[np.float64]
IMAGES = ("cifar100", "flowers", "chaoyang")
SHOTS = 10
"""Students of the left-out data set whose accuracy is known."""
REPETITIONS = 100
"""Random halves of the networks: learned from the first, tested on the second."""
PENALTY = 10.0
"""Of the ridge regression, ours; the columns are standardised."""
RANKINGS = (
    "parameters",
    "architecture, from the other data sets",
    f"the same, and {SHOTS} students",
    f"architecture, from {SHOTS} students alone",
    "its accuracy on the other data sets",
)


class Networks(NamedTuple):
    """A space's networks on its three data sets."""

    inputs: Array
    """One-hot codes and the number of parameters, standardised, shape (n, inputs)."""
    sizes: Array
    ranks: dict[str, Array]
    """By data set, the share of networks that each surpasses by distilled accuracy, shape (n,)."""


def table() -> str:
    """Spearman correlations with the distilled accuracy on the left-out data set, as Markdown."""
    rows = []
    for space in (AUTOFORMER, PIT):
        networks = _networks(space.name)
        for images in IMAGES:
            found = np.array(list(_repetitions(networks, images)))
            low, high = np.quantile(found, (0.025, 0.975), axis=0)
            means = found.mean(axis=0)
            rows.append(
                [
                    f"{space.name}-{images}",
                    *(f"{a:.2f} [{b:.2f}, {c:.2f}]" for a, b, c in zip(means, low, high, strict=True)),
                ]
            )
    turned = [list(column) for column in zip(["ranked by", *RANKINGS], *rows, strict=True)]
    return pipe_table(turned[1:], turned[0])


def _networks(space: str) -> Networks:
    ranks = {}
    for images in IMAGES:
        bench = nk.load(f"{space}-{images}", data="embedded")
        accuracies = bench.evaluate_many(range(len(bench.task.space))).valid_accuracy
        ranks[images] = (rankdata(accuracies) - 0.5) / len(accuracies)
    task = bench.task
    sizes = np.array([task.sizes(network)["parameters"] for network in task.space], dtype=float)
    columns = np.column_stack((task.space.one_hot, sizes))
    return Networks((columns - columns.mean(0)) / (columns.std(0) + 1e-12), sizes, ranks)


def _repetitions(networks: Networks, images: str) -> Iterator[list[float]]:
    others = np.mean([networks.ranks[each] for each in IMAGES if each != images], axis=0)
    own = networks.ranks[images]
    rng = np.random.default_rng(0)
    for _ in range(REPETITIONS):
        known, tested = np.array_split(rng.permutation(len(own)), 2)
        shots = known[:SHOTS]
        learned = _ridge(networks.inputs[known], others[known])
        # The step to the new data set: what the other ones get wrong of its students.
        step = _ridge(networks.inputs[shots], own[shots] - networks.inputs[shots] @ learned[1:] - learned[0])
        alone = _ridge(networks.inputs[shots], own[shots])
        shown = (
            networks.sizes,
            networks.inputs @ learned[1:],
            networks.inputs @ (learned + step)[1:],
            networks.inputs @ alone[1:],
            others,
        )
        yield [float(spearmanr(each[tested], own[tested]).statistic) for each in shown]


def _ridge(inputs: Array, values: Array) -> Array:
    """Intercept and weights of a ridge regression, shape (1 + inputs,)."""
    centre, mean = inputs.mean(axis=0), values.mean()
    moved = inputs - centre
    weights = np.linalg.solve(moved.T @ moved + PENALTY * np.eye(inputs.shape[1]), moved.T @ (values - mean))
    return np.concatenate(([mean - centre @ weights], weights))


if __name__ == "__main__":
    print(table())
