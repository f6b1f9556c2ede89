"""Writes the report of a folder of runs: leaderboard.md, leaderboard.csv and figures."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nasbench_kd.benchmark import load
from nasbench_kd.catalog import Data, tables
from nasbench_kd.errors import StoreError
from nasbench_kd.fidelity import FULL
from nasbench_kd.files import write_text
from nasbench_kd.report.figures import draw
from nasbench_kd.report.leaderboard import Leaderboard, Overall, Row
from nasbench_kd.report.readings import Readings, read
from nasbench_kd.report.tables import markdown, to_csv
from nasbench_kd.scoring import Scorer, open_scorer

RUNS = "runs.parquet"
OVERHEAD = "overhead.csv"


@dataclass(frozen=True, slots=True)
class Report:
    """A leaderboard as text and as numbers."""

    markdown: str
    rows: tuple[Row, ...]
    overall: tuple[Overall, ...]
    files: tuple[Path, ...]
    """What was written."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder of runs, read and scored, from which every page of a report is made."""

    readings: Readings
    scorers: Mapping[str, Scorer]
    rows: tuple[Row, ...]
    overall: tuple[Overall, ...]


def open_folder(folder: Path, data: Data = "embedded") -> Opened:
    """Read and score `runs.parquet` (and `overhead.csv` where it exists) of a folder.

    `data="installed"` scores by test accuracy where it is installed. Raises `StoreError` where the
    folder is not usable or its runs rest on other versions of the tables.
    """
    scorer = cache(lambda task: open_scorer(task, data))
    readings = read(folder / RUNS, scorer)
    _check_versions(folder, readings, data)
    scorers = {task: scorer(task) for task in readings.tasks}
    full_seconds = {task: load(task, data="embedded").mean_seconds(FULL) for task in readings.tasks}
    board = Leaderboard(readings, scorers, full_seconds, _overhead(folder / OVERHEAD))
    rows = board.rows()
    return Opened(readings, scorers, tuple(rows), tuple(board.overall(rows)))


def write_report(folder: Path, data: Data = "embedded") -> Report:
    """Write leaderboard.md, leaderboard.csv and the figures `anytime` and `ranks` into a folder of runs.

    The same runs give the same bytes. Raises as `open_folder` does, and `MissingDependencyError`
    where the extra `report` is not installed.
    """
    opened = open_folder(folder, data)
    figures = draw(opened.readings, opened.scorers, folder)
    text = markdown(
        opened.readings, opened.scorers, opened.rows, opened.overall, [path.name for path in figures]
    )
    write_text(folder / "leaderboard.md", text)
    write_text(folder / "leaderboard.csv", to_csv(opened.rows, opened.scorers))
    files = (
        folder / "leaderboard.md",
        folder / "leaderboard.csv",
        *(path.with_suffix(suffix) for path in figures for suffix in (".png", ".svg")),
    )
    return Report(text, opened.rows, opened.overall, files)


def _check_versions(folder: Path, readings: Readings, data: Data) -> None:
    """Refuse runs that rest on another version of a table by which they would be scored."""
    now = {table.name: table.sha256 for table in tables(data)}
    for name, sha256 in readings.metadata.get("table_versions", {}).items():
        if now.get(name, sha256) != sha256:
            raise StoreError(
                f"the runs in {folder} rest on version {sha256[:12]} of the table {name}, and here is "
                f"{now[name][:12]}; run the suite again, or report with the version of nasbench-kd that "
                "made them"
            )


def _overhead(path: Path) -> dict[tuple[str, str], float]:
    """Mean optimizer seconds by (optimizer, task); empty where they were not recorded."""
    collected: dict[tuple[str, str], list[float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                key = (line["optimizer"], line["task"])
                collected.setdefault(key, []).append(float(line["optimizer_seconds"]))
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise StoreError(f"{path} is not a table of optimizer seconds: {error!r}") from error
    return {key: sum(values) / len(values) for key, values in collected.items()}
