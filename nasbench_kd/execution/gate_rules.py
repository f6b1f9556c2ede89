"""The `[gate]` table of a suite: error level, stages of seeds and regions of practical equivalence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nasbench_kd.errors import SuiteError, nearest
from nasbench_kd.toml_values import abbreviated, integer, number, read_table, text_line

MOST_SEEDS = 100_000
RULES_KEY = "gate"
"""What the rules of a suite are called in the metadata of its stored runs."""
LEAST_PAIRS = 5
"""Fewest pairs that a first look may have: a t test on fewer says next to nothing."""


@dataclass(frozen=True, slots=True)
class RopeOverride:
    """A region of practical equivalence for one optimizer, one task, or one optimizer on one task."""

    rope: float
    optimizer: str | None = None
    """Name of the suite's entry; None for every one."""
    task: str | None = None
    """None for every task."""


@dataclass(frozen=True, slots=True)
class GateRules:
    """When a change counts as a loss, and how much evidence a verdict needs."""

    rope: float
    """Half the width of the region of practical equivalence, in points of accuracy."""
    error: float = 0.05
    """The probability that the gate calls anything worse whose true loss lies within the region."""
    first_stage: int = 20
    """Pairs of runs at the first look; each stage doubles them, up to the seeds of the suite."""
    largest_loss: float | None = None
    """The most that the loss of a single run counts as, in points; None for that of an uninformed pick.

    Losses that few runs suffer are excluded up to it; not at all where it is within the region.
    """
    overrides: tuple[RopeOverride, ...] = ()
    """Later ones go before earlier ones."""

    def rope_of(self, optimizer: str, task: str) -> float:
        """The region that holds for an optimizer on a task."""
        for override in reversed(self.overrides):
            if override.optimizer in (None, optimizer) and override.task in (None, task):
                return override.rope
        return self.rope

    def largest(self, uninformed_regret: float) -> float:
        """The most that the loss of a single run counts as on a task with this regret of an uninformed pick."""
        return uninformed_regret if self.largest_loss is None else self.largest_loss

    def stages(self, seeds: int) -> tuple[int, ...]:
        """Pairs at each look; the last is `seeds`.

        >>> GateRules(rope=0.5, first_stage=20).stages(100)
        (20, 40, 80, 100)
        """
        looks = []
        pairs = self.first_stage
        while pairs < seeds:
            looks.append(pairs)
            pairs *= 2
        return (*looks, seeds)


def read_rules(value: Any) -> GateRules:
    """Read the table; raises `SuiteError`."""
    if not isinstance(value, dict):
        raise SuiteError(f"expected a table such as [gate] with rope = 0.5, not {abbreviated(value)}")
    return read_table(GateRules, value, _RULE_KEYS, "the table")


def describe_rules(rules: GateRules) -> dict[str, Any]:
    """The table that `read_rules` reads, as JSON values."""
    described = _without_none(asdict(rules))
    described["overrides"] = [_without_none(asdict(override)) for override in rules.overrides]
    return described


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def check_rules(
    rules: GateRules, seeds: int, optimizers: Collection[str], tasks: Collection[str], origin: str
) -> None:
    """Raise `SuiteError` where the rules do not fit the suite that they stand in."""
    if rules.first_stage > seeds:
        raise SuiteError(
            f"{origin}, gate: the first stage is {rules.first_stage} pairs of runs, and the suite has {seeds} seeds"
        )
    for override in rules.overrides:
        for kind, named, known in (
            ("optimizer", override.optimizer, optimizers),
            ("task", override.task, tasks),
        ):
            if named is not None and named not in known:
                raise SuiteError(
                    f"{origin}, gate, overrides: the suite has no {kind} {named!r}; it has {', '.join(known)}."
                    f"{nearest(named, known)}"
                )


def _first_stage(value: Any) -> int:
    pairs = integer(MOST_SEEDS)(value)
    if pairs < LEAST_PAIRS:
        raise SuiteError(f"a first look needs at least {LEAST_PAIRS} pairs of runs, not {pairs}")
    return pairs


def _overrides(value: Any) -> tuple[RopeOverride, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise SuiteError(f"expected [[gate.overrides]] tables, not {abbreviated(value)}")
    return tuple(
        read_table(RopeOverride, entry, _OVERRIDE_KEYS, f"entry {place}")
        for place, entry in enumerate(value, start=1)
    )


_ROPE = number(0, 100)
_RULE_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "rope": _ROPE,
    "error": number(0, 0.5),
    "first_stage": _first_stage,
    "largest_loss": number(0, 100),
    "overrides": _overrides,
}
_OVERRIDE_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "rope": _ROPE,
    "optimizer": text_line,
    "task": text_line,
}
