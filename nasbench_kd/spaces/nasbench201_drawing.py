"""Draws a cell of NAS-Bench-201 as a graph of its four nodes."""

from __future__ import annotations

from typing import Any

from nasbench_kd.spaces.space import Architecture

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


def draw_cell(axis: Any, cell: Architecture) -> None:
    """Draw a cell on axes of matplotlib; its coordinates are named `edge_SOURCE_TARGET`."""
    for name, operation in zip(cell.space.coordinates, cell.choices, strict=True):
        source, target = map(int, name.split("_")[1:])
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
