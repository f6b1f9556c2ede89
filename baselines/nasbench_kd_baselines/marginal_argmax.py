"""A control: the choice of the best mean at every coordinate, and the cells closest to it by the sum of means."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nasbench_kd.simulation.parameters import with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.common.ranked_search import RankedSearch


@with_parameters
class MarginalArgmax(RankedSearch):
    """By the sum over coordinates of the choices' mean worth among random cells; a control, of no paper.

    The first is the argmax of the marginal means. A choice that no random cell has counts as the
    mean of all. What a weight-sharing method adds is what it finds beyond this.

    Args:
        fidelity, cells, signal: see `RankedSearch`.
    """

    basis = "control"

    def order(self) -> Iterable[Architecture]:
        """All classes, by the sum of marginal means."""
        space = self.view.space
        codes, worths = space.codes[list(self.worths)], np.array(list(self.worths.values()))
        means = np.full((len(space.choices), max(map(len, space.choices))), worths.mean())
        for place in range(len(space.choices)):
            for choice in np.unique(codes[:, place]):
                means[place, choice] = worths[codes[:, place] == choice].mean()
        every = space.codes[space.representatives]
        scores = np.round(means[np.arange(len(space.choices)), every].sum(axis=1), 6)
        return [space[index] for index in space.representatives[np.argsort(-scores, kind="stable")].tolist()]
