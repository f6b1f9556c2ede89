"""Finds tasks by name: those that ship, and those that other packages register."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from nasbench_kd.errors import ArgumentError, ProtocolError, UnknownNameError, nearest
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.tasks import closed, distilled, nasbench201, nats_size
from nasbench_kd.tasks.prerequisites import Prerequisite
from nasbench_kd.tasks.task import Task

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "nasbench_kd.tasks"
"""The group of entry points: a name, and the `package.module:VALUE` of its `Task`."""
SHIPPED: Mapping[str, Task] = MappingProxyType({**nasbench201.TASKS, **closed.TASKS, **distilled.TASKS})
"""The tasks of this package whose results ship."""
ELSEWHERE = "A task of another package is there where that package is installed."
"""What to do about an unknown one."""
PACKAGED: Mapping[str, Task] = MappingProxyType({**SHIPPED, **nats_size.TASKS})
"""All tasks of this package. They are no entry points: to list those takes far longer than to open a task."""


def find_task(name: str) -> Task:
    """Return a task by its name; raises `UnknownNameError`, and `ProtocolError` where a name stands for no task."""
    if isinstance(name, str) and name in PACKAGED:
        return PACKAGED[name]
    if not isinstance(name, str) or name not in _registered():
        known = task_names()
        raise UnknownNameError(
            f"unknown task {name!r}: expected {', '.join(known)}.{nearest(str(name), known)} {ELSEWHERE}"
        )
    point = _registered()[name]
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(f"the task {name!r} ({point.value}) cannot be imported: {error}") from error
    if not isinstance(found, Task) or found.name != name:
        raise ProtocolError(f"{point.value} is no nasbench_kd.Task of the name {name!r}, but {found!r:.80}")
    return found


def task_names() -> tuple[str, ...]:
    """Names of all tasks, those of this package first."""
    return (*PACKAGED, *_registered())


@cache
def _registered() -> Mapping[str, EntryPoint]:
    """Entry points of other packages by name; none takes the place of a task of this one."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # deferred: slow

    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point for point in points if point.name not in PACKAGED}


def tasks_of(space: SearchSpace) -> tuple[Task, ...]:
    """The tasks in a search space: those of this package, or, where there is none, those of others."""
    packaged = tuple(task for task in PACKAGED.values() if task.space == space)
    return packaged or tuple(task for task in map(find_task, _registered()) if task.space == space)


def shares_space(name: str, task: Task) -> bool:
    """Whether a name is that of a task, or of a shipped one in the same space."""
    return name == task.name or (name in SHIPPED and SHIPPED[name].space == task.space)


def all_prerequisites(task: Task) -> dict[str, Prerequisite]:
    """What the fidelities of a task need, by name: its own, and `teacher of TASK` for trainings `on=TASK`."""
    found = {each.name: each for each in task.prerequisites}
    for other in SHIPPED.values():
        if other.name == task.name or not shares_space(other.name, task):
            continue
        for each in other.prerequisites:
            name, needs = (
                f"{each.name} of {other.name}",
                tuple(f"{need} of {other.name}" for need in each.needs),
            )
            training = each.training and (each.training[0], each.training[1].on(other.name))
            found[name] = each._replace(name=name, needs=needs, training=training)
    return found


def check_prerequisites(names: Collection[str], tasks: Iterable[Task]) -> None:
    """Raise `UnknownNameError` where none of the tasks has a prerequisite of one of these names."""
    if isinstance(names, str):
        raise ArgumentError(f"given is a list of prerequisites such as [{names!r}], not the text {names!r}")
    tasks = tuple(tasks)
    known = list(dict.fromkeys(name for task in tasks for name in all_prerequisites(task)))
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"{', '.join(task.name for task in tasks)} has no prerequisite {name!r}: there "
                f"{'are ' + ', '.join(known) if known else 'is none'}.{nearest(str(name), known)}"
            )
