"""The database of a fill: finished trainings, claims of running ones; survives kill -9.

SQLite in WAL mode. A worker claims a cell, trains it, and commits the entry and the end of the claim in one
transaction; a claim whose process is gone is free again. So a killed fill loses the cells in training only.
What determines a training is part of its key: with other images, another teacher or another precision it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from nasbench_kd.errors import StoreError

LEASE_SECONDS = 300
"""How long a claim holds without a sign of life; generous, since hosts' clocks differ."""
_BEAT_SECONDS = 15
_KEY = "task = ? AND curve = ? AND seed = ? AND cell = ? AND setup = ?"
_COLUMNS = (
    "task, curve, seed, cell, setup, valid_images, valid_correct, seconds, valid_seconds, status, provenance, "
    "readings"
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS provenance (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS entries (
    task TEXT NOT NULL, curve TEXT NOT NULL, seed INTEGER NOT NULL, cell INTEGER NOT NULL, setup TEXT NOT NULL,
    valid_images INTEGER NOT NULL, valid_correct TEXT NOT NULL, seconds TEXT NOT NULL,
    valid_seconds TEXT NOT NULL, status TEXT NOT NULL, provenance INTEGER NOT NULL REFERENCES provenance,
    readings TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (task, curve, seed, cell, setup)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    task TEXT NOT NULL, curve TEXT NOT NULL, seed INTEGER NOT NULL, cell INTEGER NOT NULL, setup TEXT NOT NULL,
    place TEXT NOT NULL, pid INTEGER NOT NULL, holder TEXT NOT NULL, beat INTEGER NOT NULL,
    PRIMARY KEY (task, curve, seed, cell, setup)
) WITHOUT ROWID;
"""
_NOW = "CAST(strftime('%s', 'now') AS INTEGER)"


@dataclass(frozen=True)
class TrainingJob:
    """One training: a cell at a fidelity (its whole curve) with a seed, in a setup as `setup_of` names it."""

    task: str
    curve: str
    seed: int
    cell: int
    setup: str = ""

    def key(self) -> tuple[str, str, int, int, str]:
        """What tells it from all others in a database."""
        return self.task, self.curve, self.seed, self.cell, self.setup


UNKNOWN = "unknown"
"""The setup of an entry whose provenance does not tell it: it is kept, and answers nothing."""


def setup_of(provenance: Mapping[str, Any], *, validated: bool) -> str:
    """Name what determines a training besides task, curve, seed and cell, in 16 hexadecimal digits.

    That is the recipe, the images with their number, size and digest, the precision, the teacher's weights, and
    whether it is validated. With another of these the training is another one. Times, machine and versions of
    software are not among them.
    """
    if not {"recipe", "images", "precision"} <= provenance.keys():
        return UNKNOWN
    teacher = provenance.get("teacher")
    parts = {
        **{name: provenance[name] for name in ("recipe", "images", "precision")},
        "teacher": teacher and [teacher["architecture"], teacher["weights_sha256"]],
        "validated": validated,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


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
        self._holder, self._closed = uuid.uuid4().hex, threading.Event()
        self._heart: threading.Thread | None = None
        try:
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._migrate()
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} is not a database of a fill: {error}") from error

    def _migrate(self) -> None:
        """Bring a database of an earlier version to this one; the setups of its entries are in their provenance."""
        present = {row[1] for row in self._connection.execute("PRAGMA table_info(entries)")}
        claims = {row[1] for row in self._connection.execute("PRAGMA table_info(claims)")}
        if claims and "holder" not in claims:
            held = self._connection.execute("SELECT host, pid FROM claims").fetchall()
            if any(host == socket.gethostname() and not _has_ended(pid) for host, pid in held):
                raise StoreError(f"{self.path} is in use by a fill of an earlier version; wait for its end")
            self._connection.execute("DROP TABLE claims")
        if present and not {"setup", "readings"} <= present:
            readings = "readings" if "readings" in present else "'{}'"
            setup = "setup" if "setup" in present else "setup_of(json, valid_images)"
            columns = _COLUMNS.replace("readings", readings).replace("setup", setup)
            self._connection.create_function("setup_of", 2, _setup_of_row, deterministic=True)
            create = _SCHEMA.split(";")[1]
            with self._transaction() as connection:
                connection.execute("ALTER TABLE entries RENAME TO earlier")
                connection.execute(create)
                connection.execute(
                    f"INSERT INTO entries ({_COLUMNS}) SELECT {columns} FROM earlier "
                    "JOIN provenance ON provenance.id = earlier.provenance"
                )
                connection.execute("DROP TABLE earlier")

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
        """Take the job unless it is finished or another living process has it.

        A process that has ended on this machine holds nothing, and none holds what it gave no sign of life for
        in the last `LEASE_SECONDS`: it was killed on another host, or before a reboot.
        """
        with self._transaction() as connection:
            if connection.execute(f"SELECT 1 FROM entries WHERE {_KEY}", job.key()).fetchone():
                return False
            held = f"SELECT place, pid, {_NOW} - beat FROM claims WHERE {_KEY}"
            holder = connection.execute(held, job.key()).fetchone()
            if holder and not _is_gone(*holder):
                return False
            connection.execute(
                f"INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, ?, ?, {_NOW})",
                (*job.key(), _place(), os.getpid(), self._holder),
            )
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, daemon=True)
            self._heart.start()
        return True

    def holders(self) -> dict[TrainingJob, str]:
        """Who has claimed what, in words."""
        return {
            TrainingJob(*row[:5]): f"process {row[5]} on {row[6].split()[0]}, last seen {row[7]} s ago"
            for row in self._connection.execute(
                f"SELECT task, curve, seed, cell, setup, pid, place, {_NOW} - beat FROM claims"
            )
        }

    def _beat(self) -> None:
        """Give signs of life for all claims of this store, in a thread and by a connection of its own."""
        while not self._closed.wait(_BEAT_SECONDS):
            try:
                with closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as connection:
                    connection.execute(f"UPDATE claims SET beat = {_NOW} WHERE holder = ?", (self._holder,))
            except sqlite3.Error:
                continue  # a busy or full disk; the lease is many beats long

    def finish(self, entry: Finished) -> None:
        """Commit a finished training and end its claim; where the job has an entry already, that one stands."""
        key = entry.job.key()
        text = json.dumps(entry.provenance, sort_keys=True)
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO provenance (json) VALUES (?)", (text,))
            (number,) = connection.execute("SELECT id FROM provenance WHERE json = ?", (text,)).fetchone()
            connection.execute(
                f"INSERT OR IGNORE INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            connection.execute(f"DELETE FROM claims WHERE {_KEY}", key)

    def release(self, job: TrainingJob) -> None:
        """End a claim of this store without an entry."""
        self._connection.execute(
            f"DELETE FROM claims WHERE {_KEY} AND holder = ?", (*job.key(), self._holder)
        )

    def finished(self) -> list[Finished]:
        """All entries, ordered by task, curve, seed and cell."""
        return self._read("", ())

    def find(self, job: TrainingJob) -> Finished | None:
        """The entry of one job, if there is one."""
        entries = self._read(f"WHERE {_KEY}", job.key())
        return entries[0] if entries else None

    def _read(self, where: str, values: tuple[str | int, ...]) -> list[Finished]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM entries {where} ORDER BY task, curve, seed, cell, setup", values
        ).fetchall()
        # After the entries: another process may be adding some, each after its provenance, of which none ever goes.
        provenance = {
            number: json.loads(text)
            for number, text in self._connection.execute("SELECT id, json FROM provenance")
        }
        return [
            Finished(
                TrainingJob(*row[:5]),
                row[5],
                tuple(json.loads(row[6])),
                tuple(json.loads(row[7])),
                tuple(json.loads(row[8])),
                row[9],
                provenance[row[10]],
                {
                    name: Reading(images, tuple(values))
                    for name, (images, values) in json.loads(row[11]).items()
                },
            )
            for row in rows
        ]

    def done(self) -> set[TrainingJob]:
        """The jobs that have an entry."""
        return {
            TrainingJob(*row)
            for row in self._connection.execute("SELECT task, curve, seed, cell, setup FROM entries")
        }

    def close(self) -> None:
        """Close the connection."""
        self._closed.set()
        self._connection.close()


def _setup_of_row(provenance: str, valid_images: int) -> str:
    return setup_of(json.loads(provenance), validated=valid_images > 0)


@cache
def _place() -> str:
    """Where process ids mean what they mean here: host, its boot and, in a container, its own ids."""
    parts = [socket.gethostname().replace(" ", "-") or "unnamed"]
    with suppress(OSError):  # no Linux: the host alone
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _is_gone(place: str, pid: int, silence: int) -> bool:
    """Whether the process that holds a claim has ended, `silence` seconds after its last sign of life."""
    return abs(silence) > LEASE_SECONDS or (place == _place() and _has_ended(pid))


def _has_ended(pid: int) -> bool:
    if os.name == "nt":
        return False  # there a signal of 0 would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
