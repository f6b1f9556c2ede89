"""Where data lives: a data folder, to which what earlier versions kept in the cache folder is moved whole."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

import pytest

from nasbench_kd.errors import DataError
from nasbench_kd.tables.catalog import full_results, tables, user_folder
from nasbench_kd.tables.table import write_table


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The old place, which holds a table and a database, and the new one, where nothing is."""
    monkeypatch.delenv("NASBENCH_KD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    old = tmp_path / "cache" / "nasbench-kd"
    write_table(old / "measured", "measured", full_results().columns[:1], {})
    with sqlite3.connect(old / "live.db") as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE entries (cell INTEGER)")
        connection.execute("INSERT INTO entries VALUES (7)")
    connection.close()
    return old, tmp_path / "data" / "nasbench-kd"


def entries(folder: Path) -> list[tuple[int]]:
    with sqlite3.connect(folder / "live.db") as connection:
        return connection.execute("SELECT cell FROM entries").fetchall()


def test_data_lives_in_the_data_folder(places: tuple[Path, Path], recwarn: pytest.WarningsRecorder) -> None:
    old, new = places
    shutil.rmtree(old)
    assert user_folder() == new
    assert not recwarn.list


@pytest.mark.parametrize("other_file_system", [False, True])
def test_the_old_place_is_moved_and_said(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, other_file_system: bool
) -> None:
    old, new = places
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == old:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    if other_file_system:
        monkeypatch.setattr(Path, "rename", refuse)
    with pytest.warns(UserWarning, match="were moved from"):
        assert user_folder() == new
    assert not old.exists()
    assert entries(new) == [(7,)]
    assert "measured" in [table.name for table in tables()]
    assert user_folder() == new


def test_where_both_exist_nothing_is_done(places: tuple[Path, Path]) -> None:
    old, new = places
    (new / "images").mkdir(parents=True)
    with pytest.warns(UserWarning, match="there are both"):
        assert user_folder() == new
    assert entries(old) == [(7,)]
    assert [path.name for path in new.iterdir()] == ["images"]


def test_a_database_in_use_is_not_moved_away(places: tuple[Path, Path]) -> None:
    old, new = places
    running = sqlite3.connect(old / "live.db", isolation_level=None)
    running.execute("INSERT INTO entries VALUES (8)")
    with pytest.warns(UserWarning, match=r"while live\.db is in use"):
        assert user_folder() == old
    running.execute("INSERT INTO entries VALUES (9)")
    running.close()
    with pytest.warns(UserWarning, match="were moved from"):
        assert user_folder() == new
    assert entries(new) == [(7,), (8,), (9,)]


def test_what_cannot_be_moved_is_used_where_it_is(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = places

    def refuse(path: Path, target: Path) -> Path:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.warns(UserWarning, match="it is used where it is"):
        assert user_folder() == old
    assert entries(old) == [(7,)]


def test_a_table_whose_replacement_was_killed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    write_table(tmp_path / "measured", "measured", full_results().columns[:1], {})
    (tmp_path / "measured").rename(tmp_path / ".measured.old")
    shutil.copytree(tmp_path / ".measured.old", tmp_path / ".other.new")
    assert [table.name for table in tables()][-1:] == ["measured"]
    assert (tmp_path / "measured" / "card.json").exists()


def test_what_is_left_of_a_table_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cifar10.zip").write_bytes(b"")
    write_table(tmp_path / "measured", "measured", full_results().columns[:1], {})
    assert [table.name for table in tables()][-1:] == ["measured"]
    card = tmp_path / "measured" / "card.json"
    card.unlink()
    for link in (False, True):
        if link:
            card.symlink_to(card)
        with pytest.raises(DataError, match="measured"):
            tables()
