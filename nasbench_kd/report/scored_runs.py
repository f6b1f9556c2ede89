"""A folder of runs, read and scored: what every page of a report is made of."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from nasbench_kd.benchmark.scoring import Basis, Scorer, open_scorer
from nasbench_kd.errors import StoreError
from nasbench_kd.escaping import from_csv
from nasbench_kd.execution.runs import RunsFile
from nasbench_kd.execution.versions import changed
from nasbench_kd.files import is_special
from nasbench_kd.opening import load
from nasbench_kd.report.leaderboard import Leaderboard, LeaderboardRow, Overall
from nasbench_kd.report.provenance import read_provenance
from nasbench_kd.report.readings import Readings, read
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tasks.registry import find_task

RUNS = "runs.parquet"
OVERHEAD = "overhead.csv"


@dataclass(frozen=True)
class ScoredRuns:
    """The runs of a folder with the rows of their leaderboard."""

    file: RunsFile
    """The runs themselves, step by step."""
    data: Data
    """The tables by which it was scored."""
    board: Leaderboard

    @property
    def readings(self) -> Readings:
        """What the runs had reached."""
        return self.board.readings

    @property
    def folder(self) -> Path:
        """The folder of the runs."""
        return self.file.path.parent

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """Scorers by task."""
        return self.board.scorers

    @cached_property
    def rows(self) -> tuple[LeaderboardRow, ...]:
        """The rows of the leaderboard."""
        return tuple(self.board.rows())

    @cached_property
    def overall(self) -> tuple[Overall, ...]:
        """The rows over all tasks."""
        return tuple(self.board.overall(self.rows))


def score_folder(folder: Path, data: Data | None = None) -> ScoredRuns:
    """Read and score `runs.parquet` (and `overhead.csv` where it exists) of a folder.

    `data="installed"` scores by test accuracy where it is installed; the default is what the suite
    ran on. Raises `StoreError` where the folder is not usable or its runs rest on other versions of the
    tables.
    """
    file = RunsFile(folder / RUNS)
    suite = read_provenance(file.metadata, str(file.path)).suite
    chosen = data or suite.data
    # A mean over seeds shows all of them: no validation result is hidden from it.
    basis: Basis | None = "test" if suite.mean_over_seeds else None
    scorer = cache(lambda task: open_scorer(task, chosen, basis))
    readings = read(file, scorer)
    readings = replace(readings, shared_draws=_shared_draws(readings.tasks, chosen))
    _check_versions(file, readings, chosen)
    scorers = {task: scorer(task) for task in readings.tasks}
    full_seconds = {task: load(task, data=chosen).mean_seconds() for task in readings.tasks}
    return ScoredRuns(
        file, chosen, Leaderboard(readings, scorers, full_seconds, _overhead(folder / OVERHEAD))
    )


def _shared_draws(tasks: Iterable[str], data: Data) -> frozenset[str]:
    """Tasks with surrogate entries in a table that holds no further draws of them: every run sees the same."""
    return frozenset(
        task
        for task in tasks
        for table in tables(data, find_task(task))
        if table.draws is None
        and any(column.provenance.get("source") == "surrogate" for column in table.select(task, "valid"))
    )


def _check_versions(file: RunsFile, readings: Readings, data: Data) -> None:
    """Refuse runs that rest on another version of a table than that which is here."""
    versions = readings.provenance.tables
    if not versions:
        raise StoreError(
            f"the runs in {file.path.parent} do not say which tables they rest on; run the suite again"
        )
    for name, sha256 in changed(file, tables(data, *map(find_task, readings.tasks))).items():
        if sha256 is not None:
            raise StoreError(
                f"the runs in {file.path.parent} rest on version {versions[name][:12]} of the table {name}, and here "
                f"is {sha256[:12]}; run the suite again, or report with the version of nasbench-kd that made them"
            )


def _overhead(path: Path) -> dict[tuple[str, str], float]:
    """Mean optimizer seconds by (optimizer, task); empty where they were not recorded."""
    collected: dict[tuple[str, str], list[float]] = {}
    if is_special(path):
        raise StoreError(f"{path} is a pipe or a device, not a table of optimizer seconds")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                key = (from_csv(line["optimizer"]), line["task"])
                collected.setdefault(key, []).append(float(line["optimizer_seconds"]))
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise StoreError(f"{path} is not a table of optimizer seconds: {error!r}") from error
    return {key: sum(values) / len(values) for key, values in collected.items()}
