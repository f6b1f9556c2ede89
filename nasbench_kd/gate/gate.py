"""The gate: is the search as good as it was? Paired runs against a stored reference, decided stage by stage.

Both sides of a pair have the same run seed, and with it the same training seed of every cell (common
random numbers), so that an unchanged optimizer gives the very same run and differences tell of the code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import GateError, UnknownNameError, nearest
from nasbench_kd.execution.gate_rules import GateRules
from nasbench_kd.execution.runs import read_runs
from nasbench_kd.execution.store import FILE_NAME
from nasbench_kd.execution.study import RUNS_FILE, run_suite
from nasbench_kd.execution.suite import Suite
from nasbench_kd.gate.distance import distances
from nasbench_kd.gate.kept_rules import check_kept_rules
from nasbench_kd.gate.reference import check_reference
from nasbench_kd.gate.regrets import Regrets
from nasbench_kd.stats.sequential import VERDICTS, SequentialTest, Verdict

PASSED, WORSE, UNDECIDED = 0, 1, 3
"""Exit codes of the command."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One optimizer on one task at one budget. Regrets are in points of accuracy, smaller being better."""

    optimizer: str
    task: str
    budget: str
    verdict: Verdict
    rope: float
    """Half the width of the region of practical equivalence."""
    largest_loss: float
    """The most that the loss of a single run counted as, in points."""
    pairs: int
    """Pairs of runs at the look that decided, or at the last one."""
    identical: int
    """Pairs whose regrets are exactly equal."""
    reference_regret: float
    """Mean over the pairs."""
    regret: float
    low: float
    """Ends of the interval of the mean difference, `regret - reference_regret`, at that look."""
    high: float
    distance: float
    """Mean regret of random search at the same budget minus that of the reference's runs."""
    reason: str = ""
    """Why, where it was not the test that decided."""

    @property
    def guarded(self) -> bool:
        """Whether the loss of all that it is ahead of random search would be more than the ROPE."""
        return self.distance > self.rope

    @property
    def difference(self) -> float:
        """Mean difference; positive where the optimizer has become worse."""
        return self.regret - self.reference_regret


@dataclass(frozen=True, slots=True)
class GateResult:
    """All comparisons of a gate, in the order of the suite."""

    suite: str
    reference: str
    test: SequentialTest
    basis: Mapping[str, str]
    """What answers were scored on, by task: `test` or `hidden seeds`."""
    comparisons: tuple[Comparison, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """Number of comparisons by verdict."""
        given = [comparison.verdict for comparison in self.comparisons]
        return {verdict: given.count(verdict) for verdict in VERDICTS}

    @property
    def exit_code(self) -> int:
        """1 where anything became worse, else 3 where anything is undecided, else 0."""
        counts = self.counts
        return WORSE if counts["worse"] else UNDECIDED if counts["undecided"] else PASSED


def run_gate(
    suite: Suite,
    reference: Path,
    *,
    optimizers: Collection[str] = (),
    tasks: Collection[str] = (),
    folder: Path | None = None,
    jobs: int | None = None,
    on_stage: Callable[[int, int], None] = lambda *_: None,
) -> GateResult:
    """Run a suite stage by stage until everything is decided against the runs of a reference.

    `optimizers` and `tasks` limit what is compared, all by default. The runs are made anew and kept in
    `folder`, if given. `on_stage` is told before each stage how many pairs it has and how many comparisons
    are undecided. Raises `GateError` where the comparison cannot be made, `UnknownNameError`, and what
    reading and running raise.
    """
    rules = rules_of(suite)
    chosen = _restricted(suite, optimizers, tasks)
    if not reference.is_file():
        raise GateError(f"there is no reference at {reference}; `nasbench-kd reference save` makes one")
    if folder is not None and (folder / FILE_NAME).exists():
        raise GateError(f"{folder} holds runs already, and the gate makes its own: choose another folder")
    stored = read_runs(reference)
    check_reference(stored, suite, reference)
    scorer = cache(lambda task: open_scorer(task, suite.data))
    check_kept_rules(stored, suite, rules, reference, scorer)
    before = Regrets(reference, scorer)
    keys = [
        (entry.name, task, number)
        for entry in chosen.optimizers
        for task in chosen.tasks
        for number in range(len(chosen.budgets))
    ]
    ahead = [each.distance for each in distances(before, chosen, scorer)]
    facts = {
        key: _Facts(rules.rope_of(*key[:2]), rules.largest(scorer(key[1]).uninformed_regret), distance)
        for key, distance in zip(keys, ahead, strict=True)
    }
    test = SequentialTest(rules.error, len(keys), rules.stages(suite.seeds))
    decided: dict[tuple[str, str, int], Comparison] = {}
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nasbench-kd-")))
        for stage, pairs in enumerate(test.stages):
            pending = [key for key in keys if key not in decided]
            if not pending:
                break
            on_stage(pairs, len(pending))
            stage_suite = replace(
                _restricted(chosen, {key[0] for key in pending}, {key[1] for key in pending}), seeds=pairs
            )
            run_suite(stage_suite, place, jobs=jobs)
            after = Regrets(place / RUNS_FILE, scorer)
            for key in pending:
                compared = _compare(key, facts[key], suite, test, stage, before, after)
                if compared is not None:
                    decided[key] = compared
    return GateResult(
        suite=suite.name,
        reference=str(reference),
        test=test,
        basis={task: scorer(task).basis for task in chosen.tasks},
        comparisons=tuple(decided[key] for key in keys),
    )


class _Facts(NamedTuple):
    """What is known of a comparison before any run is made; see `Comparison`."""

    rope: float
    largest_loss: float
    distance: float


def _compare(
    key: tuple[str, str, int],
    facts: _Facts,
    suite: Suite,
    test: SequentialTest,
    stage: int,
    before: Regrets,
    after: Regrets,
) -> Comparison | None:
    """Look at one comparison; None where it needs more pairs."""
    optimizer, task, number = key
    pairs, (rope, largest, distance) = test.stages[stage], facts
    if not before.answered(*key, pairs):
        raise GateError(
            f"nothing was measured: {optimizer} on {task} has no answer within {suite.budgets[number]} in any "
            "run of the reference; give the suite a larger budget"
        )
    old, new = before.of(*key, pairs), after.of(*key, pairs)
    bounds = test.bounds(new - old, stage)
    low, high = float(bounds[0]), float(bounds[1])
    failures = after.failures(*key, pairs)
    covered = bool(test.covered(new - old, rope, largest))
    verdict = "worse" if failures else test.verdict(low, high, rope, stage, covered=covered)
    if verdict is None:
        return None
    reason = f"{len(failures)} of {pairs} runs failed: {failures[0]}" if failures else ""
    if verdict == "undecided" and -rope <= low and high <= rope:
        reason = (
            f"{pairs} pairs do not exclude that few runs, none of them seen, lose up to {largest:.3g} points: even "
            f"without any difference {test.pairs_needed(rope, largest)} pairs are needed"
        )
    return Comparison(
        optimizer=optimizer,
        task=task,
        budget=str(suite.budgets[number]),
        verdict=verdict,
        rope=rope,
        largest_loss=largest,
        pairs=pairs,
        identical=int((old == new).sum()),
        reference_regret=float(old.mean()),
        regret=float(new.mean()),
        low=low,
        high=high,
        distance=distance,
        reason=reason,
    )


def rules_of(suite: Suite) -> GateRules:
    """The suite's `[gate]` table; raises `GateError` where it has none."""
    if suite.gate is None:
        raise GateError(
            f"the suite {suite.name!r} has no [gate] table, which says what counts as a loss: add one with "
            "rope = 0.5 (points of accuracy) at least"
        )
    return suite.gate


def _restricted(suite: Suite, optimizers: Collection[str], tasks: Collection[str]) -> Suite:
    """The suite with some of its optimizers and tasks; all of them where none are named."""
    names = [entry.name for entry in suite.optimizers]
    for kind, asked, known in (("optimizer", optimizers, names), ("task", tasks, suite.tasks)):
        for name in asked:
            if name not in known:
                raise UnknownNameError(
                    f"the suite {suite.name!r} has no {kind} {name!r}: it has {', '.join(known)}.{nearest(name, known)}"
                )
    return replace(
        suite,
        optimizers=tuple(entry for entry in suite.optimizers if not optimizers or entry.name in optimizers),
        tasks=tuple(task for task in suite.tasks if not tasks or task in tasks),
    )
