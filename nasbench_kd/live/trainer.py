"""Trains one cell at one fidelity by the NAS-Bench-201 recipe, epoch by epoch, pausable."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from nasbench_kd.fidelity import Fidelity
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.images import ImageTask, subset_order
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.proxies import TeacherCache, cached_loss
from nasbench_kd.space import Cell

LEARNING_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
VALID_BATCH = 500


@dataclass
class Curve:
    """What a training has shown so far, one entry for each epoch done."""

    valid_correct: list[int] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)
    valid_seconds: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    diverged: bool = False


class Workbench:
    """All that trainings of one task at one image size share: images on the device, teacher outputs."""

    def __init__(
        self,
        task: ImageTask,
        fidelity: Fidelity,
        *,
        valid_images: int | None = None,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | None = None,
        cache: TeacherCache | None = None,
    ) -> None:
        self.task = task
        self.dtype = dtype
        self.device = device or torch.device("cpu")
        self.size = fidelity.image_size or task.side
        self.augment = fidelity.train_images is None
        rows = slice(None) if self.augment else subset_order(len(task.train_labels))[: fidelity.train_images]
        held = subset_order(len(task.valid_labels))[:valid_images]
        options = {"size": self.size, "dtype": dtype, "device": self.device}
        self.train_rows = rows
        padding = task.statistics.padding * self.size // task.side if self.augment else 0
        self.train = DeviceImages(
            task.train_images[rows], task.train_labels[rows], task.statistics, padding=padding, **options
        )
        self.valid = DeviceImages(
            task.valid_images[held], task.valid_labels[held], task.statistics, **options
        )
        self.cache = cache
        self.teacher_record: dict[str, Any] | None = None


def read_clock(device: torch.device) -> float:
    """Seconds: of this process's processor time on a CPU, of wall time after synchronisation on a GPU."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


class Training:
    """One training of a cell; `run_epoch` until `done`."""

    def __init__(self, bench: Workbench, cell: Cell, fidelity: Fidelity, seed: int) -> None:
        self.bench = bench
        self.fidelity = fidelity
        self.names = () if fidelity.distillation == "none" else tuple(fidelity.distillation.split("+"))
        network = seeded_network(
            cell,
            bench.task.statistics.classes,
            seed=seed,
            channels=fidelity.channels,
            cells_per_stage=fidelity.cells_per_stage,
        )
        self.engine = Engine(network, bench.dtype, bench.device)
        self.optimizer = torch.optim.SGD(
            self.engine.parameters,
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
        """Whether the last epoch of the fidelity is behind."""
        return len(self.curve.valid_correct) >= self.fidelity.epochs or self.curve.diverged

    def run_epoch(self) -> None:
        """Train one epoch and validate."""
        epoch = len(self.curve.valid_correct)
        rate = LEARNING_RATE / 2 * (1 + math.cos(math.pi * epoch / self.fidelity.schedule_epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        start = read_clock(self.bench.device)
        loss = self._train()
        middle = read_clock(self.bench.device)
        self.curve.valid_correct.append(self.validate())
        self.curve.train_seconds.append(middle - start)
        self.curve.valid_seconds.append(read_clock(self.bench.device) - middle)
        self.curve.train_loss.append(loss)
        self.curve.diverged = not math.isfinite(loss)

    def _train(self) -> float:
        train, cache = self.bench.train, self.bench.cache if self.names else None
        order = torch.randperm(len(train), generator=self.generator).to(self.bench.device)
        total = torch.zeros((), device=self.bench.device)
        for rows in order.split(self.fidelity.batch_size):
            images = train.augmented_batch(rows, self.generator) if self.bench.augment else train.batch(rows)
            outputs = self.engine.train_forward(images)
            loss = cached_loss(self.names, outputs, train.labels.index_select(0, rows), cache, rows)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
        return float(total) / len(train)

    def validate(self) -> int:
        """Correctly classified validation images."""
        valid = self.bench.valid
        infer = self.engine.compile_inference()
        correct = torch.zeros((), dtype=torch.long, device=self.bench.device)
        for rows in torch.arange(len(valid), device=self.bench.device).split(VALID_BATCH):
            correct += (infer(valid.batch(rows)).logits.argmax(1) == valid.labels[rows]).sum()
        return int(correct)
