"""What trainings share on one machine: images, teachers, caches, and the record of how it was done."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nasbench_kd.errors import DataError
from nasbench_kd.live.checks import check_training, usable_device
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.images import ImageTask, load_task, subset_order
from nasbench_kd.live.store import Finished, Reading, TrainingJob, setup_of
from nasbench_kd.live.teacher import (
    CHECKED_IMAGES,
    Teacher,
    TeacherFile,
    check_teacher,
    load_teacher,
    training_seconds,
)
from nasbench_kd.live.trainer import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Training
from nasbench_kd.live.workbench import Workbench, image_record
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity

PROXY_VALID_IMAGES = 2500
"""Validation images of a fidelity that names its training images; the others validate on all."""


@dataclass(frozen=True)
class Sources:
    """Where a laboratory finds its inputs; plain paths, so that worker processes can be told.

    Attributes:
        images: folder of image archives (see `images.py`).
        splits: folder of NAS-Bench-201's split lists.
        teachers: task name -> weights of its teacher.
        download: whether torchvision may fetch CIFAR into the folder of images.
    """

    images: Path
    splits: Path
    teachers: Mapping[str, TeacherFile]
    download: bool = False


class Laboratory:
    """Trains any cell of any task at any fidelity on one device.

    Args:
        sources: where images and teachers are.
        clock: what `measure_clock` found, kept in the provenance of every entry.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        clock: Mapping[str, Any] | None = None,
    ) -> None:
        self.sources = sources
        self.device = usable_device(device)
        self.dtype = dtype
        self.clock = clock
        self._tasks: dict[str, ImageTask] = {}
        self._benches: dict[tuple[str, int | None, int], Workbench] = {}
        self._teachers: dict[str, dict[str, Any]] = {}
        self._setups: dict[tuple[str, str, bool], str] = {}

    def task(self, name: str) -> ImageTask:
        """The images of a task, read once."""
        if name not in self._tasks:
            self._tasks[name] = load_task(
                name, self.sources.images, self.sources.splits, download=self.sources.download
            )
        return self._tasks[name]

    def workbench(self, name: str, fidelity: Fidelity) -> Workbench:
        """The images on the device, with the teacher where the fidelity distils."""
        task = self.task(name)
        key = (name, fidelity.train_images, fidelity.image_size or task.side)
        if key not in self._benches:
            valid = _valid_images(task, fidelity)
            self._benches[key] = Workbench(
                task, fidelity, valid_images=valid, dtype=self.dtype, device=self.device
            )
        bench = self._benches[key]
        if fidelity.distillation != "none" and bench.teacher is None:
            bench.teacher = self._teacher(name)
        return bench

    def training(self, job: TrainingJob, *, validate: bool = True) -> Training:
        """A training that has not begun; without `validate` it has no reading of validation images.

        Raises `FidelityError` or `DataError` where there can be no such training here.
        """
        fidelity = Fidelity.parse(job.curve)
        check_training(self.task(job.task), fidelity, job.seed)
        bench, cell = self.workbench(job.task, fidelity), Cell.from_index(job.cell)
        return Training(bench, cell, fidelity, job.seed, validate=validate)

    def in_setup(self, job: TrainingJob, *, validate: bool = True) -> TrainingJob:
        """The job with the setup that it has here, as `setup_of` names it; raises what `training` raises."""
        task, fidelity = self.task(job.task), Fidelity.parse(job.curve)
        check_training(task, fidelity, job.seed)
        key = (job.task, job.curve, validate)
        if key not in self._setups:
            size = fidelity.image_size or task.side
            record = self._determinants(task.name, fidelity)
            record["images"] = image_record(task, fidelity.train_images, size, _valid_images(task, fidelity))
            self._setups[key] = setup_of(record, validated=validate)
        return replace(job, setup=self._setups[key])

    def train(self, job: TrainingJob, *, validate: bool = True) -> Finished:
        """Train one job to its end."""
        training = self.training(job, validate=validate)
        while not training.done:
            training.run_epoch()
        return self.finished(job, training)

    def finished(self, job: TrainingJob, training: Training) -> Finished:
        """The entry of a training that is done."""
        curve = training.curve
        learned = curve.epochs - curve.diverged
        return Finished(
            job=self.in_setup(job, validate=training.validates),
            valid_images=len(training.workbench.valid) if training.validates else 0,
            valid_correct=tuple(curve.valid_correct),
            seconds=tuple(curve.train_seconds),
            valid_seconds=tuple(curve.valid_seconds),
            status="diverged" if curve.diverged else "ok",
            provenance=self.provenance(training.workbench, training.fidelity),
            readings={
                signal: Reading(images, tuple(curve.readings[signal][:learned]))
                for signal, images in training.readings.items()
            },
        )

    def provenance(self, bench: Workbench, fidelity: Fidelity) -> dict[str, Any]:
        """How an entry of this fidelity is made here, as JSON values."""
        record: dict[str, Any] = {
            "kind": "measured by training",
            **self._determinants(bench.task.name, fidelity),
            "images": bench.record(),
            **self.surroundings(),
            "clock": self.clock,
        }
        if fidelity.distillation != "none":
            record["teacher"] = {
                **record["teacher"],
                "forward_seconds": bench.forward_seconds,
                "forward": "the same augmented batch as the student, within the seconds of an entry"
                if bench.augment
                else "full-size images, once for all entries where kd or nst are the only terms",
                "maps": "MF-KD's five of 17 where teacher and student have all 17 and the images are augmented, "
                "every position where they have equally many others, else the last of each stage, "
                "average-pooled to the student's side",
            }
        return record

    def _determinants(self, name: str, fidelity: Fidelity) -> dict[str, Any]:
        """What determines a training here besides the images, as JSON values of its provenance."""
        record: dict[str, Any] = {
            "recipe": {
                "optimizer": "SGD, Nesterov",
                "learning_rate": f"{LEARNING_RATE}, cosine per epoch to 0 over schedule_epochs",
                "momentum": MOMENTUM,
                "weight_decay": WEIGHT_DECAY,
            },
            "precision": f"{str(self.dtype).removeprefix('torch.')} activations and convolution weights; "
            "float32 parameters, batch-norm statistics, losses and head",
        }
        if fidelity.distillation != "none":
            record["teacher"] = self._about_teacher(name)
        return record

    def _about_teacher(self, name: str) -> dict[str, Any]:
        """What a teacher's file says, read once: it is that of the weights in use even if the file is changed."""
        if name not in self.sources.teachers:
            raise DataError(
                f"no teacher for {name}: train one with `nasbench-kd teacher train`, or name a file of weights"
            )
        if name not in self._teachers:
            file = self.sources.teachers[name]
            seconds = training_seconds(file.path)
            self._teachers[name] = {
                "architecture": file.architecture,
                "weights_sha256": file.sha256(),
                **({"control": "knows nothing, by intent"} if file.control else {}),
                "training_seconds": "not known; bill its 200 epochs from the table"
                if seconds is None
                else seconds,
            }
        return self._teachers[name]

    def _teacher(self, name: str) -> Teacher:
        known = self._about_teacher(name)
        task, file = self.task(name), self.sources.teachers[name]
        teacher = load_teacher(file, task.statistics.classes, self.device, self.dtype)
        if not file.control:
            rows = subset_order(len(task.valid_labels))[:CHECKED_IMAGES]
            images = DeviceImages(
                task.valid_images[rows],
                task.valid_labels[rows],
                task.statistics,
                size=task.side,
                dtype=self.dtype,
                device=self.device,
            )
            check_teacher(teacher, images, task.statistics.classes, file.path)
        if file.sha256() != known["weights_sha256"]:
            raise DataError(f"the teacher in {file.path} was changed while it was read; start again")
        return teacher

    def surroundings(self) -> dict[str, Any]:
        """What runs here on what, and what measured seconds mean, as JSON values."""
        return {
            "software": _software(),
            "device": self.machine,
            "seconds": "processor seconds of one thread" if self.device.type == "cpu" else "on the device",
        }

    @cached_property
    def machine(self) -> str:
        """The processor or accelerator, in words."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        except (OSError, StopIteration):
            model = platform.processor()
        return f"CPU {model}, 1 thread"


def _valid_images(task: ImageTask, fidelity: Fidelity) -> int:
    """How many validation images a fidelity is validated on."""
    count = len(task.valid_labels)
    return count if fidelity.train_images is None else min(PROXY_VALID_IMAGES, count)


@cache
def _software() -> dict[str, str]:
    names = ["nasbench-kd", "torch", "numpy"]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "source tree"
    return found
