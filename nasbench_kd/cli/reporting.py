"""The commands that turn stored runs into reports and comparisons."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nasbench_kd.cli import completion, screen
from nasbench_kd.cli.output import AsJson, needs_extra, print_json, say
from nasbench_kd.errors import ArgumentError, StoreError

if TYPE_CHECKING:
    from nasbench_kd.report import Report
    from nasbench_kd.report.latex import Selection

BOARD = ("<!-- board -->", "<!-- end of board -->")
AsMarkdown = Annotated[
    bool, typer.Option("--markdown", help="Print the whole leaderboard in Markdown instead of one screen.")
]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...",
            help="A folder of results, or its runs.parquet; several, or bundles, are one board.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the board of several, with their runs merged.", show_default="none"),
    ] = None,
    data: Annotated[
        Literal["embedded", "installed", "measured"] | None,
        typer.Option(
            help="Tables that the answers are scored on; installed ones may hold test accuracies.",
            show_default="as in the suite",
        ),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Also write report.html, one page that opens without a network.")
    ] = False,
    latex: Annotated[
        bool,
        typer.Option(
            "--latex",
            help="Also write leaderboard.tex (for booktabs, with over 40 rows also longtable), and figures as PDF.",
        ),
    ] = False,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            help="With --latex: this one only; may be repeated.",
            show_default="all",
            autocompletion=completion.chosen_optimizers,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="With --latex: on this task only; may be repeated.",
            show_default="all",
            autocompletion=completion.chosen_tasks,
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="With --latex: the table at this budget; may be repeated.",
            show_default="the largest",
            autocompletion=completion.chosen_budgets,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTIMIZER=NAME",
            help="With --latex: show it as this; may be repeated.",
            show_default="none",
        ),
    ] = None,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Write the leaderboard and the figures of stored runs, and print the ranking and the verdict.

    A report is made from the stored runs alone and can be made again at any time. Several folders or bundles are
    brought together as `merge` does it, in the folder that `--output` names.

    Examples:

    ```
    nasbench-kd report reports/standard
    nasbench-kd report reports/standard --html
    nasbench-kd report reports/standard --latex --task cifar100 --name optuna-tpe=TPE
    nasbench-kd report reports/standard/runs.parquet --data installed
    nasbench-kd report reports/kd reports/kd-Mine.nbkd --output reports/kd-Mine-board
    ```
    """
    chosen = _selection(optimizer, task, budget, name)
    if chosen is not None and not latex:
        raise ArgumentError(
            "--optimizer, --task, --budget and --name choose what --latex writes: add --latex"
        )
    folder, brought = _folder_of(runs, output)
    written = make_report(folder, data, html=html, latex=latex, selection=chosen)
    if as_json:
        print_json(
            {"folder": str(folder), "files": [str(path) for path in written.files], "rows": _rows(written)}
        )
    elif as_markdown:
        say(written.markdown)
    else:
        screen.show(written, folder, brought=brought)


def _folder_of(runs: list[Path], output: Path | None) -> tuple[Path, frozenset[str]]:
    """The folder of results that is meant, and the optimizers that stand in others than the first of several.

    Several, and bundles, are merged into `output`.
    """
    from nasbench_kd.execution.bundles import SUFFIX, opened
    from nasbench_kd.execution.merging import merge_runs, optimizers_of
    from nasbench_kd.execution.study import RUNS_FILE

    first = runs[0]
    bundled = first.is_file() and first.suffix == SUFFIX
    if len(runs) > 1 or bundled:
        if output is None:
            raise ArgumentError(
                "several folders, or a bundle, make a board in a folder of its own: name it with --output"
            )
        with opened(*runs) as folders:
            merge_runs(folders, output)
            base, *others = map(optimizers_of, folders)
        return output, frozenset().union(*others) - base
    if output is not None:
        raise ArgumentError(
            "--output is for several folders or bundles; the report of one folder is written into it"
        )
    folder = first.parent if first.is_file() and first.name == RUNS_FILE else first
    if folder.is_file():
        raise StoreError(f"{first} is neither a folder of results, nor its {RUNS_FILE}, nor a bundle")
    return folder, frozenset()


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="FOLDER:OPTIMIZER, FOLDER, or OPTIMIZER.", autocompletion=completion.optimizers
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.", autocompletion=completion.optimizers)],
    runs: Annotated[
        Path | None, typer.Option(help="Folder of results that sides without a folder belong to.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for compare.md and the figure; nothing is written without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two optimizers, or two versions of one, by paired differences of their regret.

    Examples:

    ```
    nasbench-kd compare random local-search --runs reports/standard
    nasbench-kd compare reports/kd:mf-kd reports/kd:parameters --output comparison
    ```
    """
    with needs_extra("report", "comparisons"):
        from nasbench_kd.report import compare as compare_runs

        compared = compare_runs(first, second, runs=runs, output=output)
    if as_json:
        print_json({"differences": [asdict(difference) for difference in compared.differences]})
    else:
        say(compared.markdown)


def board(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="Folders of results.")],
    into: Annotated[
        Path | None,
        typer.Option(
            help=f"Markdown file whose part between `{BOARD[0]}` and `{BOARD[1]}` becomes the board."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print one table of all methods: place over all tasks, billed, given, verified.

    Places are among the methods of the same suite, with 95 % intervals over repetitions, and over all of its budgets:
    over the largest alone where a method works through a plan for it, such as Hyperband.

    Examples:

    ```
    nasbench-kd board reports/standard
    nasbench-kd board reports/standard reports/kd --into reports/README.md
    ```
    """
    with needs_extra("report", "boards"):
        from nasbench_kd.report import board as boards
        from nasbench_kd.report.scored_runs import score_folder

        rows = [row for folder in runs for row in boards.board(score_folder(folder), folder)]
        text = boards.markdown(rows)
    if into is not None:
        _put_between(into, text)
    if as_json:
        print_json([asdict(row) for row in rows])
    elif into is None:
        say(text)
    else:
        say(f"{len(rows)} methods in {into}")


def _put_between(path: Path, text: str) -> None:
    """Replace the part of a file between the marks; raises `ArgumentError` where it has none."""
    from nasbench_kd.files import write_text

    old = path.read_text(encoding="utf-8")
    begin, end = BOARD
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ArgumentError(f"{path} has no place for a board: write the lines {begin} and {end} into it")
    before, after = old[: old.index(begin) + len(begin)], old[old.index(end) :]
    write_text(path, f"{before}\n{text}\n{after}")


def make_report(
    folder: Path,
    data: Literal["embedded", "installed", "measured"] | None = None,
    *,
    html: bool = False,
    latex: bool = False,
    selection: Selection | None = None,
) -> Report:
    """Write the report into a folder of results, whose runs are read and scored once, and return it.

    Raises `MissingDependencyError` where a package of the extra `report` is not installed.
    """
    with needs_extra("report", "reports"):
        from nasbench_kd.report import score_folder, write_html, write_latex, write_report

        scored = score_folder(folder, data)
        written = write_report(scored)
        if html:
            written = replace(written, files=(*written.files, write_html(scored)))
        if latex:
            written = replace(written, files=(*written.files, *write_latex(scored, selection=selection)))
        return written


def _selection(
    optimizers: list[str] | None, tasks: list[str] | None, budgets: list[str] | None, names: list[str] | None
) -> Selection | None:
    """What the options choose; None where there are none. Raises `ArgumentError` on a name without `=`."""
    if not (optimizers or tasks or budgets or names):
        return None
    from nasbench_kd.report.latex import Selection

    renamed = dict(text.split("=", 1) for text in names or () if "=" in text)
    if len(renamed) < len(names or ()):
        raise ArgumentError(f"--name takes OPTIMIZER=NAME, once for each, not {' '.join(names or ())}")
    return Selection(tuple(optimizers or ()), tuple(tasks or ()), tuple(budgets or ()), renamed)


def _rows(written: Report) -> list[dict[str, Any]]:
    """The records of the leaderboard as JSON values, in which an infinite number is none."""
    return [
        {key: None if value in (math.inf, -math.inf) else value for key, value in record.items()}
        for record in written.records
    ]
