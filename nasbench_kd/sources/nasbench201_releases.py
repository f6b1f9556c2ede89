"""What is published of NAS-Bench-201's releases: optima, numbers of seeds, times, and the traps of their users."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.sources.nb201_means import HALF_TRAINED
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, Cell, all_cells
from nasbench_kd.tables.column import Column, Split
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.tasks.nasbench201 import TASKS

Level = Literal["ok", "note", "problem"]

INDEX_ORDER_SHA256 = "b24e2a8b6802be1326de041d81d564998ca8aa923055352f3a95c30d59ce7048"
"""SHA-256 of the official cell strings in index order, one a line."""
OPTIMA: Mapping[tuple[str, Split], tuple[float, str]] = MappingProxyType(
    {
        ("cifar10", "valid"): (91.607, "333132"),
        ("cifar100", "valid"): (73.493, "333133"),
        ("imagenet16-120", "valid"): (46.733, "322133"),
        ("cifar10", "test"): (94.373, "333132"),
        ("cifar100", "test"): (73.513, "333133"),
        ("imagenet16-120", "test"): (47.311, "223133"),
    }
)
"""Best mean over seeds after 200 epochs (percent), as published, and an optimal cell's operation codes."""
SEED_COUNTS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        "NATS-Bench": {2: 7_456, 3: 8_169},
        "NAS-Bench-201 v1.1": {1: 2_225, 2: 5_439, 3: 7_961},
        "NAS-Bench-201 v1.0": {1: 6_219, 2: 1_621, 3: 7_785},
    }
)
"""How many cells were trained how many times for 200 epochs, by release."""
HALF_TRAINED_TEST_OPTIMUM = 91.523
"""Best CIFAR-10 test accuracy of the models trained on 25,000 images (`cifar10-valid`)."""

TRAPS: Mapping[str, str] = MappingProxyType(
    {
        "cifar10 against cifar10-valid": "the official `cifar10` is trained on all 50,000 images and has no "
        "validation accuracy; `cifar10-valid` is trained on 25,000, and its best test accuracy is 91.52 %, "
        "not 94.37 %. Here the task cifar10 shows cifar10-valid's validation; reports open cifar10's test.",
        "12-epoch default": "the official API answers for 12 epochs and a random seed unless hp='200' and "
        "is_random=False are given. Here every query names its fidelity, and the default is none@200.",
        "epoch 12 of 200 against the 12-epoch schedule": "cell 11 reaches 49.6 % on cifar10 at epoch 12 of "
        "200, and 63.3 % where the schedule ends at epoch 12. Here these are none@12/200 and none@12.",
        "mid-curve accuracy": "during the 200 epochs, cifar100 and ImageNet16-120 have only `ori-test`, "
        "validation and test images together; a search on it sees the test set. It is never imported.",
        "derived times": "cifar100's training times are exactly twice cifar10's, and ImageNet16-120's are "
        "exactly 3.034 times cifar100's: one measurement, scaled by the number of images.",
        "cell 9075 on ImageNet16-120": "the training with seed 888 broke down: its losses are missing from "
        "epoch 68 on, and it ends at 0.27 %, below chance, where seed 777 reaches 27.90 %. Both are recorded.",
    }
)
"""What users of NAS-Bench-201 data get wrong, by name."""


def examine_space() -> Iterator[tuple[Level, str, str]]:
    """Level, subject and text of what this interpreter and the table's clock agree with or not."""
    yield _examine_index_order()
    yield _examine_time_ratios()


def examine_column(column: Column) -> Iterator[tuple[Level, str]]:
    """Compare a column with what is published of it: nothing where it is of another space."""
    if column.task not in TASKS:
        return
    yield from _examine_times(column)
    complete = len(np.unique(column.rows["cell"])) == SPACE_SIZE
    if column.fidelity == FULL and complete and column.provenance.get("source") == "measured":
        yield from _examine_seeds(column)
        yield from _examine_optimum(column)


def mean_accuracies(column: Column) -> npt.NDArray[np.float64]:
    """Mean over a column's seeds in percent, shape (15625,); NaN where a cell is absent or diverged."""
    cells = column.rows["cell"]
    counts = np.bincount(cells, minlength=SPACE_SIZE)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(cells, weights=column.accuracies(), minlength=SPACE_SIZE) / counts)


def _examine_seeds(column: Column) -> Iterator[tuple[Level, str]]:
    if column.means:
        return
    each = np.bincount(column.rows["cell"], minlength=SPACE_SIZE)
    counts = dict(sorted(Counter(each.tolist()).items()))
    listed = ", ".join(f"{number} cells with {seeds}" for seeds, number in counts.items())
    for release, expected in SEED_COUNTS.items():
        if counts == dict(expected):
            yield "ok", f"seeds as in {release}: {listed}"
            return
    yield "problem", f"the numbers of seeds are those of no release: {listed}"


def _examine_optimum(column: Column) -> Iterator[tuple[Level, str]]:
    known, codes = OPTIMA[column.task, column.split]
    means = mean_accuracies(column)
    best, cell = float(np.nanmax(means)), Cell.from_codes([int(code) for code in codes])
    place = f"{best:.3f} at cell {int(np.nanargmax(means))}"
    if abs(best - known) < 0.0015 and means[cell.index] >= best - 1e-9:
        yield "ok", f"best mean {place}, as published"
    elif (column.task, column.split) == ("cifar10", "test") and abs(
        best - HALF_TRAINED_TEST_OPTIMUM
    ) < 0.0015:
        said = column.provenance.get("trained_on") == HALF_TRAINED
        trap = "trap: cifar10 against cifar10-valid: this is the latter's test"
        yield (
            ("note" if said else "problem"),
            f"best mean {place}: {trap}{', as its card says' if said else ''}",
        )
    else:
        yield "problem", f"best mean {place}; published is {known:.3f} at cell {cell.index}"


def _examine_times(column: Column) -> Iterator[tuple[Level, str]]:
    rows = column.rows
    epochs = column.fidelity.epochs
    if not epochs or (column.fidelity != FULL.at_epoch(epochs) and str(column.fidelity) != "none@12"):
        return
    expected = training_microseconds(column.task, column.fidelity.epochs)[rows["cell"]]
    expected = expected * (2 if (column.task, column.split) == ("cifar10", "test") else 1)
    ratio = float(np.median(rows["microseconds"] / expected))
    if np.all(np.abs(rows["microseconds"] - expected) <= 2):
        yield "ok", "times agree with the table's clock"
    else:
        yield "note", f"times are on another clock: {ratio:.4g} times the table's in the median"


def _examine_index_order() -> tuple[Level, str, str]:
    found = hashlib.sha256("".join(f"{cell}\n" for cell in all_cells()).encode()).hexdigest()
    if found == INDEX_ORDER_SHA256:
        return ("ok", "space", f"{SPACE_SIZE} cells in the official index order")
    return ("problem", "space", "the cells are not in the official index order on this interpreter")


def _examine_time_ratios() -> tuple[Level, str, str]:
    times = {task: training_microseconds(task) for task, split in OPTIMA if split == "valid"}
    first = times["cifar100"] / times["cifar10"]
    second = times["imagenet16-120"] / times["cifar100"]
    if np.allclose(first, 2.0, rtol=1e-8) and np.allclose(second, 3.034, rtol=1e-8):
        return ("ok", "clock", "the data sets' times are in the known proportions 1 : 2 : 6.068")
    return ("problem", "clock", "the data sets' times are not in the proportions 1 : 2 : 6.068")
