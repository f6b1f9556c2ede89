"""What trainings share on one machine: images, teachers, caches, and the record of how it was done."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nasbench_kd.errors import DataError
from nasbench_kd.fidelity import Fidelity
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.images import SUBSET_SEED, ImageTask, load_task
from nasbench_kd.live.store import Finished, Job
from nasbench_kd.live.teacher import RESNET_CELL, load_teacher, make_cache
from nasbench_kd.live.trainer import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Training, Workbench, read_clock
from nasbench_kd.space import Cell

PROXY_VALID_IMAGES = 2500
"""Validation images of a fidelity that names its training images; the others validate on all."""


@dataclass(frozen=True)
class Sources:
    """Where a laboratory finds its inputs; plain paths, so that worker processes can be told.

    Attributes:
        images: folder of image archives (see `images.py`).
        splits: folder of NAS-Bench-201's split lists.
        teachers: task name -> .npz with the weights of its teacher.
    """

    images: Path
    splits: Path
    teachers: Mapping[str, Path]


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
        self.device = torch.device(device)
        self.dtype = dtype
        self.clock = clock
        self._tasks: dict[str, ImageTask] = {}
        self._benches: dict[tuple[str, int | None, int], Workbench] = {}

    def task(self, name: str) -> ImageTask:
        """The images of a task, read once."""
        if name not in self._tasks:
            self._tasks[name] = load_task(name, self.sources.images, self.sources.splits)
        return self._tasks[name]

    def workbench(self, name: str, fidelity: Fidelity) -> Workbench:
        """The images on the device, and the teacher's outputs where the fidelity distils."""
        task = self.task(name)
        key = (name, fidelity.train_images, fidelity.image_size or task.side)
        if key not in self._benches:
            valid = None if fidelity.train_images is None else PROXY_VALID_IMAGES
            self._benches[key] = Workbench(
                task, fidelity, valid_images=valid, dtype=self.dtype, device=self.device
            )
        bench = self._benches[key]
        if fidelity.distillation != "none" and bench.cache is None:
            self._add_teacher(bench)
        return bench

    def train(self, job: Job) -> Finished:
        """Train one job to its end."""
        fidelity = Fidelity.parse(job.curve)
        bench = self.workbench(job.task, fidelity)
        training = Training(bench, Cell.from_index(job.cell), fidelity, job.seed)
        while not training.done:
            training.run_epoch()
        curve = training.curve
        return Finished(
            job=job,
            valid_images=len(bench.valid),
            valid_correct=tuple(curve.valid_correct),
            seconds=tuple(curve.train_seconds),
            valid_seconds=tuple(curve.valid_seconds),
            status="diverged" if curve.diverged else "ok",
            provenance=self.provenance(bench, fidelity),
        )

    def provenance(self, bench: Workbench, fidelity: Fidelity) -> dict[str, Any]:
        """How an entry of this fidelity is made here, as JSON values."""
        record: dict[str, Any] = {
            "kind": "measured by training",
            "recipe": {
                "optimizer": "SGD, Nesterov",
                "learning_rate": f"{LEARNING_RATE}, cosine per epoch to 0 over schedule_epochs",
                "momentum": MOMENTUM,
                "weight_decay": WEIGHT_DECAY,
                "augmentation": "flip and random crop" if bench.augment else "none",
                "train_images": f"{len(bench.train)}: "
                + ("the whole training split" if bench.augment else _SUBSET),
                "valid_images": f"{len(bench.valid)}: "
                + ("the whole validation split" if bench.augment else _SUBSET),
                "resizing": "none"
                if bench.size == bench.task.side
                else f"average pooling to {bench.size} pixels",
            },
            "images_sha256": bench.task.digest,
            "precision": str(self.dtype).removeprefix("torch.")
            + " activations and convolution weights, float32 "
            "parameters, batch-norm statistics, losses and head",
            "software": _software(),
            "device": self.machine,
            "seconds": "processor seconds of one thread"
            if self.device.type == "cpu"
            else "seconds on the device",
            "clock": self.clock,
        }
        if fidelity.distillation != "none":
            record["teacher"] = bench.teacher_record
        return record

    def _add_teacher(self, bench: Workbench) -> None:
        name = bench.task.name
        path = self.sources.teachers.get(name)
        if path is None:
            raise DataError(f"no teacher for {name}: give the .npz with its weights, or train one")
        if bench.augment:
            raise NotImplementedError
        teacher = load_teacher(path, bench.task.statistics.classes)
        start = read_clock(self.device)
        rows = bench.train_rows
        full = DeviceImages(
            bench.task.train_images[rows],
            bench.task.train_labels[rows],
            bench.task.statistics,
            size=bench.task.side,
            dtype=torch.float32,
            device=self.device,
        )
        sides = [bench.size // 2**stage for stage in range(3)]
        bench.cache = make_cache(teacher, full, sides, self.dtype, self.device)
        bench.teacher_record = {
            "cell": str(RESNET_CELL),
            "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "sees": f"the images at {bench.task.side} pixels",
            "matched": "logits; last map of each stage, average-pooled to the student's side (nst)",
            "outputs": "computed once for the training images and kept",
            "forward_seconds": round(read_clock(self.device) - start, 2),
            "training": "200 epochs of the full recipe, not in the seconds of an entry",
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


_SUBSET = f"a prefix of the split in the order of numpy default_rng({SUBSET_SEED}).permutation"


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
