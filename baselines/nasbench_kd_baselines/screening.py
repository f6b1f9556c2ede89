"""A control: read many random cells cheaply once, and train the best in full."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from nasbench_kd.simulation.parameters import boolean, integer, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.common.ranked_search import RankedSearch


@with_parameters
class Screening(RankedSearch):
    """Random cells at one cheap fidelity, ranked once, the best then trained in full; a control, of no paper.

    There is no model and nothing is allocated: what a multi-fidelity method adds is what it finds beyond this.

    Args:
        fidelity, cells, signal: see `RankedSearch`.
        size: whether cells are ranked by the sum of two ranks, that of their worth and that of their number of
            parameters; else by their worth alone.
    """

    basis = "control"
    needs: ClassVar[tuple[str, ...]] = ("sizes",)
    cells: int = parameter(1000, integer(1))
    size: bool = parameter(True, boolean)

    def order(self) -> Iterable[Architecture]:
        """The cells that were read, by their rank."""
        read = self.by_worth()
        if not self.size:
            return read
        sizes = np.array([self.view.sizes(cell)["parameters"] for cell in read])
        by_size = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
        return [read[place] for place in np.argsort(by_size + np.arange(len(read)), kind="stable")]
