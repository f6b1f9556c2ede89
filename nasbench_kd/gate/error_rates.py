"""Measures how often the gate errs: gates between equal sides, and gates with a planted loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import GateError
from nasbench_kd.execution.runs import read_runs
from nasbench_kd.execution.study import RUNS_FILE, Progress, run_suite
from nasbench_kd.execution.suite import Suite, SuiteOptimizer
from nasbench_kd.files import write_between
from nasbench_kd.gate.gate import rules_of
from nasbench_kd.gate.reference import check_reference
from nasbench_kd.gate.regrets import Regrets
from nasbench_kd.simulation.registry import class_name
from nasbench_kd.stats.sequential import VERDICTS, Array, SequentialTest, Verdict
from nasbench_kd.testing.forgetful import Forgetful

PROBABILITIES = (0.5, 0.75, 1.0)
"""With which the planted optimizers ignore an observation."""
SPARSE = (0.05, 0.1)
"""Shares of the runs that are ruined, the others being the same on both sides."""
SPARSE_LOSS = 2.0
"""Their loss over all runs, as a multiple of the ROPE."""
SHIFTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Losses, as multiples of the ROPE, that are added to the candidate between equal optimizers."""
_SEED = 0
"""Of the draws of pairs."""
MARKS = ("<!-- measured -->", "<!-- end of measured -->")


class Rates(NamedTuple):
    """Verdicts on one comparison over many simulated gates."""

    optimizer: str
    task: str
    budget: str
    rope: float
    loss: float
    """Difference of the mean regrets of the two pools, in points."""
    shares: dict[Verdict, float]
    pairs: float
    """Mean number of pairs at the look that decided."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What many simulated gates of one kind said."""

    rates: tuple[Rates, ...]
    any_worse: float
    """Share of gates that called at least one comparison worse."""
    any_equivalent: float
    """Share of gates that called at least one comparison equivalent."""
    any_undecided: float
    """Share of gates that left at least one comparison undecided."""


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """The error rates of a suite's gate."""

    suite: str
    test: SequentialTest
    gates: int
    pool: int
    """Runs on each side from which the pairs of a gate are drawn."""
    shifted: dict[float, Measured]
    """Both sides drawn from the same runs with other seeds, so that nothing pairs, by the loss that is added
    to one side as a multiple of the ROPE. At 1 it is the hardest case that is not yet worse."""
    sparse: dict[float, Measured]
    """The same runs on both sides, by the share of the runs that are ruined on one of them."""
    planted: dict[float, Measured]
    """By the probability with which the candidate ignores an observation; same seeds on both sides."""


def measure(
    suite: Suite,
    planted: str,
    folder: Path,
    *,
    pool: int = 1000,
    gates: int = 1000,
    jobs: int | None = None,
    reference: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> ErrorRates:
    """Make `pool` runs of every optimizer, plant losses in `planted`, and simulate gates by resampling.

    Runs are kept in `folder` and not made twice; those without a loss are read from the file `reference` where it is
    given. The pairs of a gate are drawn from the pools with
    replacement, so that they are independent and the mean of a pool is the truth. Raises `GateError`
    where the pool has fewer runs than a gate has pairs, or the reference does not have it.
    """
    rules = rules_of(suite)
    entry = next((entry for entry in suite.optimizers if entry.name == planted), None)
    if entry is None or pool < suite.seeds:
        raise GateError(
            f"measuring needs an optimizer of the suite (not {planted!r} if it has none) and a pool of at least "
            f"its {suite.seeds} seeds, not {pool}"
        )

    def made(name: str, optimizers: tuple[SuiteOptimizer, ...]) -> Path:
        pooled = replace(suite, seeds=pool, optimizers=optimizers)
        run_suite(pooled, folder / name, jobs=jobs, on_progress=on_progress)
        return folder / name / RUNS_FILE

    def regrets(path: Path, names: Iterable[str]) -> dict[tuple[str, str], Array]:
        read = Regrets(path, cache(lambda task: open_scorer(task, suite.data)))
        return {
            (name, task): np.stack(
                [read.of(name, task, number, pool) for number in range(len(suite.budgets))]
            )
            for name in names
            for task in suite.tasks
        }

    if reference is None:
        reference = made("same", suite.optimizers)
    else:
        check_reference(read_runs(reference), replace(suite, seeds=pool), reference)
    same = regrets(reference, [each.name for each in suite.optimizers])
    forgetful = {
        probability: regrets(made(f"planted-{probability:g}", (_forgetful(entry, probability),)), [planted])
        for probability in PROBABILITIES
    }
    comparisons = len(suite.optimizers) * len(suite.tasks) * len(suite.budgets)
    largest = {task: rules.largest(open_scorer(task, suite.data).uninformed_regret) for task in suite.tasks}
    simulation = _Simulation(
        suite, SequentialTest(rules.error, comparisons, rules.stages(suite.seeds)), largest, gates
    )
    ropes = {key: rules.rope_of(*key) for key in same}
    return ErrorRates(
        suite=suite.name,
        test=simulation.test,
        gates=gates,
        pool=pool,
        shifted={
            factor: simulation.run(
                same, {key: values + factor * ropes[key] for key, values in same.items()}, ropes, paired=False
            )
            for factor in SHIFTS
        },
        sparse={
            share: simulation.run(
                same,
                {key: values + _ruined(share, ropes[key], pool) for key, values in same.items()},
                ropes,
                paired=True,
            )
            for share in SPARSE
        },
        planted={
            probability: simulation.run(same, values, ropes, paired=True)
            for probability, values in forgetful.items()
        },
    )


@dataclass(frozen=True, slots=True)
class _Simulation:
    suite: Suite
    test: SequentialTest
    largest: dict[str, float]
    gates: int

    def run(
        self,
        before: dict[tuple[str, str], Array],
        after: dict[tuple[str, str], Array],
        ropes: dict[tuple[str, str], float],
        *,
        paired: bool,
    ) -> Measured:
        """Simulate gates on the comparisons of `after`; regrets have shape (budgets, pool)."""
        rng = np.random.default_rng(_SEED)
        most = self.test.stages[-1]
        worse, undecided, equivalent = np.zeros((3, self.gates), dtype=bool)
        rates = []
        for key, new in after.items():
            old = before[key]
            # One draw for all budgets of a gate: they are read from the same runs.
            size = (self.gates, most)
            left = rng.integers(old.shape[1], size=size)
            right = left if paired else rng.integers(new.shape[1], size=size)
            for number, budget in enumerate(self.suite.budgets):
                verdicts, pairs = self._decide(
                    new[number][right] - old[number][left], ropes[key], self.largest[key[1]]
                )
                worse |= verdicts == VERDICTS.index("worse")
                equivalent |= verdicts == VERDICTS.index("equivalent")
                undecided |= verdicts == VERDICTS.index("undecided")
                rates.append(
                    Rates(
                        *key,
                        budget=str(budget),
                        rope=ropes[key],
                        loss=float(new[number].mean() - old[number].mean()),
                        shares={
                            verdict: float((verdicts == place).mean())
                            for place, verdict in enumerate(VERDICTS)
                        },
                        pairs=float(pairs.mean()),
                    )
                )
        return Measured(tuple(rates), float(worse.mean()), float(equivalent.mean()), float(undecided.mean()))

    def _decide(
        self, differences: Array, rope: float, largest: float
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Verdict (position in `VERDICTS`) and pairs used for each row of differences (gates, pairs)."""
        verdicts = np.full(len(differences), -1)
        used = np.full(len(differences), self.test.stages[-1])
        for stage, pairs in enumerate(self.test.stages):
            low, high = self.test.bounds(differences[:, :pairs], stage)
            covered = self.test.covered(differences[:, :pairs], rope, largest)
            for gate in np.flatnonzero(verdicts < 0):
                verdict = self.test.verdict(low[gate], high[gate], rope, stage, covered=bool(covered[gate]))
                if verdict is not None:
                    verdicts[gate], used[gate] = VERDICTS.index(verdict), pairs
        return verdicts, used


def markdown(rates: ErrorRates) -> str:
    """The measured rates as a section of a page."""
    test = rates.test
    lines = [
        f"Suite `{rates.suite}`: {test.comparisons} comparisons, looks at {', '.join(map(str, test.stages))} pairs, "
        f"stated error {test.error:.0%}; {rates.gates:,} simulated gates of each kind, drawn from {rates.pool:,} "
        "runs of every optimizer.",
        "",
        "A/A: the same optimizers on both sides, with other seeds, so that no noise is shared. A loss is added to one "
        "side.",
        "",
        "| added loss | gates with anything worse | gates with anything undecided | worse | undecided | equivalent "
        "| better | pairs |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(_shifted(factor, measured, rates.gates) for factor, measured in rates.shifted.items()),
        "",
        "The first two columns count gates (the first with its 95 % interval), the others single comparisons. Up to a "
        f"loss of one ROPE, every *worse* is an error, of which there may be {test.error:.0%} of gates; a loss of "
        "exactly one ROPE is the hardest case.",
        "",
        "Sparse losses: the same runs on both sides, and a share of them ruined on one, so that the loss over all runs "
        f"is {SPARSE_LOSS:g} ROPE. Every *equivalent* is an error, of which there may be {test.error:.0%} of gates.",
        "",
        "| ruined runs | gates with anything equivalent | worse | undecided | equivalent | pairs |",
        "|---:|---:|---:|---:|---:|---:|",
        *(_sparse(share, measured, rates.gates) for share, measured in rates.sparse.items()),
        "",
        "A/B, with a planted loss: the candidate ignores each observation with a probability.",
        "",
        "| ignores | optimizer | task | budget | ROPE | true loss | worse | undecided | equivalent | better | pairs |",
        "|---:|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for probability, measured in rates.planted.items():
        for each in measured.rates:
            lines.append(
                f"| {probability:.0%} | {each.optimizer} | {each.task} | {each.budget} | {each.rope:g} | "
                f"{each.loss:+.3f} | **{each.shares['worse']:.1%}** | {each.shares['undecided']:.1%} | "
                f"{each.shares['equivalent']:.1%} | {each.shares['better']:.1%} | {each.pairs:.0f} |"
            )
    caught = ", ".join(f"{each.any_worse:.1%} at {chance:.0%}" for chance, each in rates.planted.items())
    lines += ["", f"Gates that catch the planted loss in at least one of these comparisons: {caught}.", ""]
    return "\n".join(lines)


def write_into(page: Path, rates: ErrorRates) -> None:
    """Replace what stands between the marks of a page; raises `DataError` where it has none."""
    write_between(page, MARKS, markdown(rates))


def _sparse(share: float, measured: Measured, gates: int) -> str:
    worse, undecided, equivalent = (
        float(np.mean([each.shares[verdict] for each in measured.rates]))
        for verdict in ("worse", "undecided", "equivalent")
    )
    pairs = np.mean([each.pairs for each in measured.rates])
    return (
        f"| {share:.0%} | **{measured.any_equivalent:.1%}** {_range(measured.any_equivalent, gates)} | {worse:.1%} | "
        f"{undecided:.1%} | {equivalent:.2%} | {pairs:.0f} |"
    )


def _ruined(share: float, rope: float, pool: int) -> Array:
    """What is added to the regrets of a pool, shape (pool,): the first runs of it lose, and the others nothing."""
    ruined = round(share * pool)
    return np.where(np.arange(pool) < ruined, SPARSE_LOSS * rope * pool / max(1, ruined), 0.0)


def _range(share: float, gates: int) -> str:
    """Wilson's 95 % interval of a share of gates."""
    low, high = binomtest(round(share * gates), gates).proportion_ci(method="wilson")
    return f"[{low:.1%}, {high:.1%}]"


def _shifted(factor: float, measured: Measured, gates: int) -> str:
    shares = {
        verdict: float(np.mean([each.shares[verdict] for each in measured.rates])) for verdict in VERDICTS
    }
    pairs = np.mean([each.pairs for each in measured.rates])
    return (
        f"| {factor:g} ROPE | **{measured.any_worse:.1%}** {_range(measured.any_worse, gates)} | "
        f"{measured.any_undecided:.1%} | "
        f"{shares['worse']:.1%} | {shares['undecided']:.1%} | {shares['equivalent']:.1%} | {shares['better']:.1%} | "
        f"{pairs:.0f} |"
    )


def _forgetful(entry: SuiteOptimizer, probability: float) -> SuiteOptimizer:
    return SuiteOptimizer(
        optimizer=class_name(Forgetful),
        name=entry.name,
        arguments={
            "optimizer": entry.optimizer,
            "probability": probability,
            "arguments": dict(entry.arguments),
        },
    )
