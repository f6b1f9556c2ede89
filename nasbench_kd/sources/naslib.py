"""Reads NASLib's NAS-Bench-201 pickles, as far as their split can be told.

`nb201_DATASET_full_training.pickle` maps a cell string to data sets, and these to `eval_acc1es`,
one accuracy an epoch of one training of 200 epochs. NASLib serves the same list as validation and
as test accuracy and does not name the seed. Here a list counts as validation only where its last
entry equals, for every cell, the known validation accuracy of one seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.pickles import loads, numpy_names
from nasbench_kd.sources.archive import opened
from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.sources.origin import whole_counts
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tables.catalog import full_results
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tasks.fidelity import FULL

_IMAGES = 25_000


def read_naslib(path: Path, curves: bool = True) -> list[Column]:
    """Return the columns `none@1/200` to `none@200` of cifar10 in a NASLib pickle.

    The file is loaded whole. Raises `DataError` where it is of another form, or its accuracies are
    not those of one known validation split: on cifar100 and ImageNet16-120 they mix validation and
    test images.
    """
    with opened(path) as file:
        content = loads(file.read(), numpy_names(), path.name)
    cells, accuracies = _curves(content, path.name)
    seed = _seed_of(cells, accuracies[:, -1])
    if seed is None:
        raise DataError(
            f"{path.name}: the last accuracies are those of no seed's validation split. NASLib's lists on "
            "cifar100 and ImageNet16-120 mix validation and test images; a search on them would see the test "
            "set. Nothing was imported."
        )
    provenance = {"source": "measured", "origin": f"NASLib, {path.name}", "statistic": f"seed {seed}"}
    last = accuracies.shape[1]
    columns = []
    for epoch in range(1 if curves else last, last + 1):
        correct = whole_counts(accuracies[:, epoch - 1], _IMAGES, f"{path.name}, epoch {epoch}")
        times = training_microseconds("cifar10", epoch)[cells]
        rows = make_rows(cells, np.full(len(cells), seed), correct, times)
        columns.append(Column("cifar10", FULL.at_epoch(epoch), "valid", _IMAGES, rows, provenance))
    return columns


def _curves(content: Any, place: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return cell indices, shape (n,), and accuracies in percent, shape (n, 200)."""
    try:
        cells, curves = [], []
        for name, datasets in content.items():
            if "cifar10-valid" in datasets:
                cells.append(Cell.parse(name).index)
                curves.append([float(value) for value in datasets["cifar10-valid"]["eval_acc1es"]])
        matrix = np.array(curves, dtype=np.float64)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{place} is not a NASLib pickle of NAS-Bench-201: {error!r}") from error
    if matrix.ndim != 2 or matrix.shape[1] != FULL.epochs:
        raise DataError(f"{place} holds no curves of 200 epochs for cifar10-valid")
    return np.array(cells, dtype=np.int64), matrix


def _seed_of(cells: npt.NDArray[np.int64], last: npt.NDArray[np.float64]) -> int | None:
    """Find the seed whose validation accuracy after 200 epochs is the last entry of every cell."""
    (column,) = full_results().select("cifar10", "valid")
    for seed in (777, 888, 999):
        chosen = column.rows[column.rows["seed"] == seed]
        known = dict(zip(chosen["cell"].tolist(), chosen["correct"].tolist(), strict=True))
        expected = np.array([known.get(int(cell), -1) for cell in cells])
        if len(cells) and (np.abs(last * _IMAGES / 100 - expected) < 0.01).all():
            return seed
    return None
