"""A control: rank cells by a score of the untrained network, and train the best in full."""

from __future__ import annotations

from nasbench_kd.simulation.parameters import a_fidelity, parameter, with_parameters
from nasbench_kd_baselines.screening import Screening


@with_parameters
class ZeroCost(Screening):
    """Random cells by a zero-cost score, the best trained in full (Mellor et al., ICML 2021: nwot, jacov).

    The paper scores up to 1,000 random cells (its script 100, drawn with replacement) and answers with the best
    one's; a search with budget left goes on down the list. Needs a table that has the score, of all classes or of some.

    Args:
        fidelity: the score.
        cells, signal: see `RankedSearch`.
        size: see `Screening`.
    """

    needs = ()
    paper = "Mellor et al., ICML 2021"
    fidelity: str = parameter("nwot", a_fidelity)
    size: bool = False
