"""A fill survives kill -9, resumes, shares work, and its order is a fixed fair sample."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nasbench_kd.errors import DataError, FidelityError, StoreError, UnknownNameError
from nasbench_kd.executors.parts import Parts
from nasbench_kd.executors.ray_cluster import ray_executor
from nasbench_kd.live.archives import write_packed
from nasbench_kd.live.export import write_patch
from nasbench_kd.live.fill import Phase, class_order, fill, tabulated, work
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.oracle import LiveOracle
from nasbench_kd.live.store import LEASE_SECONDS, UNKNOWN, Finished, Store, TrainingJob, setup_of
from nasbench_kd.live.teacher import RESNET_CELL, TeacherFile, write_weights
from nasbench_kd.live.teacher_training import train_teacher
from nasbench_kd.spaces.nasbench201 import Cell, representatives
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.patch import merge
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.task import Task
from tests.executors.test_parts import InThisProcess

PHASE = Phase("tiny", ("none@2 images=64 batch=16 channels=4 cells=1",), (777, 888), 10)


@pytest.fixture
def sources(tmp_path: Path, tiny_task) -> Sources:
    statistics = tiny_task.statistics
    about = {"classes": 4, "mean": statistics.mean, "std": statistics.std, "padding": 1}
    splits = {
        "train": (tiny_task.train_images, tiny_task.train_labels),
        "valid": (tiny_task.valid_images, tiny_task.valid_labels),
    }
    write_packed(tmp_path / "tiny.zip", splits, about)
    return Sources(tmp_path, tmp_path, {})


def outcomes(database: Path) -> list[tuple[TrainingJob, tuple[int, ...], str]]:
    store = Store(database)
    found = [(entry.job, entry.valid_correct, entry.status) for entry in store.finished()]
    store.close()
    return found


def start(database: Path, sources: Sources) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from nasbench_kd.live.fill import Phase, work; "
        "from nasbench_kd.live.laboratory import Sources; root = Path(sys.argv[2]); "
        f"work(Path(sys.argv[1]), [{PHASE!r}], Sources(root, root, {{}}))"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(database), str(sources.images)])


class _Meanwhile:
    """A connection that lets something happen after its first answer."""

    def __init__(self, connection, happen):
        self.connection, self.happen = connection, [happen]

    def execute(self, *arguments):
        found = _Answered(self.connection.execute(*arguments).fetchall())
        if self.happen:
            self.happen.pop()()
        return found


class _Answered(list):
    def fetchall(self):
        return self


def test_what_another_process_adds_while_entries_are_read_does_no_harm(tmp_path):
    reader, writer = Store(tmp_path / "store.db"), Store(tmp_path / "store.db")
    first, second = (TrainingJob("tiny", "none@2", 777, cell) for cell in (11, 12))
    writer.finish(replace(entry(first), provenance={"kind": "known"}))
    late = replace(entry(second), provenance={"kind": "new"})
    reader._connection = _Meanwhile(reader._connection, lambda: writer.finish(late))
    assert [each.job for each in reader.finished()] == [first]
    assert [each.job for each in reader.finished()] == [first, second]


def test_a_fill_killed_twice_equals_an_undisturbed_one(tmp_path, sources):
    calm, troubled = tmp_path / "calm.db", tmp_path / "troubled.db"
    work(calm, [PHASE], sources)
    assert len(outcomes(calm)) == 20
    for wanted in (3, 9):
        process = start(troubled, sources)
        while process.poll() is None:
            if troubled.exists() and len(outcomes(troubled)) >= wanted:
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.005)
        assert wanted <= len(outcomes(troubled)) < 20
    work(troubled, [PHASE], sources)
    assert outcomes(troubled) == outcomes(calm)


def test_two_workers_share_the_work_and_a_failure_is_told(tmp_path, sources):
    fill(tmp_path / "shared.db", [PHASE], sources, devices=["cpu", "cpu"], progress=False)
    work(tmp_path / "alone.db", [PHASE], sources)
    assert outcomes(tmp_path / "shared.db") == outcomes(tmp_path / "alone.db")
    ignorant = seeded_network(RESNET_CELL, 4, seed=1, channels=16, cells_per_stage=5)
    write_weights(tmp_path / "ignorant.npz", RESNET_CELL, ignorant.state_dict(), 1.0)
    taught = replace(sources, teachers={"tiny": TeacherFile(tmp_path / "ignorant.npz")})
    phase = replace(PHASE, curves=(PHASE.curves[0].replace("none", "kd"),), classes=1)
    with pytest.raises(StoreError, match="1 of 1 workers"):
        fill(tmp_path / "none.db", [phase], taught, progress=False)
    with pytest.raises(UnknownNameError, match="no image task 'tiny'"):
        fill(tmp_path / "none.db", [PHASE], Sources(tmp_path / "absent", tmp_path, {}), progress=False)


def test_the_deadline_stops_before_the_next_cell(tmp_path, sources):
    work(tmp_path / "late.db", [PHASE], sources, deadline=time.monotonic() - 1)
    assert outcomes(tmp_path / "late.db") == []


def test_what_a_table_holds_as_measured_is_not_trained_again(tmp_path, sources):
    work(tmp_path / "whole.db", [PHASE], sources)
    phase = Phase("cifar10", PHASE.curves, PHASE.seeds, PHASE.classes)
    held = [job for job in phase.jobs() if job.seed == 777][:4]
    columns = [
        Column(
            "cifar10",
            Fidelity.parse(PHASE.curves[0]),
            "valid",
            40,
            make_rows(
                [job.cell for job in jobs], [job.seed for job in jobs], [9] * len(jobs), [5] * len(jobs)
            ),
            {"source": source},
        )
        for source, jobs in (
            ("measured", held),
            ("surrogate", [job for job in phase.jobs() if job.seed == 888]),
        )
    ]
    known = tabulated([phase], [write_table(tmp_path / "held", "held", columns, {})], Laboratory(sources))
    assert known == set(held)
    skip = {TrainingJob("tiny", job.curve, job.seed, job.cell) for job in known}
    fill(tmp_path / "rest.db", [PHASE], sources, skip=skip, progress=False)
    assert outcomes(tmp_path / "rest.db") == [
        outcome for outcome in outcomes(tmp_path / "whole.db") if replace(outcome[0], setup="") not in skip
    ]


def test_the_order_is_a_permutation_of_the_classes_fixed_for_ever():
    order = class_order()
    assert sorted(cell.index for cell in order) == [cell.index for cell in representatives()]
    assert [cell.index for cell in order[:5]] == [6464, 187, 422, 13507, 12045]
    jobs = list(Phase("cifar10", ("none@1", "kd@1"), (1, 2), 2).jobs())
    assert [(job.cell, job.seed, job.curve) for job in jobs[:4]] == [
        (6464, 1, "none@1"),
        (6464, 1, "kd@1"),
        (6464, 2, "none@1"),
        (6464, 2, "kd@1"),
    ]
    assert len(jobs) == 8


def entry(job: TrainingJob) -> Finished:
    return Finished(job, 40, (10, 20), (0.25, 0.5), (0.1, 0.1), "ok", {"kind": "test"})


def test_claims_hold_until_finished_released_or_orphaned(tmp_path):
    store, job = Store(tmp_path / "store.db"), TrainingJob("tiny", "none@2", 777, 11)
    assert store.claim(job)
    other = Store(tmp_path / "store.db")
    assert not other.claim(job)
    store.release(job)
    assert other.claim(job)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    other._connection.execute("UPDATE claims SET pid = ?", (dead.pid,))
    assert store.claim(job)
    store.finish(entry(job))
    assert not other.claim(job)
    assert other.find(job) == entry(job)
    assert other.find(TrainingJob("tiny", "none@2", 888, 11)) is None
    assert other.done() == {job}
    assert np.sum(other.finished()[0].seconds) == 0.75


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "store.db").write_bytes(b"not a database, but long enough to be read as one" * 30)
    with pytest.raises(StoreError, match=r"store\.db is not a database of a fill"):
        Store(tmp_path / "store.db")
    assert os.path.getsize(tmp_path / "store.db") > 0


def test_readings_go_from_the_training_through_database_and_patch_into_a_table(
    tmp_path, sources, monkeypatch
):
    """And a database of before readings were kept opens with entries that have none."""
    monkeypatch.setattr("nasbench_kd.tables.patch.find_task", {"tiny": find_task("cifar10")}.__getitem__)
    curve = "none@2 images=64 batch=16 channels=4 cells=1"
    phase = Phase("tiny", (curve,), (777,), 3)
    work(tmp_path / "f.db", [phase], sources, clock={"scale": 0.5})
    work(tmp_path / "blind.db", [replace(phase, validate=False)], sources, clock={"scale": 0.5})
    (first, *_), (blind, *_) = (Store(tmp_path / name).finished() for name in ("f.db", "blind.db"))
    assert first.readings["train_accuracy"].images == 64
    assert blind.valid_images == 0
    assert blind.readings["train_loss"] == first.readings["train_loss"]
    write_patch(tmp_path / "patch.json", Store(tmp_path / "f.db").finished())
    table, added = merge([tmp_path / "patch.json"], tmp_path / "table")
    assert added == 6
    (column,) = (each for each in table.columns if each.fidelity == Fidelity.parse(curve))
    row = column.rows["cell"].tolist().index(first.job.cell)
    assert column.values("train_loss")[row] == pytest.approx(first.readings["train_loss"].values[1], rel=1e-6)
    assert column.values("train_accuracy")[row] == 100 * first.readings["train_accuracy"].values[1] / 64
    assert column.accuracies()[row] == 100 * first.valid_correct[1] / 40
    # The trainings without validation agree in what both have, and bring nothing new.
    write_patch(tmp_path / "blind.json", Store(tmp_path / "blind.db").finished())
    assert merge([tmp_path / "blind.json"], tmp_path / "table")[1] == 0
    alone, _ = merge([tmp_path / "blind.json"], tmp_path / "alone")
    assert alone.columns[0].signals == ("train_accuracy", "train_cross_entropy", "train_loss")

    with sqlite3.connect(tmp_path / "f.db") as old:
        old.execute("ALTER TABLE entries DROP COLUMN readings")
    assert [entry.readings for entry in Store(tmp_path / "f.db").finished()] == [{}] * 3


def test_a_claim_without_a_sign_of_life_is_free_also_on_another_host(tmp_path, monkeypatch):
    monkeypatch.setattr("nasbench_kd.live.store._BEAT_SECONDS", 0.05)
    store, job = Store(tmp_path / "store.db"), TrainingJob("tiny", "none@2", 777, 11)
    other = Store(tmp_path / "store.db")
    assert store.claim(job)
    other._connection.execute("UPDATE claims SET place = 'elsewhere and before its reboot', beat = 0")
    deadline = time.monotonic() + 60
    while other._connection.execute("SELECT beat FROM claims").fetchone() == (0,):
        assert time.monotonic() < deadline, "the holder gives no sign of life"
        time.sleep(0.02)
    assert not other.claim(job)
    assert re.fullmatch(rf"process {os.getpid()} on elsewhere, last seen \d+ s ago", other.holders()[job])
    store.close()
    time.sleep(0.2)
    other._connection.execute("UPDATE claims SET beat = beat - ?", (LEASE_SECONDS - 60,))
    assert not other.claim(job)
    other._connection.execute("UPDATE claims SET beat = beat - 120")
    assert other.claim(job)


def test_a_fill_that_ends_with_entries_missing_says_which_and_why(tmp_path, sources):
    phase = replace(PHASE, classes=2)
    held = Laboratory(sources).in_setup(next(phase.jobs()))
    store = Store(tmp_path / "f.db")
    assert store.claim(held)
    with pytest.raises(StoreError, match="1 entries are missing") as caught:
        fill(tmp_path / "f.db", [phase], sources, progress=False)
    assert f"cell {held.cell} at {held.curve} on tiny, seed 777: claimed by process {os.getpid()}" in str(
        caught.value
    )
    store.release(held)
    with pytest.raises(StoreError, match="seed 777: not begun when the 0 hours were over"):
        fill(tmp_path / "f.db", [phase], sources, hours=0, progress=False)
    fill(tmp_path / "f.db", [phase], sources, progress=False)
    assert len(outcomes(tmp_path / "f.db")) == 4


def test_a_cluster_that_loses_a_part_fills_the_same_entries(tmp_path, sources, monkeypatch):
    monkeypatch.setattr("nasbench_kd.live.fill._clock_of", lambda device: {"scale": 2.0})
    cluster = InThisProcess(lambda call, attempt: attempt == 1 and call is cluster.calls[1])
    work(tmp_path / "here.db", [PHASE], sources)
    with pytest.raises(StoreError, match="20 entries are missing"):
        fill(tmp_path / "there.db", [PHASE], sources, hours=0, executor=Parts(cluster), progress=False)
    fill(tmp_path / "there.db", [PHASE], sources, executor=Parts(cluster), progress=False)
    assert [len(call.tasks) for call in cluster.calls] == [4] * 6  # five parts, one of them twice
    assert outcomes(tmp_path / "there.db") == outcomes(tmp_path / "here.db")
    store = Store(tmp_path / "there.db")
    assert {entry.provenance["clock"]["scale"] for entry in store.finished()} == {2.0}
    assert store.holders() == {}


def test_a_fill_by_ray_has_the_entries_of_one_by_processes(tmp_path, sources):
    ray = pytest.importorskip("ray", reason="ray is not installed (extra: cluster)")
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    phase = replace(PHASE, classes=3)
    try:
        with ray_executor() as executor:
            fill(tmp_path / "ray.db", [phase], sources, executor=executor, progress=False)
    finally:
        ray.shutdown()
    work(tmp_path / "here.db", [phase], sources)
    assert outcomes(tmp_path / "ray.db") == outcomes(tmp_path / "here.db")
    assert len(outcomes(tmp_path / "ray.db")) == 6


FIDELITY = "none@1 images=64 batch=16 channels=4 cells=1"
TASK = Task("tiny", 4, 96, 40, 8, "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|"
            "skip_connect~0|skip_connect~1|skip_connect~2|")  # fmt: skip


@pytest.fixture
def evaluate(tmp_path):
    """Ask an oracle of its own, on one database, and say how many entries that then has."""

    def ask(
        sources: Sources, fidelity: str = FIDELITY, dtype: torch.dtype = torch.float32
    ) -> tuple[float, int]:
        laboratory = Laboratory(sources, dtype=dtype, clock={"scale": 1.0})
        answer = LiveOracle(laboratory, tmp_path / "live.db").evaluate(
            TASK, Cell.from_index(1462), Fidelity.parse(fidelity)
        )
        return answer.valid_accuracy, len(Store(tmp_path / "live.db").finished())

    return ask


def test_other_images_and_precisions_are_other_trainings(tmp_path, sources, tiny_task, evaluate):
    first = evaluate(sources)
    assert first[1] == 1
    assert evaluate(sources) == first
    assert evaluate(sources, dtype=torch.bfloat16)[1] == 2
    about = {"classes": 4, "mean": tiny_task.statistics.mean, "std": tiny_task.statistics.std, "padding": 1}
    wrong = (tiny_task.train_labels + 1) % 4
    (tmp_path / "other").mkdir()
    for place, labels, changed, entries in (
        ("other", wrong, about, 3),
        ("other", tiny_task.train_labels, {**about, "mean": [0.0, 0.0, 0.0]}, 4),
        ("other", tiny_task.train_labels, about, 4),
    ):
        splits = {
            "train": (tiny_task.train_images, labels),
            "valid": (tiny_task.valid_images, tiny_task.valid_labels),
        }
        write_packed(tmp_path / place / "tiny.zip", splits, changed)
        answer, found = evaluate(replace(sources, images=tmp_path / place))
        assert found == entries
    assert answer == first[0]


def test_another_teacher_is_another_training(tmp_path, sources, evaluate):
    teachers = []
    for seed in (1, 2):
        network = seeded_network(RESNET_CELL, 4, seed=seed, channels=16, cells_per_stage=5)
        write_weights(tmp_path / f"{seed}.npz", RESNET_CELL, network.state_dict(), 1.0)
        teachers.append(
            replace(sources, teachers={"tiny": TeacherFile(tmp_path / f"{seed}.npz", control=True)})
        )
    fidelity = FIDELITY.replace("none", "kd")
    first = evaluate(teachers[0], fidelity)
    assert evaluate(teachers[0], fidelity) == first
    second = evaluate(teachers[1], fidelity)
    assert second[1] == 2
    assert [entry.provenance["teacher"]["weights_sha256"] for entry in Store(tmp_path / "live.db").finished()]
    assert evaluate(teachers[0], fidelity) == (first[0], 2)


def test_a_database_of_an_earlier_version_keeps_what_it_knows_and_reuses_no_other(
    tmp_path, sources, evaluate
):
    first = evaluate(sources)
    with sqlite3.connect(tmp_path / "live.db") as old:
        old.executescript(
            """
            CREATE TABLE old (
                task TEXT NOT NULL, curve TEXT NOT NULL, seed INTEGER NOT NULL, cell INTEGER NOT NULL,
                valid_images INTEGER NOT NULL, valid_correct TEXT NOT NULL, seconds TEXT NOT NULL,
                valid_seconds TEXT NOT NULL, status TEXT NOT NULL, provenance INTEGER NOT NULL,
                PRIMARY KEY (task, curve, seed, cell)) WITHOUT ROWID;
            INSERT INTO old SELECT task, curve, seed, cell, valid_images, valid_correct, seconds, valid_seconds,
                status, provenance FROM entries;
            DROP TABLE entries; ALTER TABLE old RENAME TO entries; DROP TABLE claims;
            CREATE TABLE claims (task TEXT, curve TEXT, seed INTEGER, cell INTEGER, host TEXT, pid INTEGER);
            INSERT INTO provenance VALUES (99, '{"kind": "of long ago"}');
            INSERT INTO entries SELECT task, curve, 888, cell, valid_images, '[0]', seconds, valid_seconds,
                status, 99 FROM entries;
            """
        )
        old.execute(
            "INSERT INTO claims VALUES ('tiny', 'none@1', 1, 1, ?, ?)", (socket.gethostname(), os.getpid())
        )
    with pytest.raises(StoreError, match="in use by a fill of an earlier version"):
        Store(tmp_path / "live.db")
    with sqlite3.connect(tmp_path / "live.db") as old:
        old.execute("DELETE FROM claims")
    assert evaluate(sources) == (first[0], 2)
    known, unknown = Store(tmp_path / "live.db").finished()
    assert known.job.setup == setup_of(known.provenance, validated=True)
    assert unknown.job.setup == UNKNOWN
    oracle = LiveOracle(Laboratory(sources, dtype=torch.float32, clock={"scale": 1.0}), tmp_path / "live.db")
    assert oracle.evaluate(TASK, Cell.from_index(1462), Fidelity.parse(FIDELITY), 888).valid_accuracy > 0
    assert len(Store(tmp_path / "live.db").finished()) == 3


@pytest.mark.parametrize(
    ("fidelity", "message"),
    [
        ("none@1 channels=100000000", "weights; 1,000,000,000 are the most: lower channels=100000000"),
        ("none@1 cells=1000000", "weights; 1,000,000,000 are the most: lower channels=16 or cells=1000000"),
        ("none@1 images=97", "asks for 97 training images; tiny has 96 here"),
        ("none@1 images=1", "trains on one image"),
        ("none@1 size=16", "asks for images of 16 pixels; those of tiny have 8"),
        ("none@1 size=1", "a multiple of 4 is needed"),
        ("none@1 images=64 size=6", "a multiple of 4 is needed"),
        ("none@1 images=65 batch=16 size=4", "last batch .* has one image"),
        ("none@1 batch=1 size=4", "last batch .* has one image"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_trained(tmp_path, sources, fidelity, message):
    phase = Phase("tiny", (FIDELITY, fidelity), (777,), 1)
    with pytest.raises(FidelityError, match=message):
        fill(tmp_path / "f.db", [phase], sources, progress=False)
    assert not (tmp_path / "f.db").exists()
    with pytest.raises(FidelityError, match=message):
        Laboratory(sources).training(TrainingJob("tiny", fidelity, 777, 11))


@pytest.mark.parametrize(
    "fidelity", ["none@1 images=65 batch=16", "none@1 size=4", "none@1 images=2 batch=1 cells=1"]
)
def test_what_can_be_done_is_done(sources, fidelity):
    entry = Laboratory(sources, dtype=torch.float32).train(
        TrainingJob("tiny", f"{fidelity} channels=4", 777, 4)
    )
    assert len(entry.seconds) == 1


@pytest.mark.parametrize("seed", [-1, 65536, 1.0, True, None])
def test_seeds_that_no_table_can_hold_are_refused(sources, seed):
    with pytest.raises(DataError, match="from 0 to 65535"):
        Laboratory(sources).training(TrainingJob("tiny", FIDELITY, seed, 11))


@pytest.mark.parametrize("device", ["cuda:64", "tpu", "meta", ""])
def test_a_device_that_is_not_there_is_refused(sources, device):
    with pytest.raises(DataError, match="there is no device .* here; there are cpu"):
        Laboratory(sources, device=device)


def test_a_checkpoint_of_another_training_is_refused(tmp_path, sources):
    laboratory, path = Laboratory(sources, dtype=torch.float32), tmp_path / "teacher.npz"

    def stop(curve) -> None:
        raise KeyboardInterrupt

    small = {"cell": Cell.from_index(4), "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        train_teacher(laboratory, "tiny", path, seed=1, after_epoch=stop, **small)
    for changed in ({"seed": 2}, {"seed": 1, "epochs": 3}, {"seed": 1, "cell": Cell.from_index(5)}):
        with pytest.raises(DataError, match="of another training"):
            train_teacher(laboratory, "tiny", path, **{**small, **changed})
    other = Laboratory(sources, dtype=torch.bfloat16)
    with pytest.raises(DataError, match="of another training"):
        train_teacher(other, "tiny", path, seed=1, **small)
    checkpoint = path.with_suffix(".checkpoint")
    honest = checkpoint.read_bytes()
    parts = torch.load(checkpoint, weights_only=True)
    for damaged in (
        b"",
        honest[: len(honest) // 2],
        [1],
        torch.zeros(2),
        {**parts, "engine": {}},
        {"job": parts["job"]},
    ):
        if isinstance(damaged, bytes):
            checkpoint.write_bytes(damaged)
        else:
            torch.save(damaged, checkpoint)
        with pytest.raises(DataError, match="remove it to start anew"):
            train_teacher(laboratory, "tiny", path, seed=1, **small)
    checkpoint.write_bytes(honest)
    assert train_teacher(laboratory, "tiny", path, seed=1, **small).epochs == 2
