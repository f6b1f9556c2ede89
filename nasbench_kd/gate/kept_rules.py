"""The rules that a reference was saved with: looser ones would let pass what they were to catch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.errors import GateError, SuiteError
from nasbench_kd.execution.gate_rules import RULES_KEY, GateRules, read_rules
from nasbench_kd.execution.runs import StoredRuns
from nasbench_kd.execution.suite import Suite


def check_kept_rules(
    stored: StoredRuns, suite: Suite, rules: GateRules, path: Path, scorer: Callable[[str], Scorer]
) -> None:
    """Raise `GateError` where a reference holds no rules, or, with the difference, where `rules` are looser."""
    described = stored.metadata.get(RULES_KEY)
    if described is None:
        raise GateError(
            f"the reference {path} does not hold the rules that it was made with, so that looser ones would go "
            "unnoticed: save it again, or, for a folder of `nasbench-kd run`, give that command again with the suite "
            "that has the [gate] table, which keeps the runs"
        )
    try:
        kept = read_rules(described)
    except SuiteError as error:
        raise GateError(f"the rules in the reference {path} are damaged: {error}. Save it again") from error
    if changes := loosened(kept, rules, suite, scorer):
        raise GateError(
            f"the rules are looser than those that the reference {path} was made with: {'; '.join(changes)}. "
            "Restore them, or save the reference again, so that the change is reviewed with it"
        )


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
