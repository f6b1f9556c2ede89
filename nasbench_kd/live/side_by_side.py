"""Trains many students of one fidelity side by side on one device, and reads more than their accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasbench_kd.errors import FidelityError
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.distillation import Distillation
from nasbench_kd.live.distillation.batched import BatchedDistillation
from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.distillation.precision import widen
from nasbench_kd.live.student_batch import StudentBatch
from nasbench_kd.live.teacher import Teacher, matched_maps
from nasbench_kd.live.trainer import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from nasbench_kd.live.workbench import Workbench, read_clock
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity


class TeacherOutputs:
    """A teacher's maps, pooled vectors and logits for all images of a set, in float32 or wider on the device.

    Args:
        teacher: run once over `images`, which are in full size.
        order: for a control, whose outputs each image gets instead of its own: a permutation (n,).
    """

    def __init__(self, teacher: Teacher, images: DeviceImages, order: Tensor | None = None) -> None:
        batches = []
        rows = torch.arange(len(images), device=images.labels.device)
        for part in torch.split(rows, 250):
            batches.append(matched_maps(teacher(images.batch(part)), positions=False))
        stages = zip(*(outputs.maps for outputs in batches), strict=True)
        self._maps = [widen(torch.cat(stage)) for stage in stages]
        self._pooled = widen(torch.cat([outputs.pooled for outputs in batches]))
        self._logits = widen(torch.cat([outputs.logits for outputs in batches]))
        self._order = None if order is None else order.to(rows.device)

    def __call__(self, rows: Tensor) -> Outputs:
        """The outputs for some images."""
        if self._order is not None:
            rows = self._order[rows]
        return Outputs(
            [stage.index_select(0, rows) for stage in self._maps],
            self._pooled.index_select(0, rows),
            self._logits.index_select(0, rows),
        )


@dataclass(frozen=True)
class Lessons:
    """What a teacher says of the training images, and of the validation images where that is read."""

    train: TeacherOutputs
    valid: TeacherOutputs | None = None


@dataclass
class BatchCurves:
    """What S trainings have shown so far: one (S,) tensor, on the CPU, for each epoch done.

    Train readings are means over the epoch's own batches, weighted by their sizes, while the weights move;
    validation readings are of the networks at the epoch's end.
    """

    train_loss: list[Tensor] = field(default_factory=list)
    """The whole objective."""
    train_parts: list[dict[str, Tensor]] = field(default_factory=list)
    """`ce` and the terms of the distillation, without their weights."""
    train_correct: list[Tensor] = field(default_factory=list)
    """Images classified correctly in the epoch's own batches."""
    valid_parts: list[dict[str, Tensor]] = field(default_factory=list)
    valid_correct: list[Tensor] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    """Of the whole batch of students."""
    valid_seconds: list[float] = field(default_factory=list)

    @property
    def diverged(self) -> Tensor:
        """Whether a student's loss has ever not been finite (S,)."""
        return ~torch.isfinite(torch.stack(self.train_loss)).all(0)


class SideBySide:
    """S trainings of one fidelity and seed that equal `trainer.Training` of each cell; call `run_epoch`.

    Students of one seed see the same images in the same order, as they do one after the other, so that
    the teacher is asked once for all.

    Args:
        bench: images of a fidelity that names its training images, so that none is augmented.
        lessons: what the teacher says, where the fidelity distils.

    Raises:
        FidelityError: the images are augmented.
        DistillationError: a term that cannot be computed side by side.
    """

    def __init__(
        self,
        bench: Workbench,
        cells: Sequence[Cell],
        fidelity: Fidelity,
        seed: int,
        lessons: Lessons | None = None,
    ) -> None:
        if bench.augment:
            raise FidelityError(
                f"{fidelity} augments its images, which is not done side by side; name images=N"
            )
        self.bench = bench
        self.fidelity = fidelity
        self.lessons = lessons
        self.distillation = BatchedDistillation(Distillation.parse(fidelity.distillation).names)
        if self.distillation.names and lessons is None:
            raise ValueError(f"{fidelity} needs what a teacher says")
        self.students = StudentBatch(
            cells,
            bench.task.statistics.classes,
            seed=seed,
            channels=fidelity.channels,
            cells_per_stage=fidelity.cells_per_stage,
            dtype=bench.dtype,
            device=bench.device,
        )
        self.optimizer = torch.optim.SGD(
            self.students.parameters,
            lr=LEARNING_RATE,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.curves = BatchCurves()

    @property
    def done(self) -> bool:
        """Whether the last epoch of the fidelity is behind."""
        return len(self.curves.train_loss) >= self.fidelity.epochs

    def run_epoch(self, validate: bool = True) -> None:
        """Train one epoch, then read the validation images if asked for."""
        curves, device = self.curves, self.bench.device
        share = len(curves.train_loss) / self.fidelity.schedule_epochs
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE / 2 * (1 + math.cos(math.pi * share))
        start = read_clock(device)
        order = torch.randperm(len(self.bench.train), generator=self.generator).to(device)
        parts, correct = self._pass(self.bench.train, order, training=True)
        curves.train_loss.append(parts.pop("loss"))
        curves.train_parts.append(parts)
        curves.train_correct.append(correct)
        middle = read_clock(device)
        curves.train_seconds.append(middle - start)
        if validate:
            order = torch.arange(len(self.bench.valid), device=device)
            with torch.no_grad():
                parts, correct = self._pass(self.bench.valid, order, training=False)
            del parts["loss"]
            curves.valid_parts.append(parts)
            curves.valid_correct.append(correct)
            curves.valid_seconds.append(read_clock(device) - middle)

    def _pass(self, images: DeviceImages, order: Tensor, training: bool) -> tuple[dict[str, Tensor], Tensor]:
        """One pass over images in batches: the mean of the loss and its parts, and the correct answers, (S,)."""
        totals: dict[str, Tensor] = {}
        correct: Tensor | int = 0
        lessons = self.lessons and (self.lessons.train if training else self.lessons.valid)
        for rows in torch.split(order, self.fidelity.batch_size):
            labels = images.labels.index_select(0, rows)
            student = self.students.forward(images.batch(rows), training)
            loss, parts = self.distillation(student, lessons(rows) if lessons else None, labels)
            if training:
                self.optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss.sum())
                self.optimizer.step()
            for name, value in {"loss": loss, **parts}.items():
                totals[name] = totals.get(name, 0) + value.detach() * len(rows)
            correct = correct + (student.logits.detach().argmax(2) == labels).sum(1)
        assert isinstance(correct, Tensor)
        return {name: (total / len(order)).cpu() for name, total in totals.items()}, correct.cpu()
