"""The gate's sequential test: a paired t test at every stage, its error spent stage by stage.

Lan and DeMets (Biometrika 1983) let a test look at the data as often as it likes, as long as the
error that its looks may make adds up to the level. Here a look spends its share of the pairs (the
linear spending function, Kim and DeMets, Biometrika 1987), and the shares are added by the union
bound instead of integrating over the joint distribution of the looks. That is a little wider, and it
holds for any dependence between the looks. Comparisons that are made together share the level
equally (Bonferroni).

A verdict says in which of three regions the mean difference lies: below, within or above the region
of practical equivalence (ROPE). It is given when a confidence interval lies wholly in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Array = npt.NDArray[np.float64]
Verdict = Literal["better", "equivalent", "worse", "undecided"]
VERDICTS: tuple[Verdict, ...] = ("better", "equivalent", "worse", "undecided")


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """A plan of looks at paired differences, candidate minus reference, larger being worse.

    Attributes:
        error: bound on the probability that, at any look, any of the comparisons is called worse
            though its mean difference is not above its ROPE; the same holds for `better`, and for
            `equivalent` where it is not inside. Exact for normal differences, else by the central limit.
        comparisons: how many are decided with this error together.
        stages: pairs at each look, ascending.
    """

    error: float
    comparisons: int
    stages: tuple[int, ...]

    def level(self, stage: int) -> float:
        """One-sided error that one comparison may make at a look, 0 being the first."""
        before = self.stages[stage - 1] if stage else 0
        share = (self.stages[stage] - before) / self.stages[-1]
        return self.error / self.comparisons * share

    def bounds(self, differences: npt.ArrayLike, stage: int) -> tuple[Array, Array]:
        """Ends of the interval of the mean at a look; the last axis of `differences` holds its pairs.

        Pairs that are all equal give an interval without width. Raises `ValueError` where their number
        is not that of the stage.
        """
        values = np.asarray(differences, dtype=np.float64)
        pairs = values.shape[-1]
        if pairs != self.stages[stage]:
            raise ValueError(f"stage {stage} looks at {self.stages[stage]} pairs, not {pairs}")
        centre = values.mean(axis=-1)
        # A difference of one rounding step is not a spread: equal pairs are told by their range.
        spread = np.where(np.ptp(values, axis=-1) > 0, values.std(axis=-1, ddof=1), 0.0)
        half = float(stdtrit(pairs - 1, 1 - self.level(stage))) * spread / np.sqrt(pairs)
        return np.asarray(centre - half), np.asarray(centre + half)

    def verdict(self, low: float, high: float, rope: float, stage: int) -> Verdict | None:
        """What an interval says at a look; None where more pairs are needed."""
        if low > rope:
            return "worse"
        if high < -rope:
            return "better"
        if -rope <= low and high <= rope:
            return "equivalent"
        return "undecided" if stage == len(self.stages) - 1 else None
