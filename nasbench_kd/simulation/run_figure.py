"""Draws one run: what the search was told over the simulated clock, and the answer that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nasbench_kd.plotting import look, style
from nasbench_kd.tasks.signals import find_signal

if TYPE_CHECKING:
    import pandas as pd


def draw_told(told: pd.DataFrame, title: str) -> Any:
    """Return a matplotlib figure of the rows of `Run.to_frame`: a panel a signal, a colour a fidelity.

    A line follows the value of the answer of each moment, where it had been told at that fidelity. Raises
    `MissingDependencyError` where the extra `report` is not installed.
    """
    signals = list(told["signal"].unique())
    fidelities = list(told["fidelity"].unique())
    with style(files=False) as (plt, seaborn):
        figure, axes = plt.subplots(
            len(signals),
            1,
            figsize=(6.4, 2.9 * len(signals) + 0.4),
            squeeze=False,
            sharex=True,
            layout="constrained",
        )
        hours = told["finish_seconds"] / 3600
        for (axis,), name in zip(axes, signals, strict=True):
            for number, fidelity in enumerate(fidelities):
                drawn = look(number)
                here = (told["fidelity"] == fidelity) & (told["signal"] == name)
                colour = drawn["color"]
                axis.scatter(
                    hours[here],
                    told["value"][here],
                    s=14,
                    color=colour,
                    marker=drawn["marker"],
                    label=fidelity,
                )
                axis.step(hours, _answers(told, here), where="post", color=colour, linewidth=1.4)
            signal = find_signal(name)
            better = "higher" if signal.better == "more" else "lower"
            axis.set_ylabel(f"{name.replace('_', ' ')}\n({signal.unit}, {better} is better)")
        axes[-1][0].set_xlabel("simulated GPU-hours")
        axes[0][0].set_title(title, fontsize=9)
        axes[0][0].legend(title="fidelity", fontsize=8)
        seaborn.despine(figure)
        plt.close(figure)
    return figure


def _answers(told: pd.DataFrame, here: pd.Series) -> list[float]:
    """After each step the value by which its answer had last been told in the chosen rows; NaN before that."""
    known: dict[int, float] = {}
    values = []
    for cell, value, answer, chosen in zip(told["cell"], told["value"], told["answer"], here, strict=True):
        if chosen:
            known[cell] = value
        values.append(known.get(answer, np.nan))
    return values
