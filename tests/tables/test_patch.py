"""Patches: read, merged, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import DataError
from nasbench_kd.files import settled_folder
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tables.patch import FORMAT, merge, read_patch
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from tests.counts import counted
from tests.package.test_files import in_child, killed_at

CURVE = "kd@3 images=2000 size=8"


def entry(cell=5, seed=777, correct=(10, 20, 30), seconds=(1.0, 1.5, 1.25), status="ok"):
    return {
        "cell": cell,
        "seed": seed,
        "valid_correct": list(correct),
        "seconds": list(seconds),
        "status": status,
    }


def document(*entries, curve=CURVE, scale=0.5, task="cifar10", images=100):
    provenance = {"clock": {"scale": scale}, "device": "here"}
    patch = {"task": task, "curve": curve, "valid_images": images, "provenance": provenance}
    return {"format": FORMAT, "patches": [{**patch, "entries": list(entries)}]}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_epoch_becomes_a_column_on_the_tables_clock(tmp_path: Path):
    columns = read_patch(write(tmp_path / "p.json", document(entry(), entry(cell=2))))
    assert [str(column.fidelity) for column in columns] == [
        "kd@1/3 images=2000 size=8",
        "kd@2/3 images=2000 size=8",
        "kd@3 images=2000 size=8",
    ]
    assert [column.accuracies().tolist() for column in columns] == [[10, 10], [20, 20], [30, 30]]
    # Cumulative, times the scale of one half.
    assert [column.rows["microseconds"].tolist()[0] for column in columns] == [500_000, 1_250_000, 1_875_000]
    assert all(column.provenance["device"] == "here" for column in columns)


def test_a_diverged_training_stays_a_failure_to_its_end(tmp_path: Path):
    diverged = entry(correct=(10,), seconds=(1.0, 0.5), status="diverged")
    columns = read_patch(write(tmp_path / "p.json", document(diverged)))
    assert np.isnan([column.accuracies()[0] for column in columns]).tolist() == [False, True, True]


def test_merging_adds_what_is_new_and_searches_find_it(tmp_path: Path):
    first = write(tmp_path / "1.json", document(entry(), entry(cell=2)))
    second = write(tmp_path / "2.json", document(entry(cell=2), entry(cell=9), entry(cell=2, seed=888)))
    folder = tmp_path / "measured"
    assert merge([first], folder)[1] == 6
    assert merge([first], folder)[1] == 0
    table, added = merge([second], folder)
    assert added == 6
    bench = Benchmark(TASKS["cifar10"], [table])
    assert bench.seeds(Cell.from_index(2), CURVE) == (777, 888)
    assert bench.evaluate(Cell.from_index(9), CURVE).valid_accuracy == 30
    assert len({column.provenance["patch_sha256"] for column in table.columns}) == 2


def test_the_card_states_the_coverage_in_classes(tmp_path: Path):
    # Cell 25 passes the first node's input on by two skips, where its twin 3 has it at once.
    assert Cell.from_index(25).representative == Cell.from_index(3)
    entries = [entry(cell=3), entry(cell=25, seed=888), entry(cell=0)]
    lost = entry(cell=1, correct=(10,), seconds=(1.0, 0.5), status="diverged")
    table, _ = merge([write(tmp_path / "p.json", document(*entries, lost))], tmp_path / "measured")
    assert table.card["classes"] == 6466
    assert table.card["coverage"] == [
        {
            "task": "cifar10",
            "fidelity": CURVE,
            "classes": 3,
            "classes_with_several_seeds": 1,
            "diverged": 1,
            "readings": ["valid_accuracy"],
        }
    ]


def test_a_training_repeated_elsewhere_takes_other_seconds_and_changes_nothing(tmp_path: Path):
    merge([write(tmp_path / "1.json", document(entry()))], tmp_path / "measured")
    again = write(tmp_path / "2.json", document(entry(seconds=(2.0, 2.0, 2.0))))
    table, added = merge([again], tmp_path / "measured")
    assert added == 0
    assert table.columns[0].rows["microseconds"].tolist() == [500_000]


def test_a_contradiction_stops_the_whole_merge(tmp_path: Path):
    folder = tmp_path / "measured"
    merge([write(tmp_path / "1.json", document(entry()))], folder)
    before = Table.open(folder).sha256
    other = write(tmp_path / "2.json", document(entry(cell=7), entry(correct=(10, 21, 30))))
    with pytest.raises(DataError, match="the valid_accuracy 21, and 20 in the table"):
        merge([other], folder)
    assert Table.open(folder).sha256 == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        {"format": "other", "patches": []},
        {"format": FORMAT},
        document(entry(), curve="kd@1/3"),
        document(entry(), curve="dk@3"),
        document(entry(), task="cifar"),
        document(entry(), images=0),
        document(entry(), images=10),
        document(entry(), scale=-1),
        document(entry(cell=15_625)),
        document(entry(cell=True)),
        document(entry(seed=-1)),
        document(entry(seed=2**32 - 1)),
        document(entry(correct=(1, 2))),
        document(entry(correct=(1, 2, 3.5))),
        document(entry(seconds=(1, 2, -3))),
        document(entry(status="fine")),
        document({"cell": 3}),
        document(None),
    ],
)
def test_what_is_no_sound_patch_is_refused(tmp_path: Path, content: object):
    with pytest.raises(DataError):
        read_patch(write(tmp_path / "p.json", content))


def test_trainings_without_a_clock_are_refused_by_name(tmp_path: Path):
    content = document(entry())
    content["patches"][0]["provenance"]["clock"] = None
    with pytest.raises(DataError, match="measured without a clock"):
        read_patch(write(tmp_path / "p.json", content))


def test_the_same_entry_twice_is_refused(tmp_path: Path):
    path = write(tmp_path / "p.json", document(entry(), entry(correct=(1, 2, 3))))
    with pytest.raises(DataError):
        merge([path], tmp_path / "measured")
    assert not (tmp_path / "measured").exists()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["cell", "seed", "valid_correct", "seconds", "status"]), VALUES)
@settings(deadline=None, max_examples=150)
def test_any_value_in_an_entry_is_read_or_a_typed_error(tmp_path_factory, key: str, value: object):
    path = tmp_path_factory.mktemp("fuzz") / "p.json"
    try:
        read_patch(write(path, document({**entry(), key: value})))
    except DataError:
        return


def test_the_fidelity_of_a_curve_is_kept(tmp_path: Path):
    columns = read_patch(write(tmp_path / "p.json", document(entry())))
    assert {column.fidelity.curve for column in columns} == {Fidelity.parse(CURVE)}


def with_readings(cell=5, losses=(-1.0, -2.0, -3.0), counts=(1, 2, 3), **changes):
    return {
        **entry(cell),
        "readings": {"train_loss": list(losses), "train_accuracy": list(counts)},
        **changes,
    }


def rich(*entries, readings=None):
    content = document(*entries)
    content["patches"][0]["readings"] = readings or {"train_loss": None, "train_accuracy": 4}
    return content


def test_readings_of_a_patch_become_readings_of_columns(tmp_path: Path):
    diverged = with_readings(2, (7.5,), (4,), valid_correct=[10], seconds=[1.0, 0.5], status="diverged")
    columns = read_patch(write(tmp_path / "p.json", rich(with_readings(), diverged)))
    assert [column.signals for column in columns] == [("valid_accuracy", "train_loss", "train_accuracy")] * 3
    np.testing.assert_array_equal([column.values("train_loss")[1] for column in columns], [-1, -2, -3])
    np.testing.assert_array_equal(
        [column.values("train_loss")[0] for column in columns], [7.5, np.nan, np.nan]
    )
    np.testing.assert_array_equal(columns[0].values("train_accuracy"), [100, 25])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (rich(with_readings(losses=(1.0,))), "train_loss has 1 of 3 epochs"),
        (rich(with_readings(losses=(1.0, float("nan"), 2.0))), "no finite numbers"),
        (rich(with_readings(losses=("a", 1.0, 2.0))), "no finite numbers"),
        (rich(with_readings(counts=(1, 2, 5))), "no counts of 4 images"),
        (rich(with_readings(counts=(1, 2, True))), "no counts of 4 images"),
        (rich(with_readings(), readings={"train_loss": None}), "its patch"),
        (rich(with_readings(), readings={"train_loss": 0}), "no readings"),
        (rich(with_readings(), readings={"valid_accuracy": 100}), "no readings"),
        (rich(with_readings(), readings={"cell": None}), "no readings"),
        (rich(with_readings(), readings=[1]), "no readings"),
        (rich(entry()), "readings"),
    ],
)
def test_readings_of_another_shape_are_refused(tmp_path: Path, content, words: str):
    with pytest.raises(DataError, match=words):
        read_patch(write(tmp_path / "p.json", content))


def test_a_reading_that_contradicts_the_table_stops_the_merge(tmp_path: Path):
    merge([write(tmp_path / "one.json", rich(with_readings()))], tmp_path / "t")
    before = (tmp_path / "t" / "card.json").read_bytes()
    other = write(tmp_path / "two.json", rich(with_readings(losses=(-1.0, -2.0, -3.5))))
    with pytest.raises(DataError, match=r"has the train_loss -3.5, and -3 in the table"):
        merge([other], tmp_path / "t")
    assert (tmp_path / "t" / "card.json").read_bytes() == before


def test_a_patch_of_format_1_is_still_read(tmp_path: Path):
    (tmp_path / "p.json").write_text(json.dumps({**document(entry()), "format": "nasbench-kd patch 1"}))
    assert len(read_patch(tmp_path / "p.json")) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="ends processes of its own by fork")
def test_a_merge_killed_at_any_step_leaves_the_old_or_the_new_table(tmp_path: Path):
    first = write(tmp_path / "first.json", document(entry()))
    second = write(tmp_path / "second.json", document(entry(cell=6)))
    seen = set()
    for step in range(300):
        folder = tmp_path / str(step) / "measured"
        merge([first], folder)
        if not killed_at(step, lambda folder=folder: merge([second], folder)):
            break
        with settled_folder(folder, Table.open):
            seen.add(len(Table.open(folder).columns))
        assert len(merge([second], folder)[0].columns) == 6
    assert 10 < step < 299
    assert seen == {3, 6}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits a process of its own by fork")
def test_a_merge_on_a_full_disk_leaves_the_old_table(tmp_path: Path):
    folder = tmp_path / "measured"
    sha256 = merge([write(tmp_path / "first.json", document(entry()))], folder)[0].sha256
    second = write(tmp_path / "second.json", document(*(entry(cell=cell) for cell in range(6, 300))))
    for most in range(0, 13000, 1000):

        def act(most=most):
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            merge([second], folder)

        assert in_child(act) != 0
        assert Table.open(folder).sha256 == sha256
        counted("full disk")
    assert merge([second], folder)[1] == 294 * 3


def test_merges_at_once_keep_every_patch(tmp_path: Path):
    script = "import sys; from pathlib import Path; from nasbench_kd.tables.patch import merge; "
    script += "merge([Path(sys.argv[1])], Path(sys.argv[2]))"
    patches = [
        write(tmp_path / f"{cell}.json", document(*(entry(cell=cell + i) for i in range(900))))
        for cell in range(0, 3600, 900)
    ]
    merges = [
        subprocess.Popen([sys.executable, "-c", script, patch, tmp_path / "measured"]) for patch in patches
    ]
    assert [process.wait() for process in merges] == [0] * 4
    table = Table.open(tmp_path / "measured")
    assert sum(len(column.rows) for column in table.columns) == 3600 * 3


def test_a_merge_never_replaces_what_is_no_table(tmp_path: Path):
    patch = write(tmp_path / "p.json", document(entry()))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("kept")
    with pytest.raises(DataError, match="something else than a table"):
        merge([patch], tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter").read_text() == "kept"


@pytest.mark.parametrize("lost", ["card.json", "entries.npy"])
def test_a_merge_never_replaces_what_is_left_of_a_table(tmp_path: Path, lost: str):
    folder = tmp_path / "measured"
    merge([write(tmp_path / "p.json", document(entry()))], folder)
    (folder / lost).unlink()
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError):
        merge([write(tmp_path / "q.json", document(entry(cell=7)))], folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
