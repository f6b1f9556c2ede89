"""Stored runs as data frames: one row a run, or one row an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from nasbench_kd.execution.runs import read_runs
from nasbench_kd.frames import frame

if TYPE_CHECKING:
    import pandas as pd

_FILE = "runs.parquet"
_TIMES = {"start": "start_seconds", "finish": "finish_seconds", "spent": "spent_seconds"}
_CHARGES = {"charged": "training_seconds", "teacher": "prerequisite_seconds"}


def open_runs(folder: Path | str, *, steps: bool = False) -> pd.DataFrame:
    """Open the runs of a folder of results, or of its `runs.parquet`, as a DataFrame.

    One row a run, in the order of optimizer, task and repetition, with the columns

    - `optimizer` (the suite's name for it), `task`, `repetition`, `seed`, `budget`, `workers`
    - `ending` (budget, stalled or failed) and `reason`
    - `training_seconds`, `prerequisite_seconds`: simulated seconds charged for trainings and for teachers
    - `evaluations`: how many evaluations had finished; of thinned runs (`reports/kd`), how many are stored
    - `answer`: index of the architecture that the search returned, -1 for none

    With `steps=True` one row an evaluation, in the order in which they finished, with the columns

    - `optimizer`, `task`, `repetition`, and `step` from 1 in its run
    - `cell` (index of the architecture), `fidelity`, `signal`, `value` (NaN where the training diverged)
    - `training_seed`, `source` (measured, isomorphic, live or surrogate)
    - `start_seconds`, `finish_seconds` on the simulated clock, `training_seconds` and
      `prerequisite_seconds` charged, `spent_seconds`: all that the search had committed by then
    - `answer`: index of the architecture that the search would have returned then, -1 for none

    Validation readings alone: scores by test accuracy are the business of reports. Raises `StoreError`
    where there are no readable runs, `MissingDependencyError` where pandas is not installed.
    """
    path = Path(folder)
    table = read_runs(path / _FILE if path.is_dir() else path).table
    lengths = pc.list_value_length(table["answer"]).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    names: tuple[str, ...] = ("optimizer", "task", "repetition")
    if steps:
        run = np.repeat(np.arange(len(lengths)), lengths)
        columns: dict[str, Any] = {name: table[name].to_pandas().to_numpy()[run] for name in names}
        columns["step"] = np.arange(lengths.sum()) - (ends - lengths)[run] + 1
        for name in ("cell", "fidelity", "signal", "value", "training_seed", "source", "answer"):
            columns[name] = pc.list_flatten(table[name]).to_pandas().to_numpy()
        for name, label in {**_TIMES, **_CHARGES}.items():
            columns[label] = pc.list_flatten(table[name]).to_numpy() / 1e6
        return frame(columns)
    names += ("seed", "budget", "workers", "ending", "reason")
    columns = {name: table[name].to_pandas().to_numpy() for name in names}
    columns["training_seconds"] = table["training_microseconds"].to_numpy() / 1e6
    columns["prerequisite_seconds"] = table["teacher_microseconds"].to_numpy() / 1e6
    columns["evaluations"] = lengths
    answers = np.append(pc.list_flatten(table["answer"]).to_numpy(), -1).astype(np.int64)
    columns["answer"] = np.where(lengths > 0, answers[ends - 1], -1)
    return frame(columns)
