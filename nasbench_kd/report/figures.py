"""The figures of a report: anytime regret and ranks over the budget, as PNG and SVG with stable bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.plotting import looks, save, style
from nasbench_kd.report.curves import Curve, anytime_curves, rank_curves
from nasbench_kd.report.readings import Readings

Array = npt.NDArray[np.float64]
_PANEL = (3.5, 3.1)
_LINES_ALONE, _LINES = 12, 7
"""Most lines of a figure with one row of panels, and of a row where there are several."""


def draw(readings: Readings, scorers: Mapping[str, Scorer], folder: Path) -> list[Path]:
    """Write `anytime` and `ranks` as PNG and SVG and return the paths of the PNGs.

    Raises `MissingDependencyError` where matplotlib or seaborn is not installed.
    """
    charts: list[tuple[str, str, Callable[..., list[Curve]]]] = [
        ("anytime", "IQM regret (percentage points)", anytime_curves),
        ("ranks", "mean rank (1 is best)", rank_curves),
    ]
    paths = []
    for name, label, curves in charts:
        with style() as (plt, seaborn):
            panels = {task: curves(readings, scorers, task) for task in readings.tasks}
            figure = _facets(plt, seaborn, readings, panels, label, regret=name == "anytime")
            paths.append(save(figure, folder / name))
            plt.close(figure)
    return paths


def _facets(
    plt: Any, seaborn: Any, readings: Readings, panels: Mapping[str, list[Curve]], label: str, *, regret: bool
) -> Any:
    """One column a task; a row for every few optimizers, with the lines of the other rows in grey."""
    names = [
        name for name in readings.optimizers if any(c.name == name for cs in panels.values() for c in cs)
    ]
    count = -(-len(names) // _LINES) if len(names) > _LINES_ALONE else 1
    rows = [part.tolist() for part in np.array_split(np.array(names, dtype=object), count)]
    width, height = _PANEL
    legend = 0.24 * -(-len(names) // 5) if count == 1 else 0.0
    figure, grid = plt.subplots(
        count,
        len(panels),
        figsize=(max(5.0, width * len(panels)) + (1.6 if count > 1 else 0.0), height * count + legend),
        squeeze=False,
        sharex="col",
        sharey="col" if regret else True,
        layout="constrained",
    )
    look = {name: each for row in rows for name, each in zip(row, looks(len(row)), strict=True)}
    unit = "simulated GPU-hours" if readings.budgets[0].unit == "seconds" else "evaluations"
    handles: dict[str, Any] = {}
    for number, row in enumerate(rows):
        for axis, (task, curves) in zip(grid[number], panels.items(), strict=True):
            _lines(axis, curves, {name: look[name] for name in row}, unit, handles)
            axis.set(
                xscale="log", title=task if number == 0 else "", xlabel=unit if number == count - 1 else ""
            )
            _plain_ticks(axis.xaxis)
            if regret and all((np.fmin(curve.low, curve.estimate) > 0).all() for curve in curves) and curves:
                axis.set_yscale("log")
                _plain_ticks(axis.yaxis)
        grid[number][0].set_ylabel(label)
        if count > 1:
            known = [name for name in row if name in handles]
            grid[number][-1].legend(
                [handles[name] for name in known],
                known,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
                frameon=False,
            )
    seaborn.despine(figure)
    if count == 1:
        figure.legend(
            [handles[name] for name in names], names, loc="outside lower center", ncols=5, frameon=False
        )
    return figure


def _lines(
    axis: Any, curves: list[Curve], look: Mapping[str, dict[str, Any]], unit: str, handles: dict[str, Any]
) -> None:
    """The lines of one panel with their intervals; those without a look are grey and behind the others."""
    for position, curve in enumerate(curves):
        x = curve.amounts if unit == "evaluations" else curve.amounts / 3.6e9
        if curve.name not in look:
            axis.plot(x, curve.estimate, color="0.85", linewidth=0.8, zorder=1)
            continue
        every = (position % 3, max(1, len(x) // 8))
        (line,) = axis.plot(
            x,
            curve.estimate,
            label=curve.name,
            markevery=every,
            markersize=4,
            linewidth=1.4,
            **look[curve.name],
        )
        axis.fill_between(x, curve.low, curve.high, color=line.get_color(), alpha=0.18, linewidth=0)
        handles[curve.name] = line


def _plain_ticks(axis: Any) -> None:
    """Label a log axis with plain numbers, at 1, 2 and 5 of a decade; over three decades and more at 1 alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high >= 1000 * low else (1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
