"""The figures of ablations: paired differences over the budget, and when a teacher's cost has paid off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_kd.plotting import look, save, style
from nasbench_kd.report.ablations import Ablated
from nasbench_kd.report.break_even import BreakEven, sentence
from nasbench_kd.report.figures import title_of
from nasbench_kd.report.looks import looks_of
from nasbench_kd.report.readings import Readings

_WIDTH = 7.2
"""Inches: the text of a page in two columns."""
_HEIGHT = 1.7
_LEGEND_LINE = 0.17
_LINEAR = 0.1
"""Percentage points around zero that an axis of differences shows to a linear scale."""
_DIFFERENCE = "difference in regret\n(points, below 0 is better)"


def draw_ablations(ablated: Sequence[Ablated], readings: Readings, stem: Path) -> Path:
    """Write the differences of every ablation as PNG and SVG: a row for each thing left out, a column a task.

    Bars are 95 % intervals. Raises `MissingDependencyError` where matplotlib or seaborn is not installed.
    """
    things = list(dict.fromkeys(one.ablation.of for one in ablated))
    budgets = [str(budget) for budget in readings.budgets]
    groups = [[one for one in ablated if one.ablation.of == thing] for thing in things]
    looks = looks_of(readings)
    with style() as (plt, seaborn):
        heights = [_HEIGHT + _LEGEND_LINE * (1 + -(-len(group) // 2)) for group in groups]
        figure = plt.figure(figsize=(_WIDTH, sum(heights) + 0.3), layout="constrained")
        parts = figure.subfigures(len(things), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, thing, group in zip(parts, things, groups, strict=True):
            axes = part.subplots(1, len(readings.tasks), squeeze=False, sharey=True)[0]
            for axis, task in zip(axes, readings.tasks, strict=True):
                for position, one in enumerate(group):
                    mine = looks[one.ablation.optimizer]
                    drawn = look(mine.colour, mine.variant)
                    shift = (position - (len(group) - 1) / 2) * min(0.12, 0.6 / len(group))
                    here = [entry for entry in one.differences if entry.task == task]
                    x = [budgets.index(entry.budget) + shift for entry in here]
                    middle = np.array([entry.regret.estimate for entry in here])
                    ends = np.array([(entry.regret.low, entry.regret.high) for entry in here]).reshape(-1, 2)
                    axis.errorbar(
                        x,
                        middle,
                        yerr=np.clip(np.abs(ends.T - middle), 0, None),
                        label=f"{one.ablation.optimizer} against {one.ablation.without}",
                        color=drawn["color"],
                        marker=drawn["marker"],
                        markersize=3.5,
                        linestyle="none",
                        linewidth=1.1,
                    )
                _around_zero(axis)
                axis.set_xticks(range(len(budgets)), [_amount(budget) for budget in budgets])
                axis.set_title(title_of(f"{task}: {thing}", len(readings.tasks)), fontsize=7)
                axis.set_xlabel(_unit(budgets[0]), fontsize=8)
                axis.tick_params(labelsize=7)
            axes[0].set_ylabel(_DIFFERENCE, fontsize=7)
            part.legend(
                *axes[-1].get_legend_handles_labels(),
                loc="outside lower center",
                ncols=2,
                frameon=False,
                fontsize=7,
            )
        seaborn.despine(figure)
        path = save(figure, stem)
        plt.close(figure)
    return path


def draw_break_even(found: Sequence[BreakEven], readings: Readings, stem: Path) -> Path:
    """Write the differences over evaluated students as PNG and SVG, the point of break-even marked.

    A row for each pair of searches, a column for each task. Raises `MissingDependencyError` as above.
    """
    pairs = list(dict.fromkeys((one.optimizer, one.without) for one in found if one.billed))
    with style() as (plt, seaborn):
        figure, grid = plt.subplots(
            len(pairs),
            len(readings.tasks),
            figsize=(_WIDTH, (_HEIGHT + 0.35) * len(pairs) + 0.6),
            squeeze=False,
            sharey="row",
            layout="constrained",
        )
        blue, orange = seaborn.color_palette("colorblind")[:2]
        for row, (optimizer, without) in enumerate(pairs):
            for axis, task in zip(grid[row], readings.tasks, strict=True):
                _panel(axis, _curves(found, optimizer, without, task), readings, (blue, orange))
                axis.set_title(f"{task}: {optimizer}\nagainst {without}", fontsize=7)
                axis.tick_params(labelsize=7)
            grid[row][0].set_ylabel(_DIFFERENCE, fontsize=7)
            low, high = grid[row][0].get_ylim()
            grid[row][0].set_ylim(low, max(high, _LINEAR) * 40)  # room for the sentence
        for axis in grid[-1]:
            axis.set_xlabel("evaluated students", fontsize=8)
        seaborn.despine(figure)
        handles: dict[str, Any] = {}
        for axis in grid.ravel():
            handles.update(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=len(handles),
            frameon=False,
            fontsize=8,
        )
        path = save(figure, stem)
        plt.close(figure)
    return path


def _curves(found: Sequence[BreakEven], optimizer: str, without: str, task: str) -> list[BreakEven]:
    """The billed curve of a panel and, after it, the unbilled one."""
    place = next(
        (
            number
            for number, one in enumerate(found)
            if (one.optimizer, one.without, one.task) == (optimizer, without, task)
        ),
        None,
    )
    if place is None:
        return []
    following = found[place + 1 : place + 2]
    return [found[place], *(one for one in following if not one.billed)]


def _panel(axis: Any, curves: Sequence[BreakEven], readings: Readings, colours: Sequence[Any]) -> None:
    for one in curves:
        label, colour, line = (
            ("teacher billed", colours[0], "-") if one.billed else ("not billed", colours[1], "--")
        )
        axis.fill_between(one.students, one.low, one.high, color=colour, alpha=0.18, linewidth=0)
        axis.plot(one.students, one.difference, line, color=colour, linewidth=1.5, label=label)
        if not one.billed:
            continue
        if one.pays_off:
            axis.axvline(one.shown, color=colour, linewidth=1, linestyle=":")
        text = sentence(one, readings.budgets[0].unit)
        axis.text(0.03, 0.95, text.replace("), ", "),\n"), transform=axis.transAxes, va="top", fontsize=6)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _around_zero(axis)


def _around_zero(axis: Any) -> None:
    """Mark zero, and show differences of tenths and of tens of points on one axis."""
    axis.axhline(0, color="0.2", linewidth=1)
    axis.set_yscale("symlog", linthresh=_LINEAR)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _amount(budget: str) -> str:
    return budget.partition(" ")[0]


def _unit(budget: str) -> str:
    return budget.partition(" ")[2]
