"""A tiny image task that trains in milliseconds, and a teacher for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasbench_kd.live.engine import Engine
from nasbench_kd.live.images import ImageTask, Statistics
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.teacher import RESNET_CELL


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
