"""The tasks of NAS-Bench-201: three data sets with their splits and their teacher (section 2.2 of its paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nasbench_kd.spaces.complexity import multiply_accumulates, parameters
from nasbench_kd.spaces.nasbench201 import SPACE
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.spaces.training_seconds import mean_seconds_per_image
from nasbench_kd.tasks.block_wise import DNA
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.prerequisites import Prerequisite
from nasbench_kd.tasks.shared_weights import SUPERNETS
from nasbench_kd.tasks.task import Task

TEACHER_CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
"""The ResNet-like cell of MF-KD's authors, a member of the space, by which every task is taught."""
TEACHER_INDEX = 11472
"""Its place in the official order, so that opening a task does not enumerate the space."""
TEACHER_CODES = (3, 0, 3, 1, 0, 1)
"""Its operations as codes, for the same reason."""


def _measure(cell: Architecture, fidelity: Fidelity, task: Task) -> Mapping[str, int]:
    widths = {"channels": fidelity.channels, "cells_per_stage": fidelity.cells_per_stage}
    return {
        "parameters": parameters(cell, task.classes, **widths),
        "multiply_accumulates": multiply_accumulates(
            cell, task.classes, fidelity.image_size or task.image_size, **widths
        ),
    }


PUBLISHED_SUPERNETS = (
    Prerequisite(
        "one-shot supernet",
        seconds=600 * 50_000 * mean_seconds_per_image(),
        counts="600 epochs x 50,000 images through a uniform cell each",
    ),
    Prerequisite(
        "few-shot supernets",
        ("one-shot supernet",),
        seconds=5 * 150 * 50_000 * mean_seconds_per_image(),
        counts="5 x 150 epochs x 50,000 images through a uniform cell each",
    ),
)
"""What the scores `one-shot` and `few-shot` of aoiang/few-shot-NAS rest on: epochs of uniformly drawn paths on all
50,000 images of CIFAR-10; the five supernets of the second go on from the weights of the first."""


def _task(
    name: str,
    classes: int,
    train_images: int,
    valid_images: int,
    image_size: int,
    further: Sequence[Prerequisite] = (),
) -> Task:
    return Task(
        name,
        SPACE,
        classes,
        train_images,
        valid_images,
        image_size,
        prerequisites=(
            Prerequisite("teacher", training=(TEACHER_INDEX, FULL)),
            Prerequisite("stages", needs=("teacher",), seconds=DNA.seconds(TEACHER_CODES), counts=DNA.counts),
            Prerequisite("stages of a random teacher", seconds=DNA.seconds(TEACHER_CODES), counts=DNA.counts),
            *further,
            *(
                Prerequisite(
                    supernet, seconds=recipe.seconds(train_images), counts=recipe.counts(train_images)
                )
                for supernet, recipe in SUPERNETS.items()
            ),
        ),
        measure=_measure,
        trainable=True,
    )


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            _task("cifar10", 10, 25_000, 25_000, 32, PUBLISHED_SUPERNETS),
            _task("cifar100", 100, 50_000, 5_000, 32),
            _task("imagenet16-120", 120, 151_700, 3_000, 16),
        )
    }
)
"""The tasks by name."""
