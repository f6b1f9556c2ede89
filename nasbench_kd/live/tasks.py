"""Which tasks can be trained here: those whose architectures the network of this room builds."""

from __future__ import annotations

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.tasks.registry import find_task, task_names
from nasbench_kd.tasks.task import Task


def trainable(name: str) -> Task:
    """Return a task by its name; raises `UnknownNameError` where live mode trains on no such task."""
    if name in TASKS:
        return TASKS[name]
    listed = f"live mode trains on {', '.join(TASKS)}"
    if name in task_names():
        raise UnknownNameError(
            f"there is no trainer for the networks of {find_task(name).space.name}: {listed}"
        )
    raise UnknownNameError(f"unknown task {name!r}: {listed}.{nearest(name, TASKS)}")
