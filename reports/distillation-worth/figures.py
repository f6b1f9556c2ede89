"""The figures of the report: taus against prices, and what the best five of fifty are worth."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from readings import FOLDER, SCORES, TASKS

from nasbench_kd.plotting import save, style

UNTRAINED = ("parameters", "MACs", "convolutions", *SCORES)
LABELS = 1e4
"""Seconds at which the labels stand, right of all points."""
COLOURS = {"plain": "#0173b2", "distilled": "#de8f05", "untrained": "grey"}


def draw(frame: pd.DataFrame, ceiling: Mapping[str, float]) -> None:
    """Tau against price with labelled points, the lines of size and of seed noise; and the best five of 50."""
    style()
    figure, panels = plt.subplots(1, 3, figsize=(18, 7), sharey=True)
    bars, boxes = plt.subplots(1, 3, figsize=(16, 6))
    for panel, box, task in zip(panels, boxes, TASKS, strict=True):
        rows = frame[frame.task == task].sort_values("tau")
        size = float(rows[rows.reading == "parameters"].tau.iloc[0])
        for line, label in ((size, "parameters"), (ceiling[task], "noise ceiling")):
            panel.axhline(line, color="grey", linestyle="--", linewidth=1, zorder=0)
            panel.text(1.5e10, line, label, color="grey", ha="right", va="bottom", fontsize=8)
        timed = rows[rows.seconds > 0]
        places = spread(timed.tau.tolist())
        for reading, seconds, tau, y in zip(timed.reading, timed.seconds, timed.tau, places, strict=True):
            panel.plot(seconds, tau, "o", color=COLOURS[kind(reading)], markersize=5)
            panel.plot([seconds, LABELS], [tau, y], color="lightgrey", linewidth=0.5, zorder=0)
            panel.text(LABELS * 1.1, y, reading, fontsize=7, va="center")
        panel.set(
            title=task, xscale="log", xlabel="price, seconds of the table's clock (log)", xlim=(0.015, 2e10)
        )
        panel.set_xticks([0.1, 1, 10, 100, 1000])
        shown = rows[rows.classes == rows.classes.max()].sort_values("best 5 of 50")
        box.barh(
            shown.reading, shown["best 5 of 50"], color=[COLOURS[kind(reading)] for reading in shown.reading]
        )
        box.set_xlim(shown["best 5 of 50"].min() - 0.5, shown["best 5 of 50"].max() + 0.2)
        box.set(title=task, xlabel="best 200-epoch accuracy, % (more is better)")
        box.tick_params(axis="y", labelsize=8)
    panels[0].set_ylabel("Kendall's tau with the 200-epoch accuracy (more is better)")
    for each, name in ((figure, "worth"), (bars, "top")):
        each.tight_layout()
        save(each, FOLDER / name)


def kind(reading: str) -> str:
    """Whether a reading is of a plain training, a distilled one or of none."""
    first = reading.split()[0].split("@")[0].rstrip(",")
    return "plain" if first == "none" else "untrained" if first in UNTRAINED else "distilled"


def spread(values: list[float]) -> list[float]:
    """Rising heights for labels of rising values, at least 0.03 apart."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + 0.03) if places else value)
    shift = (sum(places) - sum(values)) / max(1, len(values))
    return [place - shift for place in places]
