"""Draws an explanation: the cell as a graph, its results over fidelities and seeds, its neighbours."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

from nasbench_kd.errors import ArgumentError
from nasbench_kd.examine.explain import Explanation
from nasbench_kd.plotting import save, style
from nasbench_kd.spaces.nasbench201 import EDGES, SPACE_SIZE, Cell
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

_NODES = {0: (0.0, 0.0), 1: (1.3, 1.7), 2: (2.05, 0.72), 3: (3.6, 0.0)}
"""Node 2 lies inside the triangle of the others, so that no edges cross."""
_LABELS = {
    "none": "none",
    "skip_connect": "skip",
    "nor_conv_1x1": "conv 1x1",
    "nor_conv_3x3": "conv 3x3",
    "avg_pool_3x3": "pool 3x3",
}
_COLOURS = {
    "none": "0.75",
    "skip_connect": "#029e73",
    "nor_conv_1x1": "#de8f05",
    "nor_conv_3x3": "#d55e00",
    "avg_pool_3x3": "#0173b2",
}
_KINDS = {"valid": "#0173b2", "test": "#d55e00", "surrogate": "#cc78bc"}
_LABEL_WIDTH = 32


def draw_explanation(explanation: Explanation, stem: Path) -> Path:
    """Write `stem.png` and `stem.svg` and return the path of the PNG.

    Raises `MissingDependencyError` where matplotlib or seaborn is not installed, and `ArgumentError` where the
    architecture is no cell of NAS-Bench-201: nothing else has a drawing.
    """
    cell = explanation.cell
    if not isinstance(cell, Cell):
        raise ArgumentError(
            f"drawings show cells of NAS-Bench-201, and this is one of {cell.space.name}: leave it out"
        )
    with style() as (plt, _):
        figure = plt.figure(figsize=(10.5, 6.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
        left, right = top.subfigures(1, 2, width_ratios=(1, 1.25))
        _draw_cell(left.subplots(), cell)
        _draw_neighbours(right.subplots(), explanation)
        _draw_results(bottom.subplots(1, len(TASKS), sharey=True), explanation)
        figure.suptitle(f"cell {explanation.cell.index}   {explanation.cell}", fontsize=9)
        path = save(figure, stem)
        plt.close(figure)
    return path


def _draw_cell(axis: Any, cell: Cell) -> None:
    for (source, target), operation in zip(EDGES, cell.operations, strict=True):
        start, end = _NODES[source], _NODES[target]
        axis.annotate(
            "",
            xy=end,
            xytext=start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": _COLOURS[operation],
                "linewidth": 0.8 if operation == "none" else 2.0,
                "linestyle": ":" if operation == "none" else "-",
                "shrinkA": 11,
                "shrinkB": 11,
            },
        )
        part = 0.45 if (source, target) == (1, 2) else 0.5
        place = tuple(a + part * (b - a) for a, b in zip(start, end, strict=True))
        axis.text(
            *place,
            _LABELS[operation],
            ha="center",
            va="center",
            fontsize=8,
            color="0.35" if operation == "none" else _COLOURS[operation],
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )
    for node, (x, y) in _NODES.items():
        axis.text(
            x,
            y,
            {0: "in", 3: "out"}.get(node, str(node)),
            ha="center",
            va="center",
            fontsize=9,
            bbox={"boxstyle": "circle,pad=0.35", "facecolor": "0.93", "edgecolor": "0.4"},
        )
    axis.set(xlim=(-0.4, 4.0), ylim=(-0.35, 2.05))
    axis.axis("off")


def _draw_neighbours(axis: Any, explanation: Explanation) -> None:
    ordered = sorted(explanation.neighbours, key=lambda each: -sum(each.differences))
    for task, marker, colour in zip(TASKS, "osD", ("#0173b2", "#de8f05", "#029e73"), strict=True):
        place = list(TASKS).index(task)
        values = [neighbour.differences[place] for neighbour in ordered]
        axis.plot(values, marker, color=colour, markersize=3.5, label=task)
    axis.axhline(0, color="0.3", linewidth=1)
    axis.set_yscale("symlog", linthresh=1)
    axis.margins(y=0.08)
    changes = [each.changes[0] for each in ordered]
    names = [f"{EDGES[edge][0]}-{EDGES[edge][1]} {_LABELS[operation]}" for edge, operation in changes]
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6.5)
    axis.set_ylabel("change of validation accuracy\n(percentage points)")
    axis.set_title("the 24 neighbours", fontsize=9)
    axis.legend(fontsize=7, loc="lower left")


def _draw_results(axes: Any, explanation: Explanation) -> None:
    names = list(dict.fromkeys((result.fidelity, result.split) for result in explanation.finals))
    for axis, task, rank in zip(axes, TASKS, explanation.ranks, strict=True):
        for result in explanation.finals:
            if result.task != task or result.accuracy is None:
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
            f"{task}\nrank {rank.rank:,} ({rank.low:,} to {rank.high:,}) of {SPACE_SIZE:,}", fontsize=8.5
        )
        handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        if handles:
            axis.legend(handles.values(), handles.keys(), fontsize=7, loc="lower left")
    labels = [fill(f"{Fidelity.parse(fidelity).alias} {split}", _LABEL_WIDTH) for fidelity, split in names]
    axes[0].set_yticks(range(len(names)), labels, fontsize=7)
    axes[0].set_ylim(max(len(names) - 0.4, 0.6), -0.6)
