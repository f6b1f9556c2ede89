"""Writes the report of a folder of runs: leaderboard.md, leaderboard.csv and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nasbench_kd.catalog import Data
from nasbench_kd.files import write_text
from nasbench_kd.report.figures import draw
from nasbench_kd.report.leaderboard import Overall, Row
from nasbench_kd.report.opened import open_folder
from nasbench_kd.report.tables import markdown, to_csv


@dataclass(frozen=True, slots=True)
class Report:
    """A leaderboard as text and as numbers."""

    markdown: str
    rows: tuple[Row, ...]
    overall: tuple[Overall, ...]
    files: tuple[Path, ...]
    """What was written."""


def write_report(folder: Path, data: Data | None = None) -> Report:
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
