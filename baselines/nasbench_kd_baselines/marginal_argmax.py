"""A control: the operation of the best mean on every edge, and the cells closest to it by the sum of means."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nasbench_kd.simulation.parameters import with_parameters
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, Cell, code_matrix, representatives
from nasbench_kd_baselines.common.ranked_search import RankedSearch


@with_parameters
class MarginalArgmax(RankedSearch):
    """Cells by the sum over edges of their operations' mean worth among random cells; a control, of no paper.

    The first is the argmax of the marginal means. An operation that no random cell has on an edge counts as the
    mean of all. What a weight-sharing method adds is what it finds beyond this.

    Args:
        fidelity, cells, signal: see `RankedSearch`.
    """

    basis = "control"

    def order(self) -> Iterable[Cell]:
        """All classes, by the sum of marginal means."""
        codes = code_matrix()[list(self.worths)]
        worths = np.array(list(self.worths.values()))
        means = np.full((len(EDGES), len(OPERATIONS)), worths.mean())
        for edge in range(len(EDGES)):
            for operation in np.unique(codes[:, edge]):
                means[edge, operation] = worths[codes[:, edge] == operation].mean()
        cells = representatives()
        every = np.array([cell.codes for cell in cells])
        scores = np.round(means[np.arange(len(EDGES)), every].sum(axis=1), 6)
        return [cells[place] for place in np.argsort(-scores, kind="stable")]
