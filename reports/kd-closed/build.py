"""Build the closed world: the sample of NAS-Bench-201's cells, and the table of all that every one of them has.

    python reports/kd-closed/build.py

writes `nasbench_kd/spaces/nasbench201_sample.csv` and the table of the tasks in `nasbench_kd.tasks.closed`. Whatever
a table that ships has measured of every cell of the sample, on both tasks, is copied as it is, under the names
of these tasks and the sample's indices. The same tables give the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nasbench_kd.live.fill import class_order
from nasbench_kd.spaces.nasbench201_sample import FILE, SIZE, SPACE
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.column import Column
from nasbench_kd.tables.patch import coverage
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.closed import FOLDER, ORIGINALS

NAMES = {original.name: name for name, original in ORIGINALS.items()}
"""The closed task of each task of the whole space."""


def write_sample() -> None:
    """Write the codes of the first classes in the order of every fill."""
    codes = np.array([cell.codes for cell in class_order()[:SIZE]])
    np.savetxt(FILE, codes, fmt="%d", delimiter=",")


def copies() -> Iterator[tuple[Table, Column]]:
    """The columns that hold all cells of the sample on both tasks, cut to these, each with its table."""
    official = np.array([cell.cell.index for cell in SPACE])
    order = np.argsort(official)
    found: dict[tuple[str, ...], list[tuple[Table, Column]]] = defaultdict(list)
    for table in tables("measured"):
        for column in table.columns:
            if column.task in NAMES and np.isin(official, column.rows["cell"]).all():
                found[table.name, str(column.fidelity), column.split].append((table, column))
    for members in found.values():
        if {column.task for _, column in members} != set(NAMES):
            continue
        for table, column in members:
            rows = column.rows[np.isin(column.rows["cell"], official)].copy()
            rows["cell"] = order[np.searchsorted(official, rows["cell"], sorter=order)]
            rows = rows[np.lexsort((rows["seed"], rows["cell"]))]
            provenance = {**column.provenance, "copied_from": {"table": table.name, "sha256": table.sha256}}
            yield table, replace(column, task=NAMES[column.task], rows=rows, provenance=provenance)


def main() -> None:
    """Write the sample and its table."""
    write_sample()
    found = list(copies())
    sources = {table.name: table for table, _ in found}
    columns = [column for _, column in found]
    licences = dict.fromkeys(f"{name}: {table.card['licence']}" for name, table in sources.items())
    attribution = dict.fromkeys(
        each for table in sources.values() for each in table.card.get("attribution", ())
    )
    card = {
        "title": f"A closed world: {SIZE} classes of NAS-Bench-201 with every entry measured",
        "source": f"a copy of entries of the tables {', '.join(sources)}; each column names the version of its own",
        "copied_from": {name: table.sha256 for name, table in sources.items()},
        "licence": "; ".join(licences),
        "attribution": list(attribution),
        "rebuild": "python reports/kd-closed/build.py",
        "notes": [
            "The cells are the representatives of the first classes of the fixed random order of short trainings.",
            "Coverage is 100 % at every fidelity: each has all cells on both tasks, and no entry is of a surrogate.",
            *dict.fromkeys(note for table in sources.values() for note in table.card.get("notes", ())),
        ],
        "coverage": coverage(columns, SPACE),
    }
    written = write_table(FOLDER, SPACE.name, columns, card)
    print(f"{FOLDER}: {sum(len(each.rows) for each in columns):,} entries, {written.sha256}")


if __name__ == "__main__":
    main()
