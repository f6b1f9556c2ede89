"""Tasks of a closed world: the sample of NAS-Bench-201 whose every cell is measured at every fidelity of its table.

Each is one of the whole space's tasks with everything but its space: images, target, prices, and the prerequisites,
whose teacher stands in the sample as the representative of its class. Nothing is drawn, and a search neither sees
nor is given anything beyond the sample. `reports/kd-closed/build.py` copies the table's entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from nasbench_kd.spaces.nasbench201_sample import SPACE
from nasbench_kd.tasks import nasbench201
from nasbench_kd.tasks.task import Task

TEACHER_INDEX = 797
"""Place in the sample of the cell that is isomorphic to the teacher of the whole space's tasks.

It was trained and timed by itself: its price is 3.6 % above that of the teacher there.
"""
FOLDER = Path(__file__).parent.parent / "tables" / "closed" / "nas_bench_201_sample"
"""The table of these tasks."""
ORIGINALS: Mapping[str, Task] = MappingProxyType(
    {f"{name}-closed": nasbench201.TASKS[name] for name in ("cifar10", "cifar100")}
)
"""The task of the whole space behind each of these, by name."""


def _closed(name: str, original: Task) -> Task:
    prerequisites = tuple(
        each._replace(training=(TEACHER_INDEX, each.training[1])) if each.training else each
        for each in original.prerequisites
    )
    return replace(
        original, name=name, space=SPACE, prerequisites=prerequisites, tables=(FOLDER,), trainable=False
    )


TASKS: Mapping[str, Task] = MappingProxyType(
    {name: _closed(name, original) for name, original in ORIGINALS.items()}
)
"""The tasks by name."""
