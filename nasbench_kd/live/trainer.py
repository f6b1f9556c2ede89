"""Trains one cell at one fidelity by the NAS-Bench-201 recipe, epoch by epoch, pausable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from nasbench_kd.errors import DataError, DeviceMemoryError
from nasbench_kd.live.distillation import Distillation
from nasbench_kd.live.distillation.objective import WEIGHTS
from nasbench_kd.live.distillation.outputs import Outputs
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

    train_seconds: list[float] = field(default_factory=list)
    valid_seconds: list[float] = field(default_factory=list)
    valid_correct: list[int] = field(default_factory=list)
    """Validation images classified correctly; empty where validation is not run."""
    readings: dict[str, list[float]] = field(default_factory=dict)
    """Further readings by the name of their signal, accuracies as counts (see `Training.readings`)."""
    diverged: bool = False

    @property
    def epochs(self) -> int:
        """Epochs done, the one that diverged among them."""
        return len(self.train_seconds)

    @property
    def train_loss(self) -> list[float]:
        """Mean of the whole objective over the images of each epoch, while the weights moved."""
        return self.readings["train_loss"]


class Training:
    """One training of a cell: call `run_epoch` until `done`; deterministic for a seed on one device.

    Recipe (NAS-Bench-201, section 2.3): SGD with Nesterov momentum 0.9, learning rate 0.1 set once an
    epoch by a cosine over `schedule_epochs`, weight decay 5e-4 on every parameter, shuffled batches of
    which the last may be smaller, validation after each epoch.

    Args:
        workbench: images and teacher; made for a fidelity of the same images and image size.
        seed: of initialisation, order of images, augmentation and learned parts of the loss.
        validate: whether validation is run after each epoch; without it a training is cheaper and has no
            reading of validation images.
    """

    def __init__(
        self, workbench: Workbench, cell: Cell, fidelity: Fidelity, seed: int, *, validate: bool = True
    ) -> None:
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
        self.validates = validate
        self.curve = Curve()

    @property
    def readings(self) -> dict[str, int | None]:
        """What an epoch is read by besides its validation accuracy: the images behind a count, or None.

        Losses are means over images: of the whole objective (`train_loss`), of its cross-entropy
        (`train_cross_entropy`), and of each distillation term alone, unweighted (`train_distillation`; where there
        are several, `train_distillation_kd` and so on). Train readings are taken while the weights move, `valid_`
        ones of the network at the epoch's end.
        """
        read: dict[str, int | None] = {"train_accuracy": len(self.workbench.train), "train_loss": None}
        read |= dict.fromkeys(self._terms("train").values())
        if self.validates:
            read |= dict.fromkeys(["valid_loss", *self._terms("valid").values()])
        return read

    def _terms(self, split: str) -> dict[str, str]:
        """Terms of the objective and the signals that they are read as."""
        names = self.distillation.names
        signals = {"ce": f"{split}_cross_entropy"}
        for name in names:
            signals[name] = f"{split}_distillation" + (f"_{name}" if len(names) > 1 else "")
        return signals

    @property
    def done(self) -> bool:
        """Whether the last epoch of the fidelity is behind, or the training has diverged."""
        return self.curve.epochs >= self.fidelity.epochs or self.curve.diverged

    def run_epoch(self) -> None:
        """Train one epoch and validate.

        A loss that is not finite ends the training as diverged: an outcome, not an error. Raises
        `DeviceMemoryError` where the device is too small.
        """
        epoch, device = self.curve.epochs, self.workbench.device
        rate = LEARNING_RATE / 2 * (1 + math.cos(math.pi * epoch / self.fidelity.schedule_epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with _explained(self.fidelity), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            start = read_clock(device)
            trained = self._train()
            middle = read_clock(device)
            validated = self.validate() if self.validates else {}
            end = read_clock(device)
        curve = self.curve
        if self.validates:
            curve.valid_correct.append(int(validated.pop("valid_accuracy")))
        for signal, value in (trained | validated).items():
            curve.readings.setdefault(signal, []).append(value)
        curve.train_seconds.append(middle - start)
        curve.valid_seconds.append(end - middle)
        curve.diverged = not math.isfinite(trained["train_loss"])

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Readings of the network as it is now on the validation images; the accuracy as a count."""
        valid, infer = self.workbench.valid, self.engine.compile_inference()
        totals = _Totals(self._terms("valid"), "valid", self.workbench.device)
        for rows in torch.split(torch.arange(len(valid), device=self.workbench.device), _VALID_BATCH):
            student, labels = infer(valid.batch(rows)), valid.labels[rows]
            totals.add(student.logits, labels, *self._objective(student, rows, labels, validation=True))
        return totals.read()

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
        """Go on from `state` of a training of the same cell, fidelity and seed, as if never paused.

        Raises `DataError` where it does not fit.
        """
        try:
            self.engine.restore(state["engine"])
            self.distillation.load_state_dict(state["distillation"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])
            self.curve = Curve(**state["curve"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(
                f"the checkpoint of the training is damaged; remove it to start anew: {error!r}"
            ) from error

    def _train(self) -> dict[str, float]:
        bench = self.workbench
        order = torch.randperm(len(bench.train), generator=self.generator).to(bench.device)
        totals = _Totals(self._terms("train"), "train", bench.device)
        for rows in torch.split(order, self.fidelity.batch_size):
            images, labels = self._images(rows), bench.train.labels.index_select(0, rows)
            student = self.engine.train_forward(images)
            loss, terms = self._objective(student, rows, labels, images)
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
            totals.add(student.logits, labels, loss, terms)
        return totals.read()

    def _images(self, rows: Tensor) -> Tensor:
        bench = self.workbench
        return bench.train.augmented_batch(rows, self.generator) if bench.augment else bench.train.batch(rows)

    def _objective(
        self,
        student: Outputs,
        rows: Tensor,
        labels: Tensor,
        images: Tensor | None = None,
        *,
        validation: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective and its weighted terms for outputs on some rows of the training or validation images."""
        bench, names = self.workbench, self.distillation.names
        teacher = None
        if names:
            if validation:
                teacher = bench.teach_validation(names, rows, student)
            else:
                assert images is not None
                teacher = bench.teach(names, rows, images, student)
            student = bench.match(student, teacher)
        return self.distillation.forward(student, teacher, labels)

    def _prepare_distillation(self, seed: int) -> None:
        names, bench = self.distillation.names, self.workbench
        if not names:
            return
        rows = torch.arange(2, device=bench.device)
        images = bench.train.batch(rows)
        student = self.engine.compile_inference()(images)
        teacher = bench.teach(names, rows, images, student)
        self.distillation.prepare(bench.match(student, teacher), teacher, seed)


class _Totals:
    """Sums of the objective, its terms and the correct answers over batches, left on the device until read."""

    def __init__(self, signals: Mapping[str, str], split: str, device: torch.device) -> None:
        self._signals = signals
        self._split = split
        self._sums = torch.zeros(2 + len(signals), device=device)
        self._images = 0

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Count a batch: logits (B, classes), labels (B,), means over the batch."""
        correct = (logits.detach().argmax(1) == labels).sum()
        batch = torch.stack([loss, *(terms[name] for name in self._signals)]).detach() * len(labels)
        self._sums[0] += correct
        self._sums[1:] += batch
        self._images += len(labels)

    def read(self) -> dict[str, float]:
        """Correct answers, and means over images; terms are freed of their weights."""
        correct, loss, *terms = self._sums.tolist()
        found = {f"{self._split}_accuracy": int(correct), f"{self._split}_loss": loss / self._images}
        for (name, signal), total in zip(self._signals.items(), terms, strict=True):
            weight = 1 - WEIGHTS["kd"] if name == "ce" and "kd" in self._signals else WEIGHTS.get(name, 1.0)
            found[signal] = total / self._images / weight
        return found


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
