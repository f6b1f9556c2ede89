"""The figures of a report: anytime regret and ranks over the budget, with stable bytes and at the size of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.plotting import look, save, style
from nasbench_kd.report.curves import Curve, anytime_curves, rank_curves
from nasbench_kd.report.latex import Selection
from nasbench_kd.report.looks import looks_of, rows_of
from nasbench_kd.report.readings import Readings

Array = npt.NDArray[np.float64]
_WIDTH = 7.2
"""Inches: the text of a page in two columns."""
_LETTERS = 100
"""Of all titles side by side."""
_LABELLED = 4
"""Most panels with a label each below."""
_ROW_HEIGHT, _LEGEND_LINE = 1.9, 0.17
_LINES_ALONE, _LINES, _ROWS = 10, 7, 4
"""Most lines of a figure with one row of panels, of a row where there are several, and rows of a page."""
_BANDS = 5
"""Most lines of a row that have a band: more would cover each other."""
LEAST_REGRET = 0.01
"""Percentage points at which a regret of less, or of nothing, is drawn: below the noise of any accuracy."""


def draw(
    readings: Readings,
    scorers: Mapping[str, Scorer],
    folder: Path,
    selection: Selection | None = None,
    *,
    pdf: bool = False,
) -> list[Path]:
    """Write `anytime` and `ranks` as PNG and SVG, or as PDF, and return the paths of the PNGs or PDFs.

    Raises `MissingDependencyError` where matplotlib or seaborn is not installed.
    """
    charts: list[tuple[str, str, Callable[..., list[Curve]]]] = [
        (
            "anytime",
            f"IQM regret in points, lower is better\n({LEAST_REGRET:g} stands for less)",
            anytime_curves,
        ),
        ("ranks", "mean rank\n(1 is best)", rank_curves),
    ]
    chosen = selection or Selection()
    paths = []
    for name, label, curves in charts:
        with style() as (plt, seaborn):
            panels = {
                task: [
                    curve
                    for curve in curves(readings, scorers, task)
                    if curve.name in (chosen.optimizers or readings.optimizers)
                ]
                for task in chosen.tasks or readings.tasks
            }
            regret = name == "anytime"
            if regret:
                panels = {task: [_at_least(curve) for curve in each] for task, each in panels.items()}
            figure = _facets(plt, readings, panels, label, chosen, regret=regret)
            seaborn.despine(figure)
            paths.append(save(figure, folder / name, pdf=pdf))
            plt.close(figure)
    return paths


def _facets(
    plt: Any,
    readings: Readings,
    panels: Mapping[str, list[Curve]],
    label: str,
    selection: Selection,
    *,
    regret: bool,
) -> Any:
    """One column a task; a row for every few families of optimizers, with the lines of the other rows in grey."""
    looks = looks_of(readings)
    names = [name for name in looks if any(c.name == name for cs in panels.values() for c in cs)]
    rows = rows_of(names, looks, _LINES, _ROWS) if len(names) > _LINES_ALONE else [names]
    height = sum(_ROW_HEIGHT + _LEGEND_LINE * (1 + -(-len(row) // _columns(row))) for row in rows) + 0.4
    figure = plt.figure(figsize=(_WIDTH, height), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    unit = "simulated GPU-hours" if readings.budgets[0].unit == "seconds" else "evaluations"
    limits = _limits(panels, regret=regret)
    for number, (part, row) in enumerate(zip(parts, rows, strict=True)):
        axes = part.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        handles: dict[str, Any] = {}
        for place, (axis, (task, curves)) in enumerate(zip(axes, panels.items(), strict=True)):
            drawn = {name: look(looks[name].colour, looks[name].variant) for name in row}
            _lines(axis, curves, drawn, unit, handles)
            axis.set_xscale("log")
            axis.set_title(title_of(task, len(panels)) if number == 0 else "", fontsize=9)
            # Where panels are too narrow for a label each, the one in the middle has it.
            if number == len(rows) - 1 and (len(panels) <= _LABELLED or place == len(panels) // 2):
                axis.set_xlabel(unit, fontsize=8)
            if regret:
                axis.set_yscale("log")
            axis.set_ylim(*limits)
            axis.tick_params(labelsize=7)
            _plain_ticks(axis.xaxis)
            if regret:
                _plain_ticks(axis.yaxis)
        axes[0].set_ylabel(label, fontsize=8)
        known = [name for name in row if name in handles]
        part.legend(
            [handles[name] for name in known],
            [selection.name(name) for name in known],
            loc="outside lower center",
            ncols=_columns(row),
            frameon=False,
            fontsize=7,
        )
    return figure


def title_of(text: str, panels: int) -> str:
    """A panel's title, broken into lines that fit its share of the page."""
    return fill(text, max(12, _LETTERS // panels))


def _columns(names: Sequence[str]) -> int:
    """Names side by side in a legend that is as wide as the page."""
    longest = max(map(len, names), default=1)
    return int(np.clip(100 // (longest + 8), 1, 5))


def _limits(panels: Mapping[str, list[Curve]], *, regret: bool) -> tuple[float, float]:
    """The ends of the axis that all panels share: what the lines need; bands may be cut."""
    values = np.concatenate(
        [curve.estimate for curves in panels.values() for curve in curves] or [np.ones(1)]
    )
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not regret:
        return max(0.0, low - 0.5), high + 0.5
    return low / 1.3, high * 1.2


def _at_least(curve: Curve) -> Curve:
    """A curve of regret for a logarithmic axis, on which the best cell itself would be infinitely far below."""
    return curve._replace(
        estimate=np.maximum(curve.estimate, LEAST_REGRET),
        low=np.maximum(curve.low, LEAST_REGRET),
        high=np.maximum(curve.high, LEAST_REGRET),
    )


def _lines(
    axis: Any, curves: list[Curve], drawn: Mapping[str, dict[str, Any]], unit: str, handles: dict[str, Any]
) -> None:
    """The lines of one panel; those of other rows are grey and behind, the best at the end have bands."""
    inside = [curve for curve in curves if curve.name in drawn]
    banded = {curve.name for curve in sorted(inside, key=lambda curve: curve.estimate[-1])[:_BANDS]}
    for position, curve in enumerate(curves):
        x = curve.amounts if unit == "evaluations" else curve.amounts / 3.6e9
        if curve.name not in drawn:
            axis.plot(x, curve.estimate, color="0.85", linewidth=0.6, zorder=1)
            continue
        every = (position % 3, max(1, len(x) // 8))
        (line,) = axis.plot(
            x,
            curve.estimate,
            label=curve.name,
            markevery=every,
            markersize=3,
            linewidth=1.1,
            **drawn[curve.name],
        )
        if curve.name in banded:
            axis.fill_between(x, curve.low, curve.high, color=line.get_color(), alpha=0.15, linewidth=0)
        handles[curve.name] = line


def _plain_ticks(axis: Any) -> None:
    """Label a log axis with plain numbers, at 1, 2 and 5 of a decade; over three decades and more at 1 alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high >= 300 * low else (1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
