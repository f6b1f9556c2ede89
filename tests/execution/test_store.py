"""The store keeps what it was given, whatever happens to the process, the disk or the bits."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nasbench_kd import search
from nasbench_kd.errors import StoreError
from nasbench_kd.execution.runs import RunRecord, decode, encode, read_runs, to_table, write_runs
from nasbench_kd.execution.store import FILE_NAME, FinishedRun, Key, RunStore
from tests.counts import counted

ROOT = Path(__file__).parents[2]


def row(repetition: int, optimizer: str = "random", failed: bool = False, size: int = 300) -> FinishedRun:
    payload = random.Random(repetition).randbytes(size)
    return FinishedRun(Key(optimizer, "cifar10", repetition), "f" * 64, failed, 0.1 * repetition, payload)


def filled(folder: Path, count: int = 20) -> list[FinishedRun]:
    rows = [row(repetition) for repetition in range(count)]
    with RunStore(folder) as store:
        for each in rows:
            store.add(each)
    return rows


def test_rows_come_back_equal_and_in_the_order_of_their_keys(tmp_path: Path) -> None:
    rows = [row(10), row(9), row(2, "another"), row(1, failed=True)]
    with RunStore(tmp_path / "new" / "folder") as store:
        for each in rows:
            store.add(each)
        assert list(store.rows()) == sorted(rows)
    with RunStore(tmp_path / "new" / "folder") as store:
        assert list(store.rows()) == sorted(rows)


def test_a_row_replaces_the_one_with_its_key(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        store.add(row(1, failed=True))
        store.add(row(1))
        assert list(store.rows()) == [row(1)]


def test_a_closed_store_is_one_file_beside_the_lock(tmp_path: Path) -> None:
    filled(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", FILE_NAME]


def test_fresh_throws_away_what_is_stored(tmp_path: Path) -> None:
    filled(tmp_path)
    with RunStore(tmp_path, fresh=True) as store:
        assert list(store.rows()) == []


def test_only_failed_rows_are_removed(tmp_path: Path) -> None:
    with RunStore(tmp_path) as store:
        for each in (row(1), row(2, failed=True), row(3)):
            store.add(each)
        store.remove_failed()
        assert list(store.rows()) == [row(1), row(3)]


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with RunStore(tmp_path), pytest.raises(StoreError, match=r"another process is running a suite"):
        RunStore(tmp_path)
    RunStore(tmp_path).close()


def test_the_lock_is_released_where_opening_fails(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"is damaged: file is not a database"):
            RunStore(tmp_path)
    RunStore(tmp_path, fresh=True).close()


def test_a_store_of_another_format_or_application_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"its format is 99, not 1.*--fresh"):
        RunStore(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("CREATE TABLE addresses (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=r"not a store of runs"):
        RunStore(tmp_path)


def test_rows_survive_the_sudden_end_of_the_process(tmp_path: Path) -> None:
    script = (
        "import sys, os; sys.path[:0] = sys.argv[2:]; from pathlib import Path\n"
        "from tests.execution.test_store import *\n"
        "store = RunStore(Path(sys.argv[1]))\n"
        "for repetition in range(50): store.add(row(repetition))\n"
        "os._exit(9)"
    )
    child = [sys.executable, "-c", script, str(tmp_path), str(ROOT)]
    assert subprocess.run(child, check=False).returncode == 9
    with RunStore(tmp_path) as store:
        assert list(store.rows()) == [row(repetition) for repetition in range(50)]


def test_a_damaged_row_is_named_and_can_be_dropped(tmp_path: Path) -> None:
    rows = filled(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    with connection:
        connection.execute("UPDATE runs SET payload = zeroblob(300) WHERE repetition = 7")
        connection.execute("UPDATE runs SET optimizer_seconds = 'soon' WHERE repetition = 8")
        connection.execute("UPDATE runs SET repetition = 70 WHERE repetition = 9")
    connection.close()
    with RunStore(tmp_path) as store:
        with pytest.raises(StoreError, match=r"cifar10', 7.*does not match its checksum.*--retry-failed"):
            list(store.rows())
        store.remove_failed()
        assert list(store.rows()) == [each for each in rows if each.key.repetition not in (7, 8, 9)]


def test_a_flipped_bit_anywhere_is_found_or_harmless(tmp_path: Path) -> None:
    rows = set(filled(tmp_path / "good"))
    sound = (tmp_path / "good" / FILE_NAME).read_bytes()
    folder = tmp_path / "flipped"
    folder.mkdir()
    generator, found = random.Random(0), 0
    for _ in range(400):
        place, bit = generator.randrange(len(sound)), 1 << generator.randrange(8)
        flipped = bytearray(sound)
        flipped[place] ^= bit
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / FILE_NAME).write_bytes(flipped)
        try:
            with RunStore(folder) as store:
                assert set(store.rows()) <= rows
        except StoreError:
            found += 1
    assert found > 100


def test_a_full_disk_is_said_and_keeps_what_is_stored(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    stored = []

    def fill() -> None:
        for repetition in range(100):
            store.add(row(repetition, size=10_000))
            stored.append(row(repetition, size=10_000))

    with RunStore(tmp_path) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            with pytest.raises(StoreError, match=r"cannot be used.*Finished runs are kept"):
                fill()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(stored) > 5
    with RunStore(tmp_path) as store:
        assert list(store.rows()) == stored
        store.add(row(100))
    counted("full disk")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"the output folder .* cannot be written"):
        RunStore(tmp_path / "file" / "folder")


def test_a_read_only_folder_is_said() -> None:
    """Root may write anywhere, so the child gives up its privileges first."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        filled(folder)
        script = (
            "import os, sys; sys.path.insert(0, sys.argv[2])\n"
            "from pathlib import Path; from nasbench_kd.execution.store import RunStore\n"
            "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            "RunStore(Path(sys.argv[1]))"
        )
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        child = [sys.executable, "-c", script, str(folder), str(ROOT)]
        ended = subprocess.run(child, check=False, capture_output=True, text=True)
        assert "StoreError: the output folder" in ended.stderr
        assert "cannot be written" in ended.stderr
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_descriptions_come_back_unless_they_are_damaged(tmp_path: Path) -> None:
    text = '{"budget": "1 evaluations"}'
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    with RunStore(tmp_path) as store:
        store.describe(fingerprint, text)
        store.describe("0" * 64, text)
        assert store.description(fingerprint) == {"budget": "1 evaluations"}
        assert store.description("0" * 64) == {}
        assert store.description("1" * 64) == {}


def test_a_run_survives_being_encoded() -> None:
    run = search("random", task="cifar10", budget="7 evaluations", seed=5)
    record = RunRecord("random", 3, run)
    assert decode(encode(record)).to_pylist() == to_table([record]).to_pylist()
    with pytest.raises(StoreError, match=r"cannot be read"):
        decode(encode(record)[:-5])


def test_runs_written_one_by_one_or_as_a_table_are_the_same_bytes(tmp_path: Path) -> None:
    records = [
        RunRecord("random", seed, search("random", task="cifar10", budget="3 evaluations", seed=seed))
        for seed in range(5)
    ]
    write_runs(tmp_path / "table", to_table(records), {"suite": {}})
    write_runs(tmp_path / "rows", (decode(encode(record)) for record in records), {"suite": {}})
    assert (tmp_path / "table").read_bytes() == (tmp_path / "rows").read_bytes()
    assert read_runs(tmp_path / "rows").table.equals(to_table(records))
    assert read_runs(tmp_path / "rows", ["seed", "cell"]).table.column_names == ["seed", "cell"]


def test_a_flipped_bit_in_exported_runs_is_found_or_harmless(tmp_path: Path) -> None:
    records = [
        RunRecord("random", seed, search("random", task="cifar10", budget="20 evaluations", seed=seed))
        for seed in range(5)
    ]
    path = tmp_path / "runs.parquet"
    write_runs(path, to_table(records), {"suite": {"name": "mine", "seeds": 5}})
    sound, good = path.read_bytes(), read_runs(path)
    generator, found = random.Random(1), 0
    for _ in range(150):
        flipped = bytearray(sound)
        flipped[generator.randrange(len(sound))] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        try:
            read = read_runs(path)
        except StoreError:
            found += 1
        else:
            assert read.table.equals(good.table)
            assert read.metadata == good.metadata
    assert found > 75
