"""Commands that run suites and list them."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasbench_kd.cli import completion, screen
from nasbench_kd.cli.executing import ExecutorOption, SbatchOption, Where, chosen_executor
from nasbench_kd.cli.output import AsJson, print_json, print_table, say
from nasbench_kd.cli.reporting import AsMarkdown, make_report
from nasbench_kd.errors import SuiteError, UnknownNameError, nearest

if TYPE_CHECKING:
    from nasbench_kd.execution.jobs import Isolation
    from nasbench_kd.execution.study import Progress
    from nasbench_kd.execution.suite import Suite


_MOST_SHARDS = 100_000
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
        Path | None,
        typer.Option(
            help="Folder of the results.", show_default="reports/<suite>, with --add reports/<suite>-<name>"
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that run in parallel, here or on the cluster.",
            show_default="one for each core; 100 jobs of Slurm",
        ),
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
            autocompletion=completion.chosen_optimizers,
        ),
    ] = None,
    memory: MemoryOption = None,
    isolated: Annotated[
        bool,
        typer.Option(
            "--isolated", help="Keep optimizers in processes without tables, for results that are published."
        ),
    ] = False,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="Run this optimizer under the suite's conditions, beside those whose runs are there; may be repeated.",
            show_default="none",
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="What to call the added one; one for each --add.", show_default="its class"),
    ] = None,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            help="Run this one only; may be repeated.",
            show_default="all",
            autocompletion=completion.chosen_optimizers,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Run on this task only; may be repeated.",
            show_default="all",
            autocompletion=completion.chosen_tasks,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Repetitions.", show_default="as in the suite")
    ] = None,
    budget: Annotated[
        list[str] | None, typer.Option(help="Budget; may be repeated.", show_default="as in the suite")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Make this part, such as 3/8; `merge` brings all together.", show_default="all"),
    ] = None,
    made_by: Annotated[
        str, typer.Option("--by", help="Who you are, for the board.", show_default="not said")
    ] = "",
    executor: ExecutorOption = Where.processes,
    sbatch: SbatchOption = None,
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

    With `--add` an optimizer of yours runs alone under the conditions of a suite, with the seeds that it would have
    in it; `report` puts its runs beside those of the suite. The published ones were made with `--isolated`, and on one
    board all were made alike. Modules are found in the working folder and beside the suite. A suite that says
    `extends = "kd"` has all that `kd` has, and its own keys and optimizers; without a `name` of its own it keeps the
    seeds of `kd`, and its runs stand on one board with those.

    With `--executor ray` or `--executor slurm` a cluster makes the runs, and this process stores them: the bytes are
    the same. Every machine has the same packages, code and tables (it is checked); for Slurm the folder of the results
    is one that all machines share. Runs that are lost with a machine are made again.

    Examples:

    ```
    nasbench-kd run quick
    nasbench-kd run kd --add mine:Mine --isolated
    nasbench-kd report reports/kd reports/kd-Mine --output reports/kd-Mine-board
    nasbench-kd run standard --jobs 8 --output results/standard
    nasbench-kd run kd --executor ray --output results/kd
    nasbench-kd run mine.toml --output results/mine --no-report --json
    ```
    """
    from nasbench_kd.execution.study import run_suite
    from nasbench_kd.execution.suite import load_suite, read_budgets

    loaded = load_suite(suite)
    beside = Path("reports") / _own_name(suite, loaded.name)
    loaded = _chosen(loaded, add or [], name or [], optimizer or [], task or [])
    if seeds is not None:
        loaded = replace(loaded, seeds=seeds)
    if budget:
        loaded = replace(loaded, budgets=read_budgets(budget))
    if memory is not None:
        loaded = replace(loaded, memory_cap_gb=memory)
    folder = output or _folder(beside, _called(add or [], name or []))
    isolation = _isolation() if isolated else "none"
    if add and not quiet and not isolated and _made_isolated(beside):
        say(
            f"The runs in {beside} were made with --isolated: give it too, to stand on one board with them.",
            fg="yellow",
            err=True,
        )
    part = None if shard is None else _shard(shard)
    visible = sys.stderr.isatty() and not quiet and not as_json
    try:
        with (
            chosen_executor(executor, folder / "slurm", jobs, sbatch) as chosen,
            progress_bar(loaded.name, visible) as show,
        ):
            progress = run_suite(
                loaded,
                folder,
                jobs=jobs,
                fresh=fresh,
                retry_failed=retry_failed,
                rerun=rerun or (),
                isolation=isolation,
                shard=part,
                executor=chosen,
                made_by=made_by,
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
    report = None if no_report or part else make_report(folder, loaded.data)
    if as_json:
        print_json(
            {
                "suite": loaded.name,
                "folder": str(folder),
                "runs": progress.total,
                "resumed": progress.resumed,
                "failed": progress.failed,
                "report": report is not None,
            }
        )
    elif quiet:
        return
    elif report is None:
        say(f"{progress.total} runs are stored in {folder}")
    elif as_markdown:
        say(report.markdown)
    else:
        screen.show(report, folder, beside if add else None)


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


def _chosen(
    suite: Suite, added: list[str], names: list[str], optimizers: list[str], tasks: list[str]
) -> Suite:
    """The part of a suite that is asked for, with what is added to it, checked."""
    from nasbench_kd.execution.suite import SuiteOptimizer, check_optimizers, with_optimizers

    if names and len(names) != len(added):
        raise typer.BadParameter(f"{len(names)} names for {len(added)} added optimizers", param_hint="--name")
    for task in tasks:
        if task not in suite.tasks:
            raise UnknownNameError(
                f"the suite {suite.name!r} has no task {task!r}: it has {', '.join(suite.tasks)}."
                f"{nearest(task, suite.tasks)}"
            )
    if tasks:
        suite = replace(suite, tasks=tuple(task for task in suite.tasks if task in tasks))
    if not (added or optimizers):
        return suite
    called = _called(added, names)
    entries = [SuiteOptimizer(each, name) for each, name in zip(added, called, strict=True)]
    chosen = with_optimizers(suite, entries, optimizers)
    if entries:
        check_optimizers(replace(chosen, optimizers=tuple(entries)), "--add")
    return chosen


def _own_name(suite: str, name: str) -> str:
    """The name of a suite, or that of its file where it has a shipped suite's name, which it extends."""
    from nasbench_kd.execution.suite import shipped_suites

    path = Path(suite)
    own = path.is_file() and path.resolve() not in map(Path.resolve, shipped_suites().values())
    return path.stem if own and name in shipped_suites() else name


def _called(added: list[str], names: list[str]) -> list[str]:
    """What the added optimizers are called."""
    return names or [each.rpartition(":")[2] for each in added]


def _folder(beside: Path, called: list[str]) -> Path:
    """Where the results go by default: runs of added optimizers never into the folder of their suite."""
    return beside.with_name("-".join([beside.name, *(re.sub(r"[^\w.-]", "-", each) for each in called)]))


def _made_isolated(folder: Path) -> bool:
    """Whether a folder holds runs that were made with isolation."""
    from nasbench_kd.execution.runs import RunsFile
    from nasbench_kd.execution.study import RUNS_FILE

    path = folder / RUNS_FILE
    return path.is_file() and RunsFile(path).metadata.get("isolation", "none") != "none"


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Folders of results, files of runs, or bundles.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the merged runs.")],
) -> None:
    """Bring together the runs of several folders: the shards of a suite, or a suite with more optimizers.

    All shards of a suite give the bytes that running it at once gives. Otherwise the suites may differ in their
    optimizers, tasks and seeds alone.

    Examples:

    ```
    nasbench-kd run kd --shard 1/2 --output part-1
    nasbench-kd run kd --shard 2/2 --output part-2
    nasbench-kd merge part-1 part-2 --output results/kd
    nasbench-kd report results/kd
    ```
    """
    from nasbench_kd.execution.bundles import opened
    from nasbench_kd.execution.merging import merge_runs

    with opened(*folders) as found:
        total = merge_runs(found, output)
    say(f"{total} runs are stored in {output}; `nasbench-kd report {shlex.quote(str(output))}` shows them.")


def _shard(text: str) -> tuple[int, int]:
    """Read a part such as 3/8."""
    number, slash, count = text.partition("/")
    if not (
        slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= _MOST_SHARDS
    ):
        raise typer.BadParameter(
            f"expected a part such as 3/8, the third of eight, not {text!r}", param_hint="--shard"
        )
    return int(number), int(count)


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
