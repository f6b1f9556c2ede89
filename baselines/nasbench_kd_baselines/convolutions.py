"""A control: train the classes of cells in the order of their number of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.simulation.parameters import with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd_baselines.parameters import Parameters


@with_parameters
class Convolutions(Parameters):
    """Trains one cell of each isomorphism class, those with most convolutions first; a control, of no paper.

    A convolution is an operation with `conv` in its name, wherever it stands. Ties are in random order. Over all
    cells of NAS-Bench-201 the count ranks better than the number of parameters does, among the best ones worse
    (`reports/one-shot`).

    Args:
        fidelity: see `Parameters`.
    """

    needs = ("graph",)

    def sizes(self, cells: Sequence[Architecture]) -> npt.NDArray[np.int64]:
        """Number of convolutions, (n,)."""
        kinds = self.view.space.choices
        return np.array(
            [sum("conv" in kinds[place][code] for place, code in enumerate(cell.codes)) for cell in cells]
        )
