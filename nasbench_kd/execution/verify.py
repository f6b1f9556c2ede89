"""Replays stored runs against the tables: does every step show, cost and last what it says?"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import NasbenchKDError, StoreError
from nasbench_kd.execution.jobs import run_seed
from nasbench_kd.execution.missing import missing_runs
from nasbench_kd.execution.runs import KEPT, MERGED, SCHEMA, RunsFile
from nasbench_kd.execution.study import RUNS_FILE
from nasbench_kd.execution.versions import changed
from nasbench_kd.files import is_special, write_text
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import Query
from nasbench_kd.simulation.run import Step
from nasbench_kd.simulation.simulation import Simulation
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tasks.registry import find_task

VERIFIED_FILE = "verified.json"
MOST_OF_A_RUN = 10
"""Mismatches after which the rest of a run is not looked at."""
_NOT_TOLD = "whether other steps were taken, their order, what was spent in all, and that the answer had been evaluated"
"""What cannot be told of runs of which only those steps are stored that decide their scores."""
_KEY = ("optimizer", "task", "repetition")
_SEED = "training_seed"
"""What `Step.seed` is called in stored runs."""


class Mismatch(NamedTuple):
    """Something that a stored run says and that its replay does not give."""

    optimizer: str
    task: str
    repetition: int
    step: int | None
    """Position of the step, from 0; None where it is the run as a whole."""
    what: str

    def __str__(self) -> str:
        place = "" if self.step is None else f", step {self.step}"
        return f"{self.optimizer} on {self.task}, repetition {self.repetition}{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check, as it is stored beside the runs."""

    runs_sha256: str
    """Of the file of runs that was checked."""
    runs: int
    disagreeing: int
    """Runs with at least one mismatch."""
    whole: bool = True
    """Whether every step of the runs is stored and was replayed in its order; else the stored ones were each asked for
    by itself."""

    @property
    def short(self) -> str:
        """In a few words, for a column of a table."""
        found = f"{self.runs - self.disagreeing} of {self.runs} runs" if self.disagreeing else "yes"
        return found if self.whole else f"{found}, the stored steps"

    @property
    def sentence(self) -> str:
        """What was done, what it showed, and what it cannot show."""
        agreeing = f"{self.runs - self.disagreeing} of {self.runs} runs agree"
        if self.whole:
            return f"Replayed by `nasbench-kd verify`: {agreeing}."
        return (
            f"Checked by `nasbench-kd verify`: {agreeing} with the tables in the stored steps, each asked for by "
            f"itself. Only those that decide the scores are stored: {_NOT_TOLD} cannot be told."
        )


class RunsToVerify:
    """Stored runs with the tasks that they were made on.

    Raises `StoreError` where there are none, where they cannot be read, or where they rest on other
    versions of the tables than those that are here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / RUNS_FILE if path.is_dir() else path
        self.file = RunsFile(self.path)
        try:
            self._suite: dict[str, Any] = dict(self.file.metadata["suite"])
            self._entries: dict[str, dict[str, Any]] = {
                entry["name"]: dict(entry) for entry in self._suite["optimizers"]
            }
            given = list(self._suite.get("given", []))
            self._given = {
                name: tuple(map(str, entry.get("given", given))) for name, entry in self._entries.items()
            }
            self._data: Data = self._suite.get("data", "embedded")
            if self._data not in get_args(Data):
                raise ValueError(f"data is {self._data!r}")
            versions = dict(self.file.metadata["tables"])
            if not versions:
                raise ValueError("no tables")
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path} does not say which suite and tables it rests on: {error!r}"
            ) from error
        stored = self.file.table(list(_KEY))
        keys = set(zip(*(stored[name].to_pylist() for name in _KEY), strict=True))
        tasks = stored["task"].unique().to_pylist()
        try:
            self._missing = missing_runs(self.file.metadata, keys)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{self.path} does not say which runs its suite has: {error!r}") from error
        self.limit = _limit_of(self.file.metadata)
        """What of the suite cannot be checked here, in words; empty where all can be."""
        self.total = stored.num_rows + len(self._missing)
        """Runs that are stored, and those of the suite that are not."""
        if not keys:
            raise StoreError(f"{self.path} holds no runs; `nasbench-kd run SUITE` makes them")
        for name, sha256 in changed(self.file, tables(self._data, *map(find_task, tasks))).items():
            found = "it is not here" if sha256 is None else f"here is {sha256[:12]}"
            raise StoreError(
                f"the runs rest on version {str(versions[name])[:12]} of the table {name}, and {found}: verify them "
                "with the version of nasbench-kd and the data that made them"
            )
        self.whole = KEPT not in self.file.metadata
        """Whether every step of the runs is stored; else each stored step is asked for by itself."""
        self._check = replay if self.whole else check_kept_steps
        means = bool(self._suite.get("mean_over_seeds", False))
        self._open = cache(lambda task: load(task, data=self._data, mean_over_seeds=means))

    def verify(self) -> Iterator[list[Mismatch]]:
        """Replay one run after another and yield what does not agree; raises `StoreError`, `UnknownNameError`."""
        seen: set[tuple[str, str, int]] = set()
        for batch in self.file.batches(SCHEMA.names, 100):
            for row in batch.to_pylist():
                yield self._verify_run(row, seen)
        for key in self._missing:
            yield [Mismatch(*key, None, "the suite has this run, and it is not stored")]

    def store(self, disagreeing: int) -> Verification:
        """Write the result beside the runs; raises `OSError` where the folder cannot be written."""
        result = Verification(_sha256(self.path), self.total, disagreeing, self.whole)
        write_text(self.path.parent / VERIFIED_FILE, json.dumps(asdict(result), indent=2) + "\n")
        return result

    def _verify_run(self, row: Mapping[str, Any], seen: set[tuple[str, str, int]]) -> list[Mismatch]:
        key = (row["optimizer"], row["task"], row["repetition"])
        problems = list(self._conditions(row))
        if key in seen:
            problems.append("there is a second run of this name")
        seen.add(key)
        entry = self._entries.get(row["optimizer"], {})
        bill = bool(entry.get("bill_teacher", self._suite.get("bill_teacher", True)))
        given = self._given.get(row["optimizer"], ())
        try:
            budget = Budget.parse(row["budget"])
        except NasbenchKDError as error:
            return [Mismatch(*key, None, what) for what in (*problems, str(error))]
        mismatches = [Mismatch(*key, None, what) for what in problems]
        return mismatches + [
            Mismatch(*key, step, what)
            for step, what in self._check(row, self._open(row["task"]), budget, bill, given)
        ]

    def _conditions(self, row: Mapping[str, Any]) -> Iterator[str]:
        """What the run says of itself against what its suite says."""
        suite, name = self._suite, row["optimizer"]
        if name not in self._entries:
            yield "the suite has no such optimizer"
        if row["task"] not in suite.get("tasks", ()):
            yield "the suite has no such task"
        if row["budget"] not in suite.get("budgets", ()):
            yield f"the budget {row['budget']} is none of the suite's"
        if row["workers"] != suite.get("workers", 1):
            yield f"{row['workers']} workers, and the suite has {suite.get('workers', 1)}"
        seeds = "" if suite.get("paired_seeds") else name
        expected = run_seed(suite.get("name", ""), seeds, row["task"], row["repetition"])
        if row["seed"] != expected:
            yield f"the seed is {row['seed']}, and the suite gives {expected}"


def _limit_of(metadata: Mapping[str, Any]) -> str:
    limits = []
    if KEPT in metadata:
        limits.append(f"Only the steps that decide their scores are stored: {_NOT_TOLD} cannot be told.")
    if "shard" in metadata:
        part, parts = metadata["shard"]
        limits.append(
            f"They are shard {part}/{parts} of their suite: merged with the others, all its runs are looked for."
        )
    elif metadata.get(MERGED, False):
        limits.append(
            "They come from several suites: that an optimizer as a whole, or its last repetitions, were left out "
            "cannot be told."
        )
    return " ".join(limits)


def replay(
    row: Mapping[str, Any],
    benchmark: Benchmark,
    budget: Budget,
    bill_teacher: bool,
    given: Collection[str] = (),
) -> Iterator[tuple[int | None, str]]:
    """Run a stored run's queries again, in their order, and yield (step, what does not agree).

    `row` has the columns of `runs.SCHEMA`. The order of asking follows from what had been spent when
    each evaluation was started. After a step that cannot be replayed the rest is not looked at.
    """
    if row["workers"] < 1:
        yield None, f"{row['workers']} workers"
        return
    lists = (row[_SEED if name == "seed" else name] for name in Step._fields)
    simulation = Simulation(
        benchmark, budget, row["seed"], workers=row["workers"], bill_teacher=bill_teacher, given=given
    )
    yield from _Replay([Step(*values) for values in zip(*lists, strict=True)], simulation, row).run()


def check_kept_steps(
    row: Mapping[str, Any],
    benchmark: Benchmark,
    budget: Budget,
    bill_teacher: bool,
    given: Collection[str] = (),
) -> Iterator[tuple[int | None, str]]:
    """Ask for every step of a run of which only some are stored by itself, and yield (step, what does not agree).

    What a query shows does not depend on what was asked before; what it costs is at most what it costs alone.
    """
    lists = (row[_SEED if name == "seed" else name] for name in Step._fields)
    for position, step in enumerate(Step(*values) for values in zip(*lists, strict=True)):
        simulation = Simulation(benchmark, budget, row["seed"], bill_teacher=bill_teacher, given=given)
        try:
            query = Query(benchmark.task.space[step.cell], step.fidelity, step.signal)
            refusal = simulation.start(query)
        except NasbenchKDError as error:
            yield position, f"it cannot be asked for again: {error}"
            continue
        if refusal is not None:
            yield position, f"it would not have been started: {refusal.reason}"
            continue
        while (outcome := simulation.finish()) is not None and not outcome.asked:
            pass  # a prerequisite's own step
        assert outcome is not None
        replayed = outcome.step()
        for name in ("seed", "value", "source", "signal"):
            value, expected = getattr(step, name), getattr(replayed, name)
            if not (value == expected or (value != value and expected != expected)):
                yield position, f"{name} is {value!r}, and asking again gives {expected!r}"
        if step.charged > replayed.charged:
            yield position, f"charged is {step.charged!r}, and it costs at most {replayed.charged!r}"


class _Replay:
    """One run while it is replayed."""

    def __init__(self, steps: Sequence[Step], simulation: Simulation, row: Mapping[str, Any]) -> None:
        self.steps = steps
        self.simulation = simulation
        self.row = row
        self.failed = row["ending"] == "failed"
        self.waiting = deque(_order_of_asking(steps))
        self.running = 0
        self.shown: set[int] = set()

    def run(self) -> Iterator[tuple[int | None, str]]:
        found = 0
        for position, step in enumerate(self.steps):
            if (problem := self._start()) is not None:
                yield problem
                return
            outcome = self.simulation.finish()
            if outcome is None:
                # Of a failed run the evaluations that were still running are not recorded, and a
                # teacher's step can stand without the student that it was paid for.
                if not (self.failed and position == len(self.steps) - 1):
                    yield position, "nothing finishes here in the replay"
                return
            self.running -= outcome.asked
            replayed = outcome.step()
            for what in self._differences(step, replayed):
                yield position, what
                found += 1
            if found >= MOST_OF_A_RUN or replayed[2:4] != step[2:4]:
                return
        yield from self._end()

    def _start(self) -> tuple[int, str] | None:
        """Start what the search asked for by now; return what stands against it."""
        while self.waiting and self.simulation.idle:
            position = self.waiting[0]
            step = self.steps[position]
            try:
                query = Query(self.simulation.benchmark.task.space[step.cell], step.fidelity, step.signal)
                if self.running and self.simulation.begins(query) < step.start:
                    return None  # the search waited for an answer before it asked
                refusal = self.simulation.start(query)
            except NasbenchKDError as error:
                return position, f"it cannot be replayed: {error}"
            if refusal is not None:
                return position, f"it would not have been started: {refusal.reason}"
            self.running += 1
            self.waiting.popleft()
        return None

    def _differences(self, step: Step, replayed: Step) -> Iterator[str]:
        """What a step says otherwise than its replay, and an answer that it cannot have."""
        for name, value, expected in zip(Step._fields, step, replayed, strict=True):
            same = value == expected or (value != value and expected != expected)
            unrecorded = self.failed and name == "spent"
            if name != "answer" and not (same or unrecorded):
                yield f"{name} is {value!r}, and the replay gives {expected!r}"
        self.shown.add(step.cell)
        if step.answer != -1 and step.answer not in self.shown:
            yield f"the answer is cell {step.answer}, which the search has not evaluated"

    def _end(self) -> Iterator[tuple[None, str]]:
        """What the run as a whole says otherwise. A failed one does not record what was still running."""
        if self.failed:
            return
        if self.waiting or self.running:
            yield None, "an evaluation that was paid for is missing at the end"
        ledger = self.simulation.ledger
        for name, paid in (("training", ledger.training), ("teacher", ledger.prerequisites)):
            stored = self.row[f"{name}_microseconds"]
            if stored != paid:
                yield None, f"{name}_microseconds is {stored}, and the steps come to {paid}"


def stored_verification(folder: Path) -> Verification | None:
    """The result of the last check of the runs in a folder; None where these runs were not checked."""
    if is_special(folder / VERIFIED_FILE):
        return None
    try:
        result = Verification(**json.loads((folder / VERIFIED_FILE).read_text(encoding="utf-8")))
        return result if result.runs_sha256 == _sha256(folder / RUNS_FILE) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _order_of_asking(steps: Sequence[Step]) -> list[int]:
    """Positions of the steps that were asked for, in the order in which they were started.

    What had been spent tells it, but for entries that cost nothing: they come after what was paid last.
    """
    asked = [place for place, step in enumerate(steps) if step.charged or not step.teacher]
    return sorted(
        asked, key=lambda place: (steps[place].spent, not steps[place].charged, steps[place].start, place)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
