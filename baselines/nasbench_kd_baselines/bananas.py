"""BANANAS: an ensemble of perceptrons on the path encoding, with independent Thompson sampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.simulation.parameters import parameter, real, whole, with_parameters
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, Cell, code_matrix
from nasbench_kd_baselines.common.predictor_search import PredictorSearch
from nasbench_kd_baselines.models.perceptron_ensemble import PerceptronEnsemble

PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""Edges (positions in `EDGES`) of the four paths from the input to the output."""


@with_parameters
class Bananas(PredictorSearch):
    """BANANAS (White, Neiswanger and Savani, AAAI 2021).

    As in the authors' code (naszilla) on NAS-Bench-201: 10 initial cells, rounds of 10, at least 100
    mutants where the five best cells give them (an operation changes with probability 1/4), 5 perceptrons of
    10 layers with 20 units on the 30 shortest paths, absolute error, Adam with rate 0.01 and betas 0.9 and
    0.99, 150 epochs of batches of 32, and a round chosen by one draw from N(mean, deviation) of every
    candidate. Ours: targets are standardized, and with parallel workers a round begins when the last one
    has been handed out, not when it is finished.

    Args:
        fidelity, initial, batch, candidates, parents: see `PredictorSearch`.
        mutation: probability that an edge of a parent gets another operation.
        members, layers, width, epochs: of the ensemble.
        paths: length of the path encoding; 30 leaves out the longest paths, 155 is all.
    """

    paper = "White, Neiswanger and Savani, AAAI 2021"
    needs = ("nas-bench-201",)  # its encoding is of the paths through a cell
    mutation: float = parameter(0.25, real(above=0, most=1))
    members: int = parameter(5, whole(1))
    layers: int = parameter(10, whole(1))
    width: int = parameter(20, whole(1))
    epochs: int = parameter(150, whole(1))
    paths: int = parameter(30, whole(1))

    def mutate(self, cell: Cell) -> Cell:
        """Change every edge with probability `mutation`."""
        changed = self.rng.random(len(EDGES)) < self.mutation
        shifts = self.rng.integers(1, len(OPERATIONS), size=len(EDGES))
        return Cell.from_codes(((np.array(cell.codes) + changed * shifts) % len(OPERATIONS)).tolist())

    def scores(self, candidates: Sequence[Cell]) -> npt.NDArray[np.float64]:
        """One independent draw from the ensemble's normal distribution of each candidate."""
        accuracies = np.array(self.accuracies)
        targets = (accuracies - accuracies.mean()) / (accuracies.std() or 1.0)
        ensemble = PerceptronEnsemble(self.paths, self.rng, self.members, self.layers, self.width)
        ensemble.fit(path_encoding(self.cells)[:, : self.paths], targets, self.rng, self.epochs)
        outputs = ensemble.predict(path_encoding(candidates)[:, : self.paths])
        return np.asarray(self.rng.normal(outputs.mean(axis=0), outputs.std(axis=0)))


def path_encoding(cells: Sequence[Cell]) -> npt.NDArray[np.float64]:
    """Which of the 5 + 25 + 125 sequences of operations lie on a path from input to output, (n, 155).

    `none` counts as an operation, as in the authors' code.
    """
    codes = code_matrix()[[cell.index for cell in cells]].astype(int)
    encoding = np.zeros((len(cells), sum(len(OPERATIONS) ** length for length in (1, 2, 3))))
    for path in PATHS:
        places = sum(len(OPERATIONS) ** length for length in range(1, len(path)))
        for position, edge in enumerate(path):
            places = places + codes[:, edge] * len(OPERATIONS) ** position
        encoding[np.arange(len(cells)), places] = 1
    return encoding
