"""The tasks: data sets of NAS-Bench-201 with their splits and their teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.tasks.prerequisites import Prerequisite


@dataclass(frozen=True, slots=True)
class Task:
    """A data set with its splits and its teacher (NAS-Bench-201, section 2.2)."""

    name: str
    classes: int
    train_images: int
    valid_images: int
    image_size: int
    teacher_string: str

    @property
    def teacher(self) -> Cell:
        """The cell trained once with the full recipe, whose cost is billed to searches that distil."""
        return Cell.parse(self.teacher_string)

    @property
    def prerequisites(self) -> tuple[Prerequisite, ...]:
        """What some fidelities need first: the teacher, trained in full, for those that distil."""
        return (Prerequisite("teacher", training=(self.teacher.index, FULL)),)


TEACHER_CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
"""The ResNet-like cell of MF-KD's authors, a member of the space, by which every task is taught."""
TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task("cifar10", 10, 25_000, 25_000, 32, TEACHER_CELL),
            Task("cifar100", 100, 50_000, 5_000, 32, TEACHER_CELL),
            Task("imagenet16-120", 120, 151_700, 3_000, 16, TEACHER_CELL),
        )
    }
)
"""The tasks by name."""


def all_prerequisites(task: Task) -> dict[str, Prerequisite]:
    """What the fidelities of a task need, by name: its own, and `teacher of TASK` for trainings `on=TASK`."""
    found = {each.name: each for each in task.prerequisites}
    for other in TASKS.values():
        if other.name == task.name:
            continue
        for each in other.prerequisites:
            name, needs = (
                f"{each.name} of {other.name}",
                tuple(f"{need} of {other.name}" for need in each.needs),
            )
            training = each.training and (each.training[0], each.training[1].on(other.name))
            found[name] = each._replace(name=name, needs=needs, training=training)
    return found
