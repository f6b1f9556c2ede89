"""Draws published accuracies over the curves of this suite, and writes the table beside them into README.md.

    nasbench-kd data pull nats-bench-test
    python reports/literature/published.py [FOLDER]

FOLDER holds `runs.parquet`, by default this one; figure and table go there. What was published stands in
`published.csv`, each value with the place that it was read from. On cifar10 papers test models that were trained on all
50,000 images: without the table `nats-bench-test`, which has their accuracies, that task is left out.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasbench_kd.files import write_between
from nasbench_kd.plotting import look, save, style
from nasbench_kd.report.leaderboard import generator
from nasbench_kd.report.looks import looks_of
from nasbench_kd.report.scored_runs import ScoredRuns, score_folder
from nasbench_kd.report.tables import pipe_table
from nasbench_kd.stats.statistics import bootstrap_band, mean

HERE = Path(__file__).parent
MARKS = ("<!-- published -->", "<!-- end of published -->")
_ALL_IMAGES = "all 50,000 images"
_WIDTH, _HEIGHT = 7.2, 2.7


class Published(NamedTuple):
    """A published test accuracy in percent after some queries, None where their number is not stated."""

    optimizer: str
    task: str
    queries: int | None
    accuracy: float
    source: str


def published(path: Path = HERE / "published.csv") -> list[Published]:
    """The published values."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Published(
                row["optimizer"],
                row["task"],
                int(row["queries"]) if row["queries"] else None,
                float(row["accuracy"]),
                row["source"],
            )
            for row in csv.DictReader(file)
        ]


def comparable(scored: ScoredRuns) -> list[str]:
    """Tasks whose answers are scored by the models that papers test."""
    return [
        task
        for task in scored.readings.tasks
        if task != "cifar10" or _ALL_IMAGES in scored.scorers[task].origin
    ]


def ours(scored: ScoredRuns, task: str, optimizer: str, queries: int) -> tuple[float, float, int]:
    """Mean test accuracy after so many queries, the half of its 95 % interval (normal), and the number of runs.

    Raises `KeyError` where the suite has no such budget.
    """
    readings = scored.readings
    column = {budget.amount: place for place, budget in enumerate(readings.budgets)}[queries]
    accuracy = readings.at_budget[readings.select(task, optimizer), column]
    half = 1.96 * float(accuracy.std(ddof=1)) / np.sqrt(len(accuracy)) if len(accuracy) > 1 else float("nan")
    return float(accuracy.mean()), half, len(accuracy)


def table(scored: ScoredRuns, points: list[Published]) -> str:
    """Published values beside those of the runs; one without its number of queries beside the last budget."""
    readings, last = scored.readings, scored.readings.budgets[-1].amount
    rows = []
    for point in points:
        if point.task not in comparable(scored) or point.optimizer not in readings.optimizers:
            continue
        value, half, runs = ours(scored, point.task, point.optimizer, point.queries or last)
        rows.append(
            [
                point.optimizer,
                point.task,
                str(point.queries or "not stated"),
                f"{point.accuracy:.2f}" if point.queries else f"{point.accuracy:g}",
                f"{value:.2f} ± {half:.2f}{'' if point.queries else f' (after {last})'}",
                f"{value - point.accuracy:+.2f}",
                str(runs),
                point.source,
            ]
        )
    headers = ["method", "task", "queries", "published", "here", "difference", "runs here", "read from"]
    return pipe_table(rows, headers)


def draw(scored: ScoredRuns, points: list[Published], stem: Path) -> Path:
    """Mean test accuracy over queries with 95 % bands, and the published values as stars or dashed lines."""
    readings, looks = scored.readings, looks_of(scored.readings)
    with style() as (plt, seaborn):
        tasks = comparable(scored)
        figure, axes = plt.subplots(
            1, len(tasks), figsize=(_WIDTH, _HEIGHT), squeeze=False, layout="constrained"
        )
        handles = {}
        for axis, task in zip(axes[0], tasks, strict=True):
            amounts = readings.curve[readings.tasks.index(task)]
            for name in looks:
                accuracy = readings.at_curve[readings.select(task, name)].T
                colour = look(looks[name].colour, looks[name].variant)["color"]
                estimate, low, high = bootstrap_band(accuracy, mean, generator("published", task, name))
                (handles[name],) = axis.plot(amounts, estimate, color=colour, linewidth=1.1, label=name)
                axis.fill_between(amounts, low, high, color=colour, alpha=0.12, linewidth=0)
                for point in points:
                    if (point.task, point.optimizer) != (task, name):
                        continue
                    if point.queries is None:
                        axis.axhline(point.accuracy, color=colour, linestyle="--", linewidth=0.9)
                    else:
                        axis.plot(point.queries, point.accuracy, "*", color=colour, markersize=9, zorder=5)
            axis.set_xscale("log")
            best = scored.scorers[task].best
            axis.set_ylim(best - 6 * (0.4 if task == "cifar10" else 1), best + 0.3)
            axis.set_title(task, fontsize=9)
            axis.set_xlabel("queries", fontsize=8)
            axis.tick_params(labelsize=7)
        axes[0][0].set_ylabel("mean test accuracy of the answer, %", fontsize=8)
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False, fontsize=7
        )
        seaborn.despine(figure)
        path = save(figure, stem)
        plt.close(figure)
    return path


def main() -> None:
    """Write figure and table, and print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    scored, points = score_folder(folder, "installed"), published()
    draw(scored, points, folder / "published")
    text = table(scored, points)
    write_between(HERE / "README.md", MARKS, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
