"""Which runs of a suite are not among stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasbench_kd.execution.runs import MERGED
from nasbench_kd.execution.suite import MAX_SEEDS
from nasbench_kd.toml_values import integer


def missing_runs(
    metadata: Mapping[str, Any], stored: set[tuple[str, str, int]]
) -> list[tuple[str, str, int]]:
    """Runs that belong to stored ones and are not among them: who leaves out the bad ones looks better.

    `metadata` is that of the file. A whole suite, or a shard of one, has all its runs. Of suites that were merged,
    each may have other tasks and fewer seeds; an optimizer has no gap among its repetitions on a task.
    Raises `SuiteError` where the suite says no number of seeds.
    """
    suite = metadata["suite"]
    seeds = integer(MAX_SEEDS)(suite.get("seeds"))
    pairs = [(entry["name"], task) for task in suite.get("tasks", ()) for entry in suite["optimizers"]]
    merged = metadata.get(MERGED, False)
    last = _last_repetitions(stored) if merged else {}
    planned = [
        (*pair, number)
        for number in range(seeds)
        for pair in pairs
        if not merged or number < last.get(pair, -1)
    ]
    if "shard" in metadata:
        part, parts = metadata["shard"]
        planned = planned[part - 1 :: parts]
    return [key for key in planned if key not in stored]


def _last_repetitions(stored: set[tuple[str, str, int]]) -> dict[tuple[str, str], int]:
    last: dict[tuple[str, str], int] = {}
    for optimizer, task, number in stored:
        last[optimizer, task] = max(number, last.get((optimizer, task), -1))
    return last
