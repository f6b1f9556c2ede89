"""Throughput of live training against a plain trainer, in one run, and memory over many cells."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from nasbench_kd.live.fill import class_order, keep_freed_memory  # noqa: E402
from nasbench_kd.live.images import STATISTICS, ImageTask  # noqa: E402
from nasbench_kd.live.network import seeded_network  # noqa: E402
from nasbench_kd.live.trainer import Training  # noqa: E402
from nasbench_kd.live.workbench import Workbench  # noqa: E402
from nasbench_kd.tasks.fidelity import Fidelity  # noqa: E402

IMAGES, BATCH, CELLS = 128, 128, 2


def random_task(count: int, side: int) -> ImageTask:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, count)
    return ImageTask("cifar10", STATISTICS["cifar10"], pixels, labels, pixels[:20], labels[:20])


def plain_epoch(network, optimizer, loader) -> None:
    """What one writes first: float32, contiguous, a DataLoader."""
    network.train()
    for images, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(network(images).logits, labels).backward()
        optimizer.step()


def test_live_training_is_at_least_twice_as_fast_as_a_plain_trainer(benchmark, figure):
    """The full network on 32 x 32 images, two cells of the fill's order, one thread, warm, the best of two."""
    torch.set_num_threads(1)
    keep_freed_memory()
    task = random_task(IMAGES, 32)
    fidelity = Fidelity.parse(f"none@200 images={IMAGES} batch={BATCH}")
    bench = Workbench(task, fidelity)
    tensors = TensorDataset(
        torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(0)), bench.train.labels
    )
    loader = DataLoader(tensors, batch_size=BATCH, shuffle=True)
    ours, theirs = 0.0, 0.0
    for cell in class_order()[:CELLS]:
        training = Training(bench, cell, fidelity, 0)
        for _ in range(3):
            training.run_epoch()
        ours += min(training.curve.train_seconds[1:])
        network = seeded_network(cell, 10, seed=0)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        seconds = []
        for _ in range(3):
            start = time.process_time()
            plain_epoch(network, optimizer, loader)
            seconds.append(time.process_time() - start)
        theirs += min(seconds[1:])
    benchmark.pedantic(training.run_epoch, rounds=1)
    figure("live training, images/s (C=16 N=5, 32 px, one thread)", CELLS * IMAGES / ours)
    figure("plain trainer, images/s", CELLS * IMAGES / theirs)
    figure("live training over plain trainer, ratio", theirs / ours)
    assert theirs / ours >= 2


def resident_megabytes() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_over_many_cells(figure):
    """Growth of the resident memory from the 40th to the 120th cell."""
    keep_freed_memory()
    task = random_task(32, 8)
    fidelity = Fidelity.parse("none@1 images=32 batch=16 channels=8 cells=1")
    bench = Workbench(task, fidelity)
    for i, cell in enumerate(class_order()[:120]):
        Training(bench, cell, fidelity, 0).run_epoch()
        if i == 39:
            before = resident_megabytes()
    growth = resident_megabytes() - before
    figure("memory growth over 80 live trainings, MB", growth)
    assert growth < 16
