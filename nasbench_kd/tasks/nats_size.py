"""The tasks of NATS-Bench's size space, whose results are not in this package: users import the official files.

The official archive lies on Google Drive alone, without an address or a checksum that a download could be held to.
Dong, Liu, Musial and Gabrys, TPAMI 2021: 90 epochs judge; 1 and 12, each with a schedule of its own, are cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nasbench_kd.spaces.nats_size import SPACE, multiply_accumulates, parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.task import Task

TARGET = Fidelity.parse("none@90")
ARCHIVE = "NATS-sss-v1_0-50262-simple"
OBTAIN = (
    f"its results are not in this package: download {ARCHIVE}.tar by the link in github.com/D-X-Y/NATS-Bench (MIT), "
    f"unpack it, and give the folder to `nasbench-kd data import {ARCHIVE}`"
)
"""How users get the results, in words."""


def _measure(network: Architecture, fidelity: Fidelity, task: Task) -> Mapping[str, int]:
    side = fidelity.image_size or task.image_size
    return {
        "parameters": parameters(network, task.classes),
        "multiply_accumulates": multiply_accumulates(network, task.classes, side),
    }


def _task(images: str, classes: int, train_images: int, valid_images: int, image_size: int) -> Task:
    return Task(
        f"nats-size-{images}",
        SPACE,
        classes,
        train_images,
        valid_images,
        image_size,
        TARGET,
        measure=_measure,
        obtain=OBTAIN,
    )


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            _task("cifar10", 10, 25_000, 25_000, 32),
            _task("cifar100", 100, 50_000, 5_000, 32),
            _task("imagenet16-120", 120, 151_700, 3_000, 16),
        )
    }
)
"""The tasks by name."""
