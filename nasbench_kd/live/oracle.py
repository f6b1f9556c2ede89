"""What a benchmark opened with `live=True` asks: trains missing entries, stores them, charges their time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import MissingEntryError, nearest
from nasbench_kd.live.clock import measure_clock
from nasbench_kd.live.fill import class_order
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.store import Finished, Reading, Store, TrainingJob
from nasbench_kd.live.teacher import TeacherFile
from nasbench_kd.spaces.nasbench201 import SPACE
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tables.catalog import user_folder
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.signals import ACCURACY, SUM_OF_LOSSES
from nasbench_kd.tasks.task import Task

LIVE_SEED = 777
"""Seed of a training that nobody named a seed for: the first of NAS-Bench-201's."""


def default_sources(images: Path | None = None, *, download: bool = False) -> Sources:
    """Images in a folder, else under `NASBENCH_KD_IMAGES`, else in the user folder; `teachers` beside them.

    A teacher is `teachers/TASK.npz`, as `nasbench-kd teacher train` leaves it. With `download`
    torchvision may fetch CIFAR into the folder.
    """
    images = images or Path(os.environ.get("NASBENCH_KD_IMAGES") or user_folder() / "images")
    teachers = {path.stem: TeacherFile(path) for path in sorted((images / "teachers").glob("*.npz"))}
    return Sources(images, images, teachers, download)


class LiveOracle:
    """Trains what a search asks for and the tables lack.

    Args:
        laboratory: where trainings run; made for the default sources and device when left out.
        database: where entries are kept, and found again by the next process.
    """

    def __init__(self, laboratory: Laboratory | None = None, database: Path | None = None) -> None:
        self._laboratory = laboratory or Laboratory(default_sources(), device=default_device())
        self._store = Store(database or user_folder() / "live.db")

    def evaluate(
        self,
        task: Task,
        cell: Architecture,
        fidelity: Fidelity,
        seed: int | None = None,
        signal: str = ACCURACY,
    ) -> Evaluation:
        """Train the whole curve of the fidelity with a seed, or find it stored in the same setup, and read its epoch.

        The seconds are those of the epochs that the fidelity names, on the table's clock; NaN
        records a divergence. Raises `DataError` where images or the teacher are absent, `FidelityError` where there
        can be no such training, `MissingEntryError` where the stored one has no reading of the signal, and where
        the task is none of NAS-Bench-201's.
        """
        if cell not in SPACE:
            raise MissingEntryError(
                f"live mode trains cells of {SPACE.name}; what the tables lack of {cell.space.name} stays unknown"
            )
        trained_on, curve = fidelity.trained_on or task.name, fidelity.curve.on(None)
        plain = TrainingJob(trained_on, str(curve), LIVE_SEED if seed is None else seed, cell.index)
        job = self._laboratory.in_setup(plain)
        entry = self._store.find(job)
        if entry is None:
            if self._laboratory.clock is None:
                self._laboratory.clock = self._measure_clock()
            entry = self._laboratory.train(job)
            self._store.finish(entry)
        return to_evaluation(entry, fidelity, signal)

    def _measure_clock(self) -> Mapping[str, Any]:
        laboratory = self._laboratory
        return measure_clock(class_order()[:5], device=laboratory.device, dtype=laboratory.dtype)


def to_evaluation(entry: Finished, fidelity: Fidelity, signal: str = ACCURACY) -> Evaluation:
    """Read one epoch of a stored training by a signal, its time on the table's clock.

    Raises `MissingEntryError` where the training has no such reading.
    """
    readings = dict(entry.readings)
    if entry.valid_images:
        readings[ACCURACY] = Reading(entry.valid_images, entry.valid_correct)
    read = readings.get("train_loss" if signal == SUM_OF_LOSSES else signal)
    if read is None:
        known = tuple(readings)
        raise MissingEntryError(
            f"no {signal} was recorded for cell {entry.job.cell} at {fidelity} on {entry.job.task}; there are "
            f"{', '.join(known)}.{nearest(signal, known)}"
        )
    last = fidelity.epochs - 1
    value = float("nan")
    if len(read.values) > last and not (entry.status == "diverged" and len(read.values) == fidelity.epochs):
        value = sum(read.values[: last + 1]) if signal == SUM_OF_LOSSES else read.values[last]
        value = value if read.images is None else 100 * value / read.images
    seconds = sum(entry.seconds[: fidelity.epochs]) * entry.provenance["clock"]["scale"]
    return Evaluation(value, signal, seconds, entry.job.seed, "live")


def default_device() -> str:
    """A CUDA GPU if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"
