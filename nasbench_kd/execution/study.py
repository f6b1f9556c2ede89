"""Runs a suite in parallel, stores each run as it finishes, resumes, and exports the runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nasbench_kd.benchmark.benchmark import Benchmark, Evaluation
from nasbench_kd.errors import DataError, StoreError, UnknownNameError, nearest
from nasbench_kd.escaping import csv_text
from nasbench_kd.execution.code import code_of, import_libraries
from nasbench_kd.execution.isolation import Caps, Failure, run_isolated
from nasbench_kd.execution.runs import FORMAT, RunRecord, decode, encode, write_runs
from nasbench_kd.execution.store import FinishedRun, Key, RunStore
from nasbench_kd.execution.suite import Suite, import_name
from nasbench_kd.files import write_text
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.simulation.run import Run
from nasbench_kd.simulation.search import search
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tasks.fidelity import TARGET
from nasbench_kd.tasks.registry import find_task, shares_space

RUNS_FILE = "runs.parquet"
OVERHEAD_FILE = "overhead.csv"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_REASON_LENGTH = 1000
_prepared: set[tuple[Any, ...]] = set()


@dataclass(frozen=True, slots=True)
class Conditions:
    """All that determines the runs of one optimizer on one task, the repetition apart."""

    suite: str
    name: str
    task: str
    optimizer: str
    """`module:Class`."""
    arguments: Mapping[str, Any]
    code: Mapping[str, str]
    """SHA-256 of the optimizer's own modules, by name (`Code.files`)."""
    libraries: Mapping[str, str]
    """Versions of nasbench-kd, NumPy and what the optimizer imports (`Code.libraries`)."""
    budget: str
    workers: int
    bill_teacher: bool
    seeds: str
    """The name by which the seeds are drawn (`Suite.seed_name`)."""
    data: Data
    tables: Mapping[str, str]
    """SHA-256 of the tables that answer for the task, by name."""
    run_format: str = FORMAT

    @property
    def description(self) -> str:
        """As JSON, one text for one meaning."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the description."""
        return hashlib.sha256(self.description.encode()).hexdigest()


class Job(NamedTuple):
    """One run to be made."""

    conditions: Conditions
    fingerprint: str
    repetition: int

    @property
    def key(self) -> Key:
        """The run's place in the store."""
        return Key(self.conditions.name, self.conditions.task, self.repetition)

    @property
    def seed(self) -> int:
        """The seed of the run; it depends on suite, task, repetition and, unless paired, optimizer alone."""
        conditions = self.conditions
        return run_seed(conditions.suite, conditions.seeds, conditions.task, self.repetition)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a suite has come."""

    total: int
    done: int
    failed: int
    resumed: int
    """Runs that were in the store already."""


def run_seed(suite: str, optimizer: str, task: str, repetition: int) -> int:
    """A seed below 2^63 for a run; adding tasks, optimizers or repetitions changes no other run's."""
    text = json.dumps([suite, optimizer, task, repetition])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def plan(suite: Suite) -> list[Job]:
    """The runs of a suite, repetition by repetition, so that an unfinished suite is balanced.

    Raises `DataError` and `UnknownNameError`.
    """
    versions = {task: _table_versions(task, suite.data) for task in suite.tasks}
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
            seeds=suite.seed_name(entry.name),
            data=suite.data,
            tables=versions[task],
        )
        for task in suite.tasks
        for entry in suite.optimizers
        for name in [import_name(entry.optimizer)]
        for module in [name.partition(":")[0]]
    ]
    fingerprinted = [(each, each.fingerprint) for each in conditions]
    return [Job(*each, repetition) for repetition in range(suite.seeds) for each in fingerprinted]


def run_suite(
    suite: Suite,
    folder: Path,
    *,
    jobs: int | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    rerun: Collection[str] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Make the runs of a suite that `folder` does not hold yet and write `runs.parquet` and `overhead.csv`.

    Every run is made in one of `jobs` separate processes (default: one for each core) and stored at once.
    After any interruption the same call goes on and ends with the same bytes of `runs.parquet`; the
    optimizers' own seconds go to `overhead.csv`. Stored runs that the suite no longer has are left alone
    and not exported. `fresh` throws away what is stored; `retry_failed` only what failed or is damaged,
    `rerun` the runs of the entries with these names (`UnknownNameError` where the suite has no such entry).
    Raises `StoreError` where stored runs were made under other conditions, where the folder is busy or
    cannot be written, and `DataError`.
    """
    names = [entry.name for entry in suite.optimizers]
    for name in rerun:
        if name not in names:
            raise UnknownNameError(
                f"the suite {suite.name!r} has no optimizer {name!r}: it has {', '.join(names)}.{nearest(name, names)}"
            )
    planned = plan(suite)
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
        with closing(_make_runs(missing, jobs or _cores(), caps)) as rows:
            for row in rows:
                store.add(row)
                progress = replace(progress, done=progress.done + 1, failed=progress.failed + row.failed)
                on_progress(progress)
        _export(suite, planned, store, folder)
    return progress


def make_run(job: Job) -> FinishedRun:
    """Make one run; the errors of its optimizer are recorded in it. Called in a worker process."""
    conditions = job.conditions
    benchmark, versions = _opened(conditions.task, conditions.data)
    if versions != conditions.tables:
        raise DataError(
            "the installed tables changed while the suite was running; finished runs are kept, but they were "
            "made with the tables of before: run the suite again with another --output"
        )
    try:
        run = search(
            make_optimizer(conditions.optimizer, conditions.arguments),
            task=benchmark,
            budget=conditions.budget,
            seed=job.seed,
            workers=conditions.workers,
            bill_teacher=conditions.bill_teacher,
        )
    except BaseException as error:  # such as SystemExit: somebody else's code, and it ends its own run only
        return _failure(job, f"{type(error).__name__}: {_text(error)}")
    return _row(job, run)


def _make_runs(missing: list[Job], jobs: int, caps: Caps) -> Generator[FinishedRun, None, None]:
    used: dict[str, set[str]] = {}

    def tasks() -> Iterator[_Task]:
        for job in missing:
            yield _Task(job, tuple(sorted(used.get(job.fingerprint, ()))))

    outcomes = run_isolated(_run_bytes, tasks(), jobs=jobs, caps=caps, prepare=_prepare)
    with closing(outcomes):
        for (job, _), outcome in outcomes:
            if isinstance(outcome, Failure):
                yield _failure(job, outcome.reason)
                continue
            try:
                row, fidelities = _finished(job, outcome)
            except (ValueError, TypeError, KeyError) as error:
                yield _failure(job, f"what its process handed over is no run: {type(error).__name__}")
                continue
            used.setdefault(job.fingerprint, set()).update(fidelities)
            yield row


class _Task(NamedTuple):
    """A run as it is handed to a process."""

    job: Job
    fidelities: tuple[str, ...]
    """What earlier runs like it have asked for: worth opening once for all."""


class _Asks(Optimizer):
    """Asks for one cell at some fidelities, and for nothing else."""

    def __init__(self, fidelities: Iterable[str]) -> None:
        self.fidelities = tuple(fidelities)

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        super().setup(view, rng)
        self.waiting = list(self.fidelities)

    def ask(self) -> Query:
        return Query(self.view.space[0], self.waiting.pop())

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        pass


def _prepare(task: _Task) -> None:
    """Open what a run will ask for, in the process that its own is forked from: by a run like it, of our own."""
    name = task.job.conditions.optimizer
    key = (task.job.conditions.task, task.job.conditions.data, name, task.fidelities)
    if key not in _prepared:
        _prepared.add(key)
        benchmark, _ = _opened(task.job.conditions.task, task.job.conditions.data)
        asked = {TARGET, *task.fidelities}
        _row(task.job, search(_Asks(asked), task=benchmark, budget=f"{len(asked)} evaluations"))
        import_libraries(name.partition(":")[0])


def _run_bytes(task: _Task) -> bytes:
    """Make a run and return what is stored of it, in words that run no code when they are read."""
    row = make_run(task.job)
    return json.dumps([row.failed, row.optimizer_seconds]).encode() + b"\n" + row.payload


def _finished(job: Job, answer: bytes) -> tuple[FinishedRun, set[str]]:
    """The run in the bytes of `_run_bytes`, and the fidelities it asked for; raises where it is none."""
    header, _, payload = answer.partition(b"\n")
    failed, seconds = json.loads(header)
    (record,) = decode(payload).to_pylist()
    if Key(record["optimizer"], record["task"], record["repetition"]) != job.key:
        raise ValueError("it is another run")
    row = FinishedRun(job.key, job.fingerprint, bool(failed), float(seconds), payload)
    return row, set(record["fidelity"])


def _text(error: BaseException) -> str:
    """What an error says, even where saying it fails."""
    try:
        return str(error)
    except BaseException:
        return "(its text cannot be had)"


def _row(job: Job, run: Run) -> FinishedRun:
    # Addresses would differ from run to run, and text from elsewhere may not be text.
    reason, traceback = (
        _ADDRESS.sub("0x...", text).encode("utf-8", "replace").decode()[:_REASON_LENGTH]
        for text in (run.reason, run.traceback)
    )
    run = replace(run, reason=reason, traceback=traceback)
    payload = encode(RunRecord(job.conditions.name, job.repetition, run))
    return FinishedRun(job.key, job.fingerprint, run.ending == "failed", run.optimizer_seconds, payload)


def _failure(job: Job, reason: str) -> FinishedRun:
    """A run that left nothing but the reason of its failure."""
    run = Run(
        task=job.conditions.task,
        space=find_task(job.conditions.task).space,
        budget=Budget.parse(job.conditions.budget),
        seed=job.seed,
        workers=job.conditions.workers,
        steps=(),
        ending="failed",
        reason=reason,
        training_seconds=0.0,
        teacher_seconds=0.0,
        optimizer_seconds=0.0,
    )
    return _row(job, run)


def _check_fingerprints(store: RunStore, planned: list[Job], stored: Mapping[Key, tuple[str, bool]]) -> None:
    for job in planned:
        if job.key not in stored or stored[job.key][0] == job.fingerprint:
            continue
        before = store.description(stored[job.key][0])
        now = json.loads(job.conditions.description)
        changes = [
            _change(name, before[name], value)
            for name, value in now.items()
            if name in before and before[name] != value
        ]
        raise StoreError(
            f"{store.path} holds a run of {job.key} that was made under other conditions: "
            f"{'; '.join(changes) or 'they are not recorded'}. Choose another --output to keep both, "
            f"--rerun '{job.conditions.name}' to make the runs of this optimizer anew, or --fresh to throw all "
            "stored runs away"
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


def _export(suite: Suite, planned: list[Job], store: RunStore, folder: Path) -> None:
    wanted = {job.key for job in planned}
    overhead = io.StringIO()
    lines = csv.writer(overhead, lineterminator="\n")
    lines.writerow(["optimizer", "task", "repetition", "optimizer_seconds"])

    def batches() -> Iterator[Any]:
        for row in store.rows():
            if row.key in wanted:
                lines.writerow([*(csv_text(str(part)) for part in row.key), row.optimizer_seconds])
                yield decode(row.payload)

    versions = {name: sha256 for job in planned for name, sha256 in job.conditions.tables.items()}
    try:
        described = {
            "suite": suite.describe(),
            "tables": versions,
            "package_version": version("nasbench-kd"),
        }
        write_runs(folder / RUNS_FILE, batches(), described)
        write_text(folder / OVERHEAD_FILE, overhead.getvalue())
    except OSError as error:
        raise StoreError(
            f"the runs cannot be written to {folder}: {error}. They are kept in {store.path}: make room or "
            "access, and the same command goes on"
        ) from error


@cache
def _opened(task: str, data: Data) -> tuple[Benchmark, dict[str, str]]:
    return load(task, data=data), _table_versions(task, data)


def _table_versions(task: str, data: Data) -> dict[str, str]:
    """SHA-256 of the tables with entries that a search can see, by name; raises `DataError`.

    Those of the other tasks of its space count: their trainings are fidelities, too (`on=TASK`).
    """
    about = find_task(task)
    return {
        table.name: table.sha256
        for table in tables(data, about)
        if any(column.split == "valid" and shares_space(column.task, about) for column in table.columns)
    }


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
