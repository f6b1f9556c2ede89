"""Runs a suite in parallel, stores each run as it finishes, resumes, and exports the runs."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nasbench_kd.errors import StoreError, UnknownNameError, nearest
from nasbench_kd.escaping import csv_text
from nasbench_kd.execution.code import code_of
from nasbench_kd.execution.gate_rules import RULES_KEY, describe_rules
from nasbench_kd.execution.isolation import Caps
from nasbench_kd.execution.jobs import Conditions, Isolation, Job
from nasbench_kd.execution.making import make_runs, table_versions
from nasbench_kd.execution.runs import MADE_BY, decode, write_runs
from nasbench_kd.execution.store import FILE_NAME, Key, RunStore
from nasbench_kd.execution.suite import Suite, import_name
from nasbench_kd.executors.executor import Executor, Processes
from nasbench_kd.files import write_text

RUNS_FILE = "runs.parquet"
OVERHEAD_FILE = "overhead.csv"
_MOST_TOGETHER = 50
"""Runs that are sent to another machine together: they share what is opened there."""
_BEFORE = {"given": [], "isolation": "none", "mean_over_seeds": False}
"""What descriptions leave out where it is as before they could say it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a suite has come."""

    total: int
    done: int
    failed: int
    resumed: int
    """Runs that were in the store already."""


def plan(suite: Suite, isolation: Isolation = "none") -> list[Job]:
    """The runs of a suite, repetition by repetition, so that an unfinished suite is balanced.

    Raises `DataError` and `UnknownNameError`.
    """
    versions = {task: table_versions(task, suite.data) for task in suite.tasks}
    code_of.cache_clear()  # files may have been edited since the last plan
    conditions = [
        Conditions(
            suite=suite.name,
            name=entry.name,
            task=task,
            optimizer=name,
            arguments=entry.arguments,
            code=code_of(module).files,
            libraries=code_of(module).libraries,
            budget=str(suite.largest_budget),
            workers=suite.workers,
            bill_teacher=suite.bills_teacher(entry),
            given=suite.given_to(entry),
            seeds=suite.seed_name(entry.name),
            data=suite.data,
            mean_over_seeds=suite.mean_over_seeds,
            tables=versions[task],
            isolation=isolation,
        )
        for task in suite.tasks
        for entry in suite.optimizers
        for name in [import_name(entry.optimizer)]
        for module in [name.partition(":")[0]]
    ]
    fingerprinted = [(each, each.fingerprint) for each in conditions]
    return [Job(*each, repetition) for repetition in range(suite.seeds) for each in fingerprinted]


def run_suite(  # noqa: PLR0913  # each is a wish of its own
    suite: Suite,
    folder: Path,
    *,
    jobs: int | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    rerun: Collection[str] = (),
    isolation: Isolation = "none",
    shard: tuple[int, int] | None = None,
    executor: Executor | None = None,
    made_by: str = "",
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Make the runs of a suite that `folder` does not hold yet and write `runs.parquet` and `overhead.csv`.

    Every run is made in one of `jobs` separate processes (default: one for each core) and stored at once; with
    an `executor` of a cluster in processes there, and stored here as parts come back. The bytes are the same.
    After any interruption the same call goes on and ends with the same bytes of `runs.parquet`; the
    optimizers' own seconds go to `overhead.csv`. Stored runs that the suite no longer has are left alone
    and not exported. `fresh` throws away what is stored; `retry_failed` only what failed or is damaged,
    `rerun` the runs of the entries with these names (`UnknownNameError` where the suite has no such entry).
    With an `isolation` every optimizer lives in a process that has no tables. With `shard=(3, 8)` the third
    of eight parts is made: `merging.merge_runs` brings all of them together. `made_by` says who you are, for the board.
    Raises `StoreError` where stored runs were made under other conditions, where the folder has runs that no store
    beside them could go on from, where it is busy or cannot be written, `ClusterError`, and `DataError`.
    """
    names = [entry.name for entry in suite.optimizers]
    for name in rerun:
        if name not in names:
            raise UnknownNameError(
                f"the suite {suite.name!r} has no optimizer {name!r}: it has {', '.join(names)}.{nearest(name, names)}"
            )
    planned = plan(suite, isolation)
    tables = {name: sha256 for job in planned for name, sha256 in job.conditions.tables.items()}
    if shard is not None:
        planned = planned[shard[0] - 1 :: shard[1]]
    _check_nothing_lost(folder, fresh)
    with RunStore(folder, fresh=fresh) as store:
        if retry_failed:
            store.remove_failed()
        if rerun:
            store.remove(rerun)
        stored = {row.key: (row.fingerprint, row.failed) for row in store.rows()}
        _check_fingerprints(store, planned, stored)
        for conditions, fingerprint in {job.fingerprint: job[:2] for job in planned}.values():
            store.describe(fingerprint, conditions.description)
        missing = [job for job in planned if job.key not in stored]
        resumed = len(planned) - len(missing)
        failed = sum(stored[job.key][1] for job in planned if job.key in stored)
        progress = Progress(len(planned), resumed, failed, resumed)
        on_progress(progress)
        caps = Caps(suite.cap_seconds, suite.memory_bytes)
        executor = executor or Processes(jobs or _cores())
        with closing(executor.run(partial(make_runs, caps=caps), missing, most=_MOST_TOGETHER)) as rows:
            for row in rows:
                store.add(row)
                progress = replace(progress, done=progress.done + 1, failed=progress.failed + row.failed)
                on_progress(progress)
        described: dict[str, Any] = {
            "suite": suite.describe(),
            "tables": tables,
            "package_version": version("nasbench-kd"),
        }
        if suite.gate is not None:
            described[RULES_KEY] = describe_rules(suite.gate)
        if isolation != "none":
            described["isolation"] = isolation
        if shard is not None:
            described["shard"] = shard
        if made_by:
            described[MADE_BY] = dict.fromkeys(names, made_by)
        _export(described, planned, store, folder)
    return progress


def _check_nothing_lost(folder: Path, fresh: bool) -> None:
    """Raise `StoreError` where a folder has stored runs that its store could not write again, unless all is to go."""
    if not fresh and (folder / RUNS_FILE).is_file() and not (folder / FILE_NAME).exists():
        raise StoreError(
            f"{folder / RUNS_FILE} has published or merged runs, without the store that a suite goes on from, and "
            "would be replaced: choose another --output (`nasbench-kd report` takes both folders as one board), or "
            "--fresh to throw them away"
        )


def _check_fingerprints(store: RunStore, planned: list[Job], stored: Mapping[Key, tuple[str, bool]]) -> None:
    for job in planned:
        if job.key not in stored or stored[job.key][0] == job.fingerprint:
            continue
        before = store.description(stored[job.key][0])
        now = json.loads(job.conditions.description)
        changes = [
            _change(name, before.get(name, _BEFORE.get(name)), now.get(name, _BEFORE.get(name)))
            for name in sorted({*before, *now})
            if (name in before and name in now) or name in _BEFORE
            if before.get(name, _BEFORE.get(name)) != now.get(name, _BEFORE.get(name))
        ]
        raise StoreError(
            f"{store.path} holds a run of {job.key} that was made under other conditions: "
            f"{'; '.join(changes) or 'they are not recorded'}. Choose another --output to keep both, "
            f"--rerun {shlex.quote(job.conditions.name)} to make the runs of this optimizer anew, or --fresh to throw "
            "all stored runs away"
        )


def _change(name: str, before: Any, now: Any) -> str:
    """In words, how a condition changed: which file, which version."""
    if name not in ("code", "libraries") or not isinstance(before, dict):
        return f"{name} was {json.dumps(before)} and is {json.dumps(now)}"
    different = [each for each in sorted({*before, *now}) if before.get(each) != now.get(each)]
    if name == "code":
        return f"code was changed in {', '.join(different)}"
    return "; ".join(
        f"{each} was {before.get(each, 'not imported')} and is {now.get(each, 'not imported')}"
        for each in different
    )


def _export(described: Mapping[str, Any], planned: list[Job], store: RunStore, folder: Path) -> None:
    wanted = {job.key for job in planned}
    overhead = io.StringIO()
    lines = csv.writer(overhead, lineterminator="\n")
    lines.writerow(["optimizer", "task", "repetition", "optimizer_seconds"])

    def batches() -> Iterator[Any]:
        for row in store.rows():
            if row.key in wanted:
                lines.writerow([*(csv_text(str(part)) for part in row.key), row.optimizer_seconds])
                yield decode(row.payload)

    try:
        write_runs(folder / RUNS_FILE, batches(), described)
        write_text(folder / OVERHEAD_FILE, overhead.getvalue())
    except OSError as error:
        raise StoreError(
            f"the runs cannot be written to {folder}: {error}. They are kept in {store.path}: make room or "
            "access, and the same command goes on"
        ) from error


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
