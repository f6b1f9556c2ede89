"""The command that prints what to cite."""

from __future__ import annotations

from typing import Annotated

import typer

from nasbench_kd.cli import completion
from nasbench_kd.cli.output import say


def cite(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="[SUITE]",
            help="A suite, for its own methods and data.",
            show_default="all that is registered",
            autocompletion=completion.suites,
        ),
    ] = None,
) -> None:
    """Print BibTeX of the benchmark, of the works its data come from, and of the methods of a suite.

    Examples:

    ```
    nasbench-kd cite kd > references.bib
    nasbench-kd cite
    ```
    """
    from nasbench_kd.execution.citations import citations
    from nasbench_kd.execution.suite import parse_suite, suite_path

    if suite is None:
        found = citations()
    else:
        path = suite_path(suite)
        parsed = parse_suite(path.read_text(encoding="utf-8"), str(path))
        found = citations([entry.optimizer for entry in parsed.optimizers], parsed.data, parsed.tasks)
    say("\n\n".join(found.entries.values()))
    for name in found.unknown:
        say(
            f"No reference is known for {name}: its package has none in a references.bib.",
            err=True,
        )
