"""The measured readings behind the report, as arrays over all cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.column import Column
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import Fidelity

Array = npt.NDArray[np.float64]
FOLDER = Path(__file__).parent
CHEAP = "@1 images=2500 batch=32 size=16 channels=8 cells=1"
DEAR = "@1 images=2500 batch=32 size=16"
TASKS = ("cifar10", "cifar100", "imagenet16-120")
MEASURED = ("cifar10", "cifar100")
SCORES = ("nwot", "jacov", "synflow")
"""Scores without training."""


class Readings:
    """Readings as arrays over the 15,625 cells, NaN where there is none; larger is better."""

    def __init__(self) -> None:
        self.tables = {
            name: Table.open(EMBEDDED_FOLDER / name)
            for name in ("kd_readings", "nas_bench_201_12_epochs", "zero_cost")
        }
        self.controls = Table.open(FOLDER / "controls")

    def read(self, task: str, fidelity: str, signal: str, *, seed: int = 777, teacher: str = "") -> Array:
        """Values of a signal for each cell; losses with a minus sign."""
        columns = self.controls.columns if teacher or seed != 777 else self.tables["kd_readings"].columns
        (column,) = [each for each in columns if _is(each, task, fidelity, seed, teacher)]
        return self._spread(column, signal)

    def seconds(self, task: str, fidelity: str) -> float:
        """Mean price in seconds of the table's clock."""
        (column,) = [c for c in self.tables["kd_readings"].columns if _is(c, task, fidelity, 777, "")]
        return float(column.rows["microseconds"].mean() / 1e6)

    def other_teachers(self, task: str, signal: str) -> dict[str, Array]:
        """Losses of the cheap recipe with the teachers of `other_teachers.py`, by a description of each."""
        found: dict[str, Array] = {}
        rows = pd.read_csv(FOLDER / "other_teachers.csv")
        for (cell, accuracy), mine in rows.groupby(["teacher", "teacher_accuracy"]):
            if task == "cifar100" and signal in mine:
                spread = np.full(SPACE_SIZE, np.nan)
                spread[mine["cell"]] = -mine[signal]
                found[f"cell {cell}, one a stage, {accuracy:.0f} % correct"] = spread
        return found

    def twelve_epochs(self, task: str) -> tuple[Array, float]:
        """Validation accuracy of none@12 and its mean price."""
        twelve = Fidelity.parse("none@12")
        (column,) = [
            c
            for c in self.tables["nas_bench_201_12_epochs"].columns
            if (c.task, c.fidelity) == (task, twelve)
        ]
        return self._spread(column, "valid_accuracy"), float(column.rows["microseconds"].mean() / 1e6)

    def score(self, task: str, name: str) -> tuple[Array, float]:
        """A score without training, and its mean price; NaN for classes that were not scored."""
        fidelity = Fidelity.parse(name)
        (column,) = [c for c in self.tables["zero_cost"].columns if (c.task, c.fidelity) == (task, fidelity)]
        spread = np.full(SPACE_SIZE, np.nan)
        spread[column.rows["cell"]] = column.values("score")
        return spread, float(column.rows["microseconds"].mean() / 1e6)

    def _spread(self, column: Column, signal: str) -> Array:
        spread = np.full(SPACE_SIZE, np.nan)
        values = column.values(signal)
        spread[column.rows["cell"]] = values if signal.endswith("accuracy") else -values
        return spread


def _is(column: Column, task: str, fidelity: str, seed: int, teacher: str) -> bool:
    kind = column.provenance.get("teacher", {}).get("kind", "")
    return (
        (column.task, str(column.fidelity)) == (task, fidelity)
        and seed in column.rows["seed"]
        and (kind.startswith(teacher) if teacher else not kind.startswith(("random", "shuffled")))
    )
