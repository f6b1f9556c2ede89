"""The crash-safe store of finished runs: one SQLite file in a suite's output folder, one writer at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from nasbench_kd.errors import StoreError

FILE_NAME = "store.sqlite"
LOCK_NAME = ".lock"
FORMAT = 1
"""Written to SQLite's `user_version`; a store of another format is refused."""
_APPLICATION = 0x4E424B44
_TABLES = (
    """CREATE TABLE runs (
        optimizer TEXT NOT NULL, task TEXT NOT NULL, repetition INTEGER NOT NULL, fingerprint TEXT NOT NULL,
        failed INTEGER NOT NULL, optimizer_seconds REAL NOT NULL, payload BLOB NOT NULL,
        checksum TEXT NOT NULL, PRIMARY KEY (optimizer, task, repetition)
    ) WITHOUT ROWID""",
    "CREATE TABLE conditions (fingerprint TEXT PRIMARY KEY, description TEXT NOT NULL) WITHOUT ROWID",
)


class Key(NamedTuple):
    """Which run of a suite."""

    optimizer: str
    task: str
    repetition: int

    def __str__(self) -> str:
        return f"{self.optimizer} on {self.task}, repetition {self.repetition}"


class FinishedRun(NamedTuple):
    """A finished run as it is stored."""

    key: Key
    fingerprint: str
    """SHA-256 of all that determines the run."""
    failed: bool
    optimizer_seconds: float
    """Measured real time inside the optimizer; the only part that differs from machine to machine."""
    payload: bytes
    """The run's row, serialized."""

    @property
    def checksum(self) -> str:
        """SHA-256 over everything in the row."""
        described = [*self.key, self.fingerprint, self.failed, self.optimizer_seconds.hex()]
        return hashlib.sha256(json.dumps(described).encode() + self.payload).hexdigest()


class RunStore:
    """Opens the store of a folder, alone: the folder stays locked until `close`.

    A row that was added survives the end of the process at any moment (SQLite's write-ahead log); a
    power failure can lose the last rows, never damage the others. Rows are checked against their
    SHA-256 whenever they are read. Raises `StoreError` where the folder cannot be written, another
    process has it open, or the file is damaged or of another format. With `fresh` what is stored is
    thrown away.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.path = folder / FILE_NAME
        with ExitStack() as opened:
            opened.enter_context(_lock(folder))
            if fresh:
                self._delete()
            with self._explained():
                self._connection = opened.enter_context(
                    closing(sqlite3.connect(self.path, isolation_level=None))
                )
                self._prepare()
            self._opened = opened.pop_all()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and unlock the folder."""
        self._opened.close()

    def add(self, row: FinishedRun) -> None:
        """Store a finished run, in place of one with the same key."""
        with self._explained():
            self._connection.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row.key, row.fingerprint, row.failed, row.optimizer_seconds, row.payload, row.checksum),
            )

    def describe(self, fingerprint: str, description: str) -> None:
        """Keep what a fingerprint is the SHA-256 of, so that a later mismatch can be explained."""
        with self._explained():
            self._connection.execute(
                "INSERT OR REPLACE INTO conditions VALUES (?, ?)", (fingerprint, description)
            )

    def description(self, fingerprint: str) -> dict[str, Any]:
        """What was kept for a fingerprint, JSON values by name; empty where it is lost or damaged."""
        with self._explained():
            query = "SELECT description FROM conditions WHERE fingerprint = ?"
            found = self._connection.execute(query, (fingerprint,)).fetchone()
        if found is None or hashlib.sha256(str(found[0]).encode()).hexdigest() != fingerprint:
            return {}
        return dict(json.loads(found[0]))

    def rows(self) -> Iterator[FinishedRun]:
        """Yield every stored run in the order of the keys, each checked; raises `StoreError`."""
        for key, row in self._checked():
            if row is None:
                raise StoreError(
                    f"{self.path} is damaged: the stored run {key} does not match its checksum. Nothing was "
                    "changed; --retry-failed makes damaged runs again, as it does with failed ones"
                )
            yield row

    def remove_failed(self) -> None:
        """Forget runs that failed or are damaged."""
        keys = [key for key, row in self._checked() if row is None or row.failed]
        with self._explained():
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "DELETE FROM runs WHERE optimizer IS ? AND task IS ? AND repetition IS ?", keys
            )
            self._connection.execute("COMMIT")

    def remove(self, optimizers: Iterable[str]) -> None:
        """Forget the runs of some entries of the suite."""
        with self._explained():
            self._connection.executemany(
                "DELETE FROM runs WHERE optimizer IS ?", [(each,) for each in optimizers]
            )

    def _checked(self) -> Iterator[tuple[tuple[Any, ...], FinishedRun | None]]:
        """Stored keys with their rows; None in place of a row that does not match its checksum."""
        with self._explained():
            for *values, checksum in self._connection.execute("SELECT * FROM runs ORDER BY 1, 2, 3"):
                row = _row(tuple(values))
                yield tuple(values[:3]), row if row is not None and row.checksum == checksum else None

    def _delete(self) -> None:
        try:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be replaced: {error}") from error

    def _prepare(self) -> None:
        execute = self._connection.execute
        if execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("the file fails SQLite's consistency check")
        version = execute("PRAGMA user_version").fetchone()[0]
        tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application = execute("PRAGMA application_id").fetchone()[0]
        if (version, tables, application) == (0, 0, 0):
            execute("PRAGMA journal_mode = WAL")
            execute("BEGIN")
            execute(f"PRAGMA application_id = {_APPLICATION}")
            execute(f"PRAGMA user_version = {FORMAT}")
            for table in _TABLES:
                execute(table)
            execute("COMMIT")
        elif (version, application) != (FORMAT, _APPLICATION):
            raise StoreError(
                f"{self.path} is not a store of runs that this version reads: its format is {version}, not "
                f"{FORMAT}. Choose another --output, or start over with --fresh"
            )
        execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors into `StoreError`s that say what to do."""
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.InternalError) as error:
            raise StoreError(
                f"{self.path} cannot be used: {error}. Finished runs are kept: make room or access, and the "
                "same command goes on"
            ) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self.path} is damaged: {error}. Restore the file from a copy, or start over with --fresh"
            ) from error


def _row(values: tuple[object, ...]) -> FinishedRun | None:
    """The row behind the values of the columns; None where they have the wrong types."""
    optimizer, task, repetition, fingerprint, failed, seconds, payload = values
    if (
        isinstance(optimizer, str)
        and isinstance(task, str)
        and isinstance(repetition, int)
        and isinstance(fingerprint, str)
        and failed in (0, 1)
        and isinstance(seconds, float)
        and isinstance(payload, bytes)
    ):
        return FinishedRun(Key(optimizer, task, repetition), fingerprint, bool(failed), seconds, payload)
    return None


def _lock(folder: Path) -> IO[bytes]:
    """Lock a folder for this process, and make it where it is absent; raises `StoreError`."""
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    except OSError as error:
        raise StoreError(f"the output folder {folder} cannot be written: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StoreError(
            f"another process is running a suite in {folder}: wait for it to end, or choose another --output"
        ) from error
    return file
