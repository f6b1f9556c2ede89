"""Reproduces the published results on NAS-Bench-201 and prints them beside the published figures.

Run `python reports/reproduction/reproduce.py` after `nasbench-kd data pull`. The tables of
`docs/reproduction.md` are its output.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import authors_protocol
from authors_protocol import VALIDATION_PASS, Bill, twin_deviation
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import DataError, MissingEntryError
from nasbench_kd.opening import load
from nasbench_kd.simulation.optimizer import Optimizer
from nasbench_kd.simulation.search import search
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd_baselines.bohb import BOHB
from nasbench_kd_baselines.local_search import LocalSearch
from nasbench_kd_baselines.random_search import RandomSearch
from nasbench_kd_baselines.regularized_evolution import RegularizedEvolution
from nasbench_kd_baselines.reinforce import Reinforce
from published import NAS_BENCH_201, NATS_BENCH, ORACLE, Pairs

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Method = Callable[[Bill, np.random.Generator], None]
Configured = tuple[type[Optimizer], dict[str, Any]]
"""A search of this project and its arguments."""
EARLY = "none@12"
_CONTENDERS = 82.0
"""Accuracy after 12 epochs on cifar10 above which cells compete for the answer (the best 4 %)."""
_PULL = "`nasbench-kd data pull` adds it"
_CURVE = ("none@1/12", "none@4/12", EARLY)


class Figure(NamedTuple):
    """A mean with its standard deviation over repetitions, in percent."""

    mean: float
    deviation: float
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.deviation:.2f}"


class Answers(NamedTuple):
    """Answers of repeated searches."""

    cells: Indices
    queries: float
    """Mean number of paid queries."""


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """One method: where its figures come from, and one figure for each column."""

    method: str
    origin: str
    figures: tuple[Figure, ...]
    reference: tuple[Figure, ...] = ()
    """The figures that these are compared with."""
    queries: float | None = None
    """Mean number of paid queries."""


_ORACLE_METHODS: Mapping[str, type[Optimizer]] = {
    "random": RandomSearch,
    "evolution": RegularizedEvolution,
    "local search": LocalSearch,
}
NATS_SECONDS = {"cifar10": 20_000.0, "cifar100": 40_000.0, "imagenet16-120": 120_000.0}
"""NATS-Bench's budgets."""


def oracle_rows(runs: int) -> Iterator[MethodFigures]:
    """Run the search loop with test accuracy as fitness; one figure for each task."""
    found: dict[tuple[str, int], list[Figure]] = {key: [] for key in ORACLE}
    for task in TASKS:
        bench, accuracy = oracle(task)
        for method, kind in _ORACLE_METHODS.items():
            reached: dict[int, list[float]] = {100: [], 200: []}
            for seed in range(runs):
                run = search(kind, task=bench, budget="200 evaluations", seed=seed)
                for number, values in reached.items():
                    values.append(accuracy[[step.answer for step in run.steps if step.spent <= number][-1]])
            for number, values in reached.items():
                found[method, number].append(_figure(np.array(values)))
    for (method, number), pairs in ORACLE.items():
        name = f"{method}, {number} evaluations"
        independent = tuple(Figure(*pair, 300) for pair in pairs)
        yield MethodFigures(name, "independent", independent)
        yield MethodFigures(name, "this benchmark", tuple(found[method, number]), independent)


def oracle(task: str) -> tuple[Benchmark, Array]:
    """A benchmark that shows the mean test accuracy as if it were validation, and that accuracy by cell.

    For checks of the search loop only. Raises `DataError` where no test accuracy is installed: the one that
    ships is on cifar10 not that of papers.
    """
    for table in tables()[len(tables("embedded")) :]:
        for column in table.select(task, "test"):
            if column.fidelity == FULL and len(column.rows) == SPACE_SIZE:
                shown = Table("oracle", table.sha256, (replace(column, split="valid"),), {})
                return Benchmark(TASKS[task], [shown]), column.accuracies()
    raise DataError(
        f"no test accuracy of {task} is installed; `nasbench-kd data pull nats-bench-test` adds it"
    )


def nas_bench_201_rows(runs: int) -> Iterator[MethodFigures]:
    """Search on cifar10 for 12,000 s with 12-epoch fitness and look the answer up on every task."""
    theirs = _their_searches((0.5, 0.1, 0.01))
    wide = partial(authors_protocol.regularized_evolution, population=20, tournament=5)
    theirs["evolution"]["evolution, population 20, tournament 5"] = wide
    ours = _our_searches((0.1, 0.01))
    ours["BOHB"]["BOHB, 12 and 200 epochs"] = (BOHB, {"rungs": [EARLY, str(FULL)]})
    budget = {"cifar10": 12_000.0}
    yield from _compared(
        NAS_BENCH_201, theirs, ours, budget, lambda answers: _figures(answers["cifar10"], TASKS), runs
    )


def nats_bench_rows(runs: int) -> Iterator[MethodFigures]:
    """Search on every task with its own budget and look the answer up there."""

    def look_up(answers: Mapping[str, Indices]) -> tuple[Figure, ...]:
        return tuple(figure for task in TASKS for figure in _figures(answers[task], [task]))

    rates = (0.1, 0.01)
    yield from _compared(
        NATS_BENCH, _their_searches(rates), _our_searches(rates), NATS_SECONDS, look_up, runs
    )


def _their_searches(rates: Sequence[float]) -> dict[str, dict[str, Method]]:
    """The authors' loops that stand for each published method; theirs for BOHB is a package."""
    policies: dict[str, Method] = {
        f"REINFORCE, rate {rate}": partial(authors_protocol.reinforce, learning_rate=rate) for rate in rates
    }
    return {
        "random": {"random": authors_protocol.random_search},
        "evolution": {"evolution": authors_protocol.regularized_evolution},
        "REINFORCE": policies,
        "BOHB": {},
    }


def _our_searches(rates: Sequence[float]) -> dict[str, dict[str, Configured]]:
    """The searches of this project that stand for each published method, with their arguments."""
    early = {"fidelity": EARLY}
    rungs, name = (list(_CURVE), "BOHB") if _has_curve() else ([EARLY], "BOHB, 12 epochs only")
    wide = {"rungs": rungs, "maximum_bandwidth": float("inf")}
    return {
        "random": {"random": (RandomSearch, early)},
        "evolution": {"evolution": (RegularizedEvolution, early)},
        "REINFORCE": {
            f"REINFORCE, rate {rate}": (Reinforce, {**early, "learning_rate": rate}) for rate in rates
        },
        "BOHB": {name: (BOHB, {"rungs": rungs}), f"{name}, hpbandster's bandwidths": (BOHB, wide)},
    }


def _compared(
    published: Mapping[str, Pairs],
    theirs: Mapping[str, Mapping[str, Method]],
    ours: Mapping[str, Mapping[str, Configured]],
    budgets: Mapping[str, float],
    look_up: Callable[[Mapping[str, Indices]], tuple[Figure, ...]],
    runs: int,
) -> Iterator[MethodFigures]:
    """For each published method its figures, those by the authors' accounting, and those of this benchmark."""
    for method, pairs in published.items():
        reference = tuple(Figure(*pair, 500) for pair in pairs)
        yield MethodFigures(method, "published (recalled)", reference)
        for name, loop in theirs[method].items():
            found = {task: _authors_answers(task, seconds, loop, runs) for task, seconds in budgets.items()}
            yield _row(name, "authors' accounting", found, look_up, reference)
        for name, (kind, arguments) in ours[method].items():
            found = {
                task: _our_answers(task, seconds, kind(**arguments), runs)
                for task, seconds in budgets.items()
            }
            yield _row(name, "this benchmark", found, look_up, reference)


def to_markdown(rows: Iterable[MethodFigures], columns: Sequence[str]) -> str:
    """Write rows as a Markdown table; in brackets the distance to the reference in standard errors."""
    lines = [f"| method | by | {' | '.join(columns)} | queries |", "|---" * (len(columns) + 3) + "|"]
    for row in rows:
        cells = [
            f"{figure}{_distance(figure, row.reference[i]) if row.reference else ''}"
            for i, figure in enumerate(row.figures)
        ]
        queries = "" if row.queries is None else f"{row.queries:.1f}"
        lines.append(f"| {row.method} | {row.origin} | {' | '.join(cells)} | {queries} |")
    return "\n".join(lines) + "\n"


def _distance(figure: Figure, reference: Figure) -> str:
    """How many standard errors of the difference lie between two means."""
    error = np.hypot(figure.deviation / figure.runs**0.5, reference.deviation / reference.runs**0.5)
    return f" ({(figure.mean - reference.mean) / float(error):+.1f})" if error else ""


def _has_curve() -> bool:
    """Whether the epochs that the authors' BOHB stops at are installed for every cell of every task."""
    try:
        for task in TASKS:
            for fidelity in _CURVE:
                load(task).evaluate_many(np.arange(SPACE_SIZE), fidelity)
    except MissingEntryError:
        return False
    return True


def _authors_answers(task: str, seconds: float, method: Method, runs: int) -> Answers:
    bench = load(task)
    entries = bench.evaluate_many(np.arange(SPACE_SIZE), EARLY)
    price = entries.seconds * (1 + VALIDATION_PASS[task])
    mean_of_seeds = None in bench.seeds(bench.task.teacher, EARLY)
    noise = twin_deviation(entries.valid_accuracy, _CONTENDERS) if mean_of_seeds else 0.0
    bills = []
    for seed in range(runs):
        bills.append(Bill(entries.valid_accuracy, price, seconds, noise))
        method(bills[-1], np.random.default_rng(seed))
    return Answers(
        np.array([bill.answer for bill in bills]), float(np.mean([bill.queries for bill in bills]))
    )


def _our_answers(task: str, seconds: float, optimizer: Optimizer, runs: int) -> Answers:
    bench = load(task)
    answers, queries = [], 0
    for seed in range(runs):
        run = search(optimizer, task=bench, budget=f"{seconds} seconds", seed=seed, bill_teacher=False)
        answers.append(run.steps[-1].answer)
        queries += sum(step.charged > 0 for step in run.steps)
    return Answers(np.array(answers), queries / runs)


def _row(
    name: str,
    origin: str,
    found: Mapping[str, Answers],
    look_up: Callable[[Mapping[str, Indices]], tuple[Figure, ...]],
    reference: tuple[Figure, ...],
) -> MethodFigures:
    figures = look_up({task: answers.cells for task, answers in found.items()})
    queries = float(np.mean([answers.queries for answers in found.values()]))
    return MethodFigures(name, origin, figures, reference, queries)


def _figures(answers: Indices, tasks: Iterable[str]) -> tuple[Figure, ...]:
    """Validation and test figures of answers on some tasks, means over the seeds after 200 epochs."""
    return tuple(_figure(accuracy[answers]) for task in tasks for accuracy in _final(task))


@cache
def _final(task: str) -> tuple[Array, Array]:
    """Mean validation and test accuracy of every cell after 200 epochs."""
    scorer = open_scorer(task, "installed")
    if scorer.basis != "test" or scorer.origin.startswith("nas-bench-201-test"):
        raise DataError(f"no test accuracy of {task} is installed; {_PULL}")
    return np.nanmean(scorer.valid, axis=1), scorer.reference


def _figure(values: Array) -> Figure:
    return Figure(float(values.mean()), float(values.std(ddof=1)), len(values))


_PARTS: Mapping[str, tuple[str, Callable[[int], Iterator[MethodFigures]], tuple[str, ...]]] = {
    "oracle": ("Test accuracy as fitness", oracle_rows, ("test",)),
    "nas-bench-201": ("NAS-Bench-201: 12,000 s on cifar10", nas_bench_201_rows, ("valid", "test")),
    "nats-bench": ("NATS-Bench: 20,000 s, 40,000 s and 120,000 s", nats_bench_rows, ("valid", "test")),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python reports/reproduction/reproduce.py", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(_PARTS)} (default: all)")
    parser.add_argument("--runs", type=int, default=500, help="repetitions (default: 500, as published)")
    arguments = parser.parse_args()
    for part in arguments.parts or _PARTS:
        if part not in _PARTS:
            parser.error(f"unknown part {part!r}: expected {', '.join(_PARTS)}")
        title, rows, splits = _PARTS[part]
        columns = [f"{task} {split}" for task in TASKS for split in splits]
        print(f"### {title}\n\n{to_markdown(rows(arguments.runs), columns)}", flush=True)


if __name__ == "__main__":
    main()
