"""Keep those steps of a folder of runs by which they are scored and drawn: a few for each run in place of thousands.

Run `python reports/kd/keep.py RESULTS [FOLDER]`, with the folder that `nasbench-kd run kd --output RESULTS` wrote. It
writes `runs.parquet` into the other one, by default beside this file. `report`, `compare` and `verify` take that.
Counts of evaluations and shares of sources are those of all steps in `leaderboard.md` alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from nasbench_kd.execution.runs import KEPT, read_runs, write_runs
from nasbench_kd.gate.reference import readable_at
from nasbench_kd.simulation.budget import Budget

HERE = Path(__file__).parent
BETWEEN = 1
"""Amounts between two budgets at which runs can still be read: more of them make a folder larger."""


def main(results: Path, folder: Path) -> None:
    """Thin the runs of a folder."""
    runs = read_runs(results / "runs.parquet")
    budgets = [Budget.parse(text) for text in runs.metadata["suite"]["budgets"]]
    hours = np.log([budget.amount / 3.6e9 for budget in budgets])
    places = np.linspace(0, len(hours) - 1, (len(hours) - 1) * (BETWEEN + 1) + 1)
    dense = np.exp(np.interp(places, range(len(hours)), hours))
    amounts = [*budgets, *(Budget.parse(f"{each:.4f} gpu-hours") for each in dense)]
    described = {name: value for name, value in runs.metadata.items() if name != "format"}
    write_runs(
        folder / "runs.parquet",
        readable_at(runs.table, amounts),
        {**described, KEPT: "the steps that decide"},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else HERE)
