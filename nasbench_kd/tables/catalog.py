"""Where tables live: those that ship with the package and those that a user has installed."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from nasbench_kd.tables.table import Table

EMBEDDED_FOLDER = Path(__file__).parent / "data"
Data = Literal["embedded", "installed"]
"""`embedded` is what ships; `installed` adds what `nasbench-kd data` has put in the user's folder."""


def user_folder() -> Path:
    """The folder of installed tables: `NASBENCH_KD_DATA`, else nasbench-kd in the XDG cache folder."""
    if override := os.environ.get("NASBENCH_KD_DATA"):
        return Path(override)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "nasbench-kd"


def tables(data: Data = "installed") -> tuple[Table, ...]:
    """Open the embedded tables, then the installed ones in the order of their names.

    Raises `DataError` where one is damaged.
    """
    found = _embedded()
    if data == "installed":
        found += tuple(Table.open(folder) for folder in _table_folders(user_folder()))
    return found


def full_results() -> Table:
    """Open the embedded table of NAS-Bench-201's 200-epoch results. Raises `DataError` where it is damaged."""
    (table,) = (table for table in tables("embedded") if table.name == "nas-bench-201")
    return table


@lru_cache(maxsize=1)
def _embedded() -> tuple[Table, ...]:
    # Their rows are checked by the tests; here the checksum is enough, and opening a task stays quick.
    return tuple(Table.open(folder, check_rows=False) for folder in _table_folders(EMBEDDED_FOLDER))


def _table_folders(folder: Path) -> list[Path]:
    return sorted(card.parent for card in folder.glob("*/card.json"))
