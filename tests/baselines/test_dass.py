"""DaSS: inherited weights, the one step to a new task by hand, meta-training and the search."""

from __future__ import annotations

import pickle
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import DataError, ProtocolError
from nasbench_kd.space import SPACE_SIZE
from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd.testing.tables import table_benchmark

torch = pytest.importorskip("torch")

from baselines.dass import DaSS  # noqa: E402
from baselines.dass_embeddings import Embeddings, embed, open_teacher, remapped  # noqa: E402
from baselines.dass_predictor import (  # noqa: E402
    LabelledTask,
    adapt,
    correlation,
    first_weights,
    forward,
    load_weights,
    meta_train,
    predict,
    save_weights,
)
from baselines.dass_training import main  # noqa: E402
from nasbench_kd.live.network import seeded_network  # noqa: E402
from nasbench_kd.live.teacher import RESNET_CELL  # noqa: E402


@pytest.fixture(scope="module")
def teacher():
    """A small untrained network stands in for a teacher: what is inherited does not depend on training."""
    return seeded_network(RESNET_CELL, 10, seed=5)


def made_up(task, seed, count=60):
    """Embeddings that give the accuracy away: the mean of a student's map, minus the teacher's accuracy."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=count)
    maps = (quality[:, None, None, None] + 0.1 * rng.normal(size=(count, 64, 8, 8))).astype(np.float16)
    embeddings = Embeddings(
        task, rng.choice(SPACE_SIZE, count, replace=False), maps, RESNET_CELL.index, maps[0], 60.0
    )
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
    assert made.maps.shape == (2, 64, 8, 8)
    assert np.array_equal(made.maps[0], made.teacher_map)
    assert not np.array_equal(made.maps[1], made.teacher_map)
    assert np.isfinite(made.maps).all()
    control = embed(teacher, [RESNET_CELL], task="cifar10", teacher_accuracy=50.0, remapping=False)
    assert not np.array_equal(control.maps[0], made.teacher_map)


def test_embeddings_survive_their_file(teacher, tmp_path):
    made = embed(teacher, [RESNET_CELL], task="cifar10", teacher_accuracy=50.0)
    made.save(tmp_path / "made.npz")
    again = Embeddings.load(tmp_path / "made.npz")
    assert (again.task, again.teacher, again.teacher_accuracy) == ("cifar10", RESNET_CELL.index, 50.0)
    assert np.array_equal(again.maps, made.maps)
    with pytest.raises(DataError, match="is not a readable file of DaSS embeddings"):
        Embeddings.load(tmp_path / "absent.npz")


def test_one_step_with_the_learned_sizes():
    task = made_up("cifar10", 0)
    weights = first_weights(seed=0, parts=("cell",))
    adapted = adapt(weights, task.embeddings)
    shift = {name: value.clone().requires_grad_() for name, value in weights.items()}
    error = forward(shift, task.embeddings, None) - 0.6
    error.square().mean().backward()
    for name, value in adapted.items():
        assert torch.allclose(value, weights[name] - 0.005 * shift[name].grad), name
    assert (forward(adapted, task.embeddings, None) - 0.6).abs() < error.abs()


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


def test_the_search_goes_down_the_predicted_order(tmp_path):
    task = made_up("cifar10", 0, count=30)
    task.embeddings.save(tmp_path / "c10.npz")
    weights = first_weights(seed=0)
    save_weights(tmp_path / "predictor.npz", weights)
    predicted = np.round(predict(load_weights(tmp_path / "predictor.npz"), task.embeddings), 4)
    order = task.embeddings.cells[np.argsort(-predicted, kind="stable")].tolist()
    flat = np.linspace(20, 80, SPACE_SIZE)
    bench = table_benchmark("cifar10", {"none@200": (flat, 100.0), "nst@12": (flat, 9.0)})
    optimizer = DaSS(tmp_path / "c10.npz", tmp_path / "predictor.npz")
    run = nk.search(pickle.loads(pickle.dumps(optimizer)), task=bench, budget="40 evaluations", workers=2)
    assert run.ending == "budget", run.reason
    assert [step.cell for step in run.steps][:30] == order
    assert {step.fidelity for step in run.steps} == {"nst@12"}
    assert len({step.cell for step in run.steps}) == 40
    other = table_benchmark("cifar100", {"none@200": (flat, 100.0), "nst@12": (flat, 9.0)})
    failed = nk.search(optimizer, task=other, budget="3 evaluations")
    assert ProtocolError.__name__ in failed.reason
    assert "has embeddings of cifar10, and the task is cifar100" in failed.reason
    absent = nk.search(DaSS("absent.npz", "absent.npz"), task=bench, budget="3 evaluations")
    assert "make one with `python -m baselines.dass_training embed`" in absent.reason
    plain = table_benchmark("cifar10", {"none@200": (flat, 100.0)})
    lacking = nk.search(optimizer, task=plain, budget="3 evaluations")
    assert "cifar10 has no fidelity with distillation; it has none@200" in lacking.reason


def test_the_commands_make_both_files(teacher, tmp_path, capsys):
    weights = tmp_path / "teacher.npz"
    np.savez(weights, **{name: value.numpy() for name, value in teacher.state_dict().items()})
    made, predictor = tmp_path / "c10.npz", tmp_path / "predictor.npz"
    embedding = ["embed", "--task", "cifar10", "--teacher", str(weights), "--accuracy", "91"]
    assert main([*embedding, "--cells", "12", "--output", str(made)]) == 0
    training = ["train", "--tasks", str(made), "--validation", str(made), "--episodes", "20"]
    assert main([*training, "--output", str(predictor)]) == 0
    assert "on 12 students that were not trained on" in capsys.readouterr().out
    run = nk.search(DaSS(made, predictor, "none@200"), task="cifar10", budget="3 evaluations")
    assert run.ending == "budget", run.reason
    assert main([*training, "--fidelity", "nst@9", "--output", str(predictor)]) == 2
    assert "no entries at the fidelity 'nst@9'" in capsys.readouterr().err


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
    return DaSS(str(Path(files().name) / "c10.npz"), str(Path(files().name) / "predictor.npz"), "nst@12")


class TestDaSS(OptimizerContract):
    make = staticmethod(make_dass)
    fidelities = ("nst@12",)
