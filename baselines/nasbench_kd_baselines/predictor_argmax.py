"""A control: one small predictor learns from random cells, and its favourites are checked."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nasbench_kd.simulation.parameters import integer, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.common.ranked_search import RankedSearch
from nasbench_kd_baselines.models.gaussian_process import GaussianProcess


@with_parameters
class PredictorArgmax(RankedSearch):
    """The favourites of one predictor, read cheaply as well, and then trained in full; a control, of no paper.

    The predictor is a Gaussian process over all classes, fitted once to the random cells' worths, standardized.
    What a generator or a sequential search adds is what it finds beyond this.

    Args:
        fidelity, cells, signal: see `RankedSearch`.
        favourites: cells with the highest posterior mean that are read after the random ones.
    """

    basis = "control"
    favourites: int = parameter(20, integer(1))

    def second_sample(self) -> Iterable[Architecture]:
        """The unread cells with the highest posterior mean."""
        space = self.view.space
        classes = space.representatives
        model = GaussianProcess(space.codes[classes])
        worths = np.array(list(self.worths.values()))
        targets = (worths - worths.mean()) / (worths.std() or 1.0)
        read = [int(np.searchsorted(classes, index)) for index in self.worths]
        model.fit(read, targets)
        means = np.round(model.mean(targets), 6)
        means[read] = -np.inf
        means[~self.readable] = -np.inf
        left = np.count_nonzero(self.readable) - len(read)
        chosen = np.argsort(-means, kind="stable")[: min(self.favourites, left)]
        return [space[index] for index in classes[chosen].tolist()]

    def order(self) -> Iterable[Architecture]:
        """All cells that were read, the best first."""
        return self.by_worth()
