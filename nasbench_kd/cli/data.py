"""Commands about tables: what ships and what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from nasbench_kd.cli.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    from nasbench_kd.tables.table import Table

app = typer.Typer(help="Tables of results: what ships and what is installed.", no_args_is_help=True)


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Show every table with its columns, coverage, source, licence and checksum.

    Each table is checked against its checksum while it is opened. Installed tables live in the folder
    `NASBENCH_KD_DATA`, by default `nasbench-kd` in the user's data folder.

    Examples:

    ```
    nasbench-kd data status
    nasbench-kd data status --json
    ```
    """
    from nasbench_kd.tables.catalog import tables, user_folder

    embedded = [_describe(table, "embedded") for table in tables("embedded")]
    installed = [_describe(table, "installed") for table in tables("installed")[len(embedded) :]]
    hardware = _describe_hardware()
    if as_json:
        print_json({"user_folder": str(user_folder()), "tables": embedded + installed, "hardware": hardware})
        return
    for table in embedded + installed:
        typer.echo(f"{table['name']} ({table['location']}): {table['entries']:,} entries")
        for name in ("title", "source", "licence", "sha256"):
            typer.echo(f"  {name}: {table[name]}")
        print_table(
            ["task", "fidelity", "split", "entries#", "cells#", "coverage#", "readings", "origin"],
            [
                (
                    column["task"],
                    column["fidelity"],
                    column["split"],
                    f"{column['entries']:,}",
                    f"{column['cells']:,}",
                    f"{column['coverage']:.1%}",
                    ", ".join(column["readings"]),
                    column["provenance"].get("origin", ""),
                )
                for column in table["columns"]
            ],
        )
    if hardware is not None:
        typer.echo(f"{hardware['name']} (installed): {len(hardware['costs'])} hardware costs of every cell")
        for name in ("title", "source", "licence", "sha256"):
            typer.echo(f"  {name}: {hardware[name]}")
    if not installed:
        typer.echo(f"No tables are installed in {user_folder()}.")


def _describe_hardware() -> dict[str, Any] | None:
    """The card of the installed hardware costs; None where there are none."""
    from nasbench_kd.tables.catalog import user_folder
    from nasbench_kd.tables.hardware import FOLDER_NAME, HardwareCosts

    folder = user_folder() / FOLDER_NAME
    return dict(HardwareCosts.open(folder).card) if folder.is_dir() else None


def _describe(table: Table, location: str) -> dict[str, Any]:
    import numpy as np

    from nasbench_kd.spaces.nasbench201 import SPACE_SIZE

    columns = []
    for column in table.columns:
        cells = len(np.unique(column.rows["cell"]))
        columns.append(
            {
                "task": column.task,
                "fidelity": str(column.fidelity),
                "split": column.split,
                "entries": len(column.rows),
                "cells": cells,
                "coverage": cells / SPACE_SIZE,
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
        "columns": columns,
    }
