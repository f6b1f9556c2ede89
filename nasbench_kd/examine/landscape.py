"""Describes the landscape of the installed data: distributions, and rank correlations with their ceilings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.scoring import Scorer, open_scorer
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.opening import load
from nasbench_kd.plotting import save, style
from nasbench_kd.stats.order_statistics import noise_ceiling
from nasbench_kd.stats.statistics import Interval, kendall_interval
from nasbench_kd.tables.catalog import Data
from nasbench_kd.tasks.registry import find_task, tasks_of

Array = npt.NDArray[np.float64]
TOP = 0.1
"""Share of the best cells, by mean accuracy at the target, that is looked at apart."""
_QUANTILES = (0.5, 0.9, 0.99)
_RESAMPLES = 100
_LABEL_WIDTH = 60
"""Letters in a line of a label beside the correlations."""
_COLOURS = ("#0173b2", "#de8f05", "#029e73")


@dataclass(frozen=True, slots=True)
class Correlation:
    """Kendall's tau-b between two rankings of the cells, with 95 % bootstrap intervals."""

    kind: str
    """`data sets`, `fidelities`, `splits` or `seeds`."""
    first: str
    second: str
    everywhere: Interval
    top: Interval
    """Among the best tenth of the second's task by mean validation accuracy at the target."""


@dataclass(frozen=True, slots=True)
class Landscape:
    """Accuracies and correlations on every task of a search space."""

    accuracies: dict[tuple[str, str], Array]
    """Mean over seeds in percent, shape (n,), by task and `valid` or `test`; at the target."""
    early: dict[str, tuple[str, Array]]
    """By task: the most expensive cheaper training without distillation, of those that every cell has or else of all
    others, and its accuracies, NaN for a cell that lacks it."""
    correlations: tuple[Correlation, ...]


def survey(data: Data = "installed", seed: int = 0, task: str = "cifar10") -> Landscape:
    """Compute the landscape of all tasks in the space of one; `seed` is of the bootstrap. Raises `DataError`."""
    rng = np.random.default_rng(seed)
    targets = {each.name: each.target for each in tasks_of(find_task(task).space)}
    scorers = {task: open_scorer(task, data) for task in targets}
    valid = {task: np.nanmean(scorer.valid, axis=1) for task, scorer in scorers.items()}
    accuracies = {(task, "valid"): valid[task] for task in targets}
    accuracies |= {
        (task, "test"): scorer.reference for task, scorer in scorers.items() if scorer.basis == "test"
    }
    early = {task: found for task in targets if (found := _early(task, data)) is not None}
    correlations: list[Correlation] = []
    for first, second in combinations(targets, 2):
        correlations.append(
            _correlate("data sets", first, second, valid[first], valid[second], valid[second], rng)
        )
    for task, (name, values) in early.items():
        there = ~np.isnan(values)
        full = valid[task][there]
        part = "" if there.all() else f" ({there.sum():,} of {len(there):,} cells)"
        correlations.append(
            _correlate(
                "fidelities",
                f"{task} {name}{part}",
                f"{task} {targets[task]}",
                values[there],
                full,
                full,
                rng,
            )
        )
    for task, scorer in scorers.items():
        if scorer.basis == "test":
            correlations.append(
                _correlate(
                    "splits", f"{task} valid", f"{task} test", valid[task], scorer.reference, valid[task], rng
                )
            )
    repeated = {task: scorer for task, scorer in scorers.items() if len(scorer.seeds) > 1}
    correlations += [_seeds(task, scorer, rng) for task, scorer in repeated.items()]
    return Landscape(accuracies, early, tuple(correlations))


def to_markdown(landscape: Landscape) -> str:
    """Write the landscape as two Markdown tables."""
    lines = ["| task | split | mean | median | 90 % | 99 % | best |", "|---|---|---|---|---|---|---|"]
    for (task, split), values in landscape.accuracies.items():
        numbers = [values.mean(), *np.quantile(values, _QUANTILES), values.max()]
        lines.append(f"| {task} | {split} | {' | '.join(f'{number:.2f}' for number in numbers)} |")
    lines += ["", "| between | | | tau, all cells | tau, best tenth |", "|---|---|---|---|---|"]
    for each in landscape.correlations:
        lines.append(
            f"| {each.kind} | {each.first} | {each.second} | {_interval(each.everywhere)} | {_interval(each.top)} |"
        )
    return "\n".join(lines) + "\n"


def draw_landscape(landscape: Landscape, folder: Path) -> list[Path]:
    """Write the figures `accuracies` and `correlations` as PNG and SVG and return the paths of the PNGs.

    Raises `MissingDependencyError` where matplotlib or seaborn is not installed.
    """
    paths = []
    with style() as (plt, _):
        for name, draw in (("accuracies", _draw_accuracies), ("correlations", _draw_correlations)):
            figure = draw(plt, landscape)
            paths.append(save(figure, folder / name))
            plt.close(figure)
    return paths


def _early(task: str, data: Data) -> tuple[str, Array] | None:
    """See `Landscape.early`: none of it from a surrogate."""
    bench = load(task, data=data)
    target = bench.task.target
    usable = [
        fidelity
        for fidelity in reversed(bench.fidelities)
        if fidelity.score is None
        and fidelity.trained_on is None
        and fidelity.distillation == "none"
        and fidelity == fidelity.curve
        and (fidelity.epochs < target.epochs or target.distillation != "none")
    ]
    for fidelity in sorted(usable, key=lambda each: not bench.covers(each)):
        values = _measured(bench, str(fidelity))
        if values is not None:
            return str(fidelity), values
    return None


def _measured(bench: Benchmark, fidelity: str) -> Array | None:
    """Accuracies of all cells, NaN for those that lack the fidelity; None where some are a surrogate's or unread."""
    values = np.full(len(bench.task.space), np.nan)
    covered = bench.covered(fidelity)
    try:
        found = [bench.evaluate(bench.task.space[index], fidelity) for index in covered.tolist()]
    except MissingEntryError:
        return None
    if any(entry.source == "surrogate" for entry in found):
        return None
    values[covered] = [entry.valid_accuracy for entry in found]
    return values


def _correlate(
    kind: str, first: str, second: str, x: Array, y: Array, order: Array, rng: np.random.Generator
) -> Correlation:
    best = order >= np.quantile(order, 1 - TOP)
    everywhere = kendall_interval(x, y, rng, resamples=_RESAMPLES)
    return Correlation(
        kind, first, second, everywhere, kendall_interval(x[best], y[best], rng, resamples=_RESAMPLES)
    )


def _seeds(task: str, scorer: Scorer, rng: np.random.Generator) -> Correlation:
    everywhere, top = (
        noise_ceiling(scorer.valid, rng, top=share, resamples=_RESAMPLES) for share in (1.0, TOP)
    )
    first, second = scorer.seeds[:2]
    return Correlation("seeds", f"{task} seed {first}", f"{task} seed {second}", everywhere, top)


def _draw_accuracies(plt: Any, landscape: Landscape) -> Any:
    tasks = list(dict.fromkeys(task for task, _ in landscape.accuracies))
    figure, (axes,) = plt.subplots(
        1, len(tasks), figsize=(3.2 * len(tasks), 2.9), layout="constrained", squeeze=False
    )
    for axis, task in zip(axes, tasks, strict=True):
        drawn = [(split, values) for (name, split), values in landscape.accuracies.items() if name == task]
        if task in landscape.early:
            name, values = landscape.early[task]
            drawn.append((f"valid, {name}", values[~np.isnan(values)]))
        low = min(float(np.quantile(values, 0.02)) for _, values in drawn)
        bins = np.linspace(low, max(float(values.max()) for _, values in drawn), 60)
        for (label, values), colour in zip(drawn, _COLOURS, strict=False):
            counts, edges = np.histogram(np.clip(values, low, None), bins=bins)
            axis.stairs(counts, edges, color=colour, linewidth=1.4, label=label)
        axis.set(title=task, xlabel="accuracy (%)")
        axis.legend(fontsize=7, loc="upper left")
    axes[0].set_ylabel(f"cells of {len(next(iter(landscape.accuracies.values()))):,}")
    return figure


def _draw_correlations(plt: Any, landscape: Landscape) -> Any:
    drawn = landscape.correlations
    figure, axis = plt.subplots(figsize=(7.6, 0.33 * len(drawn) + 1.0), layout="constrained")
    for place, each in enumerate(drawn):
        for interval, marker, colour in ((each.everywhere, "o", _COLOURS[0]), (each.top, "s", _COLOURS[1])):
            axis.plot((interval.low, interval.high), (place, place), color=colour, linewidth=1.5)
            axis.plot(interval.estimate, place, marker, color=colour, markersize=5)
    labels = [fill(f"{each.first} / {each.second}", _LABEL_WIDTH) for each in drawn]
    axis.set_yticks(range(len(drawn)), labels, fontsize=6 if any("\n" in label for label in labels) else 8)
    axis.invert_yaxis()
    axis.set_xlim(min(0.0, *(min(each.everywhere.low, each.top.low) for each in drawn)) - 0.02, 1.0)
    axis.set_xlabel("Kendall's tau")
    axis.plot([], [], "o", color=_COLOURS[0], label="all cells")
    axis.plot([], [], "s", color=_COLOURS[1], label="best tenth")
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False)
    return figure


def _interval(interval: Interval) -> str:
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"
