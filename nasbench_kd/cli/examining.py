"""Commands that examine data: doctor, explain, landscape."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nasbench_kd.cli import completion
from nasbench_kd.cli.output import AsJson, needs_extra, parse_cell, print_json, say
from nasbench_kd.tasks.registry import find_task

_PROBLEMS_FOUND = 1


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="A NAS-Bench-201 file or a table's folder.", show_default="all tables"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare tables or a NAS-Bench-201 file with what is known of them, and name the traps.

    Checks the index order, the known optima, the numbers of seeds, the times and the known holes.
    The exit code is 1 where a problem was found.

    Examples:

    ```
    nasbench-kd doctor
    nasbench-kd doctor NAS-Bench-201-v1_1-096897.pth
    ```
    """
    from nasbench_kd.examine.doctor import examine_file, examine_installed

    findings = examine_installed() if file is None else examine_file(file)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        colours = {"ok": "green", "note": "yellow", "problem": "red"}
        subject = ""
        for finding in findings:
            if finding.subject != subject:
                subject = finding.subject
                say(subject)
            say(f"  {finding.level:8} ", fg=colours[finding.level], nl=False)
            say(finding.text)
        problems = sum(finding.level == "problem" for finding in findings)
        say(f"{problems or 'no'} problem{'' if problems == 1 else 's'} found")
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(_PROBLEMS_FOUND)


def explain(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="A cell's string, or its index in the space.")],
    task: Annotated[
        str,
        typer.Option(help="A task of the search space that the cell is of.", autocompletion=completion.tasks),
    ] = "cifar10",
    figure: Annotated[
        Path | None,
        typer.Option(help="Also draw PNG and SVG to this path, without its ending.", show_default="none"),
    ] = None,
    data: Annotated[
        Literal["embedded", "installed", "measured"], typer.Option(help="Which tables answer.")
    ] = "installed",
) -> None:
    """Tell all that the tables know of an architecture: results, rank with an interval, neighbours, drawing.

    Unlike a search, this shows test accuracy where it is installed.

    Examples:

    ```
    nasbench-kd explain 6111
    nasbench-kd explain 6111 --figure cell-6111
    nasbench-kd explain 12 --task kd-resnet
    ```
    """
    with needs_extra("report", "explanations"):
        from nasbench_kd.examine.explain import explain as collect
        from nasbench_kd.examine.explain import to_text
    found = parse_cell(cell, find_task(task).space)
    explanation = collect(found, data)
    say(to_text(explanation), nl=False)
    if figure is not None:
        with needs_extra("report", "drawings"):
            from nasbench_kd.examine.explain_figure import draw_explanation

        path = draw_explanation(
            explanation, figure.with_suffix("") if figure.suffix in (".png", ".svg") else figure
        )
        say(f"drawn to {path} and {path.with_suffix('.svg').name}", err=True)


def landscape(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the figures.")],
    task: Annotated[
        str, typer.Option(help="A task: all of its search space are drawn.", autocompletion=completion.tasks)
    ] = "cifar10",
    data: Annotated[
        Literal["embedded", "installed", "measured"], typer.Option(help="Which tables answer.")
    ] = "installed",
) -> None:
    """Draw the landscape of the tables, and print its numbers as Markdown.

    Distributions of accuracies; rank correlations between data sets, fidelities, splits and training
    seeds, over all cells and within the best tenth. The figures of `docs/data.md` are made so:

    ```
    nasbench-kd data pull
    nasbench-kd landscape docs/figures
    nasbench-kd landscape figures --task pit-cifar100
    ```
    """
    with needs_extra("report", "landscapes"):
        from nasbench_kd.examine.landscape import draw_landscape, survey, to_markdown
    found = survey(data, task=task)
    for path in draw_landscape(found, folder):
        say(f"drawn to {path} and {path.with_suffix('.svg').name}", err=True)
    say(to_markdown(found), nl=False)
