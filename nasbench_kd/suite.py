"""Suites: a TOML file of tasks, budgets, optimizers and seeds, read and checked before anything runs."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from nasbench_kd.benchmark import TASKS
from nasbench_kd.budget import Budget
from nasbench_kd.catalog import Data
from nasbench_kd.errors import BudgetError, NasbenchKDError, SuiteError, UnknownNameError, nearest
from nasbench_kd.registry import check_arguments, optimizer_class

DEFAULT_CAP = "10 minutes"
MAX_SEEDS = 1_000_000
MAX_WORKERS = 1_000
_FOLDERS = (Path(__file__).parent / "suites", Path(__file__).parents[1] / "suites")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KindT = TypeVar("KindT", "Suite", "SuiteOptimizer")
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class SuiteOptimizer:
    """An optimizer with its arguments, under the name that reports give it."""

    optimizer: str
    """A registered name or `package.module:Class`."""
    name: str
    """Defaults to `optimizer` in a file."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the constructor, as JSON values."""


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
    bill_teacher: bool = True
    wall_clock_cap: str = DEFAULT_CAP
    """Real time after which a run is stopped and recorded as a failure."""

    @property
    def largest_budget(self) -> Budget:
        """The budget that the runs are made at."""
        return self.budgets[-1]

    @property
    def cap_seconds(self) -> float:
        """The wall-clock cap in seconds."""
        return Budget.parse(self.wall_clock_cap).amount / 1e6

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.tasks) * len(self.optimizers) * self.seeds

    def describe(self) -> dict[str, Any]:
        """The suite as JSON values, for the metadata of stored runs."""
        return {
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
                for entry in self.optimizers
            ],
        }


def shipped_suites() -> dict[str, Path]:
    """The suites that come with the package, by name."""
    return {path.stem: path for folder in _FOLDERS for path in sorted(folder.glob("*.toml"))}


def load_suite(source: str | Path) -> Suite:
    """Read a suite from a path or from the name of a shipped one, optimizers checked.

    Raises `SuiteError` where it cannot be run as it stands, and `UnknownNameError` where there is no
    such file or name.
    """
    path = Path(source)
    if not path.is_file():
        shipped = shipped_suites()
        if str(source) not in shipped:
            raise UnknownNameError(
                f"no suite {str(source)!r}: it is neither a file nor one of the shipped suites "
                f"{', '.join(shipped) or '(none)'}.{nearest(path.stem, shipped)}"
            )
        path = shipped[str(source)]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"the suite {path} cannot be read: {error}") from error
    suite = parse_suite(text, str(path))
    check_optimizers(suite, str(path))
    return suite


def parse_suite(text: str, origin: str = "the suite") -> Suite:
    """Read a suite from TOML text, without importing its optimizers; raises `SuiteError`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{origin} is not valid TOML: {str(error) or type(error).__name__}") from error
    return _read(Suite, document, _SUITE_KEYS, origin)


def check_optimizers(suite: Suite, origin: str = "the suite") -> None:
    """Import and construct every optimizer once; raises `SuiteError` naming the entry that cannot be."""
    for entry in suite.optimizers:
        place = f"{origin}, optimizer {entry.name!r}"
        try:
            kind = optimizer_class(entry.optimizer)
            check_arguments(kind, entry.arguments)
        except NasbenchKDError as error:
            raise SuiteError(f"{place}: {error}") from error
        except Exception as error:
            raise SuiteError(f"{place}: importing it raised {type(error).__name__}: {error}") from error
        try:
            kind(**entry.arguments)
        except Exception as error:
            raise SuiteError(
                f"{place}: {kind.__name__} refuses the arguments {json.dumps(dict(entry.arguments))}: "
                f"{type(error).__name__}: {error}"
            ) from error


def _read(
    kind: type[KindT], values: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], origin: str
) -> KindT:
    """Build a dataclass from a TOML table whose keys are its fields."""
    for key in values:
        if key not in readers:
            raise SuiteError(
                f"{origin}: unknown key {key[:60]!r}; expected {', '.join(readers)}.{nearest(key, readers)}"
            )
    for known in fields(kind):
        if known.name not in values and known.default is MISSING and known.default_factory is MISSING:
            raise SuiteError(f"{origin}: the key {known.name!r} is missing")
    read = {}
    for key, value in values.items():
        try:
            read[key] = readers[key](value)
        except SuiteError as error:
            raise SuiteError(f"{origin}, {key}: {error}") from error
    return kind(**read)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise SuiteError(
            f"expected a name of letters, digits, dots, dashes and underscores, not {_shown(value)}"
        )
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value.strip() or len(value) > 200:
        raise SuiteError(f"expected one line of text, not {_shown(value)}")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise SuiteError(f"expected true or false, not {_shown(value)}")
    return value


def _whole(most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise SuiteError(f"expected a whole number from 1 to {most}, not {_shown(value)}")
        return value

    return read


def _one_of(known: Iterable[str]) -> Callable[[Any], str]:
    names = tuple(known)

    def read(value: Any) -> str:
        if value not in names:
            raise SuiteError(
                f"unknown {_shown(value)}: expected {', '.join(names)}.{nearest(str(value), names)}"
            )
        return str(value)

    return read


def _several(read: Callable[[Any], ItemT], what: str) -> Callable[[Any], tuple[ItemT, ...]]:
    def read_all(value: Any) -> tuple[ItemT, ...]:
        if not isinstance(value, list) or not value:
            raise SuiteError(f"expected a list of at least one {what}, not {_shown(value)}")
        items = tuple(map(read, value))
        for place, item in enumerate(items):
            if item in items[:place]:
                raise SuiteError(f"{_shown(value[place])} stands there twice")
        return items

    return read_all


def _budget(value: Any) -> Budget:
    try:
        return Budget.parse(_text(value))
    except BudgetError as error:
        raise SuiteError(str(error)) from error


def _budgets(value: Any) -> tuple[Budget, ...]:
    budgets = _several(_budget, "budget")(value)
    if len({budget.unit for budget in budgets}) > 1:
        raise SuiteError("budgets in time and in evaluations do not mix: write two suites")
    if len({budget.amount for budget in budgets}) < len(budgets):
        raise SuiteError(f"two of the budgets {', '.join(map(str, budgets))} are the same amount")
    return tuple(sorted(budgets, key=lambda budget: budget.amount))


def _cap(value: Any) -> str:
    budget = _budget(value)
    if budget.unit != "seconds" or "gpu" in budget.text:
        raise SuiteError(f"expected a real time such as {DEFAULT_CAP!r}, not {_shown(value)}")
    return str(budget)


def _arguments(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SuiteError(f"expected a table such as {{ fidelity = 'none@200' }}, not {_shown(value)}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SuiteError(f"expected text, finite numbers, true, false, lists and tables: {error}") from error
    return value


def _optimizers(value: Any) -> tuple[SuiteOptimizer, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        raise SuiteError(f"expected at least one [[optimizers]] table, not {_shown(value)}")
    entries = []
    for number, table in enumerate(value, start=1):
        named = {"name": table["optimizer"], **table} if "optimizer" in table else table
        entries.append(_read(SuiteOptimizer, named, _OPTIMIZER_KEYS, f"entry {number}"))
        if entries[-1].name in [earlier.name for earlier in entries[:-1]]:
            raise SuiteError(f"two entries are named {entries[-1].name!r}: give each its own `name`")
    return tuple(entries)


def _shown(value: Any) -> str:
    return repr(value)[:60]


_OPTIMIZER_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "optimizer": _text,
    "name": _text,
    "arguments": _arguments,
}
_SUITE_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "name": _name,
    "tasks": _several(_one_of(TASKS), "task"),
    "budgets": _budgets,
    "seeds": _whole(MAX_SEEDS),
    "workers": _whole(MAX_WORKERS),
    "data": _one_of(get_args(Data)),
    "bill_teacher": _boolean,
    "wall_clock_cap": _cap,
    "optimizers": _optimizers,
}
