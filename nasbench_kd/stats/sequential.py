"""The gate's sequential test: a paired t test at every stage, its error spent stage by stage.

Lan and DeMets (Biometrika 1983) let a test look at the data as often as it likes, as long as the
error that its looks may make adds up to the level. Here a look spends its share of the pairs (the
linear spending function, Kim and DeMets, Biometrika 1987), and the shares are added by the union
bound instead of integrating over the joint distribution of the looks. That is a little wider, and it
holds for any dependence between the looks. Comparisons that are made together share the level
equally (Bonferroni).

A verdict says in which of three regions the mean difference lies: below, within or above the region
of practical equivalence (ROPE). It is given when a confidence interval lies wholly in one of them. For
`equivalent` a bet against either edge must have paid off too (`nasbench_kd.stats.betting`): the t
interval of pairs that happen to be equal is blind to a loss that few runs suffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from nasbench_kd.stats.betting import equal_values_needed, inside

Array = npt.NDArray[np.float64]
Verdict = Literal["better", "equivalent", "worse", "undecided"]
VERDICTS: tuple[Verdict, ...] = ("better", "equivalent", "worse", "undecided")


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """A plan of looks at paired differences, candidate minus reference, larger being worse.

    Attributes:
        error: bound on the probability that, at any look, any of the comparisons is called worse
            though its mean difference is not above its ROPE; the same holds for `better`: exact for normal
            differences, else by the central limit. For `equivalent` where the mean is not inside it holds
            for any distribution, as long as no single difference counts as more than a largest one.
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

    def covered(self, differences: npt.ArrayLike, rope: float, largest: float) -> npt.NDArray[np.bool_]:
        """Whether the pairs suffice to exclude a mean outside the ROPE, sparse losses of up to `largest` included."""
        return inside(differences, rope, largest, self.error / self.comparisons)

    def pairs_needed(self, rope: float, largest: float) -> int:
        """Fewest pairs after which equal sides can be called equivalent."""
        return equal_values_needed(rope, largest, self.error / self.comparisons)

    def verdict(self, low: float, high: float, rope: float, stage: int, *, covered: bool) -> Verdict | None:
        """What an interval says at a look; None where more pairs are needed.

        `covered` says whether the pairs exclude losses that few runs suffer.
        """
        if low > rope:
            return "worse"
        if high < -rope:
            return "better"
        if covered and -rope <= low and high <= rope:
            return "equivalent"
        return "undecided" if stage == len(self.stages) - 1 else None
