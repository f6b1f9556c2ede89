"""The command that replays stored runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasbench_kd.cli.output import AsJson, print_json, say
from nasbench_kd.errors import StoreError

if TYPE_CHECKING:
    from nasbench_kd.execution.verify import Mismatch, RunsToVerify

DISAGREE = 1
_SHOWN = 50


def verify(
    runs: Annotated[
        Path, typer.Argument(metavar="RUNS", help="A folder of results, its runs.parquet, or a bundle.")
    ],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay stored runs against the tables and print what does not agree.

    Every step is asked for again: its order, the seed and the value that were shown, its price, what a
    resumed training still cost, the teacher, the budget, and whether the answer had been evaluated. Runs of the
    suite that are not stored do not agree either. Of runs that were thinned to the steps that decide their scores, each
    stored step is asked for by itself. The result is stored beside the runs, and reports say what was checked.
    The exit status is 1 where something does not agree, and 2 where the runs cannot be checked.

    Examples:

    ```
    nasbench-kd verify reports/standard
    nasbench-kd verify reports/standard/runs.parquet --json
    ```
    """
    from nasbench_kd.execution.bundles import SUFFIX, opened

    with opened(runs) as (folder,):
        checked, found = _replayed(folder, quiet or as_json, keep=runs.suffix != SUFFIX)
    _print(checked, found, as_json)
    if found:
        raise typer.Exit(DISAGREE)


def bundle(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of results.")],
    output: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="DIR.nbkd, beside the folder")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Replay the runs of a folder and pack them into one file that others can check.

    It holds the suite, the runs, what determined them (code, libraries and their versions, tables) and the result
    of the replay. Nothing is written where a run does not agree with its replay: the exit status is 1 then. `verify`
    and `merge` take bundles as they take folders.

    Examples:

    ```
    nasbench-kd bundle reports/kd-Mine
    nasbench-kd verify reports/kd-Mine.nbkd
    nasbench-kd report reports/kd reports/kd-Mine.nbkd --output reports/kd-Mine-board
    ```
    """
    from nasbench_kd.execution.bundles import SUFFIX, write_bundle
    from nasbench_kd.execution.verify import stored_verification

    _check_bundled(folder)
    checked, found = _replayed(folder, quiet, keep=True)
    _print(checked, found, as_json=False)
    if found:
        raise typer.Exit(DISAGREE)
    verification = stored_verification(folder)
    if verification is None:
        raise StoreError(f"the result of the replay cannot be kept in {folder}: make it writable")
    path = output or folder.with_name(f"{folder.resolve().name}{SUFFIX}")
    write_bundle(folder, path, verification)
    say(f"written to {path}")


def _check_bundled(folder: Path) -> None:
    """Raise `StoreError` where a folder holds runs that can be no row of a board."""
    from nasbench_kd.execution.runs import KEPT, read_runs
    from nasbench_kd.execution.study import RUNS_FILE

    stored = read_runs(folder / RUNS_FILE, ["ending"])
    if KEPT in stored.metadata:
        raise StoreError(
            f"{folder} holds only the steps that decide the scores of its runs; bundle a folder that "
            "`nasbench-kd run` wrote"
        )
    if set(stored.table["ending"].to_pylist()) <= {"failed"}:
        raise StoreError(f"all runs in {folder} failed: `nasbench-kd report` prints why")


def _replayed(runs: Path, quiet: bool, *, keep: bool) -> tuple[RunsToVerify, list[list[Mismatch]]]:
    """Replay runs and return them and, for each that does not agree, what does not."""
    from rich.console import Console
    from rich.progress import track

    from nasbench_kd.execution.verify import RunsToVerify

    opened = RunsToVerify(runs)
    visible = sys.stderr.isatty() and not quiet
    replayed = track(
        opened.verify(), "verify", opened.total, console=Console(stderr=True), disable=not visible
    )
    found = [mismatches for mismatches in replayed if mismatches]
    if keep:
        try:
            opened.store(len(found))
        except OSError as error:
            say(f"The result is not stored beside the runs: {error}", fg="yellow", err=True)
    return opened, found


def _print(checked: RunsToVerify, found: list[list[Mismatch]], as_json: bool) -> None:
    total = checked.total
    lines = [str(mismatch) for mismatches in found for mismatch in mismatches]
    if as_json:
        print_json(
            {
                "runs": total,
                "disagreeing": len(found),
                "whole": checked.whole,
                "mismatches": lines,
                "limit": checked.limit,
            }
        )
        return
    for line in lines[:_SHOWN]:
        say(line)
    if len(lines) > _SHOWN:
        say(f"... and {len(lines) - _SHOWN} more; --json prints all")
    with_what = (
        "with their replay" if checked.whole else "with the tables in the steps of them that are stored"
    )
    say(f"{total - len(found)} of {total} runs agree {with_what}.")
    if checked.limit:
        say(checked.limit)
