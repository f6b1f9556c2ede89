"""A tiny image task that trains in milliseconds, and a teacher for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasbench_kd.live.archives import write_packed
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.images import ImageTask, Statistics
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.teacher import RESNET_CELL, write_random_teacher


@pytest.fixture(scope="session")
def tiny_task() -> ImageTask:
    """Four classes that differ in colour: 96 training and 40 validation images of 8 x 8."""
    rng = np.random.default_rng(0)
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [160, 160, 40]])

    def draw(count: int):
        labels = rng.integers(0, 4, count)
        noise = rng.normal(0, 40, (count, 8, 8, 3))
        return np.clip(colours[labels][:, None, None] + noise, 0, 255).astype(np.uint8), labels

    statistics = Statistics(4, (110.0, 110.0, 90.0), (70.0, 70.0, 70.0), 1)
    return ImageTask("tiny", statistics, *draw(96), *draw(40))


@pytest.fixture(scope="session")
def tiny_teacher():
    """An untrained teacher of the full width for four classes, in float32."""
    network = seeded_network(RESNET_CELL, 4, seed=1, channels=16, cells_per_stage=1)
    return Engine(network, torch.float32, torch.device("cpu")).compile_inference()


@pytest.fixture
def laboratory(tmp_path, tiny_task) -> Laboratory:
    """One whose only task is the tiny one, taught by a network that was never trained."""
    about = {"classes": 4, "mean": tiny_task.statistics.mean, "std": tiny_task.statistics.std, "padding": 1}
    splits = {
        "train": (tiny_task.train_images, tiny_task.train_labels),
        "valid": (tiny_task.valid_images, tiny_task.valid_labels),
    }
    write_packed(tmp_path / "tiny.zip", splits, about)
    teacher = write_random_teacher(tmp_path / "random.npz", 4)
    return Laboratory(Sources(tmp_path, tmp_path, {"tiny": teacher}), dtype=torch.float32)


@pytest.fixture
def halves(tiny_task) -> tuple[DeviceImages, DeviceImages]:
    """Two thirds of the tiny task's training images for weights, augmented, and the rest held out; 8 x 8, float32."""

    def load(part: slice, padding: int) -> DeviceImages:
        images, labels = tiny_task.train_images[part], tiny_task.train_labels[part]
        device, statistics = torch.device("cpu"), tiny_task.statistics
        return DeviceImages(
            images, labels, statistics, size=8, dtype=torch.float32, device=device, padding=padding
        )

    return load(slice(64), 1), load(slice(64, None), 0)
