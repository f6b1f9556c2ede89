"""The columnar store: round trips, checks and damage."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from nasbench_kd.errors import DataError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER, tables
from nasbench_kd.tables.table import DIVERGED, Column, Table, make_rows, write_table
from nasbench_kd.tasks.fidelity import FULL, Fidelity


def column(cells=(5, 1), correct=(10, 20), images=50) -> Column:
    rows = make_rows(cells, [777] * len(cells), correct, [1_500_000] * len(cells))
    return Column("cifar10", Fidelity.parse("nst@4"), "valid", images, rows, {"source": "measured"})


def test_a_written_table_reads_back(tmp_path: Path):
    written = write_table(tmp_path / "t", "mine", [column()], {"licence": "MIT"})
    read = Table.open(tmp_path / "t")
    assert (read.name, read.sha256, read.card["licence"]) == ("mine", written.sha256, "MIT")
    (only,) = read.select("cifar10", "valid")
    assert only.rows["cell"].tolist() == [1, 5]
    assert only.accuracies().tolist() == [40.0, 20.0]
    assert read.select("cifar10", "test") == ()


def test_a_diverged_training_is_nan_and_not_an_accuracy(tmp_path: Path):
    table = write_table(tmp_path / "t", "mine", [column(correct=(DIVERGED, 20))], {})
    assert np.isnan(table.columns[0].accuracies()).tolist() == [False, True]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (column(cells=(1, 1)), "repeats"),
        (column(correct=(51, 1)), "nst@4 valid counts more correct answers"),
        (column(cells=(1, SPACE_SIZE)), "beyond 15624"),
    ],
)
def test_inconsistent_columns_are_refused(tmp_path: Path, bad: Column, words: str):
    with pytest.raises(DataError, match=words):
        write_table(tmp_path / "t", "mine", [column(cells=(7, 8)), bad], {})
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("row", "field", "value", "words"),
    [
        (0, "cell", 6, "cifar10 nst@4 valid is not sorted"),
        (3, "cell", 2, "cifar100 none@200 test is not sorted"),
        (3, "cell", 20_000, "cifar100 none@200 test names a cell beyond"),
        (2, "correct", 101, "cifar100 none@200 test counts more"),
        (1, "microseconds", -1, "cifar10 nst@4 valid holds a negative time"),
    ],
)
def test_rows_that_are_none_are_refused_on_opening(
    tmp_path: Path, row: int, field: str, value: int, words: str
):
    """Of a table whose checksum was made to fit."""
    other = Column("cifar100", FULL, "test", 100, column(cells=(2, 9)).rows, {})
    write_table(tmp_path / "t", "mine", [column(), other], {})
    rows = np.load(tmp_path / "t" / "entries.npy")
    rows[row][field] = value
    np.save(tmp_path / "t" / "entries.npy", rows)
    card = tmp_path / "t" / "card.json"
    content = json.loads(card.read_text()) | {"sha256": hashlib.sha256(rows.tobytes()).hexdigest()}
    card.write_text(json.dumps(content))
    with pytest.raises(DataError, match=words):
        Table.open(tmp_path / "t")


def test_columns_cover_the_rows(tmp_path: Path):
    write_table(tmp_path / "t", "mine", [column()], {})
    card = tmp_path / "t" / "card.json"
    content = json.loads(card.read_text())
    content["columns"][0]["rows"] = [0, 1]
    card.write_text(json.dumps(content))
    with pytest.raises(DataError, match="1 of the 2 rows"):
        Table.open(tmp_path / "t")


@pytest.mark.parametrize("name", ["entries.npy", "card.json"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str):
    write_table(tmp_path / "t", "mine", [column()], {})
    (tmp_path / "t" / name).unlink()
    os.mkfifo(tmp_path / "t" / name)
    with pytest.raises(DataError, match="no plain file"):
        Table.open(tmp_path / "t")


def test_the_rows_that_ship_are_sound():
    for table in tables("embedded"):
        Table.open(EMBEDDED_FOLDER / table.name.replace("-", "_"))


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_flipped_byte_is_noticed(tmp_path: Path, position: int):
    write_table(tmp_path / "t", "mine", [column()], {})
    path = tmp_path / "t" / "entries.npy"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError):
        Table.open(tmp_path / "t")


@pytest.mark.parametrize("name", ["entries.npy", "card.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\x93NUMPY"])
def test_absent_or_truncated_files_are_typed_errors(tmp_path: Path, name: str, content: bytes | None):
    write_table(tmp_path / "t", "mine", [column()], {})
    path = tmp_path / "t" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError):
        Table.open(tmp_path / "t")


def test_a_table_of_a_later_format_is_refused_with_both_names(tmp_path: Path):
    write_table(tmp_path / "t", "mine", [column()], {})
    path = tmp_path / "t" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": "nasbench-kd table 9"}))
    with pytest.raises(DataError, match=r"table 9.*reads.*table 1"):
        Table.open(tmp_path / "t")


@pytest.fixture(scope="module")
def embedded() -> Table:
    return Table.open(EMBEDDED_FOLDER / "nas_bench_201")


class TestEmbeddedTable:
    """The shipped 200-epoch table against what is published."""

    @pytest.mark.parametrize(
        ("task", "best"), [("cifar10", 91.607), ("cifar100", 73.493), ("imagenet16-120", 46.733)]
    )
    def test_best_mean_accuracy_is_the_published_one(self, embedded: Table, task: str, best: float):
        (column,) = embedded.select(task, "valid")
        cells = column.rows["cell"]
        means = np.bincount(cells, column.accuracies()) / np.bincount(cells)
        assert round(float(means.max()), 3) == best

    @pytest.mark.parametrize("task", ["cifar10", "cifar100", "imagenet16-120"])
    def test_seeds_are_counted_as_published(self, embedded: Table, task: str):
        (column,) = embedded.select(task, "valid")
        counts = np.bincount(column.rows["cell"], minlength=SPACE_SIZE)
        assert np.bincount(counts).tolist() == [0, 0, 7456, 8169]
        assert set(column.rows["seed"].tolist()) == {777, 888, 999}

    def test_it_is_small_and_has_a_card(self, embedded: Table):
        folder = EMBEDDED_FOLDER / "nas_bench_201"
        assert sum(path.stat().st_size for path in folder.iterdir()) < 2_500_000
        for key in ("source", "source_sha256", "licence", "attribution", "sha256", "rebuild"):
            assert embedded.card[key]

    def test_test_accuracy_ships_in_columns_of_its_own(self):
        tested = {
            table.name: table for table in tables("embedded") if any(c.split == "test" for c in table.columns)
        }
        assert tested.keys() == {"nas-bench-201-test", "mf-kd-authors"}
        assert {column.split for column in tested["nas-bench-201-test"].columns} == {"test"}

    @pytest.mark.parametrize("task", ["cifar10", "cifar100", "imagenet16-120"])
    def test_every_entry_agrees_with_the_reference(self, embedded: Table, task: str, reference: Path):
        pandas = pytest.importorskip("pandas")
        frame = pandas.read_parquet(reference / "nb201_reference.parquet")
        (column,) = embedded.select(task, "valid")
        name = task.replace("-", "_")
        rows = column.rows
        for seed in (777, 888, 999):
            expected = frame[f"{name}_valid_acc_200ep_seed{seed}"].to_numpy()
            found = np.full(SPACE_SIZE, np.nan)
            chosen = rows["seed"] == seed
            found[rows["cell"][chosen]] = column.accuracies()[chosen]
            np.testing.assert_allclose(found, expected, atol=1e-4)
            seconds = frame[f"{name}_train_seconds_200ep"].to_numpy()[rows["cell"][chosen]]
            np.testing.assert_allclose(rows["microseconds"][chosen] / 1e6, seconds, rtol=1e-6)
