"""NPENAS-NP: evolution whose mutants are chosen by a graph network that predicts their error."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.simulation.parameters import integer, parameter, real, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.common.predictor_search import PredictorSearch
from nasbench_kd_baselines.models.graph_network import Array, GraphNetwork


@with_parameters
class Npenas(PredictorSearch):
    """NPENAS-NP (Wei et al., IEEE Transactions on Neural Networks and Learning Systems 2022).

    As in the authors' code (NPENASv1): 10 initial cells, rounds of 10, 100 mutants of the up to 50 best
    cells, each with one operation changed (a node is drawn, one of its edges, and another operation), of
    cells with the same paths without `none` only the first; the network of `GraphNetwork` with a sigmoid on
    top, times 100 (as in the later of the code's two versions; the first has 10, where errors above 10 % are
    all one), squared error of the validation error in percent, rate 0.005, 300 epochs of batches of 10. With
    parallel workers, which the authors do not have, a round begins when the last one has been handed out.

    Args:
        fidelity, initial, batch, candidates, parents: see `PredictorSearch`.
        epochs, learning_rate, weight_decay, training_batch: of the network.
    """

    paper = "Wei et al., TNNLS 2022"
    compared = "reports/literature/README.md"
    needs = ("graph",)
    parents: int = 50
    epochs: int = parameter(300, integer(1))
    learning_rate: float = parameter(5e-3, real(above=0))
    weight_decay: float = parameter(1e-4, real(0))
    training_batch: int = parameter(10, integer(1))

    def mutate(self, cell: Architecture) -> Architecture:
        """Change one operation: of a node drawn first, so that edges are not equally likely."""
        if not cell.space.grid:
            return cell.mutate(self.rng)
        groups = cell.space.graph.groups
        group = groups[int(self.rng.integers(len(groups)))]
        edge = group[int(self.rng.integers(len(group)))]
        codes, choices = list(cell.codes), len(cell.space.choices[edge])
        codes[edge] = (codes[edge] + int(self.rng.integers(1, choices))) % choices
        return cell.space.from_codes(codes)

    def identity(self, cell: Architecture) -> Hashable:
        """The operations along every path that no `none` interrupts."""
        return cell.space.graph.paths(cell.index)

    def mutants(self) -> list[Architecture]:
        """At most `candidates` of the new mutants, the best cell's first."""
        return super().mutants()[: self.candidates]

    def scores(self, candidates: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """Minus the predicted error (its logit, in the same order)."""
        errors = 1 - np.array(self.accuracies) / 100

        def gradient(outputs: Array, chosen: npt.NDArray[np.integer]) -> Array:
            predicted = 1 / (1 + np.exp(-outputs))
            slope: Array = 2e4 / len(chosen) * (predicted - errors[chosen]) * predicted * (1 - predicted)
            return slope

        network = GraphNetwork(self.view.space.graph, self.rng)
        network.fit(
            [cell.index for cell in self.cells],
            gradient,
            self.rng,
            self.epochs,
            self.learning_rate,
            self.weight_decay,
            self.training_batch,
        )
        return -network.predict([cell.index for cell in candidates])
