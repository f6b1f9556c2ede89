"""Trains a teacher by the full recipe, resumable after every epoch, and keeps what it cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nasbench_kd.errors import DataError
from nasbench_kd.live.checkpoints import read_checkpoint, write_checkpoint
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.store import TrainingJob
from nasbench_kd.live.teacher import RESNET_CELL, write_weights
from nasbench_kd.live.trainer import Curve
from nasbench_kd.spaces.nasbench201 import Cell


def train_teacher(
    laboratory: Laboratory,
    task: str,
    path: Path,
    *,
    cell: Cell = RESNET_CELL,
    epochs: int = 200,
    seed: int = 777,
    after_epoch: Callable[[Curve], None] | None = None,
) -> Curve:
    """Train the full network of `cell` (C=16, N=5) without distillation and write its weights to `path`.

    A checkpoint beside `path` is kept after every epoch, and the training goes on from it when called
    again. Raises `DataError` where the training diverges, and where the checkpoint is damaged or of another one.
    """
    job = laboratory.in_setup(TrainingJob(task, f"none@{epochs}", seed, cell.index))
    training = laboratory.training(job)
    checkpoint = path.with_suffix(".checkpoint")
    if state := read_checkpoint(checkpoint):
        if state.get("job") != list(job.key()):
            raise DataError(
                f"{checkpoint} is of another training (schedule, seed, cell, images or precision) than the {epochs} "
                f"epochs with seed {seed} that are asked for; remove it to start anew, or ask for that one"
            )
        training.restore(state)
    while not training.done:
        training.run_epoch()
        write_checkpoint(checkpoint, {**training.state(), "job": list(job.key())})
        if after_epoch is not None:
            after_epoch(training.curve)
    if training.curve.diverged:
        raise DataError(f"the training of the teacher for {task} diverged; use another seed than {seed}")
    seconds = sum(training.curve.train_seconds)
    write_weights(path, cell, training.engine.state_dict(), seconds)
    checkpoint.unlink(missing_ok=True)
    return training.curve
