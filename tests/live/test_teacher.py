"""Teachers: trained, kept, loaded, adapted; and the oracle and patch that rest on them."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.errors import DataError, UnknownNameError
from nasbench_kd.live.archives import write_packed
from nasbench_kd.live.export import FORMAT, write_patch
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.oracle import LiveOracle, default_sources, to_evaluation
from nasbench_kd.live.store import Finished, Store, TrainingJob
from nasbench_kd.live.teacher import SmallResNet, TeacherFile, load_teacher, training_seconds
from nasbench_kd.live.teacher_training import train_teacher
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.task import Task

CPU = torch.device("cpu")
SKIPS = Cell.parse("|skip_connect~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
CLOCK = {"scale": 0.5, "meaning": "test"}


@pytest.fixture
def folder(tmp_path, tiny_task):
    statistics = tiny_task.statistics
    about = {"classes": 4, "mean": statistics.mean, "std": statistics.std, "padding": 1}
    splits = {
        "train": (tiny_task.train_images, tiny_task.train_labels),
        "valid": (tiny_task.valid_images, tiny_task.valid_labels),
    }
    write_packed(tmp_path / "tiny.zip", splits, about)
    return tmp_path


def laboratory(folder, teachers=None) -> Laboratory:
    return Laboratory(Sources(folder, folder, teachers or {}), dtype=torch.float32, clock=CLOCK)


def test_an_own_teacher_for_an_own_data_set_from_training_to_distillation(folder):
    path = folder / "teachers" / "tiny.npz"
    seen = []
    curve = train_teacher(laboratory(folder), "tiny", path, cell=SKIPS, epochs=2, after_epoch=seen.append)
    assert len(seen) == 2
    assert not path.with_suffix(".checkpoint").exists()
    assert training_seconds(path) == pytest.approx(sum(curve.train_seconds))
    teacher = load_teacher(TeacherFile(path), 4, CPU, torch.float32)
    lab = laboratory(folder, {"tiny": TeacherFile(path)})
    entry = lab.train(TrainingJob("tiny", "kd+nst@2 images=64 batch=32 channels=4 cells=1", 777, 11))
    assert entry.status == "ok"
    assert len(entry.valid_correct) == 2
    record = entry.provenance["teacher"]
    assert record["training_seconds"] == training_seconds(path)
    assert record["forward_seconds"] >= 0
    valid = lab.workbench("tiny", Fidelity.parse("none@1 images=64")).valid
    correct = (teacher(valid.batch(torch.arange(40))).logits.argmax(1) == valid.labels).sum()
    assert int(correct) == curve.valid_correct[-1]


def test_a_teacher_training_goes_on_from_its_checkpoint(folder):
    class Stopped(Exception):
        pass

    def stop(curve):
        raise Stopped

    path = folder / "whole.npz"
    whole = train_teacher(laboratory(folder), "tiny", path, cell=SKIPS, epochs=2)
    resumed = folder / "resumed.npz"
    with pytest.raises(Stopped):
        train_teacher(laboratory(folder), "tiny", resumed, cell=SKIPS, epochs=2, after_epoch=stop)
    again = train_teacher(laboratory(folder), "tiny", resumed, cell=SKIPS, epochs=2)
    assert again.valid_correct == whole.valid_correct
    with np.load(path) as first, np.load(resumed) as second:
        weights = [name for name in first.files if not name.startswith("nasbench_kd")]
        assert all((first[name] == second[name]).all() for name in weights)


def test_a_torchvision_teacher_gives_maps_at_the_sides_of_the_stage_ends(folder):
    model = SmallResNet("resnet18", 4)
    path = folder / "resnet18.pt"
    torch.save(model.model.state_dict(), path)
    teacher = load_teacher(TeacherFile(path, "resnet18"), 4, CPU, torch.float32)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = teacher(images)
    assert [tuple(features.shape[1:]) for features in outputs.maps] == [(64, 8, 8), (128, 4, 4), (256, 2, 2)]
    torch.testing.assert_close(outputs.logits, model.model.eval()(images), rtol=1e-4, atol=1e-5)
    lab = laboratory(folder, {"tiny": TeacherFile(path, "resnet18", control=True)})
    entry = lab.train(TrainingJob("tiny", "nst@1 images=64 batch=32 channels=4 cells=1", 777, 11))
    assert entry.status == "ok"


def test_wrong_teachers_are_refused(folder):
    (folder / "text.npz").write_text("weights")
    with pytest.raises(DataError, match="not a readable file"):
        load_teacher(TeacherFile(folder / "text.npz"), 4, CPU, torch.float32)
    np.savez(folder / "other.npz", weight=np.zeros(3))
    with pytest.raises(DataError, match="do not fit"):
        load_teacher(TeacherFile(folder / "other.npz"), 4, CPU, torch.float32)
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        load_teacher(TeacherFile(folder / "other.npz", "resnet1"), 4, CPU, torch.float32)
    with pytest.raises(DataError, match="teacher train"):
        laboratory(folder).train(TrainingJob("tiny", "kd@1 images=64 batch=32 channels=4 cells=1", 777, 11))


STUDENT = TrainingJob("tiny", "kd@1 images=64 batch=32 channels=4 cells=1", 777, 11)


@pytest.fixture
def trained(folder):
    path = folder / "trained.npz"
    train_teacher(laboratory(folder), "tiny", path, cell=SKIPS, epochs=2)
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda some: {"classifier.bias": some["classifier.bias"] * np.nan}, "not finite"),
        (lambda some: {"stem.0.weight": some["stem.0.weight"] * np.inf}, "not finite"),
        (lambda some: {"classifier.weight": some["classifier.weight"].astype(np.int64)}, "floating-point"),
        (lambda some: {"nasbench_kd.cell": np.array([1, 2])}, r"names the cell \[1, 2\]"),
        (lambda some: {"nasbench_kd.cell": np.array(20_000)}, "not one from 0 to 15624"),
        (
            lambda some: {
                "classifier.weight": -some["classifier.weight"],
                "classifier.bias": -some["classifier.bias"],
            },
            "of 40 validation images correctly, where guessing gets 10",
        ),
        (lambda some: {"lastact.0.running_var": -some["lastact.0.running_var"]}, "of 40 validation images"),
    ],
)
def test_teachers_that_know_nothing_are_refused(folder, trained, change, message):
    assert laboratory(folder, {"tiny": TeacherFile(folder / "trained.npz")}).train(STUDENT).status == "ok"
    np.savez(folder / "changed.npz", **{**trained, **change(trained)})
    with pytest.raises(DataError, match=message):
        laboratory(folder, {"tiny": TeacherFile(folder / "changed.npz")}).train(STUDENT)


def test_a_teacher_may_know_nothing_as_a_control(folder, trained):
    np.savez(folder / "control.npz", **{**trained, "classifier.weight": -trained["classifier.weight"]})
    lab = laboratory(folder, {"tiny": TeacherFile(folder / "control.npz", control=True)})
    assert "control" in lab.train(STUDENT).provenance["teacher"]


@pytest.mark.parametrize("seconds", [np.array(np.nan), np.array(-1.0), np.zeros(3)])
def test_a_teacher_that_took_no_time_that_can_be_is_refused(folder, trained, seconds):
    np.savez(folder / "changed.npz", **{**trained, "nasbench_kd.training_seconds": seconds})
    with pytest.raises(DataError, match="the training of the teacher took"):
        training_seconds(folder / "changed.npz")


def test_the_oracle_trains_once_and_charges_table_seconds(folder):
    task = Task("tiny", 4, 96, 40, 8, SKIPS)
    oracle = LiveOracle(laboratory(folder), folder / "live.db")
    fidelity = Fidelity.parse("none@1/2 images=64 batch=32 channels=4 cells=1")
    first = oracle.evaluate(task, Cell.from_index(11), fidelity)
    assert first.source == "live"
    (entry,) = Store(folder / "live.db").finished()
    assert entry.job.curve == str(fidelity.curve)
    assert first.valid_accuracy == 100 * entry.valid_correct[0] / 40
    assert first.seconds == pytest.approx(entry.seconds[0] * 0.5)
    assert oracle.evaluate(task, Cell.from_index(11), fidelity) == first
    later = oracle.evaluate(task, Cell.from_index(11), fidelity.curve)
    assert later.seconds == pytest.approx(sum(entry.seconds) * 0.5)
    assert len(Store(folder / "live.db").finished()) == 1
    assert oracle.evaluate(task, Cell.from_index(11), fidelity, 888).seed == 888
    assert [each.job.seed for each in Store(folder / "live.db").finished()] == [777, 888]


def finished(cell: int, status: str = "ok", correct=(10, 20)) -> Finished:
    job = TrainingJob("tiny", "kd@2 images=64", 777, cell)
    return Finished(
        job, 40, correct, (1.0, 2.0)[: len(correct)], (0.1,) * len(correct), status, {"clock": CLOCK}
    )


def test_a_divergence_is_answered_by_nan_and_charged():
    """Diverged in epoch 2 of 3: epoch 1 stands, 2 and 3 have no accuracy and cost what was run."""
    entry = finished(1, "diverged")
    first, second, third = (to_evaluation(entry, Fidelity("kd", e, 3, 64)) for e in (1, 2, 3))
    assert first.valid_accuracy == 25
    assert second.failed
    assert third.failed
    assert (first.seconds, second.seconds, third.seconds) == (0.5, 1.5, 1.5)


def test_a_patch_is_plain_json_with_one_entry_to_a_line(tmp_path):
    path = tmp_path / "patch.json"
    assert write_patch(path, [finished(7), finished(3), finished(5, "diverged", (4,))]) == 3
    content = json.loads(path.read_text())
    assert content["format"] == FORMAT
    (patch,) = content["patches"]
    assert (patch["task"], patch["curve"], patch["valid_images"]) == ("tiny", "kd@2 images=64", 40)
    assert patch["provenance"] == {"clock": CLOCK}
    assert [entry["cell"] for entry in patch["entries"]] == [3, 5, 7]
    assert patch["entries"][1] == {
        "cell": 5,
        "seed": 777,
        "valid_correct": [4],
        "readings": {},
        "seconds": [1.0],
        "status": "diverged",
    }
    assert sum('"valid_correct"' in line for line in path.read_text().splitlines()) == 3


def test_workers_share_a_patch_that_lists_what_the_teacher_cost_each_of_them(tmp_path):
    def by(worker: float, cell: int, teacher: str = "cell") -> Finished:
        teacher_record = {"architecture": teacher, "forward_seconds": worker}
        return replace(finished(cell), provenance={"clock": CLOCK, "teacher": teacher_record})

    write_patch(tmp_path / "patch.json", [by(3.0, 1), by(2.5, 2), by(2.5, 3), by(2.5, 4, "resnet18")])
    first, second = json.loads((tmp_path / "patch.json").read_text())["patches"]
    assert first["provenance"]["teacher"] == {"architecture": "cell", "forward_seconds": [2.5, 3.0]}
    assert [entry["cell"] for entry in first["entries"]] == [1, 2, 3]
    assert second["provenance"]["teacher"] == {"architecture": "resnet18", "forward_seconds": [2.5]}


def test_default_sources_follow_the_environment(tmp_path, monkeypatch):
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "cifar10.npz").touch()
    monkeypatch.setenv("NASBENCH_KD_IMAGES", str(tmp_path))
    sources = default_sources()
    assert sources.images == tmp_path
    assert sources.teachers == {"cifar10": TeacherFile(tmp_path / "teachers" / "cifar10.npz")}
    assert default_sources(tmp_path / "elsewhere").images == tmp_path / "elsewhere"


def test_the_command_looks_for_images_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("NASBENCH_KD_IMAGES", raising=False)
    asked = ["train", "11", "--task", "cifar10", "--fidelity", "none@1", "--images", str(tmp_path)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert "NASBENCH_KD_IMAGES" not in os.environ
