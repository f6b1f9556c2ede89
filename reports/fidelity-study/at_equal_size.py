"""Do distilled accuracies say more of 200 epochs than plain ones, at equal size? Writes its table into the page here.

    python reports/fidelity-study/at_equal_size.py

Partial Spearman correlation of an accuracy with the mean accuracy after 200 epochs, given the number of parameters,
on the classes of the tables that were measured with and without distillation.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

import nasbench_kd as nk
from nasbench_kd.files import write_between
from nasbench_kd.tasks.registry import find_task

PAGE = Path(__file__).parent / "README.md"
MARKS = ("<!-- equal size -->", "<!-- end of equal size -->")
RECIPES, DRAWS = ("cheap", "3-epochs", "4-epochs"), 1000
Array = npt.NDArray[np.float64]


class Compared(NamedTuple):
    """Partial correlations of one recipe on one task; the interval resamples classes."""

    classes: int
    plain: float
    distilled: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Distilled minus plain."""
        return self.distilled - self.plain


def partial_spearman(x: Array, y: Array, given: Array) -> float:
    """Spearman's correlation of x and y, each of shape (n,), with that of both with a third taken out."""
    (_, xy, xz), (_, _, yz), _ = np.corrcoef([rankdata(each) for each in (x, y, given)])
    return float((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))


def compared(task: str, recipe: str, draws: int = DRAWS) -> Compared:
    """Compare `nst` with `none` at a recipe."""
    bench, about = nk.load(task, data="measured"), find_task(task)
    target = bench.to_frame().groupby("cell")["valid_accuracy"].mean()
    frames = (bench.to_frame(f"{name}-{recipe}") for name in ("none", "nst"))
    plain, distilled = (
        frame[frame["source"] == "measured"].groupby("cell")["valid_accuracy"].mean() for frame in frames
    )
    cells = sorted(set(plain.index) & set(distilled.index))
    sides = [each.loc[cells].to_numpy() for each in (plain, distilled)]
    y = target.loc[cells].to_numpy()
    size = np.array([about.sizes(about.space[cell])["parameters"] for cell in cells], dtype=np.float64)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(draws):
        rows = rng.integers(len(cells), size=len(cells))
        plainly, distilling = (partial_spearman(each[rows], y[rows], size[rows]) for each in sides)
        drawn.append(distilling - plainly)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Compared(len(cells), *(partial_spearman(each, y, size) for each in sides), float(low), float(high))


def main() -> None:
    """Write the table."""
    lines = ["| task | recipe | classes | plain | `nst` | `nst` minus plain |", "|---|---|---|---|---|---|"]
    for task in ("cifar10", "cifar100"):
        for recipe in RECIPES:
            one = compared(task, recipe)
            lines.append(
                f"| {task} | `{recipe}` | {one.classes:,} | {one.plain:.3f} | {one.distilled:.3f} | "
                f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}] |"
            )
    write_between(PAGE, MARKS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
