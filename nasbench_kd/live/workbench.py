"""What all trainings of one task and image set share: images on the device, and the teacher's outputs."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.images import STATISTICS, ImageTask, subset_order
from nasbench_kd.live.teacher import Teacher, TeacherCache, compared_positions, matched_maps
from nasbench_kd.tasks.fidelity import Fidelity

CACHED = frozenset({"kd", "nst"})
"""Distillations that need no more of the teacher than `TeacherCache` keeps."""


class Workbench:
    """Images and teacher of a task for fidelities of one `train_images` and one `image_size`.

    A fidelity on the whole training split is augmented by flips and crops, and its teacher sees the same
    batch. One that names its training images uses the same ones, unaugmented, for every cell and seed;
    its teacher sees them in full size, only once where the distillation allows.

    Args:
        fidelity: decides which images, in which size.
        valid_images: how many validation images are used, a fixed subset; None is all.
        teacher: what distilling fidelities learn from.
    """

    def __init__(
        self,
        task: ImageTask,
        fidelity: Fidelity,
        *,
        valid_images: int | None = None,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.task = task
        self.dtype = dtype
        self.device = device or torch.device("cpu")
        self.size = fidelity.image_size or task.side
        self.augment = fidelity.train_images is None
        self._train_images = fidelity.train_images
        self.teacher = teacher
        self.forward_seconds = 0.0
        """What the teacher's outputs in the cache have cost."""
        self._rows = np.arange(len(task.train_labels))
        if not self.augment:
            self._rows = subset_order(len(self._rows))[: fidelity.train_images]
        self._held = subset_order(len(task.valid_labels))[:valid_images]
        padding = task.statistics.padding * self.size // task.side if self.augment else 0
        self.train = self._load(task.train_images, task.train_labels, self._rows, self.size, padding)
        self.valid = self._load(task.valid_images, task.valid_labels, self._held, self.size)
        self._full: DeviceImages | None = None
        self._cache: TeacherCache | None = None
        self._valid_full: DeviceImages | None = None
        self._valid_cache: TeacherCache | None = None

    def teach(self, names: tuple[str, ...], rows: Tensor, images: Tensor, student: Outputs) -> Outputs:
        """The teacher's outputs for a batch of `train`, given by its rows and as the student saw it.

        The maps are those that `match` keeps of the student's.
        """
        if self.teacher is None:
            raise ValueError("this workbench has no teacher")
        if self.augment:
            outputs = self.teacher(images)
            return matched_maps(outputs, positions=len(outputs.maps) == len(student.maps))
        if CACHED.issuperset(names):
            return self._cached(rows)
        return matched_maps(self.teacher(self._full_size().batch(rows)), positions=False)

    def teach_validation(self, names: tuple[str, ...], rows: Tensor, student: Outputs) -> Outputs:
        """The teacher's outputs for rows of `valid`, of the same maps that training compares.

        A pass of the teacher over the validation images, cached for all trainings where `teach` caches.
        """
        if self.teacher is None:
            raise ValueError("this workbench has no teacher")
        if self.augment:
            outputs = self.teacher(self.valid.batch(rows))
            return matched_maps(outputs, positions=len(outputs.maps) == len(student.maps))
        if self._valid_full is None:
            images, labels, held = self.task.valid_images, self.task.valid_labels, self._held
            self._valid_full = self._load(images, labels, held, self.task.side)
        if not CACHED.issuperset(names):
            return matched_maps(self.teacher(self._valid_full.batch(rows)), positions=False)
        if self._valid_cache is None:
            self._valid_cache = self._make_cache(self._valid_full)
        return self._valid_cache(rows)

    def match(self, student: Outputs, teacher: Outputs) -> Outputs:
        """The student's outputs with the maps that face the teacher's, as `teach` has chosen them."""
        compared = compared_positions(len(student.maps) - 1)
        return matched_maps(student, positions=len(teacher.maps) == len(compared))

    def record(self) -> dict[str, Any]:
        """How the images are used, as JSON values."""
        return image_record(self.task, self._train_images, self.size, len(self.valid))

    def _cached(self, rows: Tensor) -> Outputs:
        if self._cache is None:
            assert self.teacher is not None
            start = read_clock(self.device)
            self._cache = self._make_cache(self._full_size())
            self.forward_seconds = read_clock(self.device) - start
        return self._cache(rows)

    def _make_cache(self, images: DeviceImages) -> TeacherCache:
        assert self.teacher is not None
        return TeacherCache(self.teacher, images, [self.size // 2**stage for stage in range(3)])

    def _full_size(self) -> DeviceImages:
        if self._full is None:
            task = self.task
            self._full = self._load(task.train_images, task.train_labels, self._rows, task.side)
        return self._full

    def _load(self, images: Any, labels: Any, rows: Any, size: int, padding: int = 0) -> DeviceImages:
        return DeviceImages(
            images[rows],
            labels[rows],
            self.task.statistics,
            size=size,
            dtype=self.dtype,
            device=self.device,
            padding=padding,
        )


def image_record(task: ImageTask, train_images: int | None, size: int, valid_images: int) -> dict[str, Any]:
    """How the images of a task are used where a fidelity names `train_images` and they are `size` pixels wide."""
    subset = "the first of the split in the order of images.subset_order"
    return {
        "augmentation": "flip and random crop" if train_images is None else "none",
        "train_images": len(task.train_labels) if train_images is None else train_images,
        "train_subset": "the whole split" if train_images is None else subset,
        "valid_images": valid_images,
        "valid_subset": "the whole split" if valid_images == len(task.valid_labels) else subset,
        "image_size": size,
        "resizing": "none" if size == task.side else "average pooling",
        "images_sha256": task.digest,
        **({} if task.name in STATISTICS else {"statistics": asdict(task.statistics)}),
    }


def read_clock(device: torch.device) -> float:
    """Seconds: of this process's processor time on a CPU, of wall time after synchronisation on a GPU."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
