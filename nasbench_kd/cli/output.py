"""What commands share: printing for people and programs, reading cells, naming missing extras."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from nasbench_kd.errors import MissingDependencyError
from nasbench_kd.escaping import printable
from nasbench_kd.spaces.space import Architecture, SearchSpace

_WIDTH_OF_FILES = 160
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def say(text: object = "", *, err: bool = False, fg: str | None = None, nl: bool = True) -> None:
    """Print text on stdout or stderr, with what a terminal would obey spelled out: every command prints by this."""
    typer.secho(printable(str(text)), fg=fg, err=err, nl=nl)  # noqa: TID251


def print_json(values: Any) -> None:
    """Print JSON values on stdout, keys in the order given."""
    say(json.dumps(values, indent=2, allow_nan=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; a column whose name ends with `#` is aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        right = column.endswith("#")
        table.add_column(column.removesuffix("#"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(value))) for value in row))
    Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES).print(table)


def parse_cell(text: str, space: SearchSpace) -> Architecture:
    """Read an architecture as users write it, as an index or as a string; raises `CellError`."""
    return space[int(text)] if text.isdecimal() and len(text) < 10 else space.parse(text)


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Turn a missing package into a `MissingDependencyError` that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("nasbench_kd"):
            raise
        raise MissingDependencyError(
            f"{what} need the package {error.name!r}, which is not installed: "
            f"pip install 'nasbench-kd[{extra}]'"
        ) from error
