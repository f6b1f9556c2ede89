"""Builds the table of surrogate entries from a measured one, with its quality in the card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.spaces.nasbench201 import representatives
from nasbench_kd.surrogate.model import CONFIDENCE, FEWEST_CLASSES, Answers
from nasbench_kd.surrogate.quality import cross_validate
from nasbench_kd.surrogate.tasks import Seconds, TaskSurrogate, as_counts
from nasbench_kd.surrogate.trainings import Trainings, read_trainings
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.draws import Group
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import FULL

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
SEED: Final = 777
"""Training seed of every entry: each stands for one training with the seed of the measured ones."""
_METHOD = (
    "gradient boosting and ridge regression of validation accuracy on structure and 200-epoch results, plus "
    "the residuals of one measured training of a similar cell"
)


def write_surrogate(measured: Path, folder: Path, report: Callable[[str], None] = lambda _: None) -> Table:
    """Fit to the table at `measured`, write the surrogate's table to `folder`, and return it.

    It has one entry for each class representative and fidelity that the measured table lacks, and what every run
    needs for a draw of its own (`nasbench_kd.tables.draws`). The same
    table and versions of the packages (they are in the card) give the same bytes. `report` is told
    what is being done. Raises `DataError`, and `ImportError` without scikit-learn.
    """
    table = Table.open(measured)
    recipes, notes = read_trainings(table)
    quality: dict[str, Any] = {
        "confidence": CONFIDENCE,
        "tasks": [],
        "seconds": {},
        "diverged": {},
    }
    columns: list[Column] = []
    groups: list[Group] = []
    for found in recipes:
        for trainings in found.values():
            columns += _task_columns(trainings, table, quality, notes, report, groups)
    if not columns:
        raise DataError(f"the table {table.name} lacks nothing that its surrogate could add")
    return write_table(folder, folder.name, columns, _card(table, quality, notes), groups)


def _task_columns(
    trainings: Trainings,
    table: Table,
    quality: dict[str, Any],
    notes: list[str],
    report: Callable[[str], None],
    groups: list[Group],
) -> list[Column]:
    """Entries for what the task's classes lack, each given what is measured of the same class.

    What further draws need is added to `groups`.
    """
    seconds, task = Seconds(trainings), trainings.task
    quality["seconds"].setdefault(task, {}).update(seconds.median_error(trainings))
    quality["diverged"].setdefault(task, {}).update(trainings.diverged())
    parts: dict[int, list[npt.NDArray[np.void]]] = {}
    given_to: dict[int, dict[str, int]] = {}
    for (targets, given), (classes, known) in _lacking(trainings).items():
        names = ", ".join(str(trainings.fidelities[place]) for place in given) or "nothing"
        report(f"{task}: {len(classes)} classes, given {names}")
        if len(classes) >= FEWEST_CLASSES:
            quality["tasks"] += cross_validate(trainings, targets, given)
        else:
            notes.append(f"{task}: not validated apart for {len(classes)} classes, given {names}")
        answers = TaskSurrogate(trainings, targets, given).answer(classes, known)
        groups.append(_group(trainings, targets, classes, answers))
        drawn = answers.draw(task, classes)
        times = seconds.predict(classes)
        for place, column in enumerate(targets):
            counts = as_counts(drawn[:, place], trainings.images[column])
            parts.setdefault(column, []).append(_rows(classes, counts, times[:, column]))
            given_to.setdefault(column, {})[names] = len(classes)
    fitted = len(np.unique(trainings.classes[trainings.complete]))
    return [
        Column(
            task,
            trainings.fidelities[column],
            "valid",
            trainings.images[column],
            _sorted(np.concatenate(rows)),
            _provenance(table, {task: fitted}) | {"classes_by_given": given_to[column]},
        )
        for column, rows in parts.items()
    ]


def _group(trainings: Trainings, targets: Sequence[int], classes: Integers, answers: Answers) -> Group:
    return Group(
        trainings.task,
        tuple(str(trainings.fidelities[column]) for column in targets),
        np.array([trainings.images[column] for column in targets], dtype=np.int64),
        classes,
        answers.prediction,
        answers.pool,
        answers.peers,
    )


def _lacking(
    trainings: Trainings,
) -> dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Integers, Array]]:
    """The classes that lack entries: (columns lacking, columns known) -> classes and what is known of them.

    What is known is that of the class's training with the lowest seed; where that diverged, nothing is.
    """
    order = np.lexsort((trainings.seeds, trainings.classes))
    first: dict[int, int] = {}
    has: dict[int, npt.NDArray[np.bool_]] = {}
    for row in order.tolist():
        number = int(trainings.classes[row])
        first.setdefault(number, row)
        has[number] = (
            has.get(number, np.zeros(len(trainings.fidelities), dtype=bool)) | trainings.measured[row]
        )
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for cell in representatives():
        entries = has.get(cell.index, np.zeros(len(trainings.fidelities), dtype=bool))
        if entries.all():
            continue
        known = ~np.isnan(trainings.accuracy[first[cell.index]]) if cell.index in first else entries
        key = tuple(np.flatnonzero(~entries).tolist()), tuple(np.flatnonzero(known).tolist())
        groups.setdefault(key, []).append(cell.index)
    return {
        (targets, given): (
            np.array(classes),
            np.array(
                [[trainings.accuracy[first[number], place] for place in given] for number in classes]
            ).reshape(len(classes), len(given)),
        )
        for (targets, given), classes in sorted(groups.items())
    }


def _rows(classes: Integers, counts: Integers, seconds: Array) -> npt.NDArray[np.void]:
    return make_rows(classes, np.full(len(classes), SEED), counts, np.rint(seconds * 1e6))


def _sorted(rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    return rows[np.argsort(rows["cell"], kind="stable")]


def _provenance(table: Table, classes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "source": "surrogate",
        "origin": "surrogate",
        "method": _METHOD,
        "fitted_to_sha256": table.sha256,
        "fitted_to_classes": dict(classes),
    }


def _card(table: Table, quality: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    return {
        "title": "Surrogate entries for the low-fidelity trainings that were not measured: draws, not trainings",
        "source": f"fitted to the table {table.name} and the embedded 200-epoch results",
        "source_sha256": {
            each.name: each.sha256
            for each in (table, *tables("embedded"))
            if each is table or any(column.fidelity == FULL for column in each.columns)
        },
        "licence": "Apache-2.0",
        "rebuild": f"nasbench-kd data surrogate {table.name} --into FOLDER",
        "software": {name: version(name) for name in ("numpy", "scikit-learn", "scipy")},
        "notes": notes,
        "quality": quality,
    }
