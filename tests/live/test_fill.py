"""A fill survives kill -9, resumes, shares work, and its order is a fixed fair sample."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasbench_kd.errors import StoreError
from nasbench_kd.live.archives import write_packed
from nasbench_kd.live.export import write_patch
from nasbench_kd.live.fill import Phase, class_order, fill, tabulated, work
from nasbench_kd.live.laboratory import Sources
from nasbench_kd.live.store import Finished, Store, TrainingJob
from nasbench_kd.spaces.nasbench201 import representatives
from nasbench_kd.tables.patch import merge
from nasbench_kd.tables.table import Column, make_rows, write_table
from nasbench_kd.tasks.fidelity import Fidelity

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
    with pytest.raises(StoreError, match="1 of 1 workers"):
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
    known = tabulated([phase], [write_table(tmp_path / "held", "held", columns, {})])
    assert known == set(held)
    skip = {TrainingJob("tiny", job.curve, job.seed, job.cell) for job in known}
    fill(tmp_path / "rest.db", [PHASE], sources, skip=skip, progress=False)
    assert outcomes(tmp_path / "rest.db") == [
        outcome for outcome in outcomes(tmp_path / "whole.db") if outcome[0] not in skip
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
    monkeypatch.setattr("nasbench_kd.tables.patch.TASKS", {"tiny": None})
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
