"""NPENAS-NP: evolution whose mutants are chosen by a graph network that predicts their error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.simulation.parameters import parameter, real, whole, with_parameters
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd_baselines.common.predictor_search import PredictorSearch
from nasbench_kd_baselines.models.graph_network import Array, GraphNetwork


@with_parameters
class Npenas(PredictorSearch):
    """NPENAS-NP (Wei et al., IEEE Transactions on Neural Networks and Learning Systems 2022).

    The constants are those of the authors' code: 10 initial cells, rounds of 10, 100 mutants of the
    best cells, the network of `GraphNetwork` with a sigmoid on top, squared error of the validation
    error in percent, rate 0.005, 300 epochs. Full batches instead of 16 cells are ours.

    Args:
        fidelity, initial, batch, candidates, parents, mutation: see `PredictorSearch`.
        epochs, learning_rate, weight_decay: of the network.
    """

    paper = "Wei et al., TNNLS 2022"
    needs = ("nas-bench-201",)  # its network is one on the graphs of cells
    epochs: int = parameter(300, whole(1))
    learning_rate: float = parameter(5e-3, real(above=0))
    weight_decay: float = parameter(1e-4, real(0))

    def scores(self, candidates: Sequence[Cell]) -> npt.NDArray[np.float64]:
        """Minus the predicted error (its logit, in the same order)."""
        errors = 1 - np.array(self.accuracies) / 100

        def gradient(outputs: Array) -> Array:
            predicted = 1 / (1 + np.exp(-outputs))
            slope: Array = 2e4 / len(errors) * (predicted - errors) * predicted * (1 - predicted)
            return slope

        network = GraphNetwork(self.rng)
        network.fit(
            np.array([cell.codes for cell in self.cells]),
            gradient,
            self.rng,
            self.epochs,
            self.learning_rate,
            self.weight_decay,
        )
        return -network.predict(np.array([cell.codes for cell in candidates]))
