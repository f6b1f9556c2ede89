"""How well cheap fidelities rank cells, beside the noise ceiling, from the tables.

Intervals resample isomorphism classes: the cells of a class compute the same function. What a surrogate answers is one
draw of many: every resample reads another one, as every run of a search does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.report.leaderboard import generator
from nasbench_kd.stats.order_statistics import distillation_lift, noise_ceiling
from nasbench_kd.stats.statistics import Interval, kendall, kendall_interval
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tables.column import Column
from nasbench_kd.tables.draws import Group
from nasbench_kd.tables.resolve import SOURCES, resolve
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.signals import ACCURACY

Array = npt.NDArray[np.float64]
FEWEST_CELLS = 10
"""Cells below which a correlation says nothing and is not shown."""
_TOP = 0.1
_RESAMPLES = 100
_DRAWS = 10
"""Draws of a surrogate over which taus are averaged, and which resamples take in turn."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Kendall tau between two full trainings of the same cells, everywhere and among the best tenth."""

    task: str
    everywhere: Interval
    top: Interval
    size: float | None
    """Tau of the number of parameters with the mean over seeds, over one cell of each class; None where unknown."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """Kendall tau of one fidelity with a single full training, on the cells that have both."""

    task: str
    fidelity: str
    source: str
    """`measured`, or `surrogate` for a column that the surrogate filled."""
    cells: int
    tau: Interval | None
    """Mean over the first two training seeds, or with the only one, and over draws of a surrogate; None below
    `FEWEST_CELLS` cells."""
    ceiling: float | None
    """Tau between these two seeds on the same cells; None where there is one."""
    size: float | None
    """Tau of the number of parameters with these seeds on the same cells, which costs nothing."""
    lift: float | None
    """Share of the room above the same fidelity without distillation that distillation gains, on common cells."""


def ceilings(scorers: Mapping[str, Scorer]) -> list[Ceiling]:
    """The noise ceiling of every task."""
    return [
        Ceiling(
            task,
            _ceiling(scorer, 1.0, "ceiling", task),
            _ceiling(scorer, _TOP, "ceiling", task, "top"),
            _size_tau(task, scorer),
        )
        for task, scorer in scorers.items()
        if scorer.valid.shape[1] > 1
    ]


def _ceiling(scorer: Scorer, top: float, *names: str) -> Interval:
    return noise_ceiling(
        scorer.valid,
        generator(*names),
        top=top,
        resamples=_RESAMPLES,
        groups=find_task(scorer.task).space.classes,
    )


def correlations(scorers: Mapping[str, Scorer], data: Data) -> list[Correlation]:
    """One row for each task and cheap fidelity of the tables, measured columns before surrogate ones."""
    found = []
    for task, scorer in scorers.items():
        columns = _columns(task, data)
        for (fidelity, source), accuracy in columns.items():
            plain = columns.get((fidelity.without_distillation(), source))
            distilled = fidelity.distillation != "none"
            found.append(_correlate(task, fidelity, source, accuracy, plain if distilled else None, scorer))
    return found


def _columns(task: str, data: Data) -> dict[tuple[Fidelity, str], Array]:
    """Mean accuracy over the seeds of every cell by (fidelity, source), as searches are shown them; NaN for none.

    Shape (cells, draws), with one draw of what was measured. A cell counts where it was measured (or drawn) itself:
    what it has from an isomorphic cell is that one's.
    """
    about = find_task(task)
    size = len(about.space)
    stored: dict[Fidelity, list[Column]] = {}
    for table in tables(data, about):
        for column in table.select(task, "valid"):
            if column.fidelity != about.target and ACCURACY in column.signals:
                stored.setdefault(column.fidelity, []).append(column)
    columns: dict[tuple[Fidelity, str], Array] = {}
    drawn = [
        (group, [group.accuracies(number) for number in range(_DRAWS)])
        for table in tables(data, about)
        if table.draws is not None
        for group in table.draws.groups(task)
    ]
    for fidelity, found in stored.items():
        entries = resolve(found, about.space)
        values, known = entries.values(ACCURACY)
        for source in ("measured", "surrogate"):
            own = np.zeros(size, dtype=bool)
            for column in found:
                if (column.provenance.get("source") == "surrogate") == (source == "surrogate"):
                    own[column.rows["cell"]] = True
            mine = known & (entries.source == SOURCES.index(source)) & own[entries.cell]
            if mine.any():
                count = np.bincount(entries.cell[mine], minlength=size)
                total = np.bincount(entries.cell[mine], weights=values[mine], minlength=size)
                means = np.where(count > 0, total / np.maximum(count, 1), np.nan)[:, None]
                columns[fidelity, source] = (
                    means if source == "measured" else _redrawn(means, fidelity, drawn)
                )
    return dict(sorted(columns.items(), key=lambda item: (item[0][1], str(item[0][0]))))


def _redrawn(stored: Array, fidelity: Fidelity, drawn: Sequence[tuple[Group, Sequence[Array]]]) -> Array:
    """Draws of a surrogate's entries, shape (cells, draws), whose stored ones have shape (cells, 1) and stay where
    their table holds no others. A class is drawn at the cell of its number.
    """
    known, name = ~np.isnan(stored[:, 0]), str(fidelity)
    parts = [(group, values) for group, values in drawn if name in group.fidelities]
    if not parts:
        return stored
    found = np.repeat(stored, _DRAWS, axis=1)
    for group, values in parts:
        mine, place = known[group.classes], group.fidelities.index(name)
        found[group.classes[mine]] = np.column_stack([one[mine, place] for one in values])
    return found


def _correlate(
    task: str, fidelity: Fidelity, source: str, accuracy: Array, plain: Array | None, scorer: Scorer
) -> Correlation:
    seeds = scorer.valid[:, :2]
    usable = ~np.isnan(accuracy).any(axis=1) & ~np.isnan(seeds).any(axis=1)
    cells = int(usable.sum())
    if cells < FEWEST_CELLS:
        return Correlation(task, str(fidelity), source, cells, None, None, None, None)
    rng = generator("correlation", task, str(fidelity), source)
    classes = find_task(task).space.classes[usable]
    tau = kendall_interval(accuracy[usable], seeds[usable], rng, resamples=_RESAMPLES, groups=classes)
    trained_twice = seeds.shape[1] > 1
    ceiling = kendall(seeds[usable, 0], seeds[usable, 1]) if trained_twice else None
    lift = None
    if (
        plain is not None
        and trained_twice
        and (common := usable & ~np.isnan(plain).any(axis=1)).sum() >= FEWEST_CELLS
    ):
        lift = distillation_lift(
            _mean_tau(accuracy[common], seeds[common]),
            _mean_tau(plain[common], seeds[common]),
            kendall(seeds[common, 0], seeds[common, 1]),
        )
    sizes = _sizes(task)
    size = None if sizes is None else _mean_tau(sizes[usable, None], seeds[usable])
    return Correlation(task, str(fidelity), source, cells, tau, ceiling, size, lift)


@cache
def _sizes(task: str) -> Array | None:
    """Number of parameters of every architecture's network, shape (architectures,); None where it is unknown."""
    about = find_task(task)
    known = [about.sizes(cell).get("parameters") for cell in about.space]
    return None if None in known else np.array(known, dtype=np.float64)


def _size_tau(task: str, scorer: Scorer) -> float | None:
    sizes, classes = _sizes(task), find_task(task).space.representatives
    return None if sizes is None else kendall(sizes[classes], np.nanmean(scorer.valid[classes], axis=1))


def _mean_tau(accuracy: Array, seeds: Array) -> float:
    """Mean over draws, shape (cells, draws), and seeds, shape (cells, seeds)."""
    return float(np.mean([kendall(values, target) for values in accuracy.T for target in seeds.T]))
