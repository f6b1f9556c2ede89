"""Draws an explanation: the architecture, its results over fidelities and seeds, its neighbours."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

from nasbench_kd.examine.explain import Explanation, Neighbour
from nasbench_kd.plotting import save, style
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import Fidelity

_KINDS = {"valid": "#0173b2", "test": "#d55e00", "surrogate": "#cc78bc"}
_LABEL_WIDTH = 32
_TITLE_WIDTH = 160
_LINES = 16
"""Choices in a column, where they are told in words."""
_MARKERS, _TASK_COLOURS = "osDv^P", ("#0173b2", "#de8f05", "#029e73", "#cc78bc", "#d55e00", "#949494")


def draw_explanation(explanation: Explanation, stem: Path) -> Path:
    """Write `stem.png` and `stem.svg` and return the path of the PNG.

    Raises `MissingDependencyError` where matplotlib or seaborn is not installed.
    """
    cell = explanation.cell
    with style() as (plt, _):
        figure = plt.figure(figsize=(10.5, 6.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
        left, right = top.subfigures(1, 2, width_ratios=(1, 1.25))
        (cell.space.drawing or _draw_choices)(left.subplots(), cell)
        _draw_neighbours(right.subplots(), explanation)
        _draw_results(bottom.subplots(1, len(explanation.tasks), sharey=True, squeeze=False)[0], explanation)
        figure.suptitle(fill(f"cell {cell.index}   {cell}", _TITLE_WIDTH), fontsize=9)
        path = save(figure, stem)
        plt.close(figure)
    return path


def _draw_choices(axis: Any, cell: Architecture) -> None:
    """The choices of an architecture in words, for a space without a drawing."""
    told = [f"{name} {choice}" for name, choice in zip(cell.space.coordinates, cell.choices, strict=True)]
    columns = -(-len(told) // _LINES)
    for column in range(columns):
        lines = told[column * _LINES : (column + 1) * _LINES]
        axis.text(column / columns, 1.0, "\n".join(lines), va="top", fontsize=8)
    axis.axis("off")


def _draw_neighbours(axis: Any, explanation: Explanation) -> None:
    ordered = sorted(explanation.neighbours, key=lambda each: -sum(each.differences))
    for place, task in enumerate(explanation.tasks):
        values = [neighbour.differences[place] for neighbour in ordered]
        marker, colour = _MARKERS[place % len(_MARKERS)], _TASK_COLOURS[place % len(_MARKERS)]
        axis.plot(values, marker, color=colour, markersize=3.5, label=task.name)
    axis.axhline(0, color="0.3", linewidth=1)
    axis.set_yscale("symlog", linthresh=1)
    axis.margins(y=0.08)
    names = [_changes(explanation.cell, each) for each in ordered]
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6.5)
    axis.set_ylabel("change of validation accuracy\n(percentage points)")
    axis.set_title(f"the {len(ordered)} neighbours", fontsize=9)
    axis.legend(fontsize=7, loc="lower left")


def _changes(cell: Architecture, neighbour: Neighbour) -> str:
    """What a neighbour has in another way; of one that differs at several coordinates, how many."""
    (place, choice), *more = neighbour.changes
    return f"{len(more) + 1} choices" if more else f"{cell.space.coordinates[place]} {choice}"


def _draw_results(axes: Any, explanation: Explanation) -> None:
    names = list(dict.fromkeys((result.fidelity, result.split) for result in explanation.finals))
    for axis, task, rank in zip(axes, explanation.tasks, explanation.ranks, strict=True):
        for result in explanation.finals:
            if result.task != task.name or result.accuracy is None:
                continue
            kind = "surrogate" if result.source == "surrogate" else result.split
            mean = result.seed is None
            axis.plot(
                result.accuracy,
                names.index((result.fidelity, result.split)),
                "d" if mean else "o",
                color=_KINDS[kind],
                markerfacecolor="none" if mean else None,
                markersize=5,
                alpha=0.8,
                label=f"{kind}, mean over seeds" if mean else kind,
            )
        axis.set_xlabel("accuracy (%)", fontsize=8.5)
        axis.set_title(
            f"{task.name}\nrank {rank.rank:,}{rank.interval} of {len(task.space):,}",
            fontsize=8.5,
        )
        handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        if handles:
            axis.legend(handles.values(), handles.keys(), fontsize=7, loc="lower left")
    labels = [fill(f"{Fidelity.parse(fidelity).alias} {split}", _LABEL_WIDTH) for fidelity, split in names]
    axes[0].set_yticks(range(len(names)), labels, fontsize=7)
    axes[0].set_ylim(max(len(names) - 0.4, 0.6), -0.6)
