"""The critical-difference diagram (Demsar, JMLR 2006, figure 1), with tests of pairs, as inline SVG of the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.escaping import html as escape

_AXIS, _ROW, _LENGTH = 24.0, 20.0, 360.0
_LETTER = 7.0
"""Width of a letter of a name, more than most have."""
_MOST_TICKS = 18
"""Ranks whose numbers have room on the axis."""


def cliques(differ: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Longest groups of at least two neighbours of which no pair differs, as (first, last) positions.

    `differ` has shape (k, k), in the order of the mean ranks.
    """
    groups: list[tuple[int, int]] = []
    for first in range(len(differ)):
        last = first
        while last + 1 < len(differ) and not differ[first : last + 1, last + 1].any():
            last += 1
        if last > first and not (groups and groups[-1][1] >= last):
            groups.append((first, last))
    return groups


def diagram(names: Sequence[str], ranks: Sequence[float], differ: npt.NDArray[np.bool_]) -> str:
    """Mean ranks on an axis, better to the left, bars over neighbours that the tests do not tell apart.

    `differ` has shape (k, k): whether optimizers i and j are shown to differ.
    """
    order = sorted(range(len(names)), key=lambda i: (ranks[i], names[i]))
    ascending = [ranks[i] for i in order]
    groups = cliques(differ[np.ix_(order, order)])
    half = (len(names) + 1) // 2
    base = _AXIS + 16 + 9 * len(groups)
    height = base + _ROW * half + 14
    text = "; ".join(f"{names[i]} {ranks[i]:.2f}" for i in order)
    left_end = 20 + _LETTER * (max(map(len, names)) + 6)
    right_end = left_end + _LENGTH
    width = right_end + left_end
    joined = "; ".join(f"{names[order[first]]} to {names[order[last]]}" for first, last in groups)
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="Mean ranks: {escape(text)}. '
        f'Not told apart: {escape(joined or "none")}.">'
    ]

    def x(rank: float) -> float:
        return left_end + (rank - 1) / max(1, len(names) - 1) * _LENGTH

    def line(x1: float, y1: float, x2: float, y2: float, width: float = 1) -> None:
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="axis" '
            f'style="stroke-width:{width:g}"/>'
        )

    def label(place: float, y: float, anchor: str, words: str) -> None:
        parts.append(f'<text x="{place:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    line(left_end, _AXIS, right_end, _AXIS)
    apart = -(-len(names) // _MOST_TICKS)
    for rank in range(1, len(names) + 1, apart):
        line(x(rank), _AXIS - 5, x(rank), _AXIS)
        label(x(rank), _AXIS - 9, "middle", str(rank))
    for number, (first, last) in enumerate(groups):
        y = _AXIS + 9 + 9 * number
        line(x(ascending[first]) - 4, y, x(ascending[last]) + 4, y, 4)
    for position, i in enumerate(order):
        left = position < half
        y = base + _ROW * (position if left else len(names) - 1 - position) + 8
        edge = left_end - 12 if left else right_end + 12
        line(x(ranks[i]), _AXIS, x(ranks[i]), y)
        line(x(ranks[i]), y, edge, y)
        words = f"{names[i]} {ranks[i]:.2f}" if left else f"{ranks[i]:.2f} {names[i]}"
        label(edge - 5 if left else edge + 5, y + 4, "end" if left else "start", words)
    return "".join(parts) + "</svg>"
