"""Turns the trials of official files into columns of a table, and says what was left out and why."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.sources.archive import Trial
from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.tables.table import DIVERGED, ENTRY, MEAN_SEED, Column, Split, make_rows
from nasbench_kd.tasks.fidelity import Fidelity

MOST_SEED = int(np.iinfo(ENTRY["seed"]).max)
SCHEDULES = (12, 200)
"""Epochs of the two official schedules of the topology space."""
VALID: dict[str, tuple[str, int]] = {"cifar10-valid": ("cifar10", 25_000), "cifar100": ("cifar100", 5_000)}
VALID["ImageNet16-120"] = ("imagenet16-120", 3_000)
"""Task and number of images of `x-valid`, by the official name of the data set."""
TEST: dict[str, tuple[str, str, int]] = {
    "cifar10": ("cifar10", "ori-test", 10_000),
    "cifar100": ("cifar100", "x-test", 5_000),
    "ImageNet16-120": ("imagenet16-120", "x-test", 3_000),
}
"""Task, set and number of its images that count as test, by the official name of the data set."""
LEFT_OUT = (
    "Left out: `ori-test` on cifar100 and ImageNet16-120, which mixes validation and test images; `ori-test` "
    "of cifar10-valid, the test of models trained on half of the images; losses, training accuracy, weights."
)

Key = tuple[str, Fidelity, Split, int]


class TrialCollector:
    """Collects trials in compact arrays and turns them into columns.

    Validation accuracy is taken at every epoch that has it (with `curves`) or at the last one, the
    test accuracy at the last one.
    """

    def __init__(self, curves: bool = True) -> None:
        self._curves = curves
        self._rows: dict[Key, tuple[array[int], array[int], array[int]]] = {}
        self._clocks: dict[str, npt.NDArray[np.int64]] = {}
        self.clock_agreement: Counter[str] = Counter()
        """Trials by how their times compare with the table's clock: agree, differ or absent."""

    def add(self, trial: Trial) -> None:
        """Add one trial; raises `DataError` where it fits no official split or schedule."""
        if trial.epochs not in SCHEDULES:
            raise DataError(
                f"cell {trial.cell.index} was trained for {trial.epochs} epochs; the topology space has "
                f"schedules of {' and '.join(map(str, SCHEDULES))}"
            )
        if not MEAN_SEED < trial.seed <= MOST_SEED:
            raise DataError(
                f"cell {trial.cell.index} was trained with the seed {trial.seed}; a table holds seeds from "
                f"{MEAN_SEED + 1} to {MOST_SEED}"
            )
        if trial.dataset in VALID:
            task, images = VALID[trial.dataset]
            epochs = range(trial.epochs) if self._curves else range(trial.epochs - 1, trial.epochs)
            for epoch in epochs:
                self._take(trial, (task, _fidelity(epoch, trial.epochs), "valid", images), f"x-valid@{epoch}")
            self._compare_clock(trial, task)
        if trial.dataset in TEST:
            task, name, images = TEST[trial.dataset]
            last = trial.epochs - 1
            self._take(trial, (task, _fidelity(last, trial.epochs), "test", images), f"{name}@{last}")
        if trial.dataset not in VALID and trial.dataset not in TEST:
            raise DataError(f"unknown data set {trial.dataset!r} for cell {trial.cell.index}")

    def columns(self, provenance: Mapping[str, Any]) -> list[Column]:
        """Return what was collected, with this provenance; times are those of the table's clock."""
        result = []
        for (task, fidelity, split, images), (cells, seeds, counts) in self._rows.items():
            index = np.frombuffer(cells, dtype=np.uint16)
            factor = 2 if (task, split) == ("cifar10", "test") else 1
            times = training_microseconds(task, fidelity.epochs)[index] * factor
            rows = make_rows(index, np.frombuffer(seeds, np.uint16), np.frombuffer(counts, np.uint16), times)
            note = {"trained_on": "all 50,000 images"} if factor == 2 else {}
            result.append(Column(task, fidelity, split, images, rows, {**provenance, **note}))
        return result

    def _take(self, trial: Trial, key: Key, name: str) -> None:
        if name not in trial.accuracies:
            return
        accuracy, images = trial.accuracies[name], key[3]
        correct = DIVERGED
        if accuracy is not None and math.isfinite(accuracy):
            exact = float(accuracy) * images / 100
            correct = round(exact)
            if abs(exact - correct) > 0.01:
                raise DataError(
                    f"cell {trial.cell.index}, {trial.dataset}, seed {trial.seed}: {accuracy} % at {name} "
                    f"is no whole number of {images} images"
                )
        cells, seeds, counts = self._rows.setdefault(key, (array("H"), array("H"), array("H")))
        cells.append(trial.cell.index)
        seeds.append(trial.seed)
        counts.append(correct)

    def _compare_clock(self, trial: Trial, task: str) -> None:
        if not trial.epoch_seconds:
            self.clock_agreement["absent"] += 1
            return
        if task not in self._clocks:
            self._clocks[task] = training_microseconds(task, 200)
        expected = float(self._clocks[task][trial.cell.index]) * trial.epochs / 200e6
        found = math.fsum(trial.epoch_seconds.values())
        same = math.isclose(found, expected, rel_tol=1e-3)
        self.clock_agreement["agree" if same else "differ"] += 1


def _fidelity(epoch: int, schedule: int) -> Fidelity:
    return Fidelity("none", epoch + 1, schedule)
