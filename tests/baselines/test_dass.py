"""DaSS: inherited weights, the one step to a new task by hand, meta-training and the search."""

from __future__ import annotations

import json
import pickle
import tempfile
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import DataError, ProtocolError
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE
from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd.testing.tables import table_benchmark

torch = pytest.importorskip("torch")

from nasbench_kd.live.archives import read_packed, write_packed  # noqa: E402
from nasbench_kd.live.images import subset_order  # noqa: E402
from nasbench_kd.live.network import seeded_network  # noqa: E402
from nasbench_kd.live.teacher import RESNET_CELL  # noqa: E402
from nasbench_kd_baselines.dass import subsets as dass_subsets  # noqa: E402
from nasbench_kd_baselines.dass.embeddings import Embeddings, describe, embed, open_teacher, remapped  # noqa: E402
from nasbench_kd_baselines.dass.predictor import (  # noqa: E402
    LabelledTask,
    adapt,
    correlation,
    first_weights,
    forward,
    load_weights,
    meta_train,
    predict,
    predict_cells,
    save_weights,
    student_inputs,
    teacher_inputs,
)
from nasbench_kd_baselines.dass.search import PREDICTORS, DaSS  # noqa: E402
from nasbench_kd_baselines.dass.training import VARIANTS, labelled, main, split  # noqa: E402


@pytest.fixture(scope="module")
def teacher():
    """A small untrained network stands in for a teacher: what is inherited does not depend on training."""
    return seeded_network(RESNET_CELL, 10, seed=5)


def made_up(task, seed, count=60):
    """Embeddings that give the accuracy away: descriptions are a student's quality, on the task's own scale."""
    rng = np.random.default_rng(seed)
    quality, scale, shift = rng.normal(size=count), rng.uniform(1, 10), rng.normal()
    students = (scale * (quality[:, None] + 0.1 * rng.normal(size=(count, 32))) + shift).astype(np.float32)
    cells = rng.choice(SPACE_SIZE, count, replace=False)
    fresh = rng.normal(size=(count, 32)).astype(np.float32)
    embeddings = Embeddings(task, cells, students, fresh, RESNET_CELL.index, students[0], 60.0, 10)
    return LabelledTask(embeddings, 60 + 8 * quality)


def test_a_student_inherits_what_it_shares_with_the_teacher(teacher):
    # The teacher has conv3x3, none, conv3x3, skip, none, skip; the student shares edges 0 and 3.
    student_cell = nk.Cell.from_operations(
        ["nor_conv_3x3", "nor_conv_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_3x3", "none"]
    )
    student, fresh = remapped(teacher, student_cell, seed=1), seeded_network(student_cell, 10, seed=1)
    its, untouched = teacher.state_dict(), fresh.state_dict()
    inherited = set()
    for name, value in student.state_dict().items():
        edge = int(name.split(".")[3]) if ".layers." in name else None
        expected = its if edge in (None, 0, 3) else untouched
        assert torch.equal(value, expected[name]), name
        if expected is its:
            inherited.add(name.split(".")[0])
    assert inherited == {"stem", "cells", "lastact", "classifier"}


def test_the_teacher_as_its_own_student_answers_as_itself(teacher):
    other = nk.Cell.from_operations(["avg_pool_3x3"] * 6)
    made = embed(teacher, [RESNET_CELL, other], task="cifar10", teacher_accuracy=50.0)
    assert made.students.shape == made.fresh.shape == (2, 32)
    assert np.array_equal(made.students[0], made.teacher_description)
    assert not np.array_equal(made.students[1], made.teacher_description)
    assert not np.array_equal(made.fresh[0], made.teacher_description)
    assert np.isfinite(made.students).all()
    assert made.classes == 10


def test_a_description_knows_no_order_of_channels():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(64, 8, 8)).astype(np.float32)
    assert np.allclose(describe(features), describe(features[rng.permutation(64)]))
    # Channel c is the constant c, compressed to log(1 + c); constants do not vary over space.
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 8, 8))
    expected = np.quantile(np.log1p(np.arange(64)), np.linspace(0, 1, 16))
    assert np.allclose(describe(ramp), [*expected, *np.zeros(16)], atol=1e-6)
    assert np.allclose(describe(-ramp)[:16], -expected[::-1], atol=1e-6)


def test_embeddings_survive_their_file(teacher, tmp_path):
    made = embed(teacher, [RESNET_CELL], task="cifar10", teacher_accuracy=50.0)
    made.save(tmp_path / "made.npz")
    again = Embeddings.load(tmp_path / "made.npz")
    assert (again.task, again.teacher, again.teacher_accuracy, again.classes) == (
        "cifar10",
        RESNET_CELL.index,
        50.0,
        10,
    )
    assert np.array_equal(again.students, made.students)
    assert np.array_equal(again.fresh, made.fresh)
    with pytest.raises(DataError, match="is not a readable file of DaSS embeddings"):
        Embeddings.load(tmp_path / "absent.npz")


def test_what_the_predictor_sees_has_the_scale_of_its_task():
    task = made_up("cifar10", 0).embeddings
    seen, teacher = student_inputs(task), teacher_inputs(task)
    assert torch.allclose(seen["student"].mean(0), torch.zeros(32), atol=1e-5)
    assert torch.allclose(seen["student"].std(0), torch.ones(32), atol=0.02)
    assert torch.equal(teacher["student"][0], seen["student"][0])  # it is the first student here
    assert torch.equal(seen["teacher"][7], teacher["teacher"][0])
    assert seen["cell"][3].tolist() == nk.Cell.from_index(int(task.cells[3])).one_hot().ravel().tolist()


def test_labels_are_shares_of_surpassed_students():
    embeddings = made_up("cifar10", 0, count=4).embeddings
    assert LabelledTask(embeddings, np.array([10.0, 90.0, 50.0, 50.0])).labels.tolist() == [
        0.125,
        0.875,
        0.5,
        0.5,
    ]


def test_one_step_with_the_learned_sizes():
    task = made_up("cifar10", 0)
    weights = first_weights(seed=0, parts=("cell",))
    adapted = adapt(weights, task.embeddings)
    shift = {name: value.clone().requires_grad_() for name, value in weights.items()}
    # 60 % among ten classes is (0.6 - 0.1) / 0.9 of the way from chance to 1.
    error = forward(shift, teacher_inputs(task.embeddings)) - 5 / 9
    error.square().mean().backward()
    for name, value in adapted.items():
        assert torch.allclose(value, weights[name] - 0.005 * shift[name].grad), name
    assert (forward(adapted, teacher_inputs(task.embeddings)) - 5 / 9).abs() < error.abs()


def test_meta_training_learns_what_carries_over_to_another_task():
    tasks = [made_up("cifar10", seed) for seed in (0, 1)]
    unseen = made_up("cifar100", 7)
    seen = []
    weights = meta_train(
        tasks,
        [made_up("cifar10", 3)],
        episodes=60,
        students=20,
        learning_rate=5e-3,
        progress=lambda episode, found: seen.append((episode, found)),
    )
    assert [episode for episode, _ in seen] == [20, 40, 60]
    assert correlation(predict(weights, unseen.embeddings), unseen.accuracies) > 0.8
    assert not torch.allclose(weights["rate out weight"], torch.tensor(0.005))
    # The control sees students that inherited nothing, whose descriptions are noise here.
    control = meta_train(
        tasks, tasks, episodes=60, students=20, learning_rate=5e-3, parts=("fresh", "teacher")
    )
    assert abs(correlation(predict(control, unseen.embeddings), unseen.accuracies)) < 0.4


def test_without_adapting_the_teachers_accuracy_changes_nothing():
    tasks, unseen = [made_up("cifar10", seed) for seed in (0, 1)], made_up("cifar100", 7).embeddings
    settings = {"episodes": 20, "students": 20, "parts": ("student", "cell")}
    weights = meta_train(tasks, tasks[:1], adapting=False, **settings)
    assert all(torch.all(weights[name] == 0.005) for name in weights if name.startswith("rate "))
    better = replace(unseen, teacher_accuracy=90.0)
    assert (
        predict(weights, better, adapting=False).tolist() == predict(weights, unseen, adapting=False).tolist()
    )
    adapted = meta_train(tasks, tasks[:1], **settings)
    assert predict(adapted, better).tolist() != predict(adapted, unseen).tolist()


def test_the_search_goes_down_the_predicted_order(tmp_path):
    task = made_up("cifar10", 0, count=30)
    task.embeddings.save(tmp_path / "c10.npz")
    weights = first_weights(seed=0)
    save_weights(tmp_path / "predictor.npz", weights)
    predicted = np.round(predict(load_weights(tmp_path / "predictor.npz"), task.embeddings), 4)
    order = task.embeddings.cells[np.argsort(-predicted, kind="stable")].tolist()
    flat = np.linspace(20, 80, SPACE_SIZE)
    bench = table_benchmark("cifar10", {"none@200": (flat, 100.0), "nst@12": (flat, 9.0)})
    optimizer = DaSS(embeddings=tmp_path / "c10.npz", predictor=tmp_path / "predictor.npz")
    found = pickle.loads(pickle.dumps(optimizer))
    run = nk.search(found, task=bench, budget="40 evaluations", workers=2, bill_teacher=False)
    assert run.ending == "budget", run.reason
    assert [step.cell for step in run.steps][:30] == order
    assert {step.fidelity for step in run.steps} == {"nst@12"}
    assert len({step.cell for step in run.steps}) == 40
    other = table_benchmark("cifar100", {"none@200": (flat, 100.0), "nst@12": (flat, 9.0)})
    failed = nk.search(optimizer, task=other, budget="3 evaluations")
    assert ProtocolError.__name__ in failed.reason
    assert "has embeddings of cifar10, and the task is cifar100" in failed.reason
    absent = nk.search(
        DaSS(embeddings="absent.npz", predictor="absent.npz"), task=bench, budget="3 evaluations"
    )
    assert "make one with `python -m nasbench_kd_baselines.dass.training embed`" in absent.reason
    plain = table_benchmark("cifar10", {"none@200": (flat, 100.0)})
    lacking = nk.search(optimizer, task=plain, budget="3 evaluations")
    assert "cifar10 has no fidelity with distillation; it has none@200" in lacking.reason
    blind = nk.search(DaSS(predictor=tmp_path / "predictor.npz"), task=bench, budget="3 evaluations")
    assert "the predictor needs embeddings (student and teacher)" in blind.reason


@pytest.mark.parametrize("task", ["cifar10", "cifar100", "imagenet16-120"])
def test_the_shipped_predictors_never_saw_their_task(task):
    card = json.loads((PREDICTORS / f"{task}.json").read_text())
    assert not any(
        about["task"].startswith(f"{task}-") or about["task"] == task for about in card["trained on"]
    )
    assert set(load_weights(PREDICTORS / f"{task}.npz")) == set(first_weights(seed=0))
    bench = nk.load(task)
    accuracies = bench.evaluate_many(np.arange(SPACE_SIZE), "none@200").valid_accuracy
    weights = load_weights(PREDICTORS / f"{task}-cells.npz")
    assert correlation(predict_cells(weights, SPACE.one_hot), accuracies) > 0.75
    run = nk.search(DaSS(fidelity="none@200"), task=bench, budget="5 evaluations")
    assert run.ending == "budget", run.reason
    assert np.mean([accuracies[step.cell] for step in run.steps]) > np.quantile(accuracies, 0.8)


def test_the_commands_make_both_files(teacher, tmp_path, capsys):
    weights = tmp_path / "teacher.npz"
    np.savez(weights, **{name: value.numpy() for name, value in teacher.state_dict().items()})
    made, other, predictor = tmp_path / "c10.npz", tmp_path / "c100.npz", tmp_path / "predictor.npz"
    embedding = ["embed", "--task", "cifar10", "--teacher", str(weights), "--accuracy", "91"]
    assert main([*embedding, "--cells", "12", "--output", str(made)]) == 0
    made_up("cifar100", 0, count=20).embeddings.save(other)
    training = ["train", "--tasks", str(made), str(other), "--episodes", "20", "--seeds", "2"]
    assert main([*training, "--unseen", "cifar10", "--output", str(predictor)]) == 0
    assert "without remapping: {'cifar10': [" in capsys.readouterr().out
    card = json.loads((tmp_path / "predictor.json").read_text())
    assert [about["task"] for about in card["trained on"]] == ["cifar100"]
    assert [(about["task"], about["students"]) for about in card["tested on"]] == [("cifar10", 12)]
    found = card["Spearman correlation on what was not trained on, by seed"]
    assert {variant: len(found[variant]["cifar10"]) for variant in VARIANTS} == dict.fromkeys(VARIANTS, 2)
    task = labelled(made)
    again = correlation(predict(load_weights(predictor), task.embeddings), task.accuracies)
    assert found["full"]["cifar10"][0] == pytest.approx(again)
    run = nk.search(
        DaSS(embeddings=made, predictor=predictor, fidelity="none@200"),
        task="cifar10",
        budget="3 evaluations",
    )
    assert run.ending == "budget", run.reason
    assert main(["train", "--tasks", str(made), "--unseen", "cifar10", "--output", str(predictor)]) == 2
    assert "all of the files are of cifar10" in capsys.readouterr().err


def test_subsets_are_made_once(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (400, 32, 32, 3), dtype=np.uint8), np.arange(400) % 10
    splits = {"train": (images, labels), "test": (images[:10], labels[:10])}
    write_packed(tmp_path / "cifar10.zip", splits, {})
    halves = {
        "train": ["int", [str(i) for i in range(200)]],
        "valid": ["int", [str(i) for i in range(200, 400)]],
    }
    (tmp_path / "cifar-split.txt").write_text(json.dumps(halves))
    monkeypatch.setenv("NASBENCH_KD_IMAGES", str(tmp_path))
    monkeypatch.setattr(dass_subsets, "TEACHER", "none@1 images=20 batch=10")
    # A teacher of 20 images of noise knows nothing.
    monkeypatch.setattr("nasbench_kd.live.laboratory.check_teacher", lambda *_: None)
    monkeypatch.setattr(dass_subsets, "STUDENT", "kd@1 images=20 batch=10 cells=1")
    folder = tmp_path / "subsets"
    command = ["subsets", "--task", "cifar10", "--size", "5", "--count", "2", "--students", "2"]
    assert main([*command, "--folder", str(folder)]) == 0
    first = capsys.readouterr().out
    assert "cifar10-split1: 2 students" in first
    task = labelled(folder / "cifar10-split0-embeddings.npz")
    assert (task.embeddings.task, task.embeddings.classes, len(task.accuracies)) == ("cifar10-split0", 5, 2)
    about = json.loads(zipfile.ZipFile(folder / "cifar10-split0.zip").read("manifest.json"))
    kept, others = dass_subsets.class_splits(10, 5, 2)
    assert about["kept"] == kept.tolist()
    assert sorted([*kept, *others]) == list(range(10))
    # Half of the 200 training images are of the five classes; 70 % of them train. Images are averaged to 16 x 16.
    assert (about["splits"]["train"]["n"], about["splits"]["valid"]["n"]) == (70, 30)
    strip, relabelled = read_packed(folder / "cifar10-split0.zip", "train")
    row = np.flatnonzero(np.isin(labels[:200], kept))[subset_order(100)[0]]
    assert np.array_equal(strip[0, 0, 0], np.rint(images[row, :2, :2].mean((0, 1))).astype(np.uint8))
    assert kept[relabelled[0]] == labels[row]

    def train_again(self, job):
        raise AssertionError(f"{job} is trained already")

    monkeypatch.setattr("nasbench_kd.live.laboratory.Laboratory.training", train_again)
    assert main([*command, "--folder", str(folder)]) == 0
    assert capsys.readouterr().out == first


def test_the_last_quarter_chooses_the_episode():
    first, last = split(made_up("cifar10", 0, count=9))
    assert (len(first.accuracies), len(last.accuracies)) == (6, 3)
    assert not set(first.embeddings.cells) & set(last.embeddings.cells)


def test_weights_of_another_network_are_refused(teacher, tmp_path):
    np.savez(
        tmp_path / "teacher.npz", **{name: value.numpy() for name, value in teacher.state_dict().items()}
    )
    with pytest.raises(DataError, match="are not those of"):
        open_teacher(tmp_path / "teacher.npz", 100)


@cache
def files():
    """A file of 15 embeddings and one of an untrained predictor, kept until the interpreter ends."""
    folder = tempfile.TemporaryDirectory()
    made_up("cifar10", 0, count=15).embeddings.save(Path(folder.name) / "c10.npz")
    save_weights(Path(folder.name) / "predictor.npz", first_weights(seed=0))
    return folder


def make_dass():
    return DaSS(
        embeddings=str(Path(files().name) / "c10.npz"),
        predictor=str(Path(files().name) / "predictor.npz"),
        fidelity="nst@12",
    )


class TestDaSS(OptimizerContract):
    make = staticmethod(make_dass)
    fidelities = ("nst@12",)
