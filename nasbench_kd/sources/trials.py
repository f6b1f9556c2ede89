"""Turns the trials of official files into columns of a table, and says what was left out and why."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.sources.archive import Trial
from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.sources.measured import Place, measured_columns
from nasbench_kd.spaces import nasbench201, nats_size
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.tables.column import WIDE_ENTRY, Column
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.tasks.registry import find_task

MOST_SEED = int(np.iinfo(WIDE_ENTRY["seed"]).max) - 1
SCHEDULES: Mapping[SearchSpace, tuple[int, ...]] = MappingProxyType(
    {nasbench201.SPACE: (12, 200), nats_size.SPACE: (1, 12, 90)}
)
"""Epochs of the official schedules of each space."""
PREFIXES: Mapping[SearchSpace, str] = MappingProxyType({nasbench201.SPACE: "", nats_size.SPACE: "nats-size-"})
"""How the names of a space's tasks begin; the rest is the data set's."""
VALID: dict[str, tuple[str, int]] = {"cifar10-valid": ("cifar10", 25_000), "cifar100": ("cifar100", 5_000)}
VALID["ImageNet16-120"] = ("imagenet16-120", 3_000)
"""Our name of the data set and number of images of `x-valid`, by the official name."""
TEST: dict[str, tuple[str, str, int]] = {
    "cifar10": ("cifar10", "ori-test", 10_000),
    "cifar100": ("cifar100", "x-test", 5_000),
    "ImageNet16-120": ("imagenet16-120", "x-test", 3_000),
}
"""Our name of the data set, set and number of its images that count as test, by the official name."""
LEFT_OUT = (
    "Left out: `ori-test` on cifar100 and ImageNet16-120, which mixes validation and test images; `ori-test` "
    "of cifar10-valid, the test of models trained on half of the images; losses on test images; weights."
)
FILE_TIMES = (
    "Times are the file's own training times, summed over the epochs; its validation passes are not in them."
)

READINGS = ("train_accuracy", "train_loss", "valid_loss")


class _Entries(NamedTuple):
    """The entries of one column, in compact arrays of equal length."""

    cells: array[int]
    seeds: array[int]
    correct: array[int]
    """Below 0 for a training that diverged."""
    microseconds: array[int]
    """As the file says; empty in the topology space, whose tasks have a clock of their own."""
    readings: tuple[array[float], ...]
    """Of `READINGS`, NaN where the file does not say; none on the test split."""


class TrialCollector:
    """Collects trials in compact arrays and turns them into columns.

    Validation accuracy, with the loss on the same images and the training's own accuracy and loss, is
    taken at every epoch that has it (with `curves`) or at the last one, the test accuracy at the last one.
    """

    def __init__(self, curves: bool = True) -> None:
        self._curves = curves
        self._entries: dict[Place, _Entries] = {}
        self._clocks: dict[str, npt.NDArray[np.int64]] = {}
        self.clock_agreement: Counter[str] = Counter()
        """Trials by how their times compare with the table's clock: agree, differ or absent."""

    def add(self, trial: Trial) -> None:
        """Add one trial; raises `DataError` where it fits no official split or schedule."""
        schedules, prefix = SCHEDULES[trial.cell.space], PREFIXES[trial.cell.space]
        if trial.epochs not in schedules:
            raise DataError(
                f"architecture {trial.cell.index} was trained for {trial.epochs} epochs; {trial.cell.space.name} has "
                f"schedules of {' and '.join(map(str, schedules))}"
            )
        if not 0 <= trial.seed <= MOST_SEED:
            raise DataError(
                f"cell {trial.cell.index} was trained with the seed {trial.seed}; a table holds seeds from "
                f"0 to {MOST_SEED}"
            )
        if trial.dataset in VALID:
            data_set, images = VALID[trial.dataset]
            task = prefix + data_set
            epochs = range(trial.epochs) if self._curves else range(trial.epochs - 1, trial.epochs)
            for epoch in epochs:
                self._take(
                    trial, Place(task, _fidelity(epoch, trial.epochs), "valid", images), "x-valid", epoch
                )
            if task in TASKS:
                self._compare_clock(trial, task)
        if trial.dataset in TEST:
            data_set, name, images = TEST[trial.dataset]
            task, last = prefix + data_set, trial.epochs - 1
            self._take(trial, Place(task, _fidelity(last, trial.epochs), "test", images), name, last)
        if trial.dataset not in VALID and trial.dataset not in TEST:
            raise DataError(f"unknown data set {trial.dataset!r} for cell {trial.cell.index}")

    def columns(self, provenance: Mapping[str, Any]) -> list[Column]:
        """Return what was collected, with this provenance.

        Times are those of the table's clock in the topology space, and the file's training times in the size space.
        """
        result: list[Column] = []
        for place, entries in self._entries.items():
            index = np.frombuffer(entries.cells, dtype=np.uint16)
            on_all = place.split == "test" and place.task.endswith("cifar10")
            if place.task in TASKS:
                times = training_microseconds(place.task, place.fidelity.epochs)[index] * (2 if on_all else 1)
            else:
                times = np.frombuffer(entries.microseconds, dtype=np.int64)
            note = {"trained_on": "all 50,000 images"} if on_all else {}
            images = (find_task(place.task).train_images, None, None)
            told = {
                name: (np.frombuffer(values), behind)
                for name, values, behind in zip(READINGS, entries.readings, images, strict=False)
            }
            result += measured_columns(
                place,
                index,
                np.frombuffer(entries.seeds, dtype=np.uint64),
                np.frombuffer(entries.correct, dtype=np.int64),
                times,
                told,
                {**provenance, **note},
            )
        return result

    def _take(self, trial: Trial, place: Place, name: str, epoch: int) -> None:
        key = f"{name}@{epoch}"
        if key not in trial.accuracies:
            return
        accuracy, images = trial.accuracies[key], place.images
        correct = -1
        if accuracy is not None and math.isfinite(accuracy):
            exact = float(accuracy) * images / 100
            correct = round(exact)
            if abs(exact - correct) > 0.01:
                raise DataError(
                    f"cell {trial.cell.index}, {trial.dataset}, seed {trial.seed}: {accuracy} % at {key} "
                    f"is no whole number of {images} images"
                )
        entries = self._entries.get(place)
        if entries is None:
            read = tuple(array("d") for _ in READINGS) if place.split == "valid" else ()
            entries = self._entries[place] = _Entries(array("H"), array("Q"), array("q"), array("q"), read)
        entries.cells.append(trial.cell.index)
        entries.seeds.append(trial.seed)
        entries.correct.append(correct)
        if place.task not in TASKS:
            entries.microseconds.append(_training_microseconds(trial, epoch))
        told = (trial.train_accuracies.get(epoch), trial.train_losses.get(epoch), trial.losses.get(key))
        for values, value in zip(entries.readings, told, strict=False):
            values.append(math.nan if value is None else float(value))

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


def _training_microseconds(trial: Trial, epoch: int) -> int:
    """What training up to an epoch took, as the file says; raises `DataError` where it does not."""
    told = trial.epoch_seconds or {}
    try:
        return round(1e6 * math.fsum(told[each] for each in range(epoch + 1)))
    except KeyError:
        raise DataError(
            f"architecture {trial.cell.index}, {trial.dataset}, seed {trial.seed}: no training time of each epoch, "
            "which are the only prices of this space"
        ) from None


def _fidelity(epoch: int, schedule: int) -> Fidelity:
    return Fidelity("none", epoch + 1, schedule)
