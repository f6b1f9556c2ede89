"""What determines a run, and the runs of a suite as jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from nasbench_kd.execution.runs import FORMAT
from nasbench_kd.execution.store import Key
from nasbench_kd.tables.catalog import Data

Isolation = Literal["none", "process", "process and files"]
"""What keeps an optimizer from the tables: nothing, a process of its own, or also what the system lets it read."""


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
    isolation: Isolation = "none"
    """It changes no number, but says what an optimizer could have seen."""
    run_format: str = FORMAT
    mean_over_seeds: bool = False
    """Whether queries give means over training seeds (`Suite.mean_over_seeds`)."""
    given: tuple[str, ...] = ()
    """Prerequisites that are there already (`Suite.given_to`)."""

    @property
    def description(self) -> str:
        """As JSON, one text for one meaning."""
        described = asdict(self)
        if self.isolation == "none":  # as before there was another
            del described["isolation"]
        if not self.mean_over_seeds:
            del described["mean_over_seeds"]
        if not self.given:
            del described["given"]
        return json.dumps(described, sort_keys=True)

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


def run_seed(suite: str, optimizer: str, task: str, repetition: int) -> int:
    """A seed below 2^63 for a run; adding tasks, optimizers or repetitions changes no other run's."""
    text = json.dumps([suite, optimizer, task, repetition])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
