"""arch2vec: Bayesian optimization over embeddings of architectures that were learnt without accuracies."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nasbench_kd import Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, boolean, integer, one_of, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import TARGET
from nasbench_kd_baselines.models.deep_network_regression import predict_by_network, predict_by_process
from nasbench_kd_baselines.models.graph_autoencoder import Pretraining, embeddings

NETWORK, PROCESS = "network", "gaussian-process"
PERFECT, BEST = "perfect", "best"


@with_parameters
class Arch2vec(Optimizer):
    """arch2vec with Bayesian optimization (Yan et al., NeurIPS 2020; code: AIoT-MLSys-Lab/arch2vec).

    A variational graph autoencoder learns to reconstruct the graphs of the space, `none` being an operation like
    others; the mean of its codes over the nodes, 16 numbers, stands for an architecture. From 16 random
    architectures on, a regression on the embeddings is fitted before every batch, and the architectures of
    highest expected improvement over the whole space follow. As in the authors' code, the deviation of the
    variational code is the exponential of what the encoder calls a log variance, and the divergence has the
    weight 1 / (batch x nodes). The encoder is made once for a space, without accuracies, in 40 CPU-seconds (10
    passes over 14,062 graphs), which are no seconds of the table's clock: it is on no bill, as reports say
    (`given`). For NAS-Bench-201 its embeddings ship.

    Published: test accuracy 94.18 / 73.37 / 46.27, after 12,000 s of 12-epoch trainings on CIFAR-10 and 500,000 and
    1,400,000 s of 200-epoch trainings on the others, some 130 of them each.

    Args:
        fidelity: how every architecture is trained.
        initial: random architectures before the first regression.
        batch: architectures that one regression chooses.
        model: `network` (DNGO: Bayesian linear regression on a small network, as in the paper) or
            `gaussian-process`.
        units, epochs: of DNGO's network.
        improve_on: the accuracy from which improvement is expected: `perfect`, 100 %, as in the authors' code, or
            `best`, the best so far.
        twins: whether architectures that are one network share the mean of their embeddings.
        pretraining: epochs of the encoder where it is trained here; None takes what ships, else the paper's 10.
    """

    paper = "Yan et al., NeurIPS 2020"
    compared = "reports/one-shot/README.md"
    given = ("encoder of the space, 40 CPU-seconds",)
    fidelity: str = parameter(TARGET, a_fidelity)
    initial: int = parameter(16, integer(2))
    batch: int = parameter(1, integer(1))
    model: str = parameter(NETWORK, one_of((NETWORK, PROCESS)))
    units: int = parameter(128, integer(1))
    epochs: int = parameter(100, integer(1))
    improve_on: str = parameter(PERFECT, one_of((PERFECT, BEST)))
    twins: bool = parameter(False, boolean)
    pretraining: int | None = parameter(None, integer(1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Embed the space."""
        super().setup(view, rng)
        self.features = embedded(view, self.pretraining, self.twins)
        self.trained = view.fidelity(self.fidelity)
        self.unasked = np.zeros(len(view.space), dtype=bool)
        self.unasked[view.covered(self.trained)] = True
        self.asked = 0
        self.queue: list[int] = []
        self.cells: list[int] = []
        self.worths: list[float] = []

    def ask(self) -> Query:
        """Return a random architecture at first, then the next of highest expected improvement."""
        self.asked += 1
        if self.asked <= self.initial or len(self.cells) < 2 or not self.unasked.any():
            cell = self._random()
        else:
            if not self.queue:
                improvement = np.where(self.unasked, np.round(self.improvements(), 6), -np.inf)
                chosen = np.argsort(-improvement, kind="stable")[: self.batch]
                self.queue = chosen[self.unasked[chosen]].tolist()
            cell = self.view.space[self.queue.pop(0)]
        self.unasked[cell.index] = False
        return self.query(cell, self.trained)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Add an outcome; a training that diverged counts as chance."""
        self.keep_best(query, evaluation)
        self.cells.append(query.cell.index)
        self.worths.append(self.worth(evaluation))

    def improvements(self) -> npt.NDArray[np.float64]:
        """Logarithm of the expected improvement of every architecture, shape (n,)."""
        observed, targets = np.array(self.cells), np.array(self.worths)
        seed = int(self.rng.integers(2**31))
        if self.model == PROCESS:
            mean, deviation = predict_by_process(self.features, observed, targets, seed=seed)
        else:
            mean, deviation = predict_by_network(
                self.features, observed, targets, units=self.units, epochs=self.epochs, seed=seed
            )
        best = float(targets.max()) if self.improve_on == BEST else 100.0
        return log_expected_improvement(mean, deviation, best)

    def _random(self) -> Architecture:
        cell = self.random_cell(self.trained)
        while self.unasked.any() and not self.unasked[cell.index]:
            cell = self.random_cell(self.trained)
        return cell


def embedded(view: SearchView, pretraining: int | None, twins: bool) -> npt.NDArray[np.float64]:
    """Embeddings of a task's space, (n, latent): those that ship, or by an encoder of so many epochs."""
    how = None if pretraining is None else Pretraining(epochs=pretraining)
    features = embeddings(view.space, how)
    if not twins:
        return features
    members, places = np.unique(view.space.classes, return_inverse=True)
    sums = np.zeros((len(members), features.shape[1]))
    np.add.at(sums, places, features)
    return (sums / np.bincount(places)[:, None])[places]


def log_expected_improvement(
    mean: npt.NDArray[np.float64], deviation: npt.NDArray[np.float64], best: float
) -> npt.NDArray[np.float64]:
    """Logarithm of the expectation of max(0, value - best) where the value is normal, shape (n,).

    The logarithm, because the expectation itself underflows where the best is far above all means, as 100 % is.
    """
    from scipy.special import erfcx

    scaled = (mean - best) / deviation
    density = -0.5 * scaled**2 - 0.5 * math.log(2 * math.pi)
    below = np.minimum(scaled, 0)
    tail = density + np.log1p(below * math.sqrt(math.pi / 2) * erfcx(-below / math.sqrt(2)))
    # The expectation of what is above the best is that of what is below, mirrored, plus the distance.
    above = np.maximum(scaled, 0)
    mirrored = density + np.log1p(-above * math.sqrt(math.pi / 2) * erfcx(above / math.sqrt(2)))
    found = np.where(scaled > 0, np.log(np.maximum(np.exp(mirrored) + above, 1e-300)), tail)
    return np.asarray(np.log(deviation) + found)
