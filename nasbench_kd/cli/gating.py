"""Commands of the gate on search quality: give a verdict, and measure how often it errs."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasbench_kd.cli import completion
from nasbench_kd.cli.output import AsJson, needs_extra, print_json, print_table, say
from nasbench_kd.cli.running import MemoryOption
from nasbench_kd.errors import GateError, NasbenchKDError

if TYPE_CHECKING:
    from nasbench_kd.gate.gate import GateResult

_UNUSABLE = 2
SuiteOption = Annotated[
    str,
    typer.Option(
        help="A TOML file with a [gate] table, or a shipped suite.", autocompletion=completion.suites
    ),
]
JobsOption = Annotated[
    int | None, typer.Option(min=1, help="Processes that run in parallel.", show_default="one for each core")
]


def gate(
    suite: SuiteOption,
    reference: Annotated[
        str | None,
        typer.Option(help="Name of a saved reference, or a file or folder of runs.", show_default="required"),
    ] = None,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare this one only; may be repeated.",
            show_default="all",
            autocompletion=completion.optimizers,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare on this task only; may be repeated.",
            show_default="all",
            autocompletion=completion.tasks,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to keep the runs in.", show_default="none")
    ] = None,
    jobs: JobsOption = None,
    memory: MemoryOption = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.", show_default="none")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a summary in Markdown here.", show_default="none")
    ] = None,
    as_json: AsJson = False,
    baseline: Annotated[str | None, typer.Option(hidden=True, help="The old name of --reference.")] = None,
) -> None:
    """Compare search quality with a stored reference: better, equivalent, worse or undecided.

    Every optimizer of the suite runs with the seeds of the reference. Seeds are added in stages until
    everything is decided or the suite's seeds are used up.

    **Exit codes**: 0 nothing became worse, 1 something did, 3 something is undecided, 2 the comparison
    could not be made (no reference, another suite or other tables, nothing measured).

    Examples:

    ```
    nasbench-kd gate --suite ci --reference main
    nasbench-kd gate --suite my.toml --reference results/my --optimizer mine --junit gate.xml --markdown gate.md
    ```
    """
    from nasbench_kd.files import write_text

    if baseline is not None:
        say("`--baseline` is now `--reference`.", err=True)
    named = reference or baseline
    if named is None:
        raise typer.BadParameter(
            "name a saved reference, or a file or folder of runs", param_hint="--reference"
        )
    with _never_exit_code_1():
        try:
            result = _run_gate(suite, named, optimizer or [], task or [], output, jobs, memory)
        except NasbenchKDError as error:
            _write_error(suite, str(error), junit, markdown)
            raise
        from nasbench_kd.gate import summary as gate_summary

        if junit is not None:
            write_text(junit, gate_summary.junit(result).decode())
        if markdown is not None:
            write_text(markdown, gate_summary.markdown(result, gate_summary.next_step(result, suite, named)))
        if as_json:
            print_json(gate_summary.as_json(result))
        else:
            _print(result)
            if step := gate_summary.next_step(result, suite, named):
                say(step)
    raise typer.Exit(result.exit_code)


def gate_errors(
    suite: SuiteOption,
    planted: Annotated[str, typer.Option(help="Optimizer of the suite that losses are planted in.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of the runs, used again if it has them.", show_default="none")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Saved reference, or a file or folder of runs, to read runs without a loss from, instead of "
            "making them.",
            show_default="none",
        ),
    ] = None,
    pool: Annotated[int, typer.Option(min=1, help="Runs of every optimizer on every task.")] = 1000,
    gates: Annotated[int, typer.Option(min=1, help="Simulated gates of each kind.")] = 1000,
    jobs: JobsOption = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write the result into this page, between its `measured` marks.", show_default="none"
        ),
    ] = None,
) -> None:
    """Measure how often the gate of a suite errs, over many simulated gates.

    Between equal optimizers it counts false alarms; with a planted loss (an optimizer that ignores its
    observations with some probability) how often it is caught. Pairs are drawn from a pool of real runs.

    Example:

    ```
    nasbench-kd gate-errors --suite ci --planted regularized-evolution --page docs/gate.md
    ```
    """
    import tempfile

    from nasbench_kd.cli.running import progress_bar
    from nasbench_kd.execution.suite import load_suite, suite_path

    with needs_extra("report", "scores"):
        from nasbench_kd.gate.error_rates import markdown, measure, write_into
        from nasbench_kd.gate.reference import reference_path
    file = suite_path(suite)
    loaded = load_suite(file)
    stored = None if reference is None else reference_path(reference, file, loaded.name)
    with tempfile.TemporaryDirectory() as temporary, progress_bar(loaded.name, sys.stderr.isatty()) as bar:
        rates = measure(
            loaded,
            planted,
            output or Path(temporary),
            pool=pool,
            gates=gates,
            jobs=jobs,
            reference=stored,
            on_progress=bar,
        )
    if page is not None:
        write_into(page, rates)
    say(markdown(rates))


def _run_gate(
    suite: str,
    reference: str,
    optimizers: list[str],
    tasks: list[str],
    output: Path | None,
    jobs: int | None,
    memory: float | None,
) -> GateResult:
    with needs_extra("report", "scores"):
        from nasbench_kd.gate.gate import run_gate
        from nasbench_kd.gate.reference import reference_path
    from nasbench_kd.execution.suite import load_suite, suite_path

    file = suite_path(suite)
    loaded = load_suite(file)
    if memory is not None:
        loaded = replace(loaded, memory_cap_gb=memory)
    path = reference_path(reference, file, loaded.name)
    return run_gate(
        loaded,
        path,
        optimizers=optimizers,
        tasks=tasks,
        folder=output,
        jobs=jobs,
        on_stage=lambda pairs, undecided: say(
            f"{pairs} pairs of runs for {undecided} undecided comparisons", err=True
        ),
    )


def _print(result: GateResult) -> None:
    from nasbench_kd.gate.summary import headline, unguarded

    print_table(
        [
            "verdict",
            "optimizer",
            "task",
            "budget",
            "before#",
            "now#",
            "difference#",
            "±#",
            "pairs#",
            "identical#",
        ],
        [
            (
                each.verdict,
                each.optimizer,
                each.task,
                each.budget,
                f"{each.reference_regret:.3f}",
                f"{each.regret:.3f}",
                f"{each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}]",
                f"{each.rope:g}",
                each.pairs,
                each.identical,
            )
            for each in result.comparisons
        ],
    )
    for each in result.comparisons:
        if each.reason:
            say(f"{each.optimizer} on {each.task} at {each.budget}: {each.reason}")
    for line in unguarded(result):
        say(line)
    say(f"The gate {headline(result)}.")


def _write_error(suite: str, message: str, junit: Path | None, markdown: Path | None) -> None:
    from nasbench_kd.files import write_text

    if junit is None and markdown is None:
        return
    with needs_extra("report", "scores"):
        from nasbench_kd.gate import summary as gate_summary
    if junit is not None:
        write_text(junit, gate_summary.junit_of_error(suite, message).decode())
    if markdown is not None:
        write_text(markdown, gate_summary.markdown_of_error(message))


@contextmanager
def _never_exit_code_1() -> Iterator[None]:
    """An error that nobody expected is no verdict: exit code 1 says that quality became worse."""
    try:
        yield
    except (NasbenchKDError, typer.Exit):
        raise
    except (
        OSError
    ) as error:  # a pipe that is closed among them, which elsewhere is the end that a reader wants
        raise GateError(f"no verdict was written: {error}") from error
    except SystemExit as error:
        raise GateError(f"no verdict: an optimizer ended the process (sys.exit({error.code!r}))") from error
    except Exception as error:
        traceback.print_exc()
        raise typer.Exit(_UNUSABLE) from error
