"""Reads the trainings of a measured table: every class with what it reached at all epochs of all its curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.spaces.nasbench201 import isomorphism_classes
from nasbench_kd.surrogate.model import FEWEST_CLASSES
from nasbench_kd.tables.column import DIVERGED, Column
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trainings:
    """The n measured trainings of one task and recipe, a row for each cell and seed, and a column for each fidelity.

    Attributes:
        fidelities: every epoch of every curve, curve by curve.
        images: validation images behind each fidelity.
        classes: isomorphism class of each training, shape (n,).
        seeds: training seed, shape (n,).
        accuracy: percent, shape (n, fidelities), NaN where not measured or diverged.
        seconds: on the table's clock up to that epoch, NaN where not measured.
    """

    task: str
    fidelities: tuple[Fidelity, ...]
    images: tuple[int, ...]
    classes: npt.NDArray[np.int64]
    seeds: npt.NDArray[np.int64]
    accuracy: Array
    seconds: Array

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """Whether there is an entry, a diverged one included, shape (n, fidelities)."""
        return ~np.isnan(self.seconds)

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Whether a training ended well at every fidelity, shape (n,); only these are fitted to."""
        return np.asarray(~np.isnan(self.accuracy).any(axis=1))

    @property
    def ends(self) -> list[int]:
        """The columns that are the last epoch of their curve."""
        return [place for place, fidelity in enumerate(self.fidelities) if fidelity == fidelity.curve]

    def curve(self, end: int) -> list[int]:
        """The columns of one curve, of which one is given."""
        curve = self.fidelities[end].curve
        return [place for place, fidelity in enumerate(self.fidelities) if fidelity.curve == curve]

    def diverged(self) -> dict[str, float]:
        """Share of the trainings of each curve that diverged."""
        shares = {}
        for end in self.ends:
            measured = self.measured[:, end]
            shares[str(self.fidelities[end])] = float(np.isnan(self.accuracy[measured, end]).mean())
        return shares

    def select(self, rows: npt.NDArray[np.bool_]) -> Trainings:
        """The trainings of some rows."""
        return replace(
            self,
            classes=self.classes[rows],
            seeds=self.seeds[rows],
            accuracy=self.accuracy[rows],
            seconds=self.seconds[rows],
        )


def read_trainings(table: Table) -> tuple[list[dict[str, Trainings]], list[str]]:
    """The trainings of every task that has enough of them, recipe by recipe, and notes on what was left out.

    Curves of one recipe differ in their distillation alone. They are fitted to together, on the classes that
    have all of them, so that a second recipe on fewer classes takes nothing from the first.

    Raises `DataError` where no task has `FEWEST_CLASSES` classes with all curves of a recipe, or where
    the columns of one fidelity were validated on different numbers of images.
    """
    recipes: dict[Fidelity, dict[str, Trainings]] = {}
    notes: list[str] = []
    for task in TASKS:
        for recipe, columns in _by_recipe(table.select(task, "valid"), task, notes).items():
            trainings = _read(task, columns)
            classes = len(np.unique(trainings.classes[trainings.complete]))
            if classes < FEWEST_CLASSES:
                curves = ", ".join(str(trainings.fidelities[end]) for end in trainings.ends)
                notes.append(f"{task}: left out, {classes} classes with all of {curves}")
                continue
            recipes.setdefault(recipe, {})[task] = trainings
    if not recipes:
        raise DataError(
            f"the table {table.name} has no task with {FEWEST_CLASSES} classes measured at all curves of a recipe, "
            f"which a surrogate needs. {'; '.join(notes)}. `nasbench-kd fill` measures more."
        )
    return [recipes[recipe] for recipe in sorted(recipes, key=str)], notes


def _by_recipe(columns: Sequence[Column], task: str, notes: list[str]) -> dict[Fidelity, list[Column]]:
    """Measured columns by what their curves have in common but for distillation; small curves are noted."""
    curves: dict[Fidelity, list[Column]] = {}
    for column in columns:
        if column.images and column.provenance.get("source") == "measured" and column.fidelity.curve != FULL:
            curves.setdefault(column.fidelity.curve, []).append(column)
    recipes: dict[Fidelity, list[Column]] = {}
    for curve in sorted(curves, key=str):
        classes = len({int(cell) for column in curves[curve] for cell in column.rows["cell"]})
        if classes < FEWEST_CLASSES:
            notes.append(f"{task} {curve}: left out, {classes} classes are too few")
        else:
            recipes.setdefault(curve.without_distillation(), []).extend(curves[curve])
    return recipes


def _read(task: str, columns: Sequence[Column]) -> Trainings:
    images: dict[Fidelity, int] = {}
    for column in columns:
        if images.setdefault(column.fidelity, column.images) != column.images:
            raise DataError(
                f"{task} {column.fidelity} was validated on {images[column.fidelity]} and on {column.images} images; "
                "a surrogate needs one number"
            )
    fidelities = sorted(images, key=lambda fidelity: (str(fidelity.curve), fidelity.epochs))
    keys = np.concatenate([_keys(column) for column in columns])
    names = np.unique(keys)
    accuracy = np.full((len(names), len(fidelities)), np.nan)
    seconds = accuracy.copy()
    for column in columns:
        place, rows = fidelities.index(column.fidelity), np.searchsorted(names, _keys(column))
        accuracy[rows, place] = np.where(column.rows["correct"] == DIVERGED, np.nan, column.accuracies())
        seconds[rows, place] = column.rows["microseconds"] / 1e6
    cells, seeds = np.divmod(names, 65536)
    classes = isomorphism_classes()[cells].astype(np.int64)
    counts = tuple(images[fidelity] for fidelity in fidelities)
    return Trainings(task, tuple(fidelities), counts, classes, seeds, accuracy, seconds)


def _keys(column: Column) -> npt.NDArray[np.int64]:
    return np.asarray(column.rows["cell"].astype(np.int64) * 65536 + column.rows["seed"])
