"""Refuses trainings and devices that cannot be had before anything is trained: what is asked for is what is done."""

from __future__ import annotations

import torch

from nasbench_kd.errors import DataError, FidelityError
from nasbench_kd.live.images import ImageTask
from nasbench_kd.tasks.fidelity import Fidelity

MOST_SEED = 2**16 - 1
"""The largest training seed that a narrow row of a table can hold; the smallest is 0."""
MOST_WEIGHTS = 10**9
"""Of the largest network of a fidelity; that of the benchmark has 1.5 million."""
_IN_PAIRS = frozenset({"sp", "cc", "rkd", "pkt"})
"""Distillations that compare the images of a batch with each other."""


def check_training(task: ImageTask, fidelity: Fidelity, seed: int) -> None:
    """Raise `FidelityError` where a fidelity asks of a task's images what they or a network cannot give.

    `DataError` where no table could hold an entry of the seed.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise DataError(f"a training seed is a whole number from 0 to {MOST_SEED}, not {seed!r}")
    if fidelity.score is not None:
        raise FidelityError(
            f"{fidelity} is a score, not a training: name one, such as none@12; `nasbench-kd score` makes scores"
        )
    if fidelity.trained_on is not None:
        raise FidelityError(
            f"{fidelity} is a training on {fidelity.trained_on}: train {fidelity.on(None)} on that task, without on="
        )
    # Six 3x3 convolutions in each cell of the stages, which have C, 2C and 4C channels.
    weights = 6 * 9 * (1 + 4 + 16) * fidelity.cells_per_stage * fidelity.channels**2
    if weights > MOST_WEIGHTS:
        raise FidelityError(
            f"{fidelity} asks for networks of up to {weights:,} weights; {MOST_WEIGHTS:,} are the most: lower "
            f"channels={fidelity.channels} or cells={fidelity.cells_per_stage}"
        )
    count, size = fidelity.train_images or len(task.train_labels), fidelity.image_size or task.side
    if count > len(task.train_labels):
        raise FidelityError(
            f"{fidelity} asks for {count} training images; {task.name} has {len(task.train_labels)} here"
        )
    if count < 2:
        raise FidelityError(f"{fidelity} trains on one image; two are the fewest")
    if size > task.side:
        raise FidelityError(
            f"{fidelity} asks for images of {size} pixels; those of {task.name} have {task.side}"
        )
    if size % 4:
        raise FidelityError(
            f"{fidelity} asks for images of {size} pixels; networks halve their side twice: a multiple of 4 is needed"
        )
    last = count % fidelity.batch_size or min(count, fidelity.batch_size)
    if last == 1 and (size == 4 or not _IN_PAIRS.isdisjoint(fidelity.distillation.split("+"))):
        raise FidelityError(
            f"the last batch of {fidelity} has one image ({count} images in batches of {fidelity.batch_size}), of "
            "which no statistics can be taken; name another batch= or images="
        )


def usable_device(name: str) -> torch.device:
    """The device of a name; raises `DataError` where it is not there."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:  # each kind of device raises its own
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise DataError(f"there is no device {name!r} here; there are {', '.join(there)}") from error
    return device
