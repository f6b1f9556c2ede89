"""The critical-difference diagram (Demsar, JMLR 2006, figure 1) as inline SVG, styled by the page."""

from __future__ import annotations

from collections.abc import Sequence

from nasbench_kd.escaping import html as escape

_LEFT, _RIGHT, _AXIS, _ROW = 170.0, 530.0, 52.0, 20.0
_WIDTH = 700


def cliques(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """Longest groups of at least two that no critical difference separates, as (first, last) positions.

    `ranks` are ascending.
    """
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(i for i, other in enumerate(ranks) if other - rank <= difference)
        if last > first and not (groups and groups[-1][1] >= last):
            groups.append((first, last))
    return groups


def diagram(names: Sequence[str], ranks: Sequence[float], difference: float) -> str:
    """Mean ranks on an axis, better to the left, bars over optimizers that the test does not tell apart."""
    order = sorted(range(len(names)), key=lambda i: (ranks[i], names[i]))
    ascending = [ranks[i] for i in order]
    groups = cliques(ascending, difference)
    half = (len(names) + 1) // 2
    base = _AXIS + 16 + 9 * len(groups)
    height = base + _ROW * half + 14
    text = "; ".join(f"{names[i]} {ranks[i]:.2f}" for i in order)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="Mean ranks: {escape(text)}. '
        f'Critical difference {difference:.2f}.">'
    ]

    def x(rank: float) -> float:
        return _LEFT + (rank - 1) / max(1, len(names) - 1) * (_RIGHT - _LEFT)

    def line(x1: float, y1: float, x2: float, y2: float, width: float = 1) -> None:
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="axis" '
            f'style="stroke-width:{width:g}"/>'
        )

    def label(place: float, y: float, anchor: str, words: str) -> None:
        parts.append(f'<text x="{place:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    line(_LEFT, _AXIS, _RIGHT, _AXIS)
    for rank in range(1, len(names) + 1):
        line(x(rank), _AXIS - 5, x(rank), _AXIS)
        label(x(rank), _AXIS - 9, "middle", str(rank))
    bar = min(x(1 + difference), _WIDTH - 4.0)
    line(x(1), 16, bar, 16, 2)
    label(x(1), 11, "start", f"critical difference {difference:.2f}")
    for number, (first, last) in enumerate(groups):
        y = _AXIS + 9 + 9 * number
        line(x(ascending[first]) - 4, y, x(ascending[last]) + 4, y, 4)
    for position, i in enumerate(order):
        left = position < half
        y = base + _ROW * (position if left else len(names) - 1 - position) + 8
        edge = _LEFT - 12 if left else _RIGHT + 12
        line(x(ranks[i]), _AXIS, x(ranks[i]), y)
        line(x(ranks[i]), y, edge, y)
        words = f"{names[i]} {ranks[i]:.2f}" if left else f"{ranks[i]:.2f} {names[i]}"
        label(edge - 5 if left else edge + 5, y + 4, "end" if left else "start", words)
    return "".join(parts) + "</svg>"
