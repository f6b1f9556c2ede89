"""Copy stored runs into a folder of this repository as a packed file, which every command reads as any other.

    python reports/pack.py RESULTS reports/standard [REPETITIONS]

With a number, the first so many repetitions of each optimizer on each task.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pyarrow.compute as pc

from nasbench_kd.execution.runs import RunsFile, write_runs
from nasbench_kd.execution.study import OVERHEAD_FILE, RUNS_FILE


def main(source: Path, target: Path, repetitions: int | None = None) -> None:
    """Pack `runs.parquet` and take over `overhead.csv`."""
    file = RunsFile(source / RUNS_FILE)
    runs = file.table()
    rows = list(csv.reader((source / OVERHEAD_FILE).read_text(encoding="utf-8").splitlines()))
    if repetitions is not None:
        runs = runs.filter(pc.less(runs["repetition"], repetitions))
        place = rows[0].index("repetition")
        rows = [rows[0], *(row for row in rows[1:] if int(row[place]) < repetitions)]
    target.mkdir(parents=True, exist_ok=True)
    write_runs(target / RUNS_FILE, runs, file.metadata, packed=True)
    with (target / OVERHEAD_FILE).open("w", newline="", encoding="utf-8") as written:
        csv.writer(written, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
