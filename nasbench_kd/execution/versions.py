"""Whether stored runs rest on the versions of the tables that are here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow.compute as pc

from nasbench_kd.execution.runs import KEPT, RunsFile
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import Fidelity


def changed(file: RunsFile, here: Collection[Table]) -> Mapping[str, str | None]:
    """Tables that the runs rest on and that have another version here, or None: their stored names with what is here.

    A table that has changed and holds nothing that any run asked for is not among them: a replay finds the same in
    the others. Of runs of which not every step is kept nobody knows what they asked for, and all tables count.
    Raises `StoreError` where the runs cannot be read.
    """
    now = {table.name: table.sha256 for table in here}
    stored: Mapping[str, str] = file.metadata.get("tables") or {}
    other = {name: now.get(name) for name, sha256 in stored.items() if now.get(name) != sha256}
    if not other or KEPT in file.metadata:
        return other
    holding = [
        {
            table.name
            for table in here
            if any(column.fidelity == fidelity for column in table.select(task, "valid"))
        }
        for task, fidelity in _asked(file)
    ]
    if not all(holding):
        return other
    return {name: sha256 for name, sha256 in other.items() if any(name in names for names in holding)}


def _asked(file: RunsFile) -> set[tuple[str, Fidelity]]:
    """Data sets and fidelities of all stored steps, as tables have them."""
    found: set[tuple[str, Fidelity]] = set()
    for batch in file.batches(("task", "fidelity"), 1000):
        for task in batch["task"].unique().to_pylist():
            steps = pc.list_flatten(batch["fidelity"].filter(pc.equal(batch["task"], task)))
            for text in steps.unique().to_pylist():
                fidelity = Fidelity.parse(text)
                found.add((fidelity.trained_on or task, fidelity.on(None)))
    return found
