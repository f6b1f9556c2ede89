"""NATS-Bench's test accuracy after 200 epochs, mean over seeds, from v-tao/nats-bench-landscape.

The file's rows are in the official index order; its values come from the NATS-Bench API with
`hp=200, is_random=False`: CIFAR-10 is the model trained on all 50,000 images, on the original test
set; CIFAR-100 and ImageNet16-120 are the test halves (`x-test`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv as csv

from nasbench_kd.errors import DataError
from nasbench_kd.sources.clock import training_microseconds
from nasbench_kd.sources.origin import PublicSource, RemoteFile, whole_counts
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, all_cells
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import FULL

_COLUMNS = {
    "cifar10": ("CIFAR10TestAccuracy200Epochs", 10_000),
    "cifar100": ("CIFAR100TestAccuracy200Epochs", 5_000),
    "imagenet16-120": ("ImageNetTestAccuracy200Epochs", 3_000),
}
_SEEDS = 6
"""A mean over two or three seeds is a whole number of sixths of an image."""


def _convert(files: tuple[Path, ...], folder: Path) -> None:
    content = csv.read_csv(files[0])
    if content["ArchitectureString"].to_pylist() != [str(cell) for cell in all_cells()]:
        raise DataError(f"{files[0].name}: the rows are not in the official index order")
    columns = []
    for task, (name, images) in _COLUMNS.items():
        correct = whole_counts(content[name].to_numpy(), _SEEDS * images, f"{SOURCE.name}, {task}")
        trained_on = "all 50,000 images" if task == "cifar10" else "the task's training images"
        columns.append(
            Column(
                task,
                FULL,
                "test",
                _SEEDS * images,
                make_rows(
                    np.arange(SPACE_SIZE),
                    np.zeros(SPACE_SIZE, int),
                    correct,
                    training_microseconds(task) * (2 if task == "cifar10" else 1),
                ),
                {
                    "source": "measured",
                    "origin": "NATS-Bench through v-tao/nats-bench-landscape",
                    "statistic": "mean over two or three seeds (777, 888, 999); exact, as sixths of an image",
                    "trained_on": trained_on,
                    "time": "the embedded table's 200-epoch time"
                    + (", twice it for twice the training images" if task == "cifar10" else ""),
                },
                means=True,
            )
        )
    write_table(folder, SOURCE.name, columns, SOURCE.card())


SOURCE = PublicSource(
    name="nats-bench-test",
    title="NATS-Bench: test accuracy after 200 epochs, mean over seeds, for each cell and data set",
    licence="facts: MIT (NATS-Bench); the repository states no licence",
    files=(
        RemoteFile(
            "v-tao/nats-bench-landscape",
            "b307ae5fe6e8d7043cd4fe7d1c3532288271adb7",
            "nats_bench.csv",
            "cb5d777ec3368be83c8f9b3aa4d520696051cb0eb8d94b8f85b519f9ea4afa3e",
            3_024_008,
        ),
    ),
    convert=_convert,
)
"""The public source."""
