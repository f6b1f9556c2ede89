"""How this machine's seconds compare with the table's: the scale that live entries are charged with.

The table's clock is that of NAS-Bench-201: training seconds of the 200-epoch recipe on its GPU. The
same recipe (C=16, N=5, 32 pixels, batch 256, augmentation, no distillation) is run here for a few steps
on a few cells, through the same code as every live training; the scale is table seconds over measured
seconds for one image, so that a proxy that costs a tenth of an epoch here is charged a tenth of an
epoch on the table's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.live.images import STATISTICS, ImageTask
from nasbench_kd.live.trainer import Training
from nasbench_kd.live.workbench import Workbench
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.tasks.nasbench201 import TASKS

_IMAGES = 512
_TASK = "cifar10"


def use_one_thread() -> None:
    """Train on one thread of the CPU from now on: measured seconds are those of one."""
    torch.set_num_threads(1)


def measure_clock(
    cells: Sequence[Cell], *, device: torch.device | str, dtype: torch.dtype = torch.bfloat16
) -> dict[str, Any]:
    """Run two steps of the full recipe for each cell after a warm-up, on random images.

    Returns JSON values: `scale` (table seconds for a measured second), `cells` (indices),
    `images_per_second` (measured), `table_images_per_second`, and an explanation.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, _IMAGES)
    task = ImageTask(_TASK, STATISTICS[_TASK], pixels, labels, pixels[:1], labels[:1])
    bench = Workbench(task, FULL, dtype=dtype, device=torch.device(device))
    table = Benchmark(TASKS[_TASK], tables())
    measured = promised = 0.0
    for cell in cells:
        training = Training(bench, cell, FULL, seed=0)
        training.run_epoch()
        training.run_epoch()
        measured += training.curve.train_seconds[1]
        per_image = table.evaluate(cell, FULL).seconds / FULL.epochs / TASKS[_TASK].train_images
        promised += per_image * _IMAGES
    count = _IMAGES * len(cells)
    return {
        "scale": promised / measured,
        "images_per_second": count / measured,
        "table_images_per_second": count / promised,
        "cells": [cell.index for cell in cells],
        "meaning": "table seconds (NAS-Bench-201's 200-epoch clock) for one measured second: both train "
        "one image of CIFAR-10 through the full network of these cells, batch 256, augmented, no distillation",
    }
