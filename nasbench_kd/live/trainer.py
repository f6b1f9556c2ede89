"""Trains one cell at one fidelity by the NAS-Bench-201 recipe, epoch by epoch, pausable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from nasbench_kd.errors import DeviceMemoryError
from nasbench_kd.live.distillation import Distillation
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.workbench import Workbench, read_clock
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity

LEARNING_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
_VALID_BATCH = 500


@dataclass
class Curve:
    """What a training has shown so far, one item for each epoch done."""

    valid_correct: list[int] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    valid_seconds: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    diverged: bool = False


class Training:
    """One training of a cell: call `run_epoch` until `done`; deterministic for a seed on one device.

    Recipe (NAS-Bench-201, section 2.3): SGD with Nesterov momentum 0.9, learning rate 0.1 set once an
    epoch by a cosine over `schedule_epochs`, weight decay 5e-4 on every parameter, shuffled batches of
    which the last may be smaller, validation after each epoch.

    Args:
        workbench: images and teacher; made for a fidelity of the same images and image size.
        seed: of initialisation, order of images, augmentation and learned parts of the loss.
    """

    def __init__(self, workbench: Workbench, cell: Cell, fidelity: Fidelity, seed: int) -> None:
        self.workbench = workbench
        self.fidelity = fidelity
        network = seeded_network(
            cell,
            workbench.task.statistics.classes,
            seed=seed,
            channels=fidelity.channels,
            cells_per_stage=fidelity.cells_per_stage,
        )
        self.engine = Engine(network, workbench.dtype, workbench.device)
        self.distillation = Distillation.parse(fidelity.distillation)
        self._prepare_distillation(seed)
        self.optimizer = torch.optim.SGD(
            [*self.engine.parameters, *self.distillation.parameters()],
            lr=LEARNING_RATE,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.curve = Curve()

    @property
    def done(self) -> bool:
        """Whether the last epoch of the fidelity is behind, or the training has diverged."""
        return len(self.curve.valid_correct) >= self.fidelity.epochs or self.curve.diverged

    def run_epoch(self) -> None:
        """Train one epoch and validate.

        A loss that is not finite ends the training as diverged: an outcome, not an error. Raises
        `DeviceMemoryError` where the device is too small.
        """
        epoch, device = len(self.curve.valid_correct), self.workbench.device
        rate = LEARNING_RATE / 2 * (1 + math.cos(math.pi * epoch / self.fidelity.schedule_epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with _explained(self.fidelity), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            start = read_clock(device)
            loss = self._train()
            middle = read_clock(device)
            correct = self.validate()
            end = read_clock(device)
        curve = self.curve
        curve.valid_correct.append(correct)
        curve.train_seconds.append(middle - start)
        curve.valid_seconds.append(end - middle)
        curve.train_loss.append(loss)
        curve.diverged = not math.isfinite(loss)

    def validate(self) -> int:
        """Validation images that the network classifies correctly as it is now."""
        valid, infer = self.workbench.valid, self.engine.compile_inference()
        correct = torch.zeros((), dtype=torch.long, device=self.workbench.device)
        for rows in torch.split(torch.arange(len(valid), device=self.workbench.device), _VALID_BATCH):
            correct += (infer(valid.batch(rows)).logits.argmax(1) == valid.labels[rows]).sum()
        return int(correct)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on later or elsewhere; `torch.save` keeps it."""
        return {
            "engine": self.engine.state(),
            "distillation": self.distillation.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "curve": asdict(self.curve),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` of a training of the same cell, fidelity and seed, as if never paused."""
        self.engine.restore(state["engine"])
        self.distillation.load_state_dict(state["distillation"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.curve = Curve(**state["curve"])

    def _train(self) -> float:
        bench = self.workbench
        order = torch.randperm(len(bench.train), generator=self.generator).to(bench.device)
        total = torch.zeros((), device=bench.device)
        for rows in torch.split(order, self.fidelity.batch_size):
            loss = self._loss(rows, self._images(rows))
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
            total += loss.detach() * len(rows)
        return float(total) / len(bench.train)

    def _images(self, rows: Tensor) -> Tensor:
        bench = self.workbench
        return bench.train.augmented_batch(rows, self.generator) if bench.augment else bench.train.batch(rows)

    def _loss(self, rows: Tensor, images: Tensor) -> Tensor:
        bench, names = self.workbench, self.distillation.names
        student = self.engine.train_forward(images)
        teacher = None
        if names:
            teacher = bench.teach(names, rows, images, student)
            student = bench.match(student, teacher)
        labels = bench.train.labels.index_select(0, rows)
        loss, _ = self.distillation.forward(student, teacher, labels)
        return loss

    def _prepare_distillation(self, seed: int) -> None:
        names, bench = self.distillation.names, self.workbench
        if not names:
            return
        rows = torch.arange(2, device=bench.device)
        images = bench.train.batch(rows)
        student = self.engine.compile_inference()(images)
        teacher = bench.teach(names, rows, images, student)
        self.distillation.prepare(bench.match(student, teacher), teacher, seed)


@contextmanager
def _explained(fidelity: Fidelity) -> Iterator[None]:
    """Turn the device's out-of-memory errors into one that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise DeviceMemoryError(
                f"the device has too little memory for {fidelity}: lower batch={fidelity.batch_size}, "
                f"size={fidelity.image_size or 'the full size'}, channels={fidelity.channels} or "
                f"cells={fidelity.cells_per_stage}, or name fewer images="
            ) from error
        raise
