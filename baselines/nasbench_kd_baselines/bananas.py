"""BANANAS: an ensemble of perceptrons on the path encoding, with independent Thompson sampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.simulation.parameters import boolean, integer, parameter, real, with_parameters
from nasbench_kd.spaces.encodings import ONE_HOT, PATHS
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.common.predictor_search import PredictorSearch
from nasbench_kd_baselines.models.perceptron_ensemble import PerceptronEnsemble


@with_parameters
class Bananas(PredictorSearch):
    """BANANAS (White, Neiswanger and Savani, AAAI 2021).

    As in the authors' code (naszilla) on NAS-Bench-201: 10 initial cells, rounds of 10, at least 100
    mutants where the five best cells give them (an operation changes with probability 1/4), 5 perceptrons of
    10 layers with 20 units on the 30 shortest paths, absolute error, Adam with rate 0.01 and betas 0.9 and
    0.99, 150 epochs of batches of 32, and a round chosen by one draw from N(mean, deviation) of every
    candidate. Ours: targets are standardized, which costs a little (docs/methods.md), and with parallel
    workers a round begins when the last one has been handed out, not when it is finished. A space without paths
    is seen by its one-hot codes, as in the paper's ablation; where combinations of choices are missing, a mutant
    is a neighbour.

    Args:
        fidelity, initial, batch, candidates, parents: see `PredictorSearch`.
        mutation: probability that a coordinate of a parent gets another choice.
        members, layers, width, epochs: of the ensemble.
        paths: length of the path encoding; 30 leaves out the longest paths, 155 is all.
        standardized: whether the ensemble learns standardized accuracies; else errors in percent, as the authors'.
    """

    paper = "White, Neiswanger and Savani, AAAI 2021"
    compared = "reports/literature/README.md"
    mutation: float = parameter(0.25, real(above=0, most=1))
    members: int = parameter(5, integer(1))
    layers: int = parameter(10, integer(1))
    width: int = parameter(20, integer(1))
    epochs: int = parameter(150, integer(1))
    paths: int = parameter(30, integer(1))
    standardized: bool = parameter(True, boolean)

    def mutate(self, cell: Architecture) -> Architecture:
        """Change every coordinate with probability `mutation`."""
        if not cell.space.grid:
            return cell.mutate(self.rng)
        choices = np.array(list(map(len, cell.space.choices)))
        changed = self.rng.random(len(choices)) < self.mutation
        shifts = self.rng.integers(1, choices)
        return cell.space.from_codes(((np.array(cell.codes) + changed * shifts) % choices).tolist())

    def scores(self, candidates: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """One independent draw from the ensemble's normal distribution of each candidate."""
        accuracies = np.array(self.accuracies)
        targets = accuracies - 100
        if self.standardized:
            targets = (accuracies - accuracies.mean()) / (accuracies.std() or 1.0)
        space = self.view.space
        known = PATHS in space.encodings
        features = space.encoding(PATHS)[:, : self.paths] if known else space.encoding(ONE_HOT)
        seen, asked = ([cell.index for cell in cells] for cells in (self.cells, candidates))
        ensemble = PerceptronEnsemble(features.shape[1], self.rng, self.members, self.layers, self.width)
        ensemble.fit(features[seen].astype(float), targets, self.rng, self.epochs)
        outputs = ensemble.predict(features[asked].astype(float))
        return np.asarray(self.rng.normal(outputs.mean(axis=0), outputs.std(axis=0)))
