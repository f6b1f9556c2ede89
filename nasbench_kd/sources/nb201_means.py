"""NAS-Bench-201 v1.1's means over seeds after 200 epochs, from Zhenhan-Huang/NASGraph-Public.

Version 1.1 holds one to three seeds for each cell (2,225 once, 5,439 twice, 7,961 three times), a
subset of NATS-Bench's: its validation means are means of the embedded table's seeds, but for a
few cells that were evaluated again and differ by some images. The CIFAR-10 test column of these
files is that of the models trained on 25,000 images (`cifar10-valid`), the very trainings whose
validation accuracy searches see, and not that of papers, whose models are trained on all 50,000.
It ships with the package, in a column that says so, and is not part of what is pulled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.csv as csv

from nasbench_kd.errors import DataError
from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.sources.origin import PublicSource, RemoteFile, whole_counts
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, all_cells
from nasbench_kd.tables.column import DIVERGED, Column, Split, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import FULL

TEST_SIXTHS: dict[tuple[str, Split], int] = {
    ("cifar10", "test"): 6 * 10_000,
    ("cifar100", "test"): 6 * 5_000,
    ("imagenet16-120", "test"): 6 * 3_000,
}
"""What ships: the test half of every task."""
_SIXTHS: dict[tuple[str, Split], int] = {
    ("cifar10", "valid"): 6 * 25_000,
    ("cifar100", "valid"): 6 * 5_000,
    ("cifar100", "test"): 6 * 5_000,
    ("imagenet16-120", "valid"): 6 * 3_000,
    ("imagenet16-120", "test"): 6 * 3_000,
}
_HALVES = 2 * 25_000
"""Sixths of 25,000 images do not fit a table's 16-bit counts; halves of an image do."""
_FIELDS: dict[Split, str] = {"valid": "validation accuracy", "test": "test accuracy"}


HALF_TRAINED = "25,000 of the 50,000 images, unlike the models whose test accuracy papers report"


def columns_of(files: Sequence[Path], images_behind: Mapping[tuple[str, Split], int]) -> list[Column]:
    """The columns of some tasks and splits, which are multiples of this many images; raises `DataError`."""
    contents = {}
    for task, file in zip(("cifar10", "cifar100", "imagenet16-120"), files, strict=True):
        contents[task] = csv.read_csv(file)
        if contents[task]["arch str"].to_pylist() != [str(cell) for cell in all_cells()]:
            raise DataError(f"{file.name}: the rows are not in the official index order")
    columns = []
    for (task, split), images in images_behind.items():
        percent = contents[task][_FIELDS[split]].to_numpy()
        correct = whole_counts(percent, images, f"{SOURCE.name}, {task}, {split}")
        exact = "exact, as sixths of an image"
        if images > DIVERGED:
            correct = np.rint(correct * (_HALVES / images)).astype(np.int64)
            images, exact = _HALVES, "rounded to half an image: at most 0.001 percentage points are lost"
        cells = np.arange(SPACE_SIZE)
        rows = make_rows(cells, np.zeros(SPACE_SIZE, int), correct, training_microseconds(task))
        provenance = {
            "source": "measured",
            "origin": "NAS-Bench-201 v1.1 through Zhenhan-Huang/NASGraph-Public",
            "statistic": f"mean over one to three seeds; {exact}",
            "time": "the embedded table's 200-epoch time",
        }
        if (task, split) == ("cifar10", "test"):
            provenance["trained_on"] = HALF_TRAINED
        columns.append(Column(task, FULL, split, images, rows, provenance, means=True))
    return columns


def _convert(files: tuple[Path, ...], folder: Path) -> None:
    columns = columns_of(files, _SIXTHS)
    notes = [
        "The source's CIFAR-10 test accuracy is of models trained on 25,000 images; it is left out.",
        "The embedded table holds the same trainings seed by seed and answers before this one.",
    ]
    write_table(folder, SOURCE.name, columns, {**SOURCE.card(), "notes": notes})


def _file(name: str, sha256: str, size: int) -> RemoteFile:
    return RemoteFile(
        "Zhenhan-Huang/NASGraph-Public",
        "1f8fd621c60a48728fcc890818b6b94eee62e4dc",
        f"data/nasbench201_{name}.csv",
        sha256,
        size,
    )


SOURCE = PublicSource(
    name="nb201-v1.1-means",
    title="NAS-Bench-201 v1.1: validation and test accuracy after 200 epochs, mean over its seeds",
    licence="facts: MIT (NAS-Bench-201); repackaging: Apache-2.0 (NASGraph-Public)",
    files=(
        _file("cifar10", "c82e70b5ffb0dba0f09d88ecc8df5a6d3ce8da8a99ad223285104f4537314033", 2_383_893),
        _file("cifar100", "87a42005d7005fdb5e4a938ed83dd306d907523f23e70af907dfd276dd5fe35d", 2_427_026),
        _file(
            "ImageNet16-120", "f5225573584977b283f473b0ded7fe51ae599a67063b3bd02b18de36b29fcd6b", 2_540_708
        ),
    ),
    convert=_convert,
)
"""The public source."""
