"""What the conformance kit looks at from outside: global random state, and ways from an object to a table."""

from __future__ import annotations

import gc
import logging
import random
import sys
from collections import deque
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.tables.column import ENTRY, Column
from nasbench_kd.tables.table import Table


def global_random_state() -> tuple[Any, ...]:
    """The state of `random`, of `numpy.random`, and of torch where it is loaded, for comparison."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    state = (random.getstate(), kind, np.asarray(keys).tobytes(), *rest)
    torch = sys.modules.get("torch")
    return state if torch is None else (*state, torch.get_rng_state().numpy().tobytes())


def trail_to_table(start: object) -> str | None:
    """How a benchmark or its tables can be reached from an object; None where they cannot.

    Follows attributes, containers, bound methods and closures; modules, classes and loggers,
    which everything shares, are not entered.
    """
    seen = {id(start)}
    queue: deque[tuple[object, str]] = deque([(start, type(start).__name__)])
    alive = [start]
    while queue:
        current, trail = queue.popleft()
        for item in _contents(current):
            if id(item) in seen or isinstance(item, (ModuleType, type, logging.Logger)):
                continue
            seen.add(id(item))
            alive.append(item)
            step = f"{trail} > {type(item).__name__}"
            if isinstance(item, (Benchmark, Table, Column)) or (
                isinstance(item, np.ndarray) and item.dtype == ENTRY
            ):
                return step
            queue.append((item, step))
    return None


def _contents(item: object) -> list[Any]:
    if isinstance(item, FunctionType):
        return [item.__closure__, item.__defaults__, item.__kwdefaults__, item.__dict__]
    return gc.get_referents(item)
