"""The columnar store: round trips, checks and damage."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasbench_kd.errors import DataError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER, tables
from nasbench_kd.tables.column import DIVERGED, ENTRY, Column, make_rows
from nasbench_kd.tables.table import FORMAT_1, Table, checksum, write_table
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
    content = json.loads(card.read_text())
    card.write_text(json.dumps(content | {"sha256": checksum(content, rows)}))
    with pytest.raises(DataError, match=words):
        Table.open(tmp_path / "t")


def test_columns_cover_the_rows(tmp_path: Path):
    write_table(tmp_path / "t", "mine", [column()], {})
    card = tmp_path / "t" / "card.json"
    content = json.loads(card.read_text())
    content["columns"][0]["rows"] = [0, 1]
    content["sha256"] = checksum(content, np.load(tmp_path / "t" / "entries.npy"))
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


def _look_at_rows(table: Table) -> object:
    return table.columns[0].rows


def _look_at_means(table: Table) -> object:
    return table.columns[0].means


@pytest.mark.parametrize("look", [_look_at_rows, _look_at_means])
def test_an_altered_shipped_table_is_noticed_when_its_entries_are_looked_at(tmp_path: Path, look):
    write_table(tmp_path / "t", "mine", [column()], {})
    path = tmp_path / "t" / "entries.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    opened = Table.open(tmp_path / "t", shipped=True)
    for _ in range(2):
        with pytest.raises(DataError, match="do not match the checksum"):
            look(opened)


def test_rows_beyond_the_table_are_refused(tmp_path: Path):
    write_table(tmp_path / "t", "mine", [column(), replace(column(), task="cifar100")], {})
    path = tmp_path / "t" / "card.json"
    card = json.loads(path.read_text())
    card["columns"][0]["rows"], card["columns"][1]["rows"] = [0, 4], [4, 8]  # there are four
    card["sha256"] = checksum(card, np.load(tmp_path / "t" / "entries.npy"))
    path.write_text(json.dumps(card))
    with pytest.raises(DataError, match="rows 4 to 8 of a column are not among the 4"):
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
    with pytest.raises(DataError, match=r"table 9.*reads.*table 1.*table 2"):
        Table.open(tmp_path / "t")


def with_readings(cells=(5, 1), seeds=(777, 777), images=50, **readings) -> Column:
    """Two trainings with a count of 40 images and a loss, of which the last diverged."""
    read = {"train_accuracy": 40, "train_loss": None}
    values = {"train_accuracy": [10, 0], "train_loss": [-1.25, np.nan], **readings}
    rows = make_rows(cells, seeds, [25, 0], [1, 2], values, diverged=[False, True])
    return Column("cifar10", Fidelity.parse("nst@4"), "valid", images, rows, {"source": "measured"}, read)


def test_readings_are_columns(tmp_path: Path):
    """Beside a column of fewer readings, whose rows lack them."""
    other = Column("cifar10", FULL, "valid", 50, make_rows([3], [1], [DIVERGED], [7]), {})
    table = write_table(tmp_path / "t", "mine", [with_readings(), other], {})
    plain, rich = Table.open(tmp_path / "t").columns
    assert rich.signals == ("valid_accuracy", "train_accuracy", "train_loss")
    np.testing.assert_array_equal(rich.values("valid_accuracy"), [np.nan, 50.0])
    np.testing.assert_array_equal(rich.values("train_accuracy"), [np.nan, 25.0])
    np.testing.assert_array_equal(rich.values("train_loss"), [np.nan, -1.25])
    assert plain.diverged.tolist() == [True]
    assert table.card["dtype"] == [list(kind) for kind in table.columns[0].rows.dtype.descr]
    with pytest.raises(DataError, match=r"none@200 valid has no reading 'train_los'; it has valid_accuracy"):
        plain.values("train_los")
    with pytest.raises(DataError, match="Did you mean 'train_loss'"):
        rich.values("train_los")


def test_a_training_without_validation_has_no_accuracy(tmp_path: Path):
    column = with_readings(images=0)
    column.rows["correct"][~column.diverged] = 0
    (read,) = write_table(tmp_path / "t", "mine", [column], {}).columns
    assert read.signals == ("train_accuracy", "train_loss")
    with pytest.raises(DataError, match="it has train_accuracy, train_loss"):
        read.accuracies()


def test_numbers_that_two_bytes_cannot_hold_widen_the_rows(tmp_path: Path):
    """Counts of 140,000 images (ImageNet16-120's training split has 151,700), seeds beyond 65,535."""
    wide = make_rows([7, 8], [70_000, 1], [140_000, 0], [1, 1], diverged=[False, True])
    columns = [Column("cifar10", FULL, "valid", 151_700, wide, {}), column(correct=(DIVERGED, 20))]
    full, narrow = Table.open(write_table(tmp_path / "t", "mine", columns, {}) and tmp_path / "t").columns
    assert full.rows["seed"].tolist() == [70_000, 1]
    assert full.values("valid_accuracy")[0] == pytest.approx(100 * 140_000 / 151_700)
    assert full.diverged.tolist() == [False, True]
    np.testing.assert_array_equal(narrow.accuracies(), [40.0, np.nan])


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        ({"train_loss": [np.inf, 0.0]}, "train_loss that is no number"),
        ({"train_accuracy": [41, 0]}, "than its 40"),
    ],
)
def test_readings_that_are_none_are_refused(tmp_path: Path, readings, words: str):
    with pytest.raises(DataError, match=words):
        write_table(tmp_path / "t", "mine", [with_readings(**readings)], {})


@pytest.mark.parametrize("change", [{"licence": "none"}, {"dtype": [["cell", "O"]]}, {"dtype": 7}])
def test_the_card_is_inside_the_checksum(tmp_path: Path, change):
    write_table(tmp_path / "t", "mine", [column()], {"licence": "MIT"})
    card = tmp_path / "t" / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(DataError, match="the card"):
        Table.open(tmp_path / "t")


def test_a_table_of_format_1_opens_and_is_rewritten_in_format_2(tmp_path: Path):
    folder = tmp_path / "old"
    folder.mkdir()
    rows = column().rows
    np.save(folder / "entries.npy", rows)
    listing = {"task": "cifar10", "fidelity": "nst@4", "split": "valid", "images": 50, "rows": [0, 2]}
    card = {"format": FORMAT_1, "name": "old", "columns": [{**listing, "provenance": {}}]}
    card["sha256"] = hashlib.sha256(rows.tobytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    table = Table.open(folder)
    assert rows.dtype == ENTRY
    assert table.columns[0].accuracies().tolist() == [40.0, 20.0]
    again = write_table(folder, "old", table.columns, {})
    assert again.card["format"] == "nasbench-kd table 2"
    assert again.columns[0].accuracies().tolist() == [40.0, 20.0]


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
