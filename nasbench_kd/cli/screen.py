"""The one screen that `run` and `report` end with: ranking, verdict, what was written, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from nasbench_kd.cli.output import print_table, say

if TYPE_CHECKING:
    from nasbench_kd.report import Report

_MOST_ROWS = 15


def show(
    report: Report, folder: Path, beside: Path | None = None, brought: Collection[str] = frozenset()
) -> None:
    """Print the screen of a report that was written into a folder of results.

    `beside` is the folder of the suite that its optimizers were added to. Those that are `brought` to a board are
    shown wherever they stand.
    """
    from nasbench_kd.report.tables import interval_text, number

    rows = list(enumerate(report.ranking, start=1))
    shown = [(place, row) for place, row in rows if place <= _MOST_ROWS or row.optimizer in brought]
    say(f"{report.name}, {report.budget}, best first; 95 % intervals over runs")
    print_table(
        ["place#", "optimizer", "normalised regret", "mean rank#"],
        [
            (place, row.optimizer, interval_text(row.normalised_regret, 4), number(row.mean_rank, 2))
            for place, row in shown
        ],
    )
    if len(rows) > len(shown):
        say(f"... and {len(rows) - len(shown)} more in {folder / 'leaderboard.md'}\n")
    if report.without_place:
        say(
            f"Without a place, failed or without runs on some task: {', '.join(report.without_place)}; "
            f"by task they stand in {folder / 'leaderboard.md'}\n"
        )
    runs = {row.optimizer: row.runs for row in report.rows if row.budget == report.budget}
    ranked = {row.optimizer: runs[row.optimizer] for row in report.ranking}
    if ranked and min(ranked.values()) < max(ranked.values()):
        fewest = ", ".join(name for name, count in ranked.items() if count == min(ranked.values()))
        say(
            f"Mean ranks and tests are over the {min(ranked.values())} repetitions that all have: no more of {fewest}\n"
        )
    say(report.verdict)
    say(f"\nWritten to {folder}: {', '.join(_files(report))}")
    say("\nNext:")
    for command in _next(report, folder, beside):
        say(f"  {command}")


def _files(report: Report) -> list[str]:
    """Names of the files, formats of one figure together: `anytime.png/.svg`."""
    endings: dict[str, list[str]] = {}
    for path in report.files:
        endings.setdefault(path.stem, []).append(path.suffix)
    return [stem + "/".join(suffixes) for stem, suffixes in endings.items()]


def _next(report: Report, folder: Path, beside: Path | None) -> list[str]:
    """Two commands that follow on from this report."""
    place = shlex.quote(str(folder))
    if beside is not None and beside.is_dir():
        return [
            f"nasbench-kd report {shlex.quote(str(beside))} {place} --output {shlex.quote(f'{folder}-board')}",
            f"nasbench-kd bundle {place}",
        ]
    commands = []
    if len(report.ranking) > 1:
        pair = [shlex.quote(row.optimizer) for row in report.ranking[:2]]
        commands.append(f"nasbench-kd compare {pair[0]} {pair[1]} --runs {place}")
    if not any(path.suffix == ".html" for path in report.files):
        commands.append(f"nasbench-kd report {place} --html")
    return [*commands, f"nasbench-kd verify {place}"][:2]
