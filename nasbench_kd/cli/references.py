"""Commands that save and show the stored runs which the gate compares with."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nasbench_kd.cli.gating import JobsOption, SuiteOption
from nasbench_kd.cli.output import AsJson, needs_extra, print_json, print_table, say
from nasbench_kd.errors import NasbenchKDError

app = typer.Typer(help="Stored runs that the gate compares with.", no_args_is_help=True)


def say_new_name() -> None:
    """Point users of the old name of these commands to the new one."""
    say("`nasbench-kd baseline` is now `nasbench-kd reference`.", err=True)


@app.command("save")
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, or a path that ends with .parquet.")],
    suite: SuiteOption,
    jobs: JobsOption = None,
) -> None:
    """Run a suite at all its seeds and store the runs as a reference.

    A name is stored as `reference/<suite>/<name>.parquet` beside the suite's file, to be committed with
    it: only the steps that decide the scores are kept, some 100 bytes a run. The same code writes the same file.

    Example:

    ```
    nasbench-kd reference save main --suite ci
    ```
    """
    from nasbench_kd.cli.running import progress_bar
    from nasbench_kd.execution.suite import load_suite, suite_path
    from nasbench_kd.gate.reference import reference_path, save_reference

    loaded = load_suite(suite)
    path = reference_path(name, suite_path(suite), loaded.name, new=True)
    with progress_bar(loaded.name, sys.stderr.isatty()) as show:
        stored = save_reference(loaded, path, jobs=jobs, on_progress=show)
    say(f"{stored.table.num_rows} runs are stored in {path}")
    with needs_extra("report", "scores"):
        from nasbench_kd.gate.distance import advice
    for line in advice(path, loaded):
        say(line)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, or a file or folder of runs.")],
    suite: SuiteOption,
    as_json: AsJson = False,
) -> None:
    """Show what a reference holds: the regret of every optimizer, and whether the gate can use it now.

    Example:

    ```
    nasbench-kd reference show main --suite ci
    ```
    """
    with needs_extra("report", "scores"):
        from nasbench_kd.benchmark.scoring import open_scorer
        from nasbench_kd.gate.gate import rules_of
        from nasbench_kd.gate.kept_rules import check_kept_rules
        from nasbench_kd.gate.reference import check_reference, reference_path
        from nasbench_kd.gate.regrets import mean_regrets
    from nasbench_kd.execution.runs import read_runs
    from nasbench_kd.execution.suite import load_suite, suite_path

    loaded = load_suite(suite)
    path = reference_path(name, suite_path(suite), loaded.name)
    stored = read_runs(path)
    try:
        check_reference(stored, loaded, path)
        check_kept_rules(stored, loaded, rules_of(loaded), path, lambda task: open_scorer(task, loaded.data))
        problem = ""
    except NasbenchKDError as error:
        problem = str(error)
    rows = mean_regrets(path, loaded.data)
    if as_json:
        print_json(
            {
                "path": str(path),
                "runs": stored.table.num_rows,
                "suite": stored.metadata.get("suite"),
                "tables": stored.metadata.get("tables"),
                "usable": not problem,
                "problem": problem,
                "regrets": [each._asdict() for each in rows],
            }
        )
        return
    say(f"{path}: {stored.table.num_rows} runs of the suite {loaded.name}")
    for table, sha256 in sorted((stored.metadata.get("tables") or {}).items()):
        say(f"  table {table}: {sha256}")
    print_table(
        ["optimizer", "task", "budget", "runs#", "mean regret#"],
        [(each.optimizer, each.task, each.budget, each.runs, f"{each.regret:.3f}") for each in rows],
    )
    say(problem or "The gate can compare with it.")
