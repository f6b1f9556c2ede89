"""The database of a fill: finished trainings, claims of running ones; survives kill -9.

SQLite in WAL mode. A worker claims a cell, trains it, and commits the entry and the end of the claim in one
transaction; a claim whose process is gone is free again. So a killed fill loses the cells in training only.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nasbench_kd.errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS provenance (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS entries (
    task TEXT NOT NULL, curve TEXT NOT NULL, seed INTEGER NOT NULL, cell INTEGER NOT NULL,
    valid_images INTEGER NOT NULL, valid_correct TEXT NOT NULL, seconds TEXT NOT NULL,
    valid_seconds TEXT NOT NULL, status TEXT NOT NULL, provenance INTEGER NOT NULL REFERENCES provenance,
    readings TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (task, curve, seed, cell)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    task TEXT NOT NULL, curve TEXT NOT NULL, seed INTEGER NOT NULL, cell INTEGER NOT NULL,
    host TEXT NOT NULL, pid INTEGER NOT NULL,
    PRIMARY KEY (task, curve, seed, cell)
) WITHOUT ROWID;
"""


_COLUMNS = "task, curve, seed, cell, valid_images, valid_correct, seconds, valid_seconds, status, provenance, readings"


@dataclass(frozen=True)
class TrainingJob:
    """One training: a cell at a fidelity (its whole curve) with a seed."""

    task: str
    curve: str
    seed: int
    cell: int


class Reading(NamedTuple):
    """What a training was read by, epoch by epoch."""

    images: int | None
    """Images behind a count of correct answers; None for a number as it is, such as a loss."""
    values: tuple[float, ...]
    """One for each epoch before the one that diverged."""


@dataclass(frozen=True)
class Finished:
    """A stored training; lists have one item for each epoch."""

    job: TrainingJob
    valid_images: int
    """Validation images; 0 where validation was not run."""
    valid_correct: tuple[int, ...]
    seconds: tuple[float, ...]
    """Training seconds (processor seconds on a CPU), without validation."""
    valid_seconds: tuple[float, ...]
    status: str
    """`ok` or `diverged`."""
    provenance: dict[str, Any]
    readings: dict[str, Reading] = field(default_factory=dict)
    """Readings besides the validation accuracy, by the name of their signal."""


class Store:
    """The database at `path`, made if absent; one instance to a process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
            self._migrate()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} is not a database of a fill: {error}") from error

    def _migrate(self) -> None:
        """Give a database of before readings were kept their column; its entries then have none."""
        with self._transaction() as connection:
            present = {row[1] for row in connection.execute("PRAGMA table_info(entries)")}
            if "readings" not in present:
                connection.execute("ALTER TABLE entries ADD COLUMN readings TEXT NOT NULL DEFAULT '{}'")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def claim(self, job: TrainingJob) -> bool:
        """Take the job unless it is finished or another living process has it."""
        key = (job.task, job.curve, job.seed, job.cell)
        where = "task = ? AND curve = ? AND seed = ? AND cell = ?"
        with self._transaction() as connection:
            if connection.execute(f"SELECT 1 FROM entries WHERE {where}", key).fetchone():
                return False
            holder = connection.execute(f"SELECT host, pid FROM claims WHERE {where}", key).fetchone()
            if holder and not _is_gone(*holder):
                return False
            connection.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?)",
                (*key, socket.gethostname(), os.getpid()),
            )
        return True

    def finish(self, entry: Finished) -> None:
        """Commit a finished training and end its claim."""
        job = entry.job
        key = (job.task, job.curve, job.seed, job.cell)
        text = json.dumps(entry.provenance, sort_keys=True)
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO provenance (json) VALUES (?)", (text,))
            (number,) = connection.execute("SELECT id FROM provenance WHERE json = ?", (text,)).fetchone()
            connection.execute(
                f"INSERT OR REPLACE INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *key,
                    entry.valid_images,
                    json.dumps(entry.valid_correct),
                    json.dumps(entry.seconds),
                    json.dumps(entry.valid_seconds),
                    entry.status,
                    number,
                    json.dumps(entry.readings),
                ),
            )
            connection.execute(
                "DELETE FROM claims WHERE task = ? AND curve = ? AND seed = ? AND cell = ?", key
            )

    def release(self, job: TrainingJob) -> None:
        """End a claim without an entry."""
        self._connection.execute(
            "DELETE FROM claims WHERE task = ? AND curve = ? AND seed = ? AND cell = ?",
            (job.task, job.curve, job.seed, job.cell),
        )

    def finished(self) -> list[Finished]:
        """All entries, ordered by task, curve, seed and cell."""
        return self._read("", ())

    def find(self, job: TrainingJob) -> Finished | None:
        """The entry of one job, if there is one."""
        where = "WHERE task = ? AND curve = ? AND seed = ? AND cell = ?"
        entries = self._read(where, (job.task, job.curve, job.seed, job.cell))
        return entries[0] if entries else None

    def _read(self, where: str, values: tuple[str | int, ...]) -> list[Finished]:
        provenance = {
            number: json.loads(text)
            for number, text in self._connection.execute("SELECT id, json FROM provenance")
        }
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM entries {where} ORDER BY task, curve, seed, cell", values
        )
        return [
            Finished(
                TrainingJob(*row[:4]),
                row[4],
                tuple(json.loads(row[5])),
                tuple(json.loads(row[6])),
                tuple(json.loads(row[7])),
                row[8],
                provenance[row[9]],
                {
                    name: Reading(images, tuple(values))
                    for name, (images, values) in json.loads(row[10]).items()
                },
            )
            for row in rows
        ]

    def done(self) -> set[TrainingJob]:
        """The jobs that have an entry."""
        return {
            TrainingJob(*row)
            for row in self._connection.execute("SELECT task, curve, seed, cell FROM entries")
        }

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _is_gone(host: str, pid: int) -> bool:
    """Whether the process that holds a claim has ended; another host's is taken to live."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
