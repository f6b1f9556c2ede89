"""Makes one run in a worker process, and reads in the suite's process what comes from there."""

from __future__ import annotations

import json
import math
import re
import socket
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import ClusterError, DataError, NasbenchKDError
from nasbench_kd.execution.code import code_of, import_libraries
from nasbench_kd.execution.isolation import Caps, Failure, run_isolated
from nasbench_kd.execution.jobs import Conditions, Job
from nasbench_kd.execution.remote import OptimizerEnded, RemoteOptimizer, serve_optimizer
from nasbench_kd.execution.runs import STEP_COLUMNS, RunRecord, decode, encode
from nasbench_kd.execution.sandbox import readable_paths, restrict
from nasbench_kd.execution.store import FinishedRun
from nasbench_kd.execution.workers import Partner, Partners, Request
from nasbench_kd.opening import load
from nasbench_kd.simulation.border import explain
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.optimizer_side import LocalOptimizer, OptimizerSide
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.simulation.run import Ending, Run
from nasbench_kd.simulation.search import run_search, search
from nasbench_kd.simulation.simulation import Simulation
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tables.resolve import SOURCES
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd.tasks.registry import find_task, shares_space
from nasbench_kd.tasks.signals import SIGNALS

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_REASON_LENGTH = 1000
_MOST_OPENED = 100
_prepared: set[tuple[Any, ...]] = set()


class Task(NamedTuple):
    """A run as it is handed to a process."""

    job: Job
    fidelities: tuple[str, ...]
    """What earlier runs like it have asked for: worth opening once for all."""
    scratch: str
    """A folder in which isolated optimizers get one that they may write to; empty where none are."""
    caps: Caps


class _Place(NamedTuple):
    """What an isolated optimizer's process is handed."""

    task: Task
    scratch: str


def make_runs(jobs: Iterable[Job], processes: int, *, caps: Caps) -> Generator[FinishedRun, None, None]:
    """Make runs in processes of this machine, so many at once, and yield them as they finish: an executor's work.

    Raises `ClusterError` where an optimizer's code or a library is another one here than where the suite was planned.
    """
    used: dict[str, set[str]] = {}
    jobs = iter(jobs)
    first = next(jobs, None)
    if first is None:
        return
    with tempfile.TemporaryDirectory(prefix="nasbench-kd-", ignore_cleanup_errors=True) as scratch:

        def tasks() -> Iterator[Task]:
            for job in chain([first], jobs):
                if job.fingerprint not in used:
                    _check_code(job.conditions)
                yield Task(job, _worth_opening(used.setdefault(job.fingerprint, set())), scratch, caps)

        partner = None if first.conditions.isolation == "none" else PARTNER  # all of a suite are alike
        outcomes = run_isolated(
            run_bytes, tasks(), jobs=processes, caps=caps, prepare=prepare, partner=partner
        )
        with closing(outcomes):
            for task, outcome in outcomes:
                row, fidelities = finished(task.job, outcome)
                used[task.job.fingerprint].update(fidelities)
                yield row


def _check_code(conditions: Conditions) -> None:
    """Raise `ClusterError` where a run would rest on other code than its fingerprint says."""
    code = code_of(_module(conditions.optimizer))
    for planned, here in ((conditions.code, code.files), (conditions.libraries, code.libraries)):
        for name in sorted({*planned, *here}):
            if planned.get(name) != here.get(name):
                raise ClusterError(
                    f"{conditions.name} rests on another {name} here ({_short(here.get(name))}) than where the suite "
                    f"was planned ({_short(planned.get(name))}): install the same everywhere"
                )


def _short(version: str | None) -> str:
    return "none" if version is None else version[:12]


def make_run(job: Job) -> FinishedRun:
    """Make one run; the errors of its optimizer are recorded in it. Called in a worker process."""
    conditions = job.conditions
    try:
        optimizer = make_optimizer(conditions.optimizer, conditions.arguments)
        return _row(job, _search(job, LocalOptimizer(optimizer)))
    except BaseException as error:  # such as SystemExit: somebody else's code, and it ends its own run only
        return failed_run(job, explain(error))


def run_bytes(task: Task, talk: socket.socket | None = None) -> bytes:
    """Make a run and return what is stored of it, in words that run no code when they are read.

    With a way to partners the optimizer lives in one.
    """
    row = make_run(task.job) if talk is None else _make_isolated_run(task, Partners(talk))
    return json.dumps(row.optimizer_seconds).encode() + b"\n" + row.payload


def _make_isolated_run(task: Task, partners: Partners) -> FinishedRun:
    with tempfile.TemporaryDirectory(dir=task.scratch, ignore_cleanup_errors=True) as scratch:
        partner = partners.start(Request(_Place(task, scratch), task.caps.memory_bytes))
        try:
            return _row(task.job, _search(task.job, RemoteOptimizer(partner)))
        except OptimizerEnded as ended:
            return failed_run(task.job, str(ended))


def _search(job: Job, side: OptimizerSide) -> Run:
    conditions = job.conditions
    benchmark, _ = _opened(conditions.task, conditions.data, conditions.mean_over_seeds)
    budget = Budget.parse(conditions.budget)
    return run_search(
        side,
        Simulation(
            benchmark,
            budget,
            job.seed,
            workers=conditions.workers,
            bill_teacher=conditions.bill_teacher,
            given=conditions.given,
        ),
    )


def _serve(place: _Place, talk: socket.socket) -> bytes:
    """Be the process of an isolated optimizer."""
    conditions = place.task.job.conditions
    if conditions.isolation == "process and files":
        restrict(readable_paths(_module(conditions.optimizer)), Path(place.scratch))
    serve_optimizer(lambda: make_optimizer(conditions.optimizer, conditions.arguments), talk)
    return b""


def _prepare_partner(task: Task) -> None:
    """Import the libraries of an optimizer, and nothing else: what is here is in its process."""
    module = _module(task.job.conditions.optimizer)
    import_libraries(module)
    code_of(module)
    if task.job.conditions.isolation == "process and files":
        readable_paths(module)


PARTNER = Partner(_serve, _prepare_partner)
"""Where the optimizers of isolated runs live."""


def prepare(task: Task) -> None:
    """Open what a run will ask for, in the process that its own is forked from: by a run like it, of our own.

    Raises `DataError` where the tables are others than those that the suite was planned with.
    """
    conditions = task.job.conditions
    benchmark, versions = _opened(conditions.task, conditions.data, conditions.mean_over_seeds)
    if versions != conditions.tables:
        raise DataError(
            "the installed tables changed while the suite was running, or another machine of a cluster has others; "
            "finished runs are kept, but they were made with the tables that this suite began with: install those "
            "everywhere, or run the suite again with another --output"
        )
    opened = (conditions.task, conditions.data, conditions.mean_over_seeds)
    key = (*opened, conditions.optimizer, task.fidelities)
    if key not in _prepared:
        _prepared.add(key)
        asked = {TARGET, *task.fidelities}
        _row(task.job, search(_Asks(asked), task=benchmark, budget=f"{len(asked)} evaluations"))
        if conditions.isolation == "none":
            import_libraries(_module(conditions.optimizer))


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


def finished(job: Job, outcome: bytes | Failure) -> tuple[FinishedRun, set[str]]:
    """The run behind what a worker left, and the fidelities that it asked for.

    An optimizer may have written it: what is no run under the job's conditions is a failed one.
    """
    if isinstance(outcome, Failure):
        return failed_run(job, outcome.reason), set()
    try:
        header, _, payload = outcome.partition(b"\n")
        seconds = json.loads(header)
        if type(seconds) is not float or not 0 <= seconds < math.inf:
            raise ValueError("no time")
        batch = decode(payload)
        fidelities = _check(job, batch)
    except (
        NasbenchKDError,
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        pa.ArrowException,
    ) as error:
        reason = f"what its process handed over is no run: {type(error).__name__}"
        return failed_run(job, reason), set()
    failed = batch["ending"][0].as_py() == "failed"
    return FinishedRun(job.key, job.fingerprint, failed, seconds, payload), fidelities


def _check(job: Job, batch: pa.RecordBatch) -> set[str]:
    """Raise `ValueError` where a row is not one of a job's runs; return its fidelities."""
    batch.validate(full=True)
    if batch.num_rows != 1 or any(column.null_count for column in batch.columns):
        raise ValueError("not one whole row")
    steps = {name: batch[name].flatten() for name in STEP_COLUMNS}
    if len({len(column) for column in steps.values()}) != 1 or any(
        each.null_count for name, each in steps.items() if name != "training_seed"
    ):
        raise ValueError("steps without all their values")
    (row,) = batch.select([name for name in batch.schema.names if name not in steps]).to_pylist()
    conditions = job.conditions
    wanted = (*job.key, job.seed, str(Budget.parse(conditions.budget)), conditions.workers)
    if (
        tuple(row[name] for name in ("optimizer", "task", "repetition", "seed", "budget", "workers"))
        != wanted
    ):
        raise ValueError("another run")
    size = len(find_task(conditions.task).space)
    cells, answers = steps["cell"].to_numpy(), steps["answer"].to_numpy()
    if len(cells) and not (
        cells.min() >= 0 and max(cells.max(), answers.max()) < size and answers.min() >= -1
    ):
        raise ValueError("cells of another space")
    if (
        row["ending"] not in get_args(Ending)
        or max(len(row["reason"]), len(row["traceback"])) > _REASON_LENGTH
    ):
        raise ValueError("another ending")
    named = {name: set(steps[name].unique().to_pylist()) for name in ("source", "signal", "fidelity")}
    if not (named["source"] <= set(SOURCES) and named["signal"] <= set(SIGNALS)):
        raise ValueError("unknown names")
    if any(str(Fidelity.parse(text)) != text for text in named["fidelity"]):
        raise ValueError("unknown fidelities")
    if min((pc.min(steps[name]).as_py() or 0 for name in _COUNTED), default=0) < 0:
        raise ValueError("negative times")
    return named["fidelity"]


_COUNTED = ("start", "finish", "training_seed", "charged", "teacher", "spent")


def _worth_opening(fidelities: Iterable[str]) -> tuple[str, ...]:
    """What of the fidelities that earlier runs asked for is opened before later ones."""
    return tuple(sorted(fidelities)[:_MOST_OPENED])


def _module(optimizer: str) -> str:
    return optimizer.partition(":")[0]


def _row(job: Job, run: Run) -> FinishedRun:
    # Addresses would differ from run to run, and text from elsewhere may not be text.
    reason, traceback = (
        _ADDRESS.sub("0x...", text).encode("utf-8", "replace").decode()[:_REASON_LENGTH]
        for text in (run.reason, run.traceback)
    )
    run = replace(run, reason=reason, traceback=traceback)
    payload = encode(RunRecord(job.conditions.name, job.repetition, run))
    return FinishedRun(job.key, job.fingerprint, run.ending == "failed", run.optimizer_seconds, payload)


def failed_run(job: Job, reason: str) -> FinishedRun:
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


@cache
def _opened(task: str, data: Data, mean_over_seeds: bool) -> tuple[Benchmark, dict[str, str]]:
    return load(task, data=data, mean_over_seeds=mean_over_seeds), table_versions(task, data)


def table_versions(task: str, data: Data) -> dict[str, str]:
    """SHA-256 of the tables with entries that a search can see, by name; raises `DataError`.

    Those of the other tasks of its space count: their trainings are fidelities, too (`on=TASK`).
    """
    about = find_task(task)
    return {
        table.name: table.sha256
        for table in tables(data, about)
        if any(column.split == "valid" and shares_space(column.task, about) for column in table.columns)
    }
