"""`data import`: files of the official structure, read back through the official packages and through us."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_kd import Cell, Fidelity, load
from nasbench_kd.errors import DataError
from nasbench_kd.sources.importer import convert, import_file, plan_import
from nasbench_kd.spaces.nasbench201 import OPERATIONS, all_cells
from nasbench_kd.tables.table import Table
from tests.sources.official import build, embedded, whole_file

nats_utilities = pytest.importorskip("nats_bench.api_utils", reason="needs the package nats-bench")
nas201_utilities = pytest.importorskip("nas_201_api.api_utils", reason="needs the package nas-bench-201")
torch = pytest.importorskip("torch", reason="nas-bench-201 files are written by torch.save")

CELLS = [Cell.from_index(index) for index in (0, 11, 284, 9075)]
OFFICIAL = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16-120": "ImageNet16-120"}


@pytest.fixture(scope="module")
def nats_states():
    return build(CELLS, nats_utilities)


@pytest.fixture(scope="module")
def nas201_states():
    return build(CELLS, nas201_utilities)


@pytest.fixture(scope="module")
def nats_folder(nats_states, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nats") / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    meta = {"meta_archs": [str(cell) for cell in all_cells()], "total_archs": 15_625}
    nats_utilities.pickle_save(meta, folder / "meta.pickle")
    for index, schedules in nats_states.items():
        nats_utilities.pickle_save(schedules, folder / f"{index:06d}.pickle")
    return folder


@pytest.fixture(scope="module", params=["folder", "file", "torch zip", "torch legacy"])
def imported(request, nats_folder, nats_states, nas201_states, tmp_path_factory):
    """(the official API, our table) of one form of file."""
    folder = tmp_path_factory.mktemp("imported")
    if request.param in ("folder", "file"):
        from nats_bench.api_topology import NATStopology

        path = nats_folder
        if request.param == "file":
            nats_utilities.pickle_save(whole_file(nats_states), folder / "NATS-tss-v1_0-3ffb9.pickle")
            path = folder / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
        api = NATStopology(str(path), fast_mode=request.param == "folder", verbose=False)
    else:
        from nas_201_api.api_201 import NASBench201API

        path = folder / "NAS-Bench-201-v1_1-096897.pth"
        content = whole_file(nas201_states, ("less", "full"))
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "torch zip")
        api = NASBench201API(torch.load(path, weights_only=False), verbose=False)
    return api, import_file(path, folder=folder / "installed")


def values(table, task, fidelity, split):
    """{(cell, seed): accuracy} of one column."""
    (column,) = [column for column in table.select(task, split) if str(column.fidelity) == fidelity]
    keys = zip(column.rows["cell"].tolist(), column.rows["seed"].tolist(), strict=True)
    return dict(zip(keys, column.accuracies().tolist(), strict=True))


@pytest.mark.parametrize("task", ["cifar10", "cifar100", "imagenet16-120"])
@pytest.mark.parametrize("epochs", [12, 200])
def test_final_results_agree_with_the_official_api(imported, task, epochs):
    api, table = imported
    valid = values(table, task, f"none@{epochs}", "valid")
    test = values(table, task, f"none@{epochs}", "test")
    assert {cell for cell, _ in valid} == {cell.index for cell in CELLS}
    for (cell, seed), accuracy in valid.items():
        info = api.get_more_info(cell, OFFICIAL[task], hp=str(epochs), is_random=seed)
        assert accuracy == pytest.approx(info["valid-accuracy"], abs=1e-9)
    final = "cifar10" if task == "cifar10" else OFFICIAL[task]
    for (cell, seed), accuracy in test.items():
        info = api.get_more_info(cell, final, hp=str(epochs), is_random=seed)
        assert accuracy == pytest.approx(info["test-accuracy"], abs=1e-9)


@pytest.mark.parametrize(("epochs", "read"), [(12, 1), (12, 7), (200, 1), (200, 12), (200, 199)])
def test_curves_agree_with_the_official_api(imported, epochs, read):
    api, table = imported
    for (cell, seed), accuracy in values(table, "cifar10", f"none@{read}/{epochs}", "valid").items():
        info = api.get_more_info(cell, "cifar10-valid", iepoch=read - 1, hp=str(epochs), is_random=seed)
        assert accuracy == pytest.approx(info["valid-accuracy"], abs=1e-9)


@pytest.mark.parametrize(("epochs", "read"), [(12, 1), (12, 12), (200, 100), (200, 200)])
def test_readings_agree_with_the_official_api(imported, epochs, read):
    """Loss and accuracy over the training's own batches, and the loss on the validation images."""
    api, table = imported
    fidelity = Fidelity("none", read, epochs)
    (column,) = [column for column in table.select("cifar10", "valid") if column.fidelity == fidelity]
    assert column.signals == ("valid_accuracy", "train_accuracy", "train_loss", "valid_loss")
    assert column.readings == {"train_accuracy": 25_000, "train_loss": None, "valid_loss": None}
    for row, train_accuracy, train_loss, valid_loss in zip(
        column.rows, *(column.values(name) for name in column.signals[1:]), strict=True
    ):
        info = api.get_more_info(
            int(row["cell"]), "cifar10-valid", iepoch=read - 1, hp=str(epochs), is_random=int(row["seed"])
        )
        assert train_accuracy == pytest.approx(info["train-accuracy"], abs=1e-9)
        assert train_loss == pytest.approx(info["train-loss"], rel=1e-6)
        assert valid_loss == pytest.approx(info["valid-loss"], rel=1e-6)


def test_times_agree_with_the_official_api(imported):
    api, table = imported
    for column in table.select("cifar100", "valid"):
        hp = str(column.fidelity.schedule_epochs)
        for row in column.rows:
            info = api.get_more_info(
                int(row["cell"]),
                "cifar100",
                iepoch=column.fidelity.epochs - 1,
                hp=hp,
                is_random=int(row["seed"]),
            )
            assert row["microseconds"] / 1e6 == pytest.approx(info["train-all-time"], rel=1e-6)
    assert "agree with it for" in table.card["notes"][1]
    assert "differ for 0, and are absent for 0" in table.card["notes"][1]


def test_no_mixed_set_becomes_validation(imported):
    """On cifar100 and ImageNet16-120 the 200-epoch curve is validation and test images together."""
    _, table = imported
    for task in ("cifar100", "imagenet16-120"):
        found = {str(column.fidelity) for column in table.select(task, "valid")}
        assert found == {"none@200", "none@12", *(f"none@{epoch}/12" for epoch in range(1, 12))}
    assert {str(column.fidelity) for column in table.select("cifar10", "valid")} == {
        *("none@200", "none@12"),
        *(f"none@{epoch}/12" for epoch in range(1, 12)),
        *(f"none@{epoch}/200" for epoch in range(1, 200)),
    }
    assert all(column.fidelity.curve == column.fidelity for column in table.columns if column.split == "test")


def test_seeds_are_kept_apart(imported):
    _, table = imported
    seeds = {cell.index: embedded("cifar10").seeds(cell) for cell in CELLS}
    found = values(table, "cifar10", "none@200", "valid")
    assert set(found) == {(cell, seed) for cell, some in seeds.items() for seed in some}
    assert {seed for _, seed in values(table, "cifar10", "none@12", "valid")} == {111, 777}
    assert {seed for _, seed in values(table, "cifar100", "none@12", "valid")} == {111}


def test_cifar10_test_is_that_of_the_models_trained_on_all_images(imported, nats_states):
    _, table = imported
    (column,) = [column for column in table.select("cifar10", "test") if str(column.fidelity) == "none@200"]
    assert column.images == 10_000
    assert column.provenance["trained_on"] == "all 50,000 images"


def test_only_last_epochs_without_curves(nats_folder, tmp_path):
    table = import_file(nats_folder, curves=False, folder=tmp_path, name="small")
    assert {str(column.fidelity) for column in table.columns} == {"none@12", "none@200"}
    assert table.name == "small"


def test_imported_table_answers_a_benchmark(nats_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    import_file(nats_folder)
    bench = load("cifar10")
    cell = Cell.from_index(11)
    assert bench.seeds(cell, "none@12") == (111, 777)
    early, late = bench.evaluate(cell, "none@12/200"), bench.evaluate(cell, "none@12")
    assert early.seconds == pytest.approx(late.seconds)
    assert bench.evaluate(cell, "none@200").seconds == embedded("cifar10").evaluate(cell).seconds


def test_diverged_and_foreign_results(nats_states, tmp_path):
    from copy import deepcopy

    states = deepcopy({0: nats_states[0]})
    lost = states[0]["200"]["all_results"]["cifar100", 888]
    lost["train_losses"][199] = float("nan")
    result = states[0]["200"]["all_results"]["ImageNet16-120", 777]
    result["eval_acc1es"]["x-valid@199"] = float("nan")
    result["train_times"] = None
    nats_utilities.pickle_save(whole_file(states), tmp_path / "some.pickle")
    table = import_file(tmp_path / "some.pickle.pbz2", folder=tmp_path / "data")
    (column,) = [
        column for column in table.select("imagenet16-120", "valid") if str(column.fidelity) == "none@200"
    ]
    assert column.diverged[column.rows["seed"] == 777].tolist() == [True]
    # A loss that is no number leaves its accuracy: that training has no readings.
    columns = [each for each in table.select("cifar100", "valid") if str(each.fidelity) == "none@200"]
    bare = {each.rows["seed"].tolist()[0]: each.signals for each in columns if len(each.signals) == 1}
    assert bare == {888: ("valid_accuracy",)}
    assert "absent for 1" in table.card["notes"][1]

    result["eval_acc1es"]["x-valid@199"] = 12.345
    nats_utilities.pickle_save(whole_file(states), tmp_path / "other.pickle")
    with pytest.raises(DataError, match="no whole number of 3000 images"):
        import_file(tmp_path / "other.pickle.pbz2", folder=tmp_path / "none")
    assert not (tmp_path / "none" / "other").exists()


def test_other_index_order_is_refused(nats_states, tmp_path):
    from copy import deepcopy

    states = deepcopy({0: nats_states[0]})
    states[0]["200"]["arch_index"] = 1
    nats_utilities.pickle_save(whole_file(states), tmp_path / "other.pickle")
    with pytest.raises(DataError, match="official index 0"):
        import_file(tmp_path / "other.pickle.pbz2", folder=tmp_path)


def test_size_space_is_refused(nats_states, tmp_path):
    from copy import deepcopy

    states = deepcopy({0: nats_states[0]})
    for result in states[0]["200"]["all_results"].values():
        result["epochs"] = 90
    nats_utilities.pickle_save(whole_file(states), tmp_path / "size.pickle")
    with pytest.raises(DataError, match="90 epochs"):
        import_file(tmp_path / "size.pickle.pbz2", folder=tmp_path)


PACKERS = {"bzip2": bz2.compress, "gzip": gzip.compress, "xz": lzma.compress, "nothing": bytes}


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nats_bench_in_every_protocol_and_packing(nats_states, nats_folder, tmp_path, protocol, packing):
    """The published file is protocol 4, packed by bzip2; a decompressed one is not taken for NASLib's."""
    content = whole_file({11: nats_states[11]})
    path = tmp_path / "NATS-tss-v1_0-3ffb9.pickle"
    path.write_bytes(PACKERS[packing](pickle.dumps(content, protocol=protocol)))
    assert plan_import(path).kind == "official"
    table = import_file(path, folder=tmp_path / "data", curves=False)
    whole = import_file(nats_folder, folder=tmp_path / "data", curves=False, name="whole")
    for task in ("cifar10", "cifar100", "imagenet16-120"):
        expected = values(whole, task, "none@200", "valid")
        assert values(table, task, "none@200", "valid") == {
            key: value for key, value in expected.items() if key[0] == 11
        }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [True, False])
def test_nas_bench_201_in_every_protocol_and_with_numpy_values(nas201_states, tmp_path, protocol, legacy):
    """Of all values; newer scripts leave NumPy's scalars where the official ones have Python's."""
    from copy import deepcopy

    states = deepcopy({11: nas201_states[11]})
    for schedule in states[11].values():
        for result in schedule["all_results"].values():
            result["eval_acc1es"] = {key: np.float64(each) for key, each in result["eval_acc1es"].items()}
            result["train_times"] = {key: np.float32(each) for key, each in result["train_times"].items()}
            result["epochs"] = np.int64(result["epochs"])
    path = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    torch.save(
        whole_file(states, ("less", "full")),
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not legacy,
    )
    table = import_file(path, folder=tmp_path / "data")
    assert "differ for 0, and are absent for 0" in table.card["notes"][1]
    expected = embedded("cifar100").evaluate(CELLS[1], seed=777).valid_accuracy
    assert values(table, "cifar100", "none@200", "valid")[11, 777] == pytest.approx(expected, abs=1e-9)


def test_a_folder_of_decompressed_files(nats_folder, tmp_path):
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    for path in nats_folder.iterdir():
        (folder / path.name.removesuffix(".pbz2")).write_bytes(bz2.decompress(path.read_bytes()))
    packed = import_file(nats_folder, folder=tmp_path, name="packed")
    plain = import_file(folder, folder=tmp_path, name="plain")
    assert [each.fidelity for each in plain.columns] == [each.fidelity for each in packed.columns]
    for one, other in zip(plain.columns, packed.columns, strict=True):
        assert one.rows.tobytes() == other.rows.tobytes()


def test_the_file_of_one_architecture(nats_folder, tmp_path):
    for path in (nats_folder / "000011.pickle.pbz2", tmp_path / "000011.pickle"):
        if not path.exists():
            path.write_bytes(bz2.decompress((nats_folder / "000011.pickle.pbz2").read_bytes()))
        table = import_file(path, folder=tmp_path, name="one", curves=False, replace=True)
        assert {cell for cell, _ in values(table, "cifar10", "none@12", "valid")} == {11}


@pytest.mark.parametrize("seed", [70_000, 65_535, 2**32 - 2, 2**32 - 1, 2**70, 0, -1])
def test_seeds_beyond_a_table_are_named(nats_states, tmp_path, seed):
    from copy import deepcopy

    states = deepcopy({0: nats_states[0]})
    results = states[0]["200"]["all_results"]
    results["cifar100", seed] = results.pop(("cifar100", 777))
    nats_utilities.pickle_save(whole_file(states), tmp_path / "seeds.pickle")
    if 0 <= seed < 2**32 - 1:
        table = import_file(tmp_path / "seeds.pickle.pbz2", folder=tmp_path / "data")
        expected = embedded("cifar100").evaluate(CELLS[0], seed=777).valid_accuracy
        assert values(table, "cifar100", "none@200", "valid")[0, seed] == pytest.approx(expected)
        assert not any(column.means for column in table.columns)
        return
    with pytest.raises(
        DataError, match=f"trained with the seed {seed}; a table holds seeds from 0 to {2**32 - 2}"
    ):
        import_file(tmp_path / "seeds.pickle.pbz2", folder=tmp_path / "data")


def test_files_without_times_are_read(nats_states, tmp_path):
    """As those of version 1.0."""
    from copy import deepcopy

    states = deepcopy({0: nats_states[0]})
    for schedule in states[0].values():
        for result in schedule["all_results"].values():
            del result["train_times"]
    nats_utilities.pickle_save(whole_file(states), tmp_path / "old.pickle")
    table = import_file(tmp_path / "old.pickle.pbz2", folder=tmp_path / "data")
    assert "agree with it for 0 trials" in table.card["notes"][1]


class Evil:
    """A pickle of this makes a folder where pickles are trusted."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["folder", "file", "torch zip", "torch legacy", "naslib"])
def test_pickle_that_asks_for_code_is_refused(tmp_path, form):
    evil = Evil(str(tmp_path / "ran"))
    path = tmp_path / "file.pickle.pbz2"
    if form == "folder":
        path = tmp_path / "nats"
        path.mkdir()
        nats_utilities.pickle_save({}, path / "meta.pickle")
        nats_utilities.pickle_save({"12": evil}, path / "000000.pickle")
    elif form == "file":
        path.write_bytes(bz2.compress(pickle.dumps({"arch2infos": evil})))
    elif form == "naslib":
        path.write_bytes(pickle.dumps({"|cell|": evil}))
    else:
        torch.save({"arch2infos": evil}, path, _use_new_zipfile_serialization=form == "torch zip")
    with pytest.raises(DataError, match="mkdir"):
        import_file(path, folder=tmp_path / "data", name="evil")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "data" / "evil").exists()


def test_weights_are_skipped(nas201_states, tmp_path):
    from copy import deepcopy

    states = deepcopy({0: nas201_states[0]})
    for result in states[0]["200"]["all_results"].values():
        result["net_state_dict"] = {"stem.0.weight": torch.zeros(16, 3, 3, 3)}
    for form in (True, False):
        torch.save(
            whole_file(states, ("less", "full")), tmp_path / "w.pth", _use_new_zipfile_serialization=form
        )
        table = import_file(tmp_path / "w.pth", folder=tmp_path / str(form), name="weights")
        assert {str(column.fidelity) for column in table.select("cifar100", "test")} == {
            "none@12",
            "none@200",
        }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        bz2.compress(b"text"),
        pickle.dumps([1]),
        bz2.compress(pickle.dumps({"a": 1})),
        b"BZh",
        b"PK\x03\x04",
        gzip.compress(pickle.dumps([1])),
        gzip.compress(pickle.dumps({"a": 1}))[:-9],
        lzma.compress(b"text"),
        b"\xfd7zXZ\x00",
        b"\x1f\x8b",
        b"(dp0\n",
    ],
    ids=lambda data: f"{data[:4].hex() or 'nothing'}-{len(data)}",
)
def test_files_of_another_kind_are_refused(tmp_path, data):
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(DataError):
        import_file(tmp_path / "other", folder=tmp_path / "data")


def test_folders_of_another_kind_are_refused(tmp_path):
    with pytest.raises(DataError, match="folder of another kind"):
        import_file(tmp_path, folder=tmp_path / "data")
    with pytest.raises(DataError, match="cannot be read"):
        import_file(tmp_path / "absent", folder=tmp_path / "data")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_truncated_and_altered_files_never_crash(data):
    """Whatever happens to the bytes, the answer is a DataError or a table of the right form."""
    import tempfile
    from pathlib import Path

    original = test_truncated_and_altered_files_never_crash.original
    cut = data.draw(st.integers(0, len(original)))
    place = data.draw(st.integers(0, max(cut - 1, 0)))
    altered = bytearray(original[:cut])
    if altered:
        altered[place] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.pickle.pbz2")
        path.write_bytes(bz2.compress(bytes(altered), 1))
        try:
            convert(str(path), "official", "file", True, folder, lambda seen, cell: None)
        except DataError:
            return
        assert isinstance(Table.open(Path(folder)), Table)


test_truncated_and_altered_files_never_crash.original = pickle.dumps(
    {
        "meta_archs": [],
        "arch2infos": {
            0: {
                "12": {
                    "arch_index": 0,
                    "arch_str": str(Cell.from_index(0)),
                    "all_results": {
                        ("cifar100", 111): {
                            "epochs": 12,
                            "eval_acc1es": {f"x-valid@{epoch}": float(epoch) for epoch in range(12)},
                            "train_times": dict.fromkeys(range(12), 14.44),
                        }
                    },
                    "dataset_seed": {"cifar100": [111]},
                }
            }
        },
    }
)


def naslib_content(seed, name="cifar10-valid", shift=0.0):
    rng = np.random.default_rng(1)
    bench = embedded("cifar10")
    content = {}
    for cell in CELLS:
        curve = [int(rng.integers(25_000)) / 250 for _ in range(199)]
        curve.append(bench.evaluate(cell, "none@200", seed=seed).valid_accuracy + shift)
        content[str(cell)] = {name: {"eval_acc1es": curve, "train_times": [1.0] * 200}}
    return content


@pytest.mark.parametrize(
    ("seed", "protocol", "packing"), [(777, 4, "nothing"), (888, 0, "gzip"), (888, 5, "xz")]
)
def test_naslib_curves_of_a_known_split(tmp_path, seed, protocol, packing):
    content = naslib_content(seed)
    path = tmp_path / "nb201_cifar10_full_training.pickle"
    path.write_bytes(PACKERS[packing](pickle.dumps(content, protocol=protocol)))
    assert plan_import(path).kind == "naslib"
    table = import_file(tmp_path / "nb201_cifar10_full_training.pickle", folder=tmp_path)
    assert len(table.columns) == 200
    for epoch in (1, 12, 200):
        fidelity = f"none@{epoch}/200" if epoch < 200 else "none@200"
        for (cell, found), accuracy in values(table, "cifar10", fidelity, "valid").items():
            expected = content[str(Cell.from_index(cell))]["cifar10-valid"]["eval_acc1es"][epoch - 1]
            assert found == seed
            assert accuracy == pytest.approx(expected, abs=1e-9)


def test_of_two_imports_of_one_name_at_once_one_is_installed_and_the_other_told(tmp_path):
    """Two commands, each in processes of its own, and one more of another name."""
    environment = {**os.environ, "NASBENCH_KD_DATA": str(tmp_path / "data"), "COLUMNS": "300"}
    command = [sys.executable, "-c", "from nasbench_kd.cli import app; app()", "data", "import"]
    commands = []
    for seed, name in ((777, "mine"), (888, "mine"), (777, "other")):
        path = tmp_path / f"{seed}.pickle"
        path.write_bytes(pickle.dumps(naslib_content(seed)))
        commands.append([*command, str(path), "--name", name])
    started = [
        subprocess.Popen(each, env=environment, stderr=subprocess.PIPE, text=True) for each in commands
    ]
    told = [process.communicate()[1] for process in started]
    assert sorted(process.returncode for process in started[:2]) == [0, 2]
    lost = next(number for number in (0, 1) if started[number].returncode)
    assert "holds the table 'mine' of 800 entries" in told[lost]
    assert started[2].returncode == 0
    folder = Path(environment["NASBENCH_KD_DATA"])
    (row,) = {int(seed) for column in Table.open(folder / "mine").columns for seed in column.rows["seed"]}
    assert row == (888, 777)[lost]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["mine", "other"]


@pytest.mark.parametrize(
    "content", [naslib_content(777, shift=0.004), naslib_content(777, name="cifar100"), {}]
)
def test_naslib_lists_of_an_unknown_split_are_refused(tmp_path, content):
    (tmp_path / "nb201.pickle").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError):
        import_file(tmp_path / "nb201.pickle", folder=tmp_path / "data")
    assert not (tmp_path / "data" / "nb201").exists()


def test_syne_tune_blackbox_gives_only_the_cifar10_test(tmp_path):
    folder = tmp_path / "nasbench201"
    folder.mkdir()
    operations = {f"hp_x{edge}": [cell.operations[edge] for cell in CELLS] for edge in range(6)}
    pq.write_table(pa.table(operations), folder / "hyperparameters.parquet")
    names = ["metric_valid_error", "metric_runtime"]
    (folder / "metadata.json").write_text(
        json.dumps({"objectives_names": names, "task_names": ["cifar10", "cifar100", "ImageNet16-120"]})
    )
    rng = np.random.default_rng(2)
    errors = (rng.integers(10_000, size=(3, len(CELLS), 3, 200, 2)) / 10_000).astype(np.float32)
    seeds = [embedded("cifar10").seeds(cell) for cell in CELLS]
    assert any(len(some) == 2 for some in seeds), "one of the cells must lack its third seed"
    np.save(folder / "objectives_evaluations.npy", errors)
    table = import_file(folder, folder=tmp_path / "data")
    assert [(column.task, column.split) for column in table.columns] == [("cifar10", "test")]
    found = values(table, "cifar10", "none@200", "test")
    expected = {
        (cell.index, seed): 100 * (1 - float(errors[0, place, position, 199, 0]))
        for place, cell in enumerate(CELLS)
        for position, seed in enumerate((777, 888, 999))
        if seed in seeds[place]
    }
    assert found.keys() == expected.keys()
    for key, accuracy in expected.items():
        assert found[key] == pytest.approx(accuracy, abs=1e-5)
    assert set(OPERATIONS) >= set(operations["hp_x0"])


def test_plan_says_what_cannot_be_streamed(nats_folder, tmp_path):
    assert "one architecture at a time" in plan_import(nats_folder).memory
    (tmp_path / "naslib.pickle").write_bytes(pickle.dumps({}))
    assert "Cannot be streamed" in plan_import(tmp_path / "naslib.pickle").memory


@pytest.mark.parametrize("legacy", [True, False])
def test_what_was_handed_over_is_emptied(nas201_states, tmp_path, legacy):
    """So memory stays bounded: nothing of an architecture outlives its turn."""
    from nasbench_kd.sources.archive import read_archive

    torch.save(whole_file(nas201_states), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    held, sizes = [], []

    def consume(trial):
        held.append(trial)
        sizes.append(len(trial.accuracies))

    read_archive(tmp_path / "a.pth", consume)
    assert min(sizes) > 0
    assert [len(trial.accuracies) + len(trial.epoch_seconds) for trial in held] == [0] * len(held)


def test_import_replaces_a_table_only_when_asked(nats_folder, tmp_path):
    table = import_file(nats_folder, folder=tmp_path, name="mine", curves=False)
    entries = sum(len(column.rows) for column in table.columns)
    with pytest.raises(DataError, match=f"holds the table 'mine' of {entries:,} entries.*--replace"):
        import_file(nats_folder, folder=tmp_path, name="mine")
    assert Table.open(tmp_path / "mine").sha256 == table.sha256
    assert (
        import_file(nats_folder, folder=tmp_path, name="mine", replace=True).sha256
        == Table.open(tmp_path / "mine").sha256
        != table.sha256
    )


@pytest.mark.parametrize("name", ["measured", "hw-nas-bench", "nats-bench-test"])
def test_import_takes_no_name_of_another_command_unasked(nats_folder, tmp_path, name):
    with pytest.raises(DataError, match="makes.*--replace"):
        import_file(nats_folder, folder=tmp_path, name=name)
    import_file(nats_folder, folder=tmp_path, name=name, curves=False, replace=True)


@pytest.mark.parametrize("name", ["images", "downloads", "live.db", "teachers", "notes", "file.txt"])
def test_import_never_replaces_what_is_no_table(nats_folder, tmp_path, name):
    place = tmp_path / name
    if name in ("live.db", "file.txt"):
        place.write_text("kept")
    else:
        place.mkdir()
        (place / "kept").write_text("kept")
    with pytest.raises(DataError, match="is not for a table"):
        import_file(nats_folder, folder=tmp_path, name=name, replace=True)
    assert (place if place.is_file() else place / "kept").read_text() == "kept"


@pytest.mark.parametrize("name", ["nas-bench-201", "mf-kd-surrogate"])
def test_import_takes_no_name_of_a_table_that_ships(nats_folder, tmp_path, name):
    for replace in (False, True):
        with pytest.raises(DataError, match="ships with nasbench-kd; take another name"):
            import_file(nats_folder, name=name, folder=tmp_path, replace=replace)
    assert not (tmp_path / name).exists()
