"""The MF-KD authors' records, alone and in dumps of several plausible forms."""

from __future__ import annotations

import copy
import csv
import gzip
import hashlib
import pickle
from collections import OrderedDict, defaultdict
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path, PosixPath
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nasbench_kd import Cell, Fidelity, load
from nasbench_kd.errors import DataError, MissingEntryError
from nasbench_kd.sources import mf_kd
from nasbench_kd.sources.mf_kd import EPOCHS, SOURCE, columns, read_trainings, same, structure
from nasbench_kd.sources.pull import pull
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.table import Table, write_table
from tests.conftest import ROOT
from tests.sources.conftest import Mirror, _handler

torch = pytest.importorskip("torch", reason="the records are files of torch.save")
kendalltau = pytest.importorskip("scipy.stats", reason="rank correlations").kendalltau
CELLS = range(200)


@pytest.fixture(scope="module")
def folder(reference: Path) -> Path:
    return reference / "mfkd_records"


@pytest.fixture(scope="module")
def trainings(folder):
    return [training for cell in CELLS for training in read_trainings(folder / f"{cell:05d}.pth")]


@pytest.fixture(scope="module")
def originals(folder) -> list[dict[str, Any]]:
    """The records as torch itself reads them."""
    return [torch.load(folder / f"{cell:05d}.pth", weights_only=False) for cell in CELLS]


def test_records_agree_with_the_authors_logs_to_the_last_digit(trainings, reference):
    """The logs round to two digits; their "valid" accuracy is that of `x-test`."""
    with (reference / "mfkd_nst_cifar100.csv").open() as file:
        logs = list(csv.DictReader(file))
    assert [training.cell.index for training in trainings] == [int(log["index"]) for log in logs]
    for training, log in zip(trainings, logs, strict=True):
        assert str(training.cell) == log["cell"]
        assert (training.dataset, training.seed) == ("cifar100", 111)
        for epoch in range(EPOCHS):
            exact = training.accuracy["x-test"][epoch]
            assert exact == pytest.approx(float(log[f"valid_acc_ep{epoch + 1}"]), abs=1e-6)
            logged = float(log[f"train_acc_ep{epoch + 1}"])
            assert training.train_accuracy[epoch] == pytest.approx(logged, abs=0.00501)


def test_records_agree_with_torch(trainings, originals):
    for training, original in zip(trainings, originals, strict=True):
        record = original["cifar100"]
        assert training.train_loss.tolist() == list(record["train_losses"].values())
        assert training.train_accuracy.tolist() == list(record["train_acc1es"].values())
        assert training.seconds.tolist() == list(record["train_times"].values())
        for name in ("x-valid", "x-test"):
            keys = [f"{name}@{epoch}" for epoch in range(EPOCHS)]
            assert training.loss[name].tolist() == [record["valid_losses"][key] for key in keys]
            assert training.accuracy[name].tolist() == [record["valid_acc1es"][key] for key in keys]


@pytest.mark.parametrize(
    ("epoch", "valid_accuracy", "train_accuracy", "train_loss", "valid_loss"),
    [
        (1, 0.517, 0.596, 0.576, 0.657),
        (2, 0.581, 0.666, 0.723, 0.713),
        (3, 0.622, 0.703, 0.777, 0.745),
        (6, 0.638, 0.734, 0.816, 0.771),
        (12, 0.762, 0.774, 0.828, 0.820),
    ],
)
def test_what_a_short_training_says(
    trainings, reference, epoch, valid_accuracy, train_accuracy, train_loss, valid_loss
):
    """Kendall's tau of each reading with the mean validation accuracy after 200 epochs."""
    table = pq.read_table(reference / "nb201_reference.parquet")
    seeds = [table[f"cifar100_valid_acc_200ep_seed{seed}"].to_numpy() for seed in (777, 888, 999)]
    final = np.nanmean(seeds, axis=0)[: len(trainings)]

    def tau(values):
        return round(float(kendalltau([each[epoch - 1] for each in values], final)[0]), 3)

    assert tau([each.accuracy["x-valid"] for each in trainings]) == valid_accuracy
    assert tau([each.train_accuracy for each in trainings]) == train_accuracy
    assert tau([-each.train_loss for each in trainings]) == train_loss
    assert tau([-each.loss["x-valid"] for each in trainings]) == valid_loss


def test_columns_hold_whole_images_and_growing_seconds(trainings):
    made = columns(trainings, {})
    assert {(each.task, each.split, each.images) for each in made} == {
        ("cifar100", "valid", 5_000),
        ("cifar100", "test", 5_000),
    }
    valid = [each for each in made if each.split == "valid"]
    assert [str(each.fidelity) for each in valid] == [*(f"nst@{n}/12" for n in range(1, 12)), "nst@12"]
    for epoch, column in enumerate(valid):
        expected = [training.accuracy["x-valid"][epoch] for training in trainings]
        np.testing.assert_allclose(column.accuracies(), expected, atol=1e-6)
        for signal, values in (
            ("train_loss", [training.train_loss[epoch] for training in trainings]),
            ("train_accuracy", [training.train_accuracy[epoch] for training in trainings]),
            ("valid_loss", [training.loss["x-valid"][epoch] for training in trainings]),
        ):
            np.testing.assert_allclose(column.values(signal), values, rtol=1e-7, atol=1e-6)
        seconds = [training.seconds[: epoch + 1].sum() for training in trainings]
        np.testing.assert_allclose(column.rows["microseconds"] / 1e6, seconds, atol=1e-6)


def named(originals):
    return [(str(Cell.from_index(cell)), original) for cell, original in enumerate(originals)]


def nameless(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose own text does not name its cell."""
    return {key: value for key, value in record["cifar100"].items() if key != "net_string"}


FORMS = {
    "by cell": lambda originals: dict(named(originals)),
    "by file": lambda originals: {
        f"./output/LESS-CELL-16-5/{cell:06d}/seed-0111.pth": original
        for cell, original in enumerate(originals)
    },
    "by the authors' own paths": lambda originals: {
        f"output/trofim-NST/specifics/LESS-{name}-16-5/seed-0111.pth": nameless(each)
        for name, each in named(originals)
    },
    "by path": lambda originals: {
        PosixPath(f"a/{cell:05d}.pth"): each for cell, each in enumerate(originals)
    },
    "a list": lambda originals: list(originals),
    "pairs": lambda originals: [(name, nameless(each)) for name, each in named(originals)],
    "by data set and cell": lambda originals: {
        "cifar100": {name: nameless(r) for name, r in named(originals)}
    },
    "by index": lambda originals: defaultdict(
        dict, {cell: {"cifar100": nameless(each)} for cell, each in enumerate(originals)}
    ),
    "by cell and seed": lambda originals: OrderedDict(
        (name, {("cifar100", 111): nameless(each)}) for name, each in named(originals)
    ),
    "fields beside": lambda originals: [
        {"arch": name, "results": nameless(each)} for name, each in named(originals)
    ],
    "with a head": lambda originals: {"info": "trained in 2020", "dumps": list(originals), "count": 200},
    "numpy values": lambda originals: [with_numpy(each) for each in originals],
}


def with_numpy(record: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    changed["cifar100"]["train_losses"] = np.array(list(record["cifar100"]["train_losses"].values()))
    changed["cifar100"]["valid_acc1es"] = {
        key: np.float64(value) for key, value in record["cifar100"]["valid_acc1es"].items()
    }
    return changed


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("form", FORMS)
def test_dumps_of_many_forms_say_the_same(tmp_path, originals, trainings, form, protocol):
    path = tmp_path / "all_dumps.pickle.gz"
    path.write_bytes(gzip.compress(pickle.dumps(FORMS[form](originals), protocol=protocol), 1))
    read = read_trainings(path, "cifar100")
    assert [each.cell for each in read] == [each.cell for each in trainings]
    for one, other in zip(read, trainings, strict=True):
        assert (one.dataset, one.seed) == (other.dataset, other.seed)
        assert same(one, other)


def changed(originals, cell: int, **fields: Any) -> dict[str, Any]:
    record = copy.deepcopy(originals[cell])
    record["cifar100"].update(fields)
    return record


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda some: {}, "it is a dict of 0"),
        (lambda some: [1.0, 2.0], "it is a list of 2"),
        (lambda some: {"a": {"b": (1.0, "x")}}, r"it is a dict of 1 \('a': dict of 1 \('b': tuple of 2"),
        (lambda some: np.ones((3, 2)), r"ndarray.* of float64 \(3, 2\)|_Array of float64 \(3, 2\)"),
        (lambda some: [nameless(some[0])], "names no cell"),
        (lambda some: {str(Cell.from_index(0)): nameless(some[0])}, "names no data set"),
        (lambda some: {str(Cell.from_index(1)): some[0]}, "is of"),
        (
            lambda some: [some[0], changed(some, 0, train_losses=some[1]["cifar100"]["train_losses"])],
            "two different",
        ),
        (lambda some: [changed(some, 0, train_losses={0: 1.0})], "1 incomplete"),
        (lambda some: [changed(some, 0, train_losses=dict.fromkeys(range(12), "x"))], "of another form"),
        (lambda some: [changed(some, 0, valid_losses={})], "of another form"),
    ],
)
def test_other_dumps_are_refused_with_what_was_found(tmp_path, originals, content, message):
    path = tmp_path / "all_dumps.pickle.gz"
    path.write_bytes(gzip.compress(pickle.dumps(content(originals[:2])), 1))
    with pytest.raises(DataError, match=message):
        read_trainings(path)


def test_a_dump_that_contains_itself_is_refused(tmp_path):
    content: list[Any] = []
    content.append(content)
    (tmp_path / "dump").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match="nested deeper"):
        read_trainings(tmp_path / "dump")


def test_a_diverged_training_is_read(tmp_path, originals):
    broken = changed(originals, 0)
    for epoch in range(5, EPOCHS):
        broken["cifar100"]["train_losses"][epoch] = float("nan")
        broken["cifar100"]["valid_losses"][f"x-valid@{epoch}"] = float("nan")
    (tmp_path / "dump").write_bytes(pickle.dumps([broken]))
    (training,) = read_trainings(tmp_path / "dump")
    assert np.isnan(training.train_loss).tolist() == [False] * 5 + [True] * 7


def renamed(record: dict[str, Any], dataset: str, images: int) -> dict[str, Any]:
    """The same record as if it were of another data set, its accuracies whole numbers of that set's images."""
    changed = copy.deepcopy(record["cifar100"])
    changed["valid_acc1es"] = {
        key: round(value * images / 100) * 100 / images for key, value in changed["valid_acc1es"].items()
    }
    return {dataset: changed}


@pytest.fixture
def dumps(originals, tmp_path, monkeypatch):
    """The three dumps below a loopback server, under the names of their own git blobs; a test gives the first."""
    served = Mirror(tmp_path / "served")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.base = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def publish(cifar100: Any) -> Mirror:
        contents = [
            cifar100,
            [renamed(each, "cifar10-valid", 25_000) for each in originals[:3]],
            {str(Cell.from_index(5)): renamed(originals[5], "ImageNet16-120", 3_000)},
        ]
        files = []
        for file, content in zip(SOURCE.files, contents, strict=True):
            data = gzip.compress(pickle.dumps(content, protocol=4), 1)
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            files.append(replace(file, checksum=blob))
            (served.folder / file.place).parent.mkdir(parents=True, exist_ok=True)
            (served.folder / file.place).write_bytes(data)
        monkeypatch.setattr(
            "nasbench_kd.sources.pull.SOURCES", {SOURCE.name: replace(SOURCE, files=tuple(files))}
        )
        return served

    yield publish
    served.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("faults", [[], ["cut"], [503]])
def test_pull_installs_the_three_dumps(dumps, originals, trainings, tmp_path, faults):
    served = dumps(dict(named(originals)))
    served.faults = faults
    pull(["mf-kd"], folder=tmp_path / "data", base=served.base, pause=0.01)
    table = Table.open(tmp_path / "data" / "mf-kd")
    valid = {(each.task, str(each.fidelity)): each for each in table.columns if each.split == "valid"}
    assert len(valid) == 36
    assert len(valid["cifar100", "nst@12"].rows) == 200
    assert valid["cifar10", "nst@12"].rows["cell"].tolist() == [0, 1, 2]
    assert valid["imagenet16-120", "nst@3/12"].rows["cell"].tolist() == [5]
    np.testing.assert_allclose(
        valid["cifar100", "nst@7/12"].accuracies(),
        [each.accuracy["x-valid"][6] for each in trainings],
        atol=1e-6,
    )
    assert table.select("cifar10", "test") == ()
    assert "git_blob" in "".join(table.card)


def test_other_bytes_than_the_blob_are_not_opened(dumps, originals, tmp_path):
    served = dumps(originals)
    served.change = {"NST/all_dumps.pickle.gz": lambda data: data[:-1] + b"x"}
    with pytest.raises(DataError, match="pinned bytes"):
        pull(["mf-kd"], folder=tmp_path / "data", base=served.base, pause=0.01)
    assert not (tmp_path / "data" / "mf-kd").exists()


def test_a_dump_of_another_structure_is_shown(dumps, tmp_path):
    served = dumps({"epochs": [1, 2, 3], "table": {"cell 0": 3.5}})
    with pytest.raises(DataError, match=r"it is a dict of 2 \('epochs': list of 3 \(int, \.\.\.\), 'table'"):
        pull(["mf-kd"], folder=tmp_path / "data", base=served.base, pause=0.01)
    assert not (tmp_path / "data" / "mf-kd").exists()


def test_another_training_of_a_known_cell_is_refused(dumps, originals, tmp_path):
    """One image more in one epoch of one of the 200 cells that ship."""
    other = changed(originals, 123)
    other["cifar100"]["valid_acc1es"]["x-valid@4"] += 0.02
    served = dumps([*originals[:123], other, *originals[124:]])
    with pytest.raises(
        DataError, match=r"cell 123 on cifar100 at nst@5/12 .* the authors' own record that ships"
    ):
        pull(["mf-kd"], folder=tmp_path / "data", base=served.base, pause=0.01)
    assert not (tmp_path / "data" / "mf-kd").exists()


def test_the_table_that_ships_is_made_of_the_records(folder, tmp_path):
    made = mf_kd.write_records(folder, tmp_path / "made")
    shipped = Table.open(EMBEDDED_FOLDER / "mf_kd_authors")
    assert (made.sha256, made.card) == (shipped.sha256, shipped.card)
    assert {(each.split, len(each.rows)) for each in shipped.columns} == {("valid", 200), ("test", 200)}


def test_distilled_epochs_are_there_on_a_fresh_install(trainings):
    bench = load("cifar100", data="embedded")
    for training in trainings[:20]:
        for epochs in (1, 3, 12):
            found = bench.evaluate(training.cell, Fidelity("nst", epochs, 12))
            assert found.valid_accuracy == pytest.approx(training.accuracy["x-valid"][epochs - 1], abs=1e-6)
            assert found.seconds == pytest.approx(training.seconds[:epochs].sum(), abs=1e-6)
            assert (found.seed, found.source) == (111, "measured")
    elsewhere = bench.evaluate(Cell.from_index(900), "nst@12")
    assert (elsewhere.seed, elsewhere.source) == (111, "surrogate")
    with pytest.raises(MissingEntryError, match="no train_accuracy was recorded for cell 900"):
        bench.evaluate(Cell.from_index(900), "nst@12", "train_accuracy")


def test_what_only_some_cells_have_is_known():
    bench = load("cifar100", data="embedded")
    assert not bench.covers(Fidelity.parse("none-dear"))
    assert bench.common_signals(Fidelity.parse("nst@12")) == ("valid_accuracy",)
    assert "train_accuracy" in bench.signals("nst@12")
    assert bench.covers(Fidelity.parse("none@12"))
    assert bench.covers(Fidelity.parse("nst@4 images=5000 batch=32 size=16 cells=1"))


def test_only_its_name_pulls_it(reference, tmp_path):
    assert SOURCE.optional
    assert "mf-kd" not in pull(folder=tmp_path, base=str(reference / "mirror"))


def test_another_loss_of_a_known_cell_is_refused(dumps, originals, tmp_path):
    other = changed(originals, 7)
    other["cifar100"]["train_losses"][11] *= 1 + 1e-6
    served = dumps([*originals[:7], other, *originals[8:]])
    with pytest.raises(
        DataError, match=r"cell 7 on cifar100 at nst@12 has the train_loss .* another training"
    ):
        pull(["mf-kd"], folder=tmp_path / "data", base=served.base, pause=0.01)


def test_a_training_whose_loss_is_no_number_keeps_its_accuracy(originals, tmp_path):
    broken = changed(originals, 3)
    broken["cifar100"]["train_losses"][11] = float("nan")
    (tmp_path / "dump").write_bytes(pickle.dumps([originals[2], broken]))
    made = columns(read_trainings(tmp_path / "dump"), {})
    whole, bare = [each for each in made if (str(each.fidelity), each.split) == ("nst@12", "valid")]
    assert (whole.rows["cell"].tolist(), bare.rows["cell"].tolist()) == ([2], [3])
    assert (whole.signals[1:], bare.signals) == (
        ("train_accuracy", "train_loss", "valid_loss"),
        ("valid_accuracy",),
    )
    write_table(tmp_path / "table", "some", made, {})


def test_the_blobs_are_those_of_the_authors():
    assert [file.checksum[:7] for file in SOURCE.files] == ["7ad77da", "7f59f37", "f3ed5a4"]
    assert {file.place.split("/")[2] for file in SOURCE.files} == {"e2d01023c6397c047003f130ac32be8857c3142e"}


def test_structure_of_what_is_not_a_container():
    assert structure(3.5) == "float"
    assert structure({("a", 1): {}}, 1) == "dict of 1 (('a', 1): dict of 0)"
    assert mf_kd.structure([[[[[[1]]]]]]).count("list") == 5


def test_the_report_on_its_curves_quotes_the_table_that_ships():
    bench = load("cifar100", data="embedded")
    with (ROOT / "reports" / "mfkd-curves" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        fidelity, cell = Fidelity("nst", int(row["epoch"]), 12), Cell.from_index(int(row["cell"]))
        for name, signal in (
            ("authors_valid", "valid_accuracy"),
            ("authors_train", "train_accuracy"),
            ("authors_train_loss", "train_loss"),
        ):
            found = bench.evaluate(cell, fidelity, signal)
            assert (found.value, found.source) == (pytest.approx(float(row[name]), abs=0.005), "measured")
