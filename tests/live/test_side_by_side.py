"""Students side by side learn what each learns alone."""

from __future__ import annotations

import math

import pytest
import torch

from nasbench_kd.errors import DistillationError, FidelityError
from nasbench_kd.live import trainer
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.distillation import Distillation
from nasbench_kd.live.distillation.batched import BATCHED, BatchedDistillation
from nasbench_kd.live.distillation.outputs import BatchOutputs, Outputs
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.side_by_side import Lessons, SideBySide, TeacherOutputs
from nasbench_kd.live.student_batch import StudentBatch
from nasbench_kd.live.teacher import RESNET_CELL
from nasbench_kd.live.workbench import Workbench
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity

CELLS = [
    Cell.parse(string)
    for string in (
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|none~0|none~1|none~2|",
        "|none~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
        "|avg_pool_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|avg_pool_3x3~2|",
        "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|",
    )
]
"""Nothing at all, an output that nothing reaches, constants, identities, pooling, 1 x 1, 3 x 3, mixed."""
SMALL = "images=70 batch=32 channels=4 cells=2"


def teacher(dtype):
    network = seeded_network(RESNET_CELL, 4, seed=1, channels=16, cells_per_stage=1)
    return Engine(
        network.to(torch.promote_types(dtype, torch.float32)), dtype, torch.device("cpu")
    ).compile_inference()


def benches(task, teacher, fidelity, dtype=torch.float32):
    bench = Workbench(task, fidelity, dtype=dtype, teacher=teacher)
    lessons = Lessons(TeacherOutputs(teacher, bench.train), TeacherOutputs(teacher, bench.valid))
    return bench, lessons


@pytest.mark.parametrize("cells_per_stage", [1, 2])
def test_initial_weights_are_those_of_each_network(cells_per_stage):
    batch = StudentBatch(CELLS, 10, seed=7, channels=4, cells_per_stage=cells_per_stage)
    for student, cell in enumerate(CELLS):
        alone = seeded_network(cell, 10, seed=7, channels=4, cells_per_stage=cells_per_stage).state_dict()
        state = batch.state_dict(student)
        assert {"stem.0.weight", "classifier.bias"} <= set(state)
        for name, value in state.items():
            assert torch.equal(value, alone[name]), f"{cell} {name}"


@pytest.mark.parametrize("distillation", ["none", "kd+nst", "kd+at", "pkt+sp"])
def test_two_epochs_equal_those_of_each_student_alone(tiny_task, monkeypatch, distillation):
    """Losses, correct answers and weights in double precision; the last batch of an epoch is smaller."""
    fidelity = Fidelity.parse(f"{distillation}@2 {SMALL}")
    monkeypatch.setattr(
        trainer, "seeded_network", lambda *shape, **more: seeded_network(*shape, **more).double()
    )
    bench, lessons = benches(tiny_task, teacher(torch.float64), fidelity, torch.float64)
    together = SideBySide(bench, CELLS, fidelity, seed=5, lessons=lessons)
    while not together.done:
        together.run_epoch()
    curves = together.curves
    assert not curves.diverged.any()
    for student, cell in enumerate(CELLS):
        alone = trainer.Training(bench, cell, fidelity, seed=5)
        while not alone.done:
            alone.run_epoch()
        for epoch in range(2):
            loss = curves.train_loss[epoch][student].item()
            assert loss == pytest.approx(alone.curve.train_loss[epoch], rel=1e-5), str(cell)
            assert int(curves.valid_correct[epoch][student]) == alone.curve.valid_correct[epoch]
        state, only_zeros = alone.engine.state_dict(), "layers.2" if "none~0|+" in str(cell) else "no such"
        for name, value in together.students.state_dict(student).items():
            if "running" not in name or only_zeros not in name:
                expected = state[name].to(value)
                torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6, msg=f"{cell} {name}")


def test_first_epoch_agrees_in_single_precision(tiny_task, tiny_teacher):
    """Up to what rounding has grown to in two steps."""
    fidelity = Fidelity.parse("kd+nst@1 images=64 batch=32 channels=4 cells=1")
    bench, lessons = benches(tiny_task, tiny_teacher, fidelity)
    together = SideBySide(bench, CELLS, fidelity, seed=5, lessons=lessons)
    together.run_epoch()
    for student, cell in enumerate(CELLS):
        alone = trainer.Training(bench, cell, fidelity, seed=5)
        alone.run_epoch()
        loss = together.curves.train_loss[0][student].item()
        assert loss == pytest.approx(alone.curve.train_loss[0], rel=1e-4), str(cell)
        assert abs(int(together.curves.valid_correct[0][student]) - alone.curve.valid_correct[0]) <= 1


def test_half_precision_trains(tiny_task):
    """Activations in bfloat16 change the first losses a little, and the parameters stay float32."""
    fidelity = Fidelity.parse("nst@1 images=32 batch=32 channels=4 cells=1")
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        bench, lessons = benches(tiny_task, teacher(dtype), fidelity, dtype)
        together = SideBySide(bench, CELLS, fidelity, seed=5, lessons=lessons)
        together.run_epoch()
        losses.append(together.curves.train_loss[0])
        assert {value.dtype for value in together.students.parameters} == {torch.float32}
    torch.testing.assert_close(losses[1], losses[0], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", BATCHED)
def test_losses_and_gradients_equal_those_of_one_student(name):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float32)

    maps = [draw(3, 4, 6, 8, 8), draw(3, 8, 6, 4, 4), draw(3, 16, 6, 2, 2)]
    maps[0][0, 1] = 0
    student = BatchOutputs(
        tuple(features.requires_grad_() for features in maps),
        draw(3, 6, 12).requires_grad_(),
        draw(3, 6, 5).requires_grad_(),
    )
    teacher = Outputs([draw(6, 6, 16, 16), draw(6, 8, 8, 8), draw(6, 10, 4, 4)], draw(6, 12), draw(6, 5))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    total, parts = BatchedDistillation((name,))(student, teacher, labels)
    total.sum().backward()
    leaves = [*student.maps, student.pooled, student.logits]
    gradients = [leaf.grad for leaf in leaves]
    for i in range(3):
        rows = [leaf[i].detach().clone().requires_grad_() for leaf in leaves]
        own = Outputs([features.transpose(0, 1) for features in rows[:3]], rows[3], rows[4])
        loss, terms = Distillation((name,))(own, teacher, labels)
        loss.backward()
        assert total[i].item() == pytest.approx(loss.item(), rel=1e-5)
        assert set(parts) == set(terms)
        for ours, row in zip(gradients, rows, strict=True):
            if row.grad is not None:
                torch.testing.assert_close(
                    ours[i], row.grad, rtol=1e-4, atol=1e-5 * float(row.grad.abs().max())
                )


def test_readings_are_means_over_the_images(tiny_task, tiny_teacher):
    """The parts add up to the objective; what is counted is an accuracy."""
    fidelity = Fidelity.parse(f"kd+nst@1 {SMALL}")
    bench, lessons = benches(tiny_task, tiny_teacher, fidelity)
    together = SideBySide(bench, CELLS, fidelity, seed=5, lessons=lessons)
    together.run_epoch()
    curves = together.curves
    parts = curves.train_parts[0]
    whole = 0.1 * parts["ce"] + 0.9 * parts["kd"] + 25 * parts["nst"]
    torch.testing.assert_close(curves.train_loss[0], whole, rtol=1e-4, atol=1e-4)
    assert set(curves.valid_parts[0]) == {"ce", "kd", "nst"}
    assert int(curves.train_correct[0].max()) <= 70
    with torch.no_grad():
        outputs = together.students.forward(bench.valid.batch(torch.arange(40)), training=False)
        _, expected = together.distillation(outputs, lessons.valid(torch.arange(40)), bench.valid.labels)
    for name, value in curves.valid_parts[0].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    correct = (outputs.logits.argmax(2) == bench.valid.labels).sum(1)
    assert (curves.valid_correct[0] - correct).abs().max() <= 1


def test_a_student_that_diverges_disturbs_no_other(tiny_task, tiny_teacher):
    fidelity = Fidelity.parse(f"nst@2 {SMALL}")
    bench, lessons = benches(tiny_task, tiny_teacher, fidelity)
    plain = SideBySide(bench, CELLS, fidelity, seed=5, lessons=lessons)
    broken = SideBySide(bench, CELLS, fidelity, seed=5, lessons=lessons)
    with torch.no_grad():
        for weight in broken.students.parameters[:1]:
            weight[3] = math.nan
    while not plain.done:
        plain.run_epoch()
        broken.run_epoch()
    assert broken.curves.diverged.tolist() == [i == 3 for i in range(len(CELLS))]
    others = [i for i in range(len(CELLS)) if i != 3]
    for ours, theirs in zip(broken.curves.train_loss, plain.curves.train_loss, strict=True):
        torch.testing.assert_close(ours[others], theirs[others], rtol=1e-6, atol=1e-6)


def test_shuffled_lessons_are_those_of_other_images(tiny_task, tiny_teacher):
    fidelity = Fidelity.parse(f"nst@1 {SMALL}")
    bench, lessons = benches(tiny_task, tiny_teacher, fidelity)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    shuffled = TeacherOutputs(tiny_teacher, bench.train, order)
    rows = torch.tensor([3, 5])
    torch.testing.assert_close(shuffled(rows).maps[2], lessons.train(order[rows]).maps[2])
    assert isinstance(bench.train, DeviceImages)


def test_what_cannot_be_done_side_by_side_is_refused(tiny_task, tiny_teacher):
    bench = Workbench(tiny_task, Fidelity.parse("none@1"), dtype=torch.float32)
    with pytest.raises(FidelityError, match="augments its images"):
        SideBySide(bench, CELLS, Fidelity.parse("none@1 batch=32"), seed=0)
    fidelity = Fidelity.parse(f"hint@1 {SMALL}")
    bench, lessons = benches(tiny_task, tiny_teacher, fidelity)
    with pytest.raises(DistillationError, match="one student after the other"):
        SideBySide(bench, CELLS, fidelity, seed=0, lessons=lessons)
