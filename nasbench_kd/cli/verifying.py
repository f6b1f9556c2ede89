"""The command that replays stored runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nasbench_kd.cli.output import AsJson, print_json, say

DISAGREE = 1
_SHOWN = 50


def verify(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="A folder of results, or its runs.parquet.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay stored runs against the tables and print what does not agree.

    Every step is asked for again: its order, the seed and the value that were shown, its price, what a
    resumed training still cost, the teacher, the budget, and whether the answer had been evaluated. The
    result is stored beside the runs, and reports name it. The exit status is 1 where something does not
    agree, and 2 where the runs cannot be checked.

    Examples:

    ```
    nasbench-kd verify reports/quick
    nasbench-kd verify reports/quick/runs.parquet --json
    ```
    """
    from rich.console import Console
    from rich.progress import track

    from nasbench_kd.execution.verify import RunsToVerify

    opened = RunsToVerify(runs)
    visible = sys.stderr.isatty() and not quiet and not as_json
    replayed = track(
        opened.verify(), "verify", opened.total, console=Console(stderr=True), disable=not visible
    )
    found = [mismatches for mismatches in replayed if mismatches]
    try:
        opened.store(len(found))
    except OSError as error:
        say(f"The result is not stored beside the runs: {error}", fg="yellow", err=True)
    lines = [str(mismatch) for mismatches in found for mismatch in mismatches]
    if as_json:
        print_json({"runs": opened.total, "disagreeing": len(found), "mismatches": lines})
    else:
        for line in lines[:_SHOWN]:
            say(line)
        if len(lines) > _SHOWN:
            say(f"... and {len(lines) - _SHOWN} more; --json prints all")
        say(f"{opened.total - len(found)} of {opened.total} runs agree with their replay.")
    if found:
        raise typer.Exit(DISAGREE)
