"""Reads the test accuracy out of Syne Tune's blackbox folder `nasbench201`.

Its `metric_valid_error` is `ori-test` after each of 200 epochs: on cifar10 the test error of models
trained on all 50,000 images, on cifar100 and ImageNet16-120 a mix of validation and test images.
So nothing in it is validation accuracy; the last epoch on cifar10 is the test accuracy of each
seed. Where a third seed is missing, the folder holds the mean of the other two instead; the
embedded table tells where.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nasbench_kd.errors import CellError, DataError
from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.sources.origin import whole_counts
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tables.catalog import full_results
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tasks.fidelity import FULL

_SEEDS = (777, 888, 999)
_IMAGES = 10_000
_METRIC = "metric_valid_error"


def is_blackbox(folder: Path) -> bool:
    """Whether a folder has the files of a tabular blackbox."""
    return (folder / "hyperparameters.parquet").is_file() and (folder / "metadata.json").is_file()


def read_syne_tune(folder: Path) -> list[Column]:
    """Return the cifar10 test accuracy after 200 epochs, seed by seed.

    Raises `DataError` where the folder is not Syne Tune's `nasbench201` blackbox.
    """
    try:
        metadata = json.loads((folder / "metadata.json").read_bytes())
        parameters = pq.read_table(folder / "hyperparameters.parquet")
        values = np.load(folder / "objectives_evaluations.npy", mmap_mode="r", allow_pickle=False)
        names = zip(*(parameters[f"hp_x{edge}"].to_pylist() for edge in range(6)), strict=True)
        cells = np.array([Cell.from_operations(operations).index for operations in names])
        task, metric = metadata["task_names"].index("cifar10"), metadata["objectives_names"].index(_METRIC)
        errors = np.asarray(values[task, :, :, FULL.epochs - 1, metric], dtype=np.float64)
    except (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException, CellError) as error:
        raise DataError(f"{folder} is not Syne Tune's nasbench201 blackbox: {error!r}") from error
    if errors.shape != (len(cells), len(_SEEDS)):
        raise DataError(
            f"{folder} holds {errors.shape} values for {len(cells)} cells and {len(_SEEDS)} seeds"
        )
    (known,) = full_results().select("cifar10", "valid")
    trained = set(zip(known.rows["cell"].tolist(), known.rows["seed"].tolist(), strict=True))
    rows = [
        (int(cell), seed, (1 - errors[place, position]) * 100)
        for place, cell in enumerate(cells)
        for position, seed in enumerate(_SEEDS)
        if (int(cell), seed) in trained
    ]
    index, seeds, accuracies = (np.array(values) for values in zip(*rows, strict=True))
    correct = whole_counts(accuracies, _IMAGES, f"{folder.name}, cifar10")
    times = training_microseconds("cifar10")[index] * 2
    provenance = {
        "source": "measured",
        "origin": "NATS-Bench through Syne Tune's blackbox nasbench201",
        "trained_on": "all 50,000 images",
    }
    return [Column("cifar10", FULL, "test", _IMAGES, make_rows(index, seeds, correct, times), provenance)]
