"""The rules that a reference was saved with: looser ones would let pass what they were to catch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.errors import GateError, SuiteError
from nasbench_kd.execution.gate_rules import GateRules, describe_rules, read_rules
from nasbench_kd.execution.runs import StoredRuns
from nasbench_kd.execution.suite import Suite

KEY = "gate"
"""Of a reference's metadata."""


def with_rules(metadata: dict[str, Any], suite: Suite) -> dict[str, Any]:
    """Metadata of a reference that holds the rules of its suite, if it has any."""
    return metadata if suite.gate is None else {**metadata, KEY: describe_rules(suite.gate)}


def check_kept_rules(
    stored: StoredRuns, suite: Suite, rules: GateRules, path: Path, scorer: Callable[[str], Scorer]
) -> list[str]:
    """Raise `GateError` with the difference where rules are looser than those a reference was saved with.

    Returns a note where it was saved with none.
    """
    described = stored.metadata.get(KEY)
    if described is None:
        return [
            f"the reference {path} does not hold the rules it was saved with, so that looser ones go unnoticed; "
            "`nasbench-kd reference save` stores them"
        ]
    try:
        kept = read_rules(described)
    except SuiteError as error:
        raise GateError(f"the rules in the reference {path} are damaged: {error}. Save it again") from error
    if changes := loosened(kept, rules, suite, scorer):
        raise GateError(
            f"the rules are looser than those that the reference {path} was saved with: {'; '.join(changes)}. "
            "Restore them, or save the reference again, so that the change is reviewed with it"
        )
    return []


def loosened(kept: GateRules, now: GateRules, suite: Suite, scorer: Callable[[str], Scorer]) -> list[str]:
    """What lets more pass now than before, each as a text with both values."""
    found = []
    if now.error > kept.error:
        found.append(f"error was {kept.error:g} and is {now.error:g}")
    for task in suite.tasks:
        before, after = (rules.largest(scorer(task).uninformed_regret) for rules in (kept, now))
        if after < before:
            found.append(f"largest_loss on {task} was {before:.4g} and is {after:.4g}")
        for entry in suite.optimizers:
            before, after = (rules.rope_of(entry.name, task) for rules in (kept, now))
            if after > before:
                found.append(f"rope of {entry.name} on {task} was {before:g} and is {after:g}")
    return found
