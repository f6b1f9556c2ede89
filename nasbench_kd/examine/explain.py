"""Explains one cell: all its results over fidelities and seeds, its rank with an interval, its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tables.column import Split
from nasbench_kd.tasks.fidelity import Fidelity, legend
from nasbench_kd.tasks.registry import tasks_of
from nasbench_kd.tasks.task import Task

_PEERS = 500
"""Cells of similar accuracy over which the spread between training seeds is pooled."""
_BROKEN = 3.0
"""A cell whose seeds lie this many times further apart than its peers' had a training that went wrong."""
_NORMAL_95 = 1.959964


class Result(NamedTuple):
    """One row of a table."""

    task: str
    fidelity: str
    split: Split
    seed: int | None
    """Training seed; None for a mean over seeds."""
    accuracy: float | None
    """Percent; NaN where the training diverged, None where it was made without validation."""
    seconds: float
    source: str
    """`measured` or `surrogate`."""
    table: str
    readings: tuple[tuple[str, float], ...] = ()
    """Further signals that the training was read by, with their values."""


class Rank(NamedTuple):
    """The place of an architecture among all by mean validation accuracy at the target; 1 is the best."""

    task: str
    accuracy: float
    """Mean over the cell's seeds, percent."""
    rank: int
    low: int | None
    high: int | None
    """Ranks at the ends of the 95 % interval of the mean, the other cells held where they are; None where no cell was
    trained twice, so that the noise is not known."""
    seed_deviation: float
    """Standard deviation between training seeds in percentage points: of cells of similar accuracy, or
    the cell's own where that is over three times as large; NaN where no cell was trained twice."""

    @property
    def interval(self) -> str:
        """The interval in words, empty where it is not known."""
        return "" if self.low is None else f" ({self.low:,} to {self.high:,})"


class Neighbour(NamedTuple):
    """A cell next to another, see `SearchSpace.neighbours`."""

    cell: Architecture
    changes: tuple[tuple[int, str], ...]
    """The coordinates at which it differs, by number, with its choices there."""
    differences: tuple[float, ...]
    """Mean validation accuracy at the target minus that of the cell, one for each task."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that the tables know of a cell."""

    cell: Architecture
    results: tuple[Result, ...]
    ranks: tuple[Rank, ...]
    neighbours: tuple[Neighbour, ...]
    twins: tuple[Architecture, ...]
    """Other cells that compute the same function."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of its space."""
        return tasks_of(self.cell.space)

    @property
    def finals(self) -> tuple[Result, ...]:
        """Results at the end of their training; the others are epochs on the way there."""
        return tuple(result for result in self.results if "/" not in result.fidelity)


def explain(cell: Architecture, data: Data = "installed") -> Explanation:
    """Collect what the tables know of a cell, test accuracy included. Raises `DataError`."""
    means, ranks, tasks, space = [], [], tasks_of(cell.space), cell.space
    for task in tasks:
        valid = open_scorer(task.name, data).valid
        means.append(np.nanmean(valid, axis=1))
        ranks.append(rank_of(task.name, cell, valid))
    same = np.flatnonzero(space.classes == space.classes[cell.index])
    return Explanation(
        cell,
        tuple(_results(cell, data, tasks)),
        tuple(ranks),
        tuple(_neighbours(cell, means)),
        tuple(space[int(index)] for index in same if index != cell.index),
    )


def rank_of(task: str, cell: Architecture, valid: npt.NDArray[np.float64]) -> Rank:
    """Rank a cell by its mean over seeds; `valid` has shape (n, seeds), NaN where a cell lacks a seed."""
    means = np.nanmean(valid, axis=1)
    mean = float(means[cell.index])
    seeds = int((~np.isnan(valid[cell.index])).sum())
    peers = np.argsort(np.abs(means - mean), kind="stable")[:_PEERS]
    repeated = valid[peers][(~np.isnan(valid[peers])).sum(axis=1) >= 2]
    deviation = float(np.sqrt(np.nanvar(repeated, axis=1, ddof=1).mean())) if len(repeated) else float("nan")
    own = float(np.nanstd(valid[cell.index], ddof=1)) if seeds > 1 else 0.0
    if own > _BROKEN * deviation:
        deviation = own
    others = np.delete(means, cell.index)
    if np.isnan(deviation):
        return Rank(task, mean, 1 + int((others > mean).sum()), None, None, deviation)
    reach = _NORMAL_95 * deviation / np.sqrt(seeds)
    rank, low, high = (1 + int((others > mean + shift).sum()) for shift in (0.0, reach, -reach))
    return Rank(task, mean, rank, low, high, deviation)


def to_text(explanation: Explanation) -> str:
    """Write an explanation as plain text of lines up to 110 characters."""
    cell, tasks = explanation.cell, explanation.tasks
    width = max(15, *(len(task.name) for task in tasks))
    lines = [str(cell), f"cell {cell.index}, isomorphism class {cell.space.classes[cell.index]}"]
    if explanation.twins:
        lines.append(f"computes the same function as {_listing(twin.index for twin in explanation.twins)}")
    else:
        lines.append("no other cell computes the same function")
    lines += [f"{task.name}: {_sizes(task, cell)}" for task in tasks if task.sizes(cell)]
    epochs = " or ".join(dict.fromkeys(str(task.target.epochs) for task in tasks))
    known = any(rank.low is not None for rank in explanation.ranks)
    intervals = " (95 % interval from the seeds' spread)" if known else ""
    lines += [
        "",
        f"rank by mean validation accuracy after {epochs} epochs{intervals}",
    ]
    lines += [f"  {rank.task:{width}} {_rank(rank, len(cell.space))}" for rank in explanation.ranks]
    lines += ["", "results (percent; seconds of training on the table's clock)"]
    for fidelity in dict.fromkeys(result.fidelity for result in explanation.finals):
        lines.append(f"  {Fidelity.parse(fidelity).alias}")
        lines += [
            f"    {result.task:{width}} {result.split:6} {_seed(result.seed):9} {_percent(result.accuracy):>9} "
            f"{result.seconds:12,.1f}  {result.source}, {result.table}"
            + "".join(f"\n{'':30} {signal} {_reading(value)}" for signal, value in result.readings)
            for result in explanation.finals
            if result.fidelity == fidelity
        ]
    if on_the_way := len(explanation.results) - len(explanation.finals):
        lines.append(f"  and {on_the_way:,} at earlier epochs of these trainings")
    lines += [
        f"  {alias}" for alias in legend(Fidelity.parse(each.fidelity).alias for each in explanation.finals)
    ]
    lines += ["", f"neighbours, change of validation accuracy on {', '.join(task.name for task in tasks)}"]
    lines += _neighbour_lines(explanation)
    return "\n".join(lines) + "\n"


def _neighbour_lines(explanation: Explanation) -> list[str]:
    """A line for each neighbour, the best first."""
    coordinates, told = explanation.cell.space.coordinates, []
    for neighbour in sorted(explanation.neighbours, key=lambda each: -sum(each.differences)):
        names = [f"{coordinates[place]} {name}" for place, name in neighbour.changes]
        changes = " ".join(f"{value:+8.3f}" for value in neighbour.differences)
        told.append((_shortened(names), f"{changes}   cell {neighbour.cell.index}"))
    width = max(18, *(len(name) for name, _ in told))
    return [f"  {name:{width}} {rest}" for name, rest in told]


def _sizes(task: Task, cell: Architecture) -> str:
    sizes = task.sizes(cell).items()
    return ", ".join(
        f"{number / 1e6:.{3 if name == 'parameters' else 2}f} M {name.replace('_ac', '-ac')}"
        for name, number in sizes
    )


def _rank(rank: Rank, size: int) -> str:
    known = not np.isnan(rank.seed_deviation)
    spread = f"spread between seeds {rank.seed_deviation:.2f}" if known else "no second training anywhere"
    return f"{rank.rank:6,} of {size:,} {rank.interval}  {rank.accuracy:.3f} %, {spread}"


def _shortened(names: list[str], most: int = 2) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _results(cell: Architecture, data: Data, tasks: Sequence[Task]) -> Iterable[Result]:
    found, order = [], [task.name for task in tasks]
    for table in tables(data, *tasks):
        for column in table.columns:
            if column.task not in order:
                continue
            start, stop = np.searchsorted(column.rows["cell"], [cell.index, cell.index + 1])
            if stop == start:
                continue
            values = {signal: column.values(signal)[start:stop].tolist() for signal in column.signals}
            accuracies = values.pop(f"{column.split}_accuracy", [None] * int(stop - start))
            for place, (row, accuracy) in enumerate(zip(column.rows[start:stop], accuracies, strict=True)):
                found.append(
                    (
                        column.fidelity.schedule_epochs,
                        column.fidelity.epochs,
                        Result(
                            column.task,
                            str(column.fidelity),
                            column.split,
                            None if column.means else int(row["seed"]),
                            accuracy,
                            int(row["microseconds"]) / 1e6,
                            str(column.provenance.get("source", "unstated")),
                            table.name,
                            tuple((signal, read[place]) for signal, read in values.items()),
                        ),
                    )
                )
    found.sort(
        key=lambda each: (
            order.index(each[2].task),
            each[2].split == "test",
            *each[:2],
            -1 if each[2].seed is None else each[2].seed,
            each[2].table,
        )
    )
    return [result for _, _, result in found]


def _neighbours(cell: Architecture, means: list[npt.NDArray[np.float64]]) -> Iterable[Neighbour]:
    for neighbour in cell.neighbours():
        pairs = enumerate(zip(cell.codes, neighbour.codes, strict=True))
        changes = tuple((place, neighbour.choices[place]) for place, (old, new) in pairs if old != new)
        differences = tuple(float(mean[neighbour.index] - mean[cell.index]) for mean in means)
        yield Neighbour(neighbour, changes, differences)


def _listing(indices: Iterable[int], most: int = 8) -> str:
    found = [str(index) for index in indices]
    rest = f" and {len(found) - most} more" if len(found) > most else ""
    return f"{'cells' if len(found) > 1 else 'cell'} {', '.join(found[:most])}{rest}"


def _seed(seed: int | None) -> str:
    return "mean" if seed is None else f"seed {seed}"


def _percent(accuracy: float | None) -> str:
    return "no pass" if accuracy is None else _reading(accuracy)


def _reading(value: float) -> str:
    return "diverged" if value != value else f"{value:.3f}"
