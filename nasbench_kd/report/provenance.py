"""What stored runs say of themselves: their suite, the tables that they rest on, and what made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

from nasbench_kd.errors import StoreError
from nasbench_kd.execution.ablations import Ablation
from nasbench_kd.execution.primary import Primary
from nasbench_kd.execution.runs import KEPT, MADE_BY
from nasbench_kd.simulation.simulation import TEACHER
from nasbench_kd.tables.catalog import Data


@dataclass(frozen=True, slots=True)
class StoredOptimizer:
    """An entry of the suite."""

    name: str
    optimizer: str
    """A registered name or `package.module:Class`; empty where the file does not say."""
    arguments: Mapping[str, Any]
    bill_teacher: bool
    """Whether the runs of the entry pay for prerequisites, as it or its suite says."""
    ranked: bool
    anytime: bool
    """Whether its runs may be ranked at smaller budgets than their own."""
    given: frozenset[str] = frozenset()
    """Names of prerequisites that its runs do not pay for in any case."""

    def same_search(self, other: StoredOptimizer) -> bool:
        """Whether both are the same class with the same arguments."""
        return (self.optimizer, self.arguments) == (other.optimizer, other.arguments)


@dataclass(frozen=True)
class StoredSuite:
    """The suite as it was when the runs were made. Names and budgets are empty where the file has none."""

    name: str
    tasks: tuple[str, ...]
    budgets: tuple[str, ...]
    workers: int
    data: Data
    mean_over_seeds: bool
    bill_teacher: bool
    optimizers: tuple[StoredOptimizer, ...]
    ablations: tuple[Ablation, ...]
    primary: Primary | None
    given: frozenset[str] = frozenset()
    """Prerequisites that no entry pays for, unless it says otherwise."""

    @cached_property
    def unbilled(self) -> frozenset[str]:
        """Names of the entries that do not pay for prerequisites which the others of the suite pay for.

        They show what distillation would do if the teacher were free, and take no part in ranks.
        """
        if not self.bill_teacher:
            return frozenset()
        return frozenset(
            entry.name for entry in self.optimizers if not entry.bill_teacher or entry.given - self.given
        )

    @cached_property
    def unranked(self) -> frozenset[str]:
        """Names of the billed entries that the suite shows beside the others and does not rank."""
        return frozenset(entry.name for entry in self.optimizers if not entry.ranked) - self.unbilled

    @cached_property
    def planned(self) -> frozenset[str]:
        """Names of the entries whose runs are ranked at the budget that they were made for alone."""
        return frozenset(entry.name for entry in self.optimizers if not entry.anytime)

    @cached_property
    def unbilled_twins(self) -> Mapping[str, str]:
        """For each entry that is billed, the name of that with the same class and arguments, and a free teacher."""
        return {
            billed.name: free.name
            for billed in self.optimizers
            for free in self.optimizers
            if billed.name not in self.unbilled and free.name in self.unbilled and billed.same_search(free)
            if not free.bill_teacher or TEACHER in free.given
        }


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where stored runs come from."""

    suite: StoredSuite
    tables: Mapping[str, str]
    """SHA-256 of the tables by name; empty where the file does not say."""
    package_version: str | None
    """The version of nasbench-kd that made them."""
    isolation: str | None
    """What kept their optimizers from the tables (`execution.jobs.Isolation`); None where nothing did."""
    whole: bool = True
    """Whether all their steps are stored, not only those that decide the scores."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Who made the runs of an optimizer, in their own words, where they said it."""


def read_provenance(metadata: Mapping[str, Any], place: str) -> Provenance:
    """Read the metadata of a file of runs; raises `StoreError` naming `place` where they are malformed."""
    try:
        return Provenance(
            suite=_suite(metadata.get("suite", {})),
            tables=dict(metadata.get("tables") or {}),
            package_version=metadata.get("package_version"),
            isolation=metadata.get("isolation"),
            whole=KEPT not in metadata,
            made_by={str(name): str(who) for name, who in dict(metadata.get(MADE_BY) or {}).items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the suite that {place} describes cannot be read: {error!r}") from error


def _suite(described: Mapping[str, Any]) -> StoredSuite:
    billed, given = bool(described.get("bill_teacher", True)), described.get("given", [])
    data = described.get("data", "embedded")
    if data not in get_args(Data):
        raise ValueError(f"data is {data!r}")
    return StoredSuite(
        name=described.get("name", "runs"),
        tasks=tuple(described.get("tasks", ())),
        budgets=tuple(described.get("budgets", ())),
        workers=described.get("workers", 1),
        data=data,
        mean_over_seeds=bool(described.get("mean_over_seeds", False)),
        bill_teacher=billed,
        given=frozenset(map(str, given)),
        optimizers=tuple(
            StoredOptimizer(
                name=entry["name"],
                optimizer=entry.get("optimizer", ""),
                arguments=entry.get("arguments", {}),
                bill_teacher=bool(entry.get("bill_teacher", billed)),
                given=frozenset(map(str, entry.get("given", given))),
                ranked=bool(entry.get("ranked", True)),
                anytime=bool(entry.get("anytime", True)),
            )
            for entry in described.get("optimizers", ())
        ),
        ablations=tuple(Ablation(**ablation) for ablation in described.get("ablations", ())),
        primary=Primary(**described["primary"]) if "primary" in described else None,
    )
