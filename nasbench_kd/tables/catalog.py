"""Where tables live: those that ship with the package and those that a user has installed."""

from __future__ import annotations

import os
import sqlite3
import warnings
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from nasbench_kd.errors import ArgumentError, DataError
from nasbench_kd.files import folders_in, locked, move_folder, settled_folder
from nasbench_kd.tables.table import Table, holds_table
from nasbench_kd.tasks.task import Task

EMBEDDED_FOLDER = Path(__file__).parent / "data"
Data = Literal["embedded", "installed", "measured"]
"""`embedded` is what ships; `installed` adds what `nasbench-kd data` has put in the user's folder; `measured` is what
ships without the tables of surrogates."""


def user_folder() -> Path:
    """The folder of tables, images and measurements: `NASBENCH_KD_DATA`, else nasbench-kd in the user's data folder.

    That is `~/.local/share/nasbench-kd` on Linux and what the system has for it elsewhere. What earlier versions
    kept in the cache folder is moved there, with a warning that says so.
    """
    if override := os.environ.get("NASBENCH_KD_DATA"):
        return Path(override)
    from platformdirs import user_data_path  # noqa: PLC0415  # deferred: most runs name no user folder

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return _moved(cache / "nasbench-kd", user_data_path("nasbench-kd", appauthor=False))


def tables(data: Data = "installed", *tasks: Task) -> tuple[Table, ...]:
    """Open the embedded tables, those that ship with tasks, then the installed ones in the order of their names.

    Raises `DataError` where one is damaged, `ArgumentError` where `data` names no set of tables.
    """
    if not isinstance(data, str) or data not in get_args(Data):
        raise ArgumentError(f"data is one of {', '.join(get_args(Data))}, not {data!r:.80}")
    own = dict.fromkeys(folder for task in tasks for folder in task.tables)
    found = _embedded() + tuple(map(_of_task, own))
    if data == "measured":
        return tuple(table for table in found if not _is_made_up(table))
    if data == "installed":
        found += tuple(_open(folder) for folder in _table_folders(user_folder()))
    return found


def full_results() -> Table:
    """Open the embedded table of NAS-Bench-201's 200-epoch results. Raises `DataError` where it is damaged."""
    (table,) = (table for table in tables("embedded") if table.name == "nas-bench-201")
    return table


def _is_made_up(table: Table) -> bool:
    return any(column.provenance.get("source") == "surrogate" for column in table.columns)


@lru_cache(maxsize=1)
def _embedded() -> tuple[Table, ...]:
    return tuple(Table.open(folder, shipped=True) for folder in _table_folders(EMBEDDED_FOLDER))


@lru_cache(maxsize=64)
def _of_task(folder: Path) -> Table:
    return Table.open(folder)


def _table_folders(folder: Path) -> list[Path]:
    found = folders_in(folder)
    for path in found:
        if not path.exists():  # its replacement was killed, or is going on
            with settled_folder(path, Table.open):
                pass
    return [path for path in found if holds_table(path)]


def _open(folder: Path) -> Table:
    """Open a table that another process may be replacing: what cannot be read is read again when that is done."""
    try:
        return Table.open(folder)
    except DataError as error:
        try:
            with settled_folder(folder, Table.open):
                return Table.open(folder)
        except OSError:  # nobody can write there
            raise error from None


def _moved(old: Path, new: Path) -> Path:
    """Move a whole folder to where it belongs, and return where it is then: at one of the two, never at neither."""
    if not old.is_dir() or not any(old.iterdir()) or old == new:
        return new
    if new.is_dir() and any(new.iterdir()):
        _say(
            f"there are both {old}, the place of earlier versions, and {new}, which is used; move over what you need"
        )
        return new
    try:
        with locked(new):
            if not old.is_dir():  # another process was quicker
                return new
            if busy := [path for path in old.glob("*.db") if _is_open(path)]:
                _say(f"{old} belongs at {new} now; it stays where it is while {busy[0].name} is in use")
                return old
            move_folder(old, new)
    except OSError as error:
        _say(f"{old} belongs at {new} now and could not be moved ({error}); it is used where it is")
        return old
    _say(f"tables, images and measurements were moved from {old} to {new}")
    return new


def _is_open(database: Path) -> bool:
    """Whether another process has a database open: the last one to leave it removes its log."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        pass  # no database, or one that is locked: then its log is there
    return database.with_name(f"{database.name}-wal").exists()


def _say(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
