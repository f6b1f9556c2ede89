"""Build the package's table of scores by shared weights and by a teacher's maps from patches.

    nasbench-kd score dna --task cifar10 --export dna-cifar10.json      # cifar100, too: 6 CPU-minutes each
    nasbench-kd score rmi --task cifar100 --classes 2000 --students 1000 --export rmi-cifar100.json   # on a GPU
    python reports/one-shot/table.py nasbench_kd/tables/data/kd_scores *.json

With `--random-teacher` the commands make the controls. The card names what is measured of how many classes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from nasbench_kd.spaces.nasbench201 import isomorphism_classes
from nasbench_kd.tables.column import Column
from nasbench_kd.tables.patch import read_patch
from nasbench_kd.tables.table import write_table


def coverage(column: Column) -> dict[str, object]:
    """How many cells and classes a column holds."""
    cells = column.rows["cell"]
    return {
        "task": column.task,
        "fidelity": str(column.fidelity),
        "cells": len(cells),
        "classes": len(np.unique(isomorphism_classes()[cells])),
        "readings": sorted(column.signals),
    }


def main(folder: Path, patches: list[Path]) -> None:
    """Write the table."""
    columns = [column for path in patches for column in read_patch(path)]
    table = write_table(
        folder,
        "kd_scores",
        columns,
        {
            "title": "Scores by block-wise distillation (dna) and by map matching (rmi), and of a random teacher",
            "source": "measured by this project, dna on one thread of a CPU, rmi on one NVIDIA H200; teachers: MF-KD's "
            "authors' weights",
            "licence": "Apache-2.0",
            "classes": len(np.unique(isomorphism_classes())),
            "rebuild": "nasbench-kd score dna and rmi --export, then reports/one-shot/table.py",
            "worth": "reports/one-shot: rank correlations with intervals beside parameters, convolutions and the "
            "random teacher, on all three data sets",
            "coverage": [coverage(column) for column in columns],
        },
    )
    print(f"{table.name}: {sum(len(column.rows) for column in columns)} scores, sha256 {table.sha256}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
