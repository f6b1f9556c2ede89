"""Suites: a TOML file of tasks, budgets, optimizers and seeds, read and checked before anything runs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from nasbench_kd.errors import BudgetError, NasbenchKDError, SuiteError, UnknownNameError, nearest
from nasbench_kd.execution.ablations import Ablation, check_ablations, read_ablations
from nasbench_kd.execution.code import import_libraries
from nasbench_kd.execution.gate_rules import GateRules, check_rules, read_rules
from nasbench_kd.execution.isolation import Caps, Failure, run_isolated
from nasbench_kd.execution.primary import Primary, check_primary, read_primary
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.own_modules import look_in
from nasbench_kd.simulation.registry import check_arguments, optimizer_class, registered
from nasbench_kd.tables.catalog import Data
from nasbench_kd.tasks.registry import ELSEWHERE, PACKAGED, check_prerequisites, find_task, task_names
from nasbench_kd.toml_values import (
    abbreviated,
    boolean,
    integer,
    list_of,
    number,
    one_of,
    plain_name,
    read_table,
    text_line,
)

DEFAULT_CAP = "10 minutes"
DEFAULT_MEMORY_GB = 8.0
LEAST_MEMORY_GB = 0.5
"""The tables and libraries of an ordinary run need so much themselves."""
MAX_MEMORY_GB = 1_000_000.0
MAX_SEEDS = 1_000_000
MAX_WORKERS = 1_000
_CHECK_SECONDS = 120.0
_CHECKS_AT_ONCE = 2
_PLANNED = "\0planned"
"""Of an optimizer that can be constructed and works through a plan."""
_FOLDERS = (Path(__file__).parents[1] / "suites", Path(__file__).parents[2] / "suites")


@dataclass(frozen=True, slots=True)
class SuiteOptimizer:
    """An optimizer with its arguments, under the name that reports give it."""

    optimizer: str
    """A registered name or `package.module:Class`."""
    name: str
    """Defaults to `optimizer` in a file."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the constructor, as JSON values."""
    bill_teacher: bool | None = None
    """Overrides the suite's; None follows it."""
    given: tuple[str, ...] | None = None
    """Overrides the suite's; None follows it."""
    ranked: bool = True
    """Whether it is held against the others: not, where it starts with knowledge that they must pay for."""
    anytime: bool = True
    """Whether its runs may be ranked at smaller budgets than their own; by default what its class says."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks x optimizers x repetitions. Each run is made at the largest budget and read at every other."""

    name: str
    tasks: tuple[str, ...]
    budgets: tuple[Budget, ...]
    """Ascending, all of one unit."""
    seeds: int
    """Repetitions of every optimizer on every task."""
    optimizers: tuple[SuiteOptimizer, ...]
    workers: int = 1
    """Simulated workers that evaluate in parallel."""
    data: Data = "embedded"
    mean_over_seeds: bool = False
    """Whether a query gives the mean over training seeds, as in much of the literature, not one training."""
    bill_teacher: bool = True
    """Whether prerequisites are paid for: all of them or, by its name for the first of them, none."""
    given: tuple[str, ...] = ()
    """Names of prerequisites that are there already and on no bill; the others are paid for."""
    wall_clock_cap: str = DEFAULT_CAP
    """Real time after which a run is stopped and recorded as a failure."""
    memory_cap_gb: float = DEFAULT_MEMORY_GB
    """Memory (10^9 bytes) that each process of a run may allocate; more is an error inside the optimizer."""
    gate: GateRules | None = None
    """What `nasbench-kd gate` compares by; it determines no run."""
    paired_seeds: bool = False
    """Whether the runs of one repetition on one task have the same seed, whatever their optimizer."""
    ablations: tuple[Ablation, ...] = ()
    """What reports compare run by run; they determine no run."""
    primary: Primary | None = None
    """The comparison that the suite is made for; it determines no run."""

    @property
    def largest_budget(self) -> Budget:
        """The budget that the runs are made at."""
        return self.budgets[-1]

    @property
    def cap_seconds(self) -> float:
        """The wall-clock cap in seconds."""
        return Budget.parse(self.wall_clock_cap).amount / 1e6

    @property
    def memory_bytes(self) -> int:
        """The cap on memory in bytes."""
        return round(self.memory_cap_gb * 1e9)

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.tasks) * len(self.optimizers) * self.seeds

    def bills_teacher(self, entry: SuiteOptimizer) -> bool:
        """Whether the runs of an entry pay for the teacher."""
        return self.bill_teacher if entry.bill_teacher is None else entry.bill_teacher

    def given_to(self, entry: SuiteOptimizer) -> tuple[str, ...]:
        """Prerequisites that the runs of an entry have without paying, where they pay for the others."""
        return self.given if entry.given is None else entry.given

    def seed_name(self, optimizer: str) -> str:
        """The name by which an entry's seeds are drawn; one for all where seeds are paired."""
        return "" if self.paired_seeds else optimizer

    def describe(self) -> dict[str, Any]:
        """What stored runs say of their suite as JSON values; keys that few suites have only where set."""
        described: dict[str, Any] = {
            "name": self.name,
            "tasks": list(self.tasks),
            "budgets": [str(budget) for budget in self.budgets],
            "seeds": self.seeds,
            "workers": self.workers,
            "data": self.data,
            "bill_teacher": self.bill_teacher,
            "wall_clock_cap": self.wall_clock_cap,
            "optimizers": [
                {"name": entry.name, "optimizer": entry.optimizer, "arguments": dict(entry.arguments)}
                | ({} if entry.bill_teacher is None else {"bill_teacher": entry.bill_teacher})
                | ({} if entry.given is None else {"given": list(entry.given)})
                | ({} if entry.ranked else {"ranked": False})
                | ({} if entry.anytime else {"anytime": False})
                for entry in self.optimizers
            ],
        }
        if self.given:
            described["given"] = list(self.given)
        if self.mean_over_seeds:
            described["mean_over_seeds"] = True
        if self.memory_cap_gb != DEFAULT_MEMORY_GB:
            described["memory_cap_gb"] = self.memory_cap_gb
        if self.paired_seeds:
            described["paired_seeds"] = True
        if self.ablations:
            described["ablations"] = [asdict(ablation) for ablation in self.ablations]
        if self.primary is not None:
            described["primary"] = asdict(self.primary)
        return described


def shipped_suites() -> dict[str, Path]:
    """The suites that come with the package, by name."""
    return {path.stem: path for folder in _FOLDERS for path in sorted(folder.glob("*.toml"))}


def suite_path(source: str | Path) -> Path:
    """The file of a suite, named by its path or as a shipped one; raises `UnknownNameError`."""
    path = Path(source)
    if path.is_file():
        return path
    shipped = shipped_suites()
    if str(source) not in shipped:
        raise UnknownNameError(
            f"no suite {str(source)!r}: it is neither a file nor one of the shipped suites "
            f"{', '.join(shipped) or '(none)'}.{nearest(path.stem, shipped)}"
        )
    return shipped[str(source)]


def load_suite(source: str | Path) -> Suite:
    """Read a suite from a path or from the name of a shipped one, optimizers checked.

    Raises `SuiteError` where it cannot be run as it stands, and `UnknownNameError` where there is no
    such file or name.
    """
    path = suite_path(source)
    # An optimizer's own module may lie beside the suite.
    if path.resolve() not in map(Path.resolve, shipped_suites().values()):
        look_in(path.resolve().parent)
    return check_optimizers(_read_suite(_document(path, ()), str(path)), str(path))


def parse_suite(text: str, origin: str = "the suite") -> Suite:
    """Read a suite from TOML text, without importing its optimizers; raises `SuiteError`."""
    return _read_suite(_extended(_parsed(text, origin), Path(), ()), origin)


def with_optimizers(suite: Suite, added: Sequence[SuiteOptimizer], kept: Collection[str]) -> Suite:
    """A suite with some of its optimizers and further ones; raises `SuiteError` and `UnknownNameError`.

    Its runs have the seeds that they have in the whole suite, and so have those of the added ones.
    """
    names = [entry.name for entry in suite.optimizers]
    for name in kept:
        if name not in names:
            raise UnknownNameError(
                f"the suite {suite.name!r} has no optimizer {name!r}: it has {', '.join(names)}.{nearest(name, names)}"
            )
    for place, entry in enumerate(added):
        if entry.name in (*names, *(other.name for other in added[:place])):
            raise SuiteError(
                f"the suite {suite.name!r} has an optimizer {entry.name!r} already: give --name another"
            )
    entries = (*(entry for entry in suite.optimizers if entry.name in kept), *added)
    named = {entry.name for entry in entries}
    ablations = tuple(each for each in suite.ablations if {each.optimizer, each.without} <= named)
    return replace(suite, optimizers=entries, ablations=ablations)


def _document(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"the suite {path} cannot be read: {error}") from error
    return _extended(_parsed(text, str(path)), path.parent, (*extending, path.resolve()))


def _extended(document: dict[str, Any], folder: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """A suite's table with all that it takes from the one that it extends: its optimizers come after those."""
    base = document.pop("extends", None)
    if base is None:
        return document
    if not isinstance(base, str):
        raise SuiteError(f"extends names a suite or its file, not {abbreviated(base)}")
    path = suite_path(folder / base if (folder / base).is_file() else base)
    if path.resolve() in extending:
        raise SuiteError(f"{path} extends itself")
    found = _document(path, extending)
    if isinstance(mine := document.get("optimizers", []), list):
        document["optimizers"] = [*found.get("optimizers", []), *mine]
    return {**found, **document}


def _parsed(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{origin} is not valid TOML: {str(error) or type(error).__name__}") from error


def _read_suite(document: Mapping[str, Any], origin: str) -> Suite:
    suite = read_table(Suite, document, _SUITE_KEYS, origin)
    names = [entry.name for entry in suite.optimizers]
    _check_given(suite, origin)
    check_ablations(suite.ablations, names, origin)
    if suite.primary is not None:
        check_primary(suite.primary, names, suite.tasks, suite.budgets, origin)
    if suite.gate is not None:
        check_rules(suite.gate, suite.seeds, names, suite.tasks, origin)
    return suite


def _check_given(suite: Suite, origin: str) -> None:
    tasks = [find_task(name) for name in suite.tasks]
    for place, given in (("", suite.given), *((entry.name, entry.given) for entry in suite.optimizers)):
        try:
            check_prerequisites(given or (), tasks)
        except UnknownNameError as error:
            raise SuiteError(
                f"{origin}, {f'optimizer {place!r}, ' if place else ''}given: {error}"
            ) from error


def import_name(optimizer: str) -> str:
    """The `package.module:Class` behind an entry's `optimizer`, without importing it."""
    point = registered().get(optimizer)
    return optimizer if point is None else point.value


def check_optimizers(suite: Suite, origin: str = "the suite") -> Suite:
    """Import and construct every optimizer once, each in a process of its own under the suite's caps.

    Returns the suite with what the classes say of themselves. Raises `SuiteError` naming the entry that cannot be.
    """
    caps = Caps(min(suite.cap_seconds, _CHECK_SECONDS), suite.memory_bytes)
    outcomes = run_isolated(
        _complaint, suite.optimizers, jobs=_CHECKS_AT_ONCE, caps=caps, prepare=_import_libraries
    )
    complaints: dict[str, str] = {}
    planned: set[str] = set()
    with closing(outcomes):
        for entry, outcome in outcomes:
            text = outcome.reason if isinstance(outcome, Failure) else outcome.decode("utf-8", "replace")
            if text == _PLANNED:
                planned.add(entry.name)
                text = ""
            complaints[entry.name] = (
                f"importing or constructing it: {text}" if isinstance(outcome, Failure) else text
            )
    for entry in suite.optimizers:
        if complaints[entry.name]:
            raise SuiteError(f"{origin}, optimizer {entry.name!r}: {complaints[entry.name]}")
    entries = (
        replace(entry, anytime=False) if entry.name in planned else entry for entry in suite.optimizers
    )
    return replace(suite, optimizers=tuple(entries))


def _import_libraries(entry: SuiteOptimizer) -> None:
    import_libraries(import_name(entry.optimizer).partition(":")[0])


def _complaint(entry: SuiteOptimizer) -> bytes:
    """What is wrong with an entry's optimizer, in words; nothing, or `_PLANNED`, where it can be constructed."""
    stage = "importing it"
    try:
        kind = optimizer_class(entry.optimizer)
        check_arguments(kind, entry.arguments)
        stage = f"{kind.__name__} refuses the arguments {json.dumps(dict(entry.arguments))}:"
        kind(**entry.arguments)
        planned = not kind.anytime
    except BaseException as error:  # such as SystemExit
        try:
            text = str(error)
        except BaseException:
            text = "(its text cannot be had)"
        if stage == "importing it":
            stage = "" if isinstance(error, NasbenchKDError) else "importing it raised"
        said = text if not stage else f"{stage} {type(error).__name__}: {text}"
        return said.encode("utf-8", "replace")
    return _PLANNED.encode() if planned else b""


def _budget(value: Any) -> Budget:
    try:
        return Budget.parse(text_line(value))
    except BudgetError as error:
        raise SuiteError(str(error)) from error


def read_budgets(value: Any) -> tuple[Budget, ...]:
    """Read budgets, in ascending order; raises `SuiteError`."""
    budgets = list_of(_budget, "budget")(value)
    if len({budget.unit for budget in budgets}) > 1:
        raise SuiteError("budgets in time and in evaluations do not mix: write two suites")
    if len({budget.amount for budget in budgets}) < len(budgets):
        raise SuiteError(f"two of the budgets {', '.join(map(str, budgets))} are the same amount")
    return tuple(sorted(budgets, key=lambda budget: budget.amount))


def _cap(value: Any) -> str:
    budget = _budget(value)
    if budget.unit != "seconds" or "gpu" in budget.text:
        raise SuiteError(f"expected a real time such as {DEFAULT_CAP!r}, not {abbreviated(value)}")
    return str(budget)


def _arguments(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SuiteError(f"expected a table such as {{ fidelity = 'none@200' }}, not {abbreviated(value)}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SuiteError(f"expected text, finite numbers, true, false, lists and tables: {error}") from error
    return value


def _optimizers(value: Any) -> tuple[SuiteOptimizer, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        raise SuiteError(f"expected at least one [[optimizers]] table, not {abbreviated(value)}")
    entries = []
    for place, table in enumerate(value, start=1):
        named = {"name": table["optimizer"], **table} if "optimizer" in table else table
        entries.append(read_table(SuiteOptimizer, named, _OPTIMIZER_KEYS, f"entry {place}"))
        if entries[-1].name in [earlier.name for earlier in entries[:-1]]:
            raise SuiteError(f"two entries are named {entries[-1].name!r}: give each its own `name`")
    return tuple(entries)


def _given(value: Any) -> tuple[str, ...]:
    return list_of(text_line, "prerequisite")(value) if value != [] else ()


def _task(value: Any) -> str:
    """The name of a task that there is."""
    if isinstance(value, str) and value in PACKAGED:
        return value  # others are looked up, which takes longer
    try:
        return find_task(one_of(task_names())(value)).name
    except SuiteError as error:
        raise SuiteError(f"{error} {ELSEWHERE}") from None


_OPTIMIZER_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "optimizer": text_line,
    "name": text_line,
    "arguments": _arguments,
    "bill_teacher": boolean,
    "given": _given,
    "ranked": boolean,
    "anytime": boolean,
}
_SUITE_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "name": plain_name,
    "tasks": list_of(_task, "task"),
    "budgets": read_budgets,
    "seeds": integer(MAX_SEEDS),
    "workers": integer(MAX_WORKERS),
    "data": one_of(get_args(Data)),
    "mean_over_seeds": boolean,
    "bill_teacher": boolean,
    "given": _given,
    "wall_clock_cap": _cap,
    "memory_cap_gb": number(LEAST_MEMORY_GB, MAX_MEMORY_GB),
    "optimizers": _optimizers,
    "gate": read_rules,
    "paired_seeds": boolean,
    "ablations": read_ablations,
    "primary": read_primary,
}
