"""References: stored runs that the gate holds optimizers to, small enough for a repository."""

from __future__ import annotations

import re
import shlex
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nasbench_kd.errors import GateError, nearest
from nasbench_kd.execution.jobs import run_seed
from nasbench_kd.execution.runs import KEPT, SCHEMA, StoredRuns, read_runs, write_runs
from nasbench_kd.execution.study import RUNS_FILE, Progress, plan, run_suite
from nasbench_kd.execution.suite import Suite
from nasbench_kd.report.prefixes import Prefixes
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task

FOLDER_NAME = "reference"
_OLD_FOLDER_NAME = "baselines"
"""Where references were stored by earlier versions; still read."""
SUFFIX = ".parquet"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STEP_COLUMNS = tuple(field.name for field in SCHEMA if pa.types.is_list(field.type))
_IGNORED = ("seeds", "wall_clock_cap", "memory_cap_gb", "ablations", "primary")
"""What two suites may differ in and still be compared: the gate asks for the seeds that it needs."""


def reference_path(named: str, suite_file: Path, suite: str, *, new: bool = False) -> Path:
    """The file of a reference: a path, a folder of results, or a name.

    A name stands for `reference/<suite>/<name>.parquet` beside the suite's file. Raises `GateError`
    where there is none, unless it is to be `new`.
    """
    path = Path(named)
    if _NAME.fullmatch(named) and not path.exists():
        path = suite_file.parent / FOLDER_NAME / suite / f"{named}{SUFFIX}"
    elif path.is_dir():
        path /= RUNS_FILE
    if new or path.is_file():
        return path
    old = suite_file.parent / _OLD_FOLDER_NAME / suite / f"{named}{SUFFIX}"
    if _NAME.fullmatch(named) and old.is_file():
        warnings.warn(f"{old}: references are now kept in {path.parent}; move the file there", stacklevel=2)
        return old
    known = sorted(found.stem for found in (suite_file.parent / FOLDER_NAME / suite).glob(f"*{SUFFIX}"))
    raise GateError(
        f"no reference {named!r}: there is no file {path}; the suite {suite!r} has {', '.join(known) or 'none'}."
        f"{nearest(named, known)} `nasbench-kd reference save {shlex.quote(named)} --suite "
        f"{shlex.quote(str(suite_file))}` makes it"
    )


def save_reference(
    suite: Suite,
    path: Path,
    *,
    jobs: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> StoredRuns:
    """Make all the runs of a suite and store what reading them at its budgets needs; return what was stored.

    The same code gives the same bytes. Raises `GateError` where a run failed: nobody can be held to it.
    """
    with tempfile.TemporaryDirectory(prefix="nasbench-kd-") as folder:
        run_suite(suite, Path(folder), jobs=jobs, on_progress=on_progress)
        runs = read_runs(Path(folder) / RUNS_FILE)
    _check_endings(runs.table, "no reference was written")
    write_runs(
        path,
        readable_at(runs.table, suite.budgets),
        {**runs.metadata, KEPT: "the steps that decide"},
    )
    return read_runs(path)


def readable_at(runs: pa.Table, budgets: Iterable[Budget]) -> pa.Table:
    """Keep those steps of every run by which it is scored at some budgets, a few in place of hundreds.

    These are, for each budget, the last step paid for within it, with the answer that the run is read by there, and
    the step that first showed that at the full fidelity; in the order in which they were started. `runs` is a table
    of `nasbench_kd.execution.runs.SCHEMA`, and so is what is returned.
    """
    amounts = [budget.amount for budget in budgets]
    thinned = []
    for batch in runs.to_batches(max_chunksize=1):
        prefixes = Prefixes(batch)
        (told,) = batch.to_pylist()
        steps = prefixes.order.tolist()
        run = {**told, **{name: [told[name][step] for step in steps] for name in _STEP_COLUMNS}}
        run["answer"] = prefixes.answer.tolist()
        kept = sorted(_deciding_steps(run, amounts))
        thinned.append({**run, **{name: [run[name][step] for step in kept] for name in _STEP_COLUMNS}})
    return pa.Table.from_pylist(thinned, schema=SCHEMA)


def check_reference(stored: StoredRuns, suite: Suite, path: Path) -> None:
    """Raise `GateError` unless the runs were made by the same suite on the same tables and cover its seeds."""
    place = f"the reference {path}"
    _check_suite(stored.metadata.get("suite"), suite, place)
    _check_tables(stored.metadata.get("tables"), suite, place)
    _check_endings(stored.table, f"{place} cannot be compared with")
    columns = (stored.table[name].to_pylist() for name in ("optimizer", "task", "repetition", "seed"))
    seeds = {
        (optimizer, task, repetition): seed
        for optimizer, task, repetition, seed in zip(*columns, strict=True)
    }
    for entry in suite.optimizers:
        for task in suite.tasks:
            for repetition in range(suite.seeds):
                seed = seeds.get((entry.name, task, repetition))
                if seed is None:
                    raise GateError(
                        f"{place} lacks repetition {repetition} of {entry.name} on {task}, and the suite has "
                        f"{suite.seeds} seeds: save it again"
                    )
                if seed != run_seed(suite.name, suite.seed_name(entry.name), task, repetition):
                    raise GateError(
                        f"{place} was made with other seeds, so that its runs pair with none: save it again"
                    )


def table_versions(suite: Suite) -> dict[str, str]:
    """SHA-256 of the tables that the runs of a suite would rest on now, by name."""
    jobs = plan(replace(suite, seeds=1))
    return {name: sha256 for job in jobs for name, sha256 in job.conditions.tables.items()}


def _deciding_steps(run: Mapping[str, Any], amounts: Iterable[int]) -> set[int]:
    """Positions of the steps by which a run is scored at some amounts spent."""
    kept: set[int] = set()
    full = find_task(run["task"]).target.curve
    for amount in amounts:
        within = next((step for step, spent in enumerate(run["spent"]) if spent > amount), len(run["spent"]))
        if not within:
            continue
        kept.add(within - 1)
        answer = run["answer"][within - 1]
        for step in range(within):
            if run["cell"][step] == answer and Fidelity.parse(run["fidelity"][step]).curve == full:
                kept.add(step)
                break
    return kept


def _check_suite(described: Any, suite: Suite, place: str) -> None:
    if not isinstance(described, dict):
        raise GateError(f"{place} does not say which suite made it: save it again")
    changes = [
        f"{name} was {described.get(name)!r} and is {value!r}"
        for name, value in suite.describe().items()
        if name not in _IGNORED and described.get(name) != value
    ]
    if changes:
        raise GateError(
            f"{place} was made by another suite: {'; '.join(changes)}. Compare with the suite that made it, or "
            "save the reference again"
        )


def _check_tables(stored: Any, suite: Suite, place: str) -> None:
    now = table_versions(suite)
    if stored != now:
        raise GateError(
            f"{place} rests on other versions of the tables: it has {_versions(stored)}, and here is "
            f"{_versions(now)}. Save it again, or compare with the version of the data that made it"
        )


def _check_endings(runs: pa.Table, what: str) -> None:
    failed = runs.filter(pc.equal(runs["ending"], "failed"))
    if failed.num_rows:
        first = failed.slice(0, 1).to_pylist()[0]
        raise GateError(
            f"{what}: {failed.num_rows} of {runs.num_rows} runs failed, such as {first['optimizer']} on "
            f"{first['task']}, repetition {first['repetition']}: {first['reason']}"
        )


def _versions(tables: Any) -> str:
    if not isinstance(tables, dict):
        return "none"
    return ", ".join(f"{name} {str(sha256)[:12]}" for name, sha256 in sorted(tables.items())) or "none"
