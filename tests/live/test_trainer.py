"""The trainer follows the recipe, repeats itself, pauses, and records divergence."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nasbench_kd.errors import DeviceMemoryError
from nasbench_kd.live import trainer as trainer_module
from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.teacher import RESNET_CELL, matched_maps
from nasbench_kd.live.trainer import Training
from nasbench_kd.live.workbench import Workbench
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity

CELL = Cell.from_index(11)
SMALL = "batch=32 channels=4 cells=1"


def bench(task, fidelity, teacher=None, dtype=torch.float32):
    return Workbench(task, Fidelity.parse(fidelity), dtype=dtype, teacher=teacher)


def run(workbench, fidelity, seed=777, cell=CELL):
    training = Training(workbench, cell, Fidelity.parse(fidelity), seed)
    while not training.done:
        training.run_epoch()
    return training


def test_learns_the_tiny_task(tiny_task):
    fidelity = f"none@6 images=96 {SMALL}"
    curve = run(bench(tiny_task, fidelity), fidelity).curve
    assert len(curve.valid_correct) == len(curve.train_seconds) == len(curve.valid_seconds) == 6
    assert curve.valid_correct[-1] >= 32
    assert min(curve.train_seconds) > 0


def test_two_epochs_equal_a_plain_reimplementation_of_the_recipe(tiny_task):
    """Plain network, plain SGD, cosine per epoch, last batch smaller, unaugmented, in the same order."""
    fidelity = "none@2 images=70 batch=32 channels=4 cells=1"
    workbench = bench(tiny_task, fidelity)
    training = run(workbench, fidelity, seed=5)
    network = seeded_network(CELL, 4, seed=5, channels=4, cells_per_stage=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(5)
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * epoch / 2))
        order, losses = torch.randperm(70, generator=generator), []
        assert [len(rows) for rows in order.split(32)] == [32, 32, 6]
        for rows in order.split(32):
            loss = F.cross_entropy(network(workbench.train.batch(rows)).logits, workbench.train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item() * len(rows))
        assert training.curve.train_loss[epoch] == pytest.approx(sum(losses) / 70, rel=1e-3)
    network.eval()
    with torch.no_grad():
        predicted = network(workbench.valid.batch(torch.arange(40))).logits.argmax(1)
    correct = int((predicted == workbench.valid.labels).sum())
    assert abs(training.curve.valid_correct[-1] - correct) <= 1


@pytest.mark.parametrize(
    "fidelity",
    [
        f"none@2 images=64 {SMALL}",
        f"none@2 {SMALL}",
        f"kd+nst@2 images=64 {SMALL}",
        f"kd+nst@2 {SMALL}",
        f"nst@2 images=64 size=4 {SMALL}",
        f"at+sp@2 images=64 {SMALL}",
        f"pkt+rkd@2 {SMALL}",
        "vid@2 images=64 batch=32 channels=4 cells=2",
    ],
)
def test_a_seed_gives_one_curve_and_a_pause_changes_nothing(tiny_task, tiny_teacher, fidelity):
    workbench = bench(tiny_task, fidelity, tiny_teacher)
    whole = run(workbench, fidelity)
    paused = Training(workbench, CELL, Fidelity.parse(fidelity), 777)
    paused.run_epoch()
    kept = io.BytesIO()
    torch.save(paused.state(), kept)
    kept.seek(0)
    resumed = Training(workbench, CELL, Fidelity.parse(fidelity), 777)
    resumed.restore(torch.load(kept, weights_only=True))
    resumed.run_epoch()
    assert resumed.done
    assert resumed.curve.valid_correct == whole.curve.valid_correct
    assert resumed.curve.train_loss == whole.curve.train_loss
    assert run(workbench, fidelity, seed=778).curve.train_loss != whole.curve.train_loss


def independent_readings(network, teacher, distillation, images, labels, batch):
    """Means over images, in float64, of cross-entropy, each term alone and correct answers."""
    totals = dict.fromkeys(["correct", "ce", *distillation.names], 0.0)
    for rows in torch.arange(len(labels)).split(batch):
        student, outputs = network(images[rows]), teacher(images[rows])
        maps = [matched_maps(each, positions=False).maps for each in (student, outputs)]
        logs = torch.log_softmax(student.logits.double(), 1)
        totals["correct"] += int((student.logits.argmax(1) == labels[rows]).sum())
        totals["ce"] -= float(logs[torch.arange(len(rows)), labels[rows]].sum())
        if "kd" in totals:
            target = torch.softmax(outputs.logits.double() / 4, 1)
            own = torch.log_softmax(student.logits.double() / 4, 1)
            totals["kd"] += 16 * float((target * (target.log() - own)).sum())
        for mine, theirs in zip(*maps, strict=True) if "nst" in totals else ():
            mine, theirs = (F.normalize(each.double().flatten(2), dim=2) for each in (mine, theirs))
            same, cross = mine @ mine.mT, mine @ theirs.mT
            totals["nst"] += float((same.square().mean() - 2 * cross.square().mean()) * len(rows))
    return {name: total if name == "correct" else total / len(labels) for name, total in totals.items()}


@pytest.mark.parametrize("distillation", ["none", "kd", "nst", "kd+nst"])
def test_an_epoch_is_read_by_its_losses_and_accuracies(tiny_task, tiny_teacher, distillation, monkeypatch):
    """Against an independent computation in float64, with weights that do not move in training."""
    monkeypatch.setattr(trainer_module, "LEARNING_RATE", 0.0)
    fidelity = f"{distillation}@1 images=70 batch=70 channels=4 cells=1"
    training = Training(bench(tiny_task, fidelity, tiny_teacher), CELL, Fidelity.parse(fidelity), 3)
    network = seeded_network(CELL, 4, seed=3, channels=4, cells_per_stage=1)
    training.run_epoch()
    workbench, read = training.workbench, training.curve.readings
    loss, train, held = training.distillation, workbench.train, workbench.valid
    with torch.no_grad():
        expected = independent_readings(
            network, tiny_teacher, loss, train.batch(torch.arange(70)), train.labels, 70
        )
    network.load_state_dict(training.engine.state_dict())
    with torch.no_grad():
        valid = independent_readings(
            network.eval(), tiny_teacher, loss, held.batch(torch.arange(40)), held.labels, 40
        )
    names = {"none": {}, "kd": {"kd": ""}, "nst": {"nst": ""}, "kd+nst": {"kd": "_kd", "nst": "_nst"}}[
        distillation
    ]
    weights = {"ce": 0.1 if "kd" in names else 1.0, "kd": 0.9, "nst": 25.0}
    for split, values in (("train", expected), ("valid", valid)):
        assert read[f"{split}_cross_entropy"] == pytest.approx([values["ce"]], rel=1e-4)
        for name, suffix in names.items():
            assert read[f"{split}_distillation{suffix}"] == pytest.approx([values[name]], rel=1e-3, abs=1e-5)
        whole = sum(weights[name] * value for name, value in values.items() if name != "correct")
        assert read[f"{split}_loss"] == pytest.approx([whole], rel=1e-3, abs=1e-4)
    assert read["train_accuracy"] == [expected["correct"]]
    assert training.curve.valid_correct == [valid["correct"]]
    assert set(read) == set(training.readings)
    assert training.readings["train_accuracy"] == 70
    assert training.readings["train_loss"] is None


def test_without_validation_a_training_is_the_same_and_has_its_train_readings(tiny_task, tiny_teacher):
    fidelity = Fidelity.parse(f"nst@2 images=64 {SMALL}")
    workbench = bench(tiny_task, str(fidelity), tiny_teacher)
    whole = run(workbench, str(fidelity))
    blind = Training(workbench, CELL, fidelity, 777, validate=False)
    while not blind.done:
        blind.run_epoch()
    assert blind.curve.valid_correct == []
    assert set(blind.curve.readings) == {
        signal for signal in whole.curve.readings if signal.startswith("train_")
    }
    assert all(
        blind.curve.readings[signal] == whole.curve.readings[signal] for signal in blind.curve.readings
    )


def test_cached_and_fresh_teacher_outputs_give_the_same_training(tiny_task, tiny_teacher):
    """kd+nst read a cache; with rkd added at no weight, the teacher is run afresh on the same images."""
    fidelity = f"kd+nst@1 images=64 {SMALL}"
    workbench = bench(tiny_task, fidelity, tiny_teacher)
    rows = torch.tensor([3, 0, 17])
    images = workbench.train.batch(rows)
    student = tiny_teacher(images)
    cached = workbench.teach(("kd", "nst"), rows, images, student)
    fresh = workbench.teach(("at",), rows, images, student)
    assert cached.normalised
    assert not fresh.normalised
    torch.testing.assert_close(cached.logits, fresh.logits, rtol=1e-4, atol=1e-5)
    for kept, features in zip(cached.maps, fresh.maps, strict=True):
        torch.testing.assert_close(kept, F.normalize(features.flatten(2), dim=2), rtol=1e-3, atol=1e-5)


def test_all_positions_are_matched_with_augmentation_and_the_stage_ends_without(tiny_task, tiny_teacher):
    for fidelity, count in ((f"nst@1 {SMALL}", 5), (f"nst@1 images=64 {SMALL}", 3)):
        workbench = bench(tiny_task, fidelity, tiny_teacher)
        rows = torch.arange(4)
        images = workbench.train.batch(rows)
        student = tiny_teacher(images)
        teacher = workbench.teach(("nst",), rows, images, student)
        assert len(teacher.maps) == len(workbench.match(student, teacher).maps) == count


def test_the_full_network_is_matched_at_the_positions_of_mf_kds_mask(tiny_task, tiny_teacher):
    # The authors' mask over features 1 to 18; the stem is feature 0, and the last kept one is dropped.
    mask = "001101001101000000"
    kept = [position for position, digit in enumerate(mask) if digit == "1"][:-1]
    maps = [torch.full((1, 1, 1, 1), float(position)) for position in range(-1, 17)]
    chosen = matched_maps(Outputs(maps, torch.zeros(1, 1), torch.zeros(1, 4)), positions=True).maps
    assert [int(value) for value in chosen] == kept == [2, 3, 5, 8, 9]
    workbench = bench(tiny_task, f"nst@1 {SMALL}", tiny_teacher)
    student = Outputs(maps, torch.zeros(1, 1), torch.zeros(1, 4))
    assert len(workbench.match(student, student._replace(maps=chosen)).maps) == 5
    assert len(workbench.match(student, student._replace(maps=chosen[:3])).maps) == 3


def test_divergence_is_an_outcome(tiny_task, monkeypatch):
    monkeypatch.setattr(trainer_module, "LEARNING_RATE", 1e30)
    fidelity = f"none@5 images=96 {SMALL}"
    training = run(bench(tiny_task, fidelity), fidelity)
    assert training.curve.diverged
    assert len(training.curve.valid_correct) < 5


def test_out_of_memory_says_what_to_lower(tiny_task, monkeypatch):
    fidelity = f"none@1 images=96 {SMALL}"
    training = Training(bench(tiny_task, fidelity), CELL, Fidelity.parse(fidelity), 0)

    def fail(images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training.engine, "train_forward", fail)
    with pytest.raises(DeviceMemoryError, match=r"lower batch=32.*channels=4.*cells=1"):
        training.run_epoch()


def test_the_subset_is_the_same_for_all_and_grows_by_appending(tiny_task):
    small = bench(tiny_task, f"none@1 images=20 {SMALL}").train.labels
    large = bench(tiny_task, f"none@1 images=50 {SMALL}").train.labels
    assert torch.equal(small, large[:20])
    assert len(np.unique(large.numpy())) == 4


def test_the_resnet_cell_is_the_authors_teacher():
    assert RESNET_CELL.operations == (
        "nor_conv_3x3",
        "none",
        "nor_conv_3x3",
        "skip_connect",
        "none",
        "skip_connect",
    )
