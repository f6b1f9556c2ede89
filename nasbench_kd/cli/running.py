"""Commands that run suites and list them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasbench_kd.cli import completion, screen
from nasbench_kd.cli.output import AsJson, print_json, print_table, say
from nasbench_kd.cli.reporting import AsMarkdown, make_report
from nasbench_kd.errors import SuiteError

if TYPE_CHECKING:
    from nasbench_kd.execution.jobs import Isolation
    from nasbench_kd.execution.study import Progress


MemoryOption = Annotated[
    float | None,
    typer.Option(min=0.5, help="GB that a process of a run may allocate.", show_default="as in the suite"),
]


def run(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE",
            help="A TOML file, or the name of a shipped suite.",
            autocompletion=completion.suites,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder of the results.", show_default="reports/<name of the suite>")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that run in parallel.", show_default="one for each core"),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away the runs stored in the folder.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make stored runs again that failed or are damaged.")
    ] = False,
    rerun: Annotated[
        list[str] | None,
        typer.Option(
            help="Make the stored runs of this optimizer anew; may be repeated.",
            show_default="none",
            autocompletion=completion.optimizers,
        ),
    ] = None,
    memory: MemoryOption = None,
    isolated: Annotated[
        bool,
        typer.Option(
            "--isolated", help="Keep optimizers in processes without tables, for results that are published."
        ),
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Store the runs and stop there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no ranking.")] = False,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Run a suite, store its runs and write the report.

    Finished runs are stored at once. After Ctrl-C, a crash or a power cut, **give the same command
    again**: it goes on where it stopped and ends with the same results. Failed runs are stored with
    their reasons; where all have failed, as of a search whose fidelity the task lacks, the exit code is 2.

    A suite is a TOML file:

    ```
    name = "mine"
    tasks = ["cifar10", "cifar100"]
    budgets = ["1 gpu-hours", "20 gpu-hours"]
    seeds = 20

    [[optimizers]]
    optimizer = "random"

    [[optimizers]]
    name = "mine"
    optimizer = "my_package.my_module:MySearch"
    arguments = { population = 50 }
    ```

    With `--isolated` every optimizer lives in a process of its own that has no tables and, on Linux, cannot
    read them, write outside a folder of its run, or connect to anything. Numbers are the same, for more than twice the
    time that a step of the loop takes; reports say whether it was so.

    Examples:

    ```
    nasbench-kd run quick
    nasbench-kd run suites/standard.toml --jobs 8
    nasbench-kd run mine.toml --output results/mine --no-report --json
    ```
    """
    from nasbench_kd.execution.study import run_suite
    from nasbench_kd.execution.suite import load_suite

    loaded = load_suite(suite)
    if memory is not None:
        loaded = replace(loaded, memory_cap_gb=memory)
    folder = output or Path("reports") / loaded.name
    isolation = _isolation() if isolated else "none"
    visible = sys.stderr.isatty() and not quiet and not as_json
    try:
        with progress_bar(loaded.name, visible) as show:
            progress = run_suite(
                loaded,
                folder,
                jobs=jobs,
                fresh=fresh,
                retry_failed=retry_failed,
                rerun=rerun or (),
                isolation=isolation,
                on_progress=show,
            )
    except KeyboardInterrupt:
        say(
            f"Stopped. Finished runs are stored in {folder}; the same command (without --fresh) goes on.",
            fg="yellow",
            err=True,
        )
        raise
    if progress.failed == progress.total:
        raise SuiteError(f"all runs of {loaded.name} failed, and are stored in {folder}: {_reasons(folder)}")
    if progress.failed and not quiet:
        say(
            f"{progress.failed} of {progress.total} runs failed: {_reasons(folder)}",
            fg="yellow",
            err=True,
        )
    report = None if no_report else make_report(folder, loaded.data)
    if as_json:
        print_json(
            {
                "suite": loaded.name,
                "folder": str(folder),
                "runs": progress.total,
                "resumed": progress.resumed,
                "failed": progress.failed,
                "report": not no_report,
            }
        )
    elif quiet:
        return
    elif report is None:
        say(f"{progress.total} runs are stored in {folder}")
    elif as_markdown:
        say(report.markdown)
    else:
        screen.show(report, folder)


def suites(as_json: AsJson = False) -> None:
    """List the suites that come with the package.

    Examples:

    ```
    nasbench-kd suites
    nasbench-kd run quick
    ```
    """
    from nasbench_kd.execution.suite import parse_suite, shipped_suites

    listed = []
    for name, path in shipped_suites().items():
        suite = parse_suite(path.read_text(encoding="utf-8"), str(path))
        listed.append({**suite.describe(), "name": name, "runs": suite.runs, "path": str(path)})
    if as_json:
        print_json(listed)
        return
    print_table(
        ["suite", "tasks", "budgets", "optimizers", "seeds#", "runs#"],
        [
            (
                each["name"],
                ", ".join(each["tasks"]),
                ", ".join(each["budgets"]),
                ", ".join(entry["name"] for entry in each["optimizers"]),
                each["seeds"],
                each["runs"],
            )
            for each in listed
        ],
    )


def _isolation() -> Isolation:
    """What this system can keep from an optimizer, said where it is not all."""
    from nasbench_kd.execution.sandbox import why_not

    if not (missing := why_not()):
        return "process and files"
    say(
        f"Optimizers live in processes without tables, but this system cannot keep them from reading tables from disk: "
        f"{missing}. The runs record that.",
        fg="yellow",
        err=True,
    )
    return "process"


def _reasons(folder: Path) -> str:
    """Why stored runs failed, each reason once with its traceback and the first run that it befell."""
    from nasbench_kd.execution.runs import read_runs
    from nasbench_kd.execution.study import RUNS_FILE

    stored = read_runs(folder / RUNS_FILE, ["optimizer", "task", "ending", "reason", "traceback"])
    first: dict[str, str] = {}
    for row in stored.table.to_pylist():
        if row["ending"] == "failed":
            frames = "".join(f"\n  {line}" for line in row["traceback"].splitlines())
            first.setdefault(row["reason"], f"{row['optimizer']} on {row['task']}: {row['reason']}{frames}")
    return "; ".join(first.values())


@contextmanager
def progress_bar(name: str, visible: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield what shows the progress of a suite, a bar on stderr or nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failures]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), disable=not visible) as bar:
        task = bar.add_task(name, total=None, failures="")

        def show(progress: Progress) -> None:
            failures = f"{progress.failed} failed" if progress.failed else ""
            bar.update(task, total=progress.total, completed=progress.done, failures=failures)

        yield show
