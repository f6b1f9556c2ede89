"""Commands about tables: what ships and what is installed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasbench_kd.cli.output import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from nasbench_kd.tables.table import Table

app = typer.Typer(help="Tables of results: what ships and what is installed.", no_args_is_help=True)


@app.command("status")
def status(
    columns: Annotated[
        bool, typer.Option("--columns", help="List every column, and each table's source and checksum.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show every table in a line: where it is, how much of the space it covers, and what can be read.

    Coverage is in per cent of the classes of equal architectures, at the end of each training. Each table is
    checked against its checksum while it is opened. Installed tables live in the folder `NASBENCH_KD_DATA`,
    by default `nasbench-kd` in the user's data folder.

    Examples:

    ```
    nasbench-kd data status
    nasbench-kd data status --columns
    nasbench-kd data status --json
    ```
    """
    from nasbench_kd.tables.catalog import tables, user_folder
    from nasbench_kd.tasks.registry import SHIPPED

    opened, ships = tables("installed", *SHIPPED.values()), len(tables("embedded", *SHIPPED.values()))
    hardware = _describe_hardware()
    described = [
        _describe(table, "embedded" if place < ships else "installed")
        for place, table in enumerate(opened)
        if as_json or columns
    ]
    if as_json:
        print_json({"user_folder": str(user_folder()), "tables": described, "hardware": hardware})
        return
    if columns:
        for table in described:
            _print_columns(table)
    else:
        _print_lines(opened, ships)
    if hardware is not None:
        say(f"{hardware['name']} (installed): {len(hardware['costs'])} hardware costs of every cell")
        for name in ("title", "source", "licence", "sha256") if columns else ():
            say(f"  {name}: {hardware[name]}")
    if len(opened) == ships:
        say(f"No tables are installed in {user_folder()}.")


def _print_lines(opened: Sequence[Table], embedded: int) -> None:
    """A line for each table, the embedded ones first, and what the aliases in it stand for."""
    from nasbench_kd.tasks.fidelity import legend

    lines = [
        (
            table.name,
            "ships" if place < embedded else "installed",
            _listed(list(dict.fromkeys(column.task for column in table.columns))),
            f"{sum(len(column.rows) for column in table.columns):,}",
            _coverage(table),
            _listed(_readings(table)),
        )
        for place, table in enumerate(opened)
    ]
    print_table(["table", "where", "tasks", "entries#", "coverage", "readings"], lines)
    say(
        "Coverage is of the classes of equal architectures of the task's space, 6,466 in NAS-Bench-201, after the last "
        "epoch."
    )
    for alias in legend(column.fidelity.alias for table in opened for column in table.columns):
        say(f"{alias}.")
    say("`--columns` lists every column of a table with its source, licence and checksum.")


def _coverage(table: Table) -> str:
    """Which trainings cover how much of the space, on the task where they cover least; those in part together."""
    import numpy as np

    from nasbench_kd.tasks.registry import find_task, task_names

    ends = [column for column in table.columns if column.fidelity == column.fidelity.curve]
    found: dict[tuple[str, str], set[int]] = {}
    for column in ends or table.columns:
        if column.task not in task_names():
            continue  # of a package that is not installed: nothing says how large its space is
        classes = np.unique(find_task(column.task).space.classes[column.rows["cell"]]).tolist()
        found.setdefault((column.fidelity.alias, column.task), set()).update(classes)
    shares: dict[str, float] = {}
    for (name, task), classes in found.items():
        covered = 100 * len(classes) / len(find_task(task).space.representatives)
        shares[name] = min(covered, shares.get(name, 100.0))
    complete = [name for name, share in shares.items() if share == 100]
    rest = sorted(share for share in shares.values() if share < 100)
    parts = [f"100 % {_listed(complete)}"] if complete else []
    if len(rest) > 2:
        low, high = (f"{share:.3g}" for share in (rest[0], rest[-1]))
        share = low if low == high else f"{low} to {high}"
        parts.append(f"{share} % {len(rest)} {'more' if complete else 'fidelities'}")
    else:
        parts += [f"{share:.3g} % {name}" for name, share in shares.items() if share < 100]
    return "; ".join(parts)


def _readings(table: Table) -> list[str]:
    """All that the trainings of a table can be read by, in the order of the list of signals."""
    from nasbench_kd.tasks.signals import SIGNALS

    found = {name for column in table.columns for name in column.signals}
    return [name for name in SIGNALS if name in found] + sorted(found - SIGNALS.keys())


def _listed(names: Sequence[str], most: int = 2) -> str:
    """The names, or the first of them and how many there are beside."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])}, {len(names) - most + 1} more"


def _print_columns(table: dict[str, Any]) -> None:
    say(f"{table['name']} ({table['location']}): {table['entries']:,} entries")
    for name in ("title", "source", "licence", "sha256"):
        say(f"  {name}: {table[name]}")
    say(f"  cite: {', '.join(table['cite']) or 'its source'}")
    print_table(
        ["task", "fidelity", "split", "entries#", "cells#", "classes#", "coverage#", "readings", "origin"],
        [
            (
                column["task"],
                column["fidelity"],
                column["split"],
                f"{column['entries']:,}",
                f"{column['cells']:,}",
                f"{column['classes']:,}",
                f"{column['class_coverage']:.1%}",
                ", ".join(column["readings"]),
                column["provenance"].get("origin", ""),
            )
            for column in table["columns"]
        ],
    )


def _describe_hardware() -> dict[str, Any] | None:
    """The card of the installed hardware costs; None where there are none."""
    from nasbench_kd.tables.catalog import user_folder
    from nasbench_kd.tables.hardware import FOLDER_NAME, HardwareCosts

    folder = user_folder() / FOLDER_NAME
    return dict(HardwareCosts.open(folder).card) if folder.is_dir() else None


def _describe(table: Table, location: str) -> dict[str, Any]:
    import numpy as np

    from nasbench_kd.execution.citations import works_of_table
    from nasbench_kd.tasks.registry import find_task, task_names

    columns, known = [], task_names()
    for column in table.columns:
        cells = len(np.unique(column.rows["cell"]))
        space = find_task(column.task).space if column.task in known else None
        classes = 0 if space is None else len(np.unique(space.classes[column.rows["cell"]]))
        columns.append(
            {
                "task": column.task,
                "fidelity": str(column.fidelity),
                "split": column.split,
                "entries": len(column.rows),
                "cells": cells,
                "coverage": cells / len(space) if space is not None else math.nan,
                "classes": classes,
                "class_coverage": classes / len(space.representatives) if space is not None else math.nan,
                "images": column.images,
                "readings": list(column.signals),
                "provenance": dict(column.provenance),
            }
        )
    return {
        "name": table.name,
        "location": location,
        "title": table.card.get("title", ""),
        "entries": sum(column["entries"] for column in columns),
        "source": table.card.get("source", ""),
        "licence": table.card.get("licence", ""),
        "sha256": table.sha256,
        "cite": works_of_table(table.name),
        "columns": columns,
    }
