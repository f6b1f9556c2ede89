"""The command that turns stored runs into a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nasbench_kd.cli.output import AsJson, print_json
from nasbench_kd.errors import MissingDependencyError, StoreError


def report(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="A folder of results, or its runs.parquet.")],
    data: Annotated[
        Literal["embedded", "installed"] | None,
        typer.Option(
            help="Tables that the answers are scored on; installed ones may hold test accuracies.",
            show_default="as in the suite",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the leaderboard and the figures of stored runs.

    A report is made from the stored runs alone and can be made again at any time.

    Examples:

    ```
    nasbench-kd report reports/quick
    nasbench-kd report reports/quick/runs.parquet --data installed
    ```
    """
    from nasbench_kd.runs import read_runs
    from nasbench_kd.study import RUNS_FILE

    folder = runs.parent if runs.is_file() and runs.name == RUNS_FILE else runs
    if folder.is_file():
        raise StoreError(f"{runs} is neither a folder of results nor its {RUNS_FILE}")
    if data is None:
        suite = read_runs(folder / RUNS_FILE, ["optimizer"]).metadata.get("suite", {})
        data = "installed" if suite.get("data") == "installed" else "embedded"
    leaderboard = make_report(folder, data)
    if as_json:
        print_json({"folder": str(folder), "data": data})
    else:
        typer.echo(leaderboard)


def make_report(folder: Path, data: Literal["embedded", "installed"]) -> str:
    """Write the report into a folder of results and return its leaderboard in Markdown.

    Raises `MissingDependencyError` where a package of the extra `report` is not installed.
    """
    try:
        from nasbench_kd.report import write_report

        return write_report(folder, data=data).markdown
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("nasbench_kd"):
            raise
        raise MissingDependencyError(
            f"reports need the package {error.name!r}, which is not installed: "
            f"pip install 'nasbench-kd[report]', then `nasbench-kd report {folder}`"
        ) from error
