"""Does searching by the accuracy alone find good students? Tables and figure of this folder, from shipped tables.

Run `python reports/distilled/report.py`. All is in closed form but the intervals of tau, a bootstrap over networks.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import nasbench_kd as nk
from nasbench_kd.plotting import save, style
from nasbench_kd.report.tables import pipe_table
from nasbench_kd.stats.order_statistics import RandomSearchCurve
from nasbench_kd.stats.statistics import Interval, kendall, kendall_interval
from nasbench_kd.tasks.distilled import TASKS

Array = npt.NDArray[np.float64]
HERE = Path(__file__).parent
COUNTS = (10, 30)
RULES = {"accuracy alone": "#d55e00", "parameters": "#999999", "distilled accuracy": "#0173b2"}
"""By what the winner among n random networks is chosen, and its colour."""
_RESAMPLES = 2000
_NEAR = 0.3
"""Points of accuracy that the noise of a training may well be."""


class Study(NamedTuple):
    """The networks of one task that were trained both ways, arrays of the shape (networks,)."""

    task: str
    distilled: Array
    """Accuracy after distillation in percent, by which all are judged."""
    shown: dict[str, Array]
    """What each rule goes by."""

    def regret(self, rule: str, count: int) -> float:
        """Expected points of distilled accuracy that the winner by a rule among so many random networks lacks."""
        curve = RandomSearchCurve.from_table(self.shown[rule][:, None], self.distilled[:, None])
        return float(self.distilled.max()) - curve.expected(count)

    def tau(self, rule: str) -> Interval:
        """Kendall's tau between what a rule goes by and the distilled accuracy."""
        rng = np.random.default_rng(0)
        return kendall_interval(self.shown[rule], self.distilled, rng, resamples=_RESAMPLES)

    def tau_beyond_size(self) -> float:
        """Kendall's partial tau of the accuracy alone with the distilled one, given the number of parameters."""
        alone, sizes = self.shown["accuracy alone"], self.shown["parameters"]
        with_size, of_size = kendall(alone, sizes), kendall(sizes, self.distilled)
        rest = np.sqrt((1 - with_size**2) * (1 - of_size**2))
        return float((kendall(alone, self.distilled) - with_size * of_size) / rest)


def studies() -> list[Study]:
    """Every task with a distilled target, over the networks that have an accuracy alone as well."""
    found = []
    for name, task in TASKS.items():
        bench = nk.load(name, data="embedded")
        plain = task.target.without_distillation()
        both = [network.index for network in task.space if bench.seeds(network, plain)]
        distilled = bench.evaluate_many(both).valid_accuracy
        shown = {
            "accuracy alone": bench.evaluate_many(both, plain).valid_accuracy,
            "parameters": np.array([task.sizes(task.space[i])["parameters"] for i in both], dtype=float),
            "distilled accuracy": distilled,
        }
        found.append(Study(name, distilled, shown))
    return found


def _interval(interval: Interval) -> str:
    return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def correlations(found: list[Study]) -> str:
    """Rank correlations with the distilled accuracy, as Markdown."""
    rows = [
        [
            each.task,
            str(len(each.distilled)),
            _interval(each.tau("accuracy alone")),
            _interval(each.tau("parameters")),
            f"{each.tau_beyond_size():.2f}",
            f"{each.shown['accuracy alone'].mean():.2f}",
            f"{each.distilled.mean():.2f}",
        ]
        for each in found
    ]
    headers = [
        "task",
        "networks",
        "tau, alone",
        "tau, parameters",
        "tau, alone given parameters",
        "mean alone",
        "mean distilled",
    ]
    return pipe_table(rows, headers)


def regrets(found: list[Study]) -> str:
    """Expected regret of the winner by each rule, as Markdown."""
    rows = [
        [each.task, *(f"{each.regret(rule, count):.2f}" for count in COUNTS for rule in RULES)]
        for each in found
    ]
    headers = ["task", *(f"n = {count}: {rule}" for count in COUNTS for rule in RULES)]
    return pipe_table(rows, headers)


def saturation() -> str:
    """What random search reaches on each task, in closed form over all of its networks, as Markdown."""
    rows = []
    for name in TASKS:
        bench = nk.load(name, data="embedded")
        accuracies = bench.evaluate_many(range(len(bench.task.space))).valid_accuracy
        drawn = RandomSearchCurve.from_table(accuracies[:, None], accuracies[:, None])
        near = int((accuracies >= accuracies.max() - _NEAR).sum())
        rows.append(
            [
                name,
                str(len(accuracies)),
                f"{accuracies.mean():.2f}",
                f"{accuracies.max():.2f}",
                *(f"{drawn.expected(count):.2f}" for count in COUNTS),
                str(near),
                "not known" if max(len(bench.seeds(each)) for each in bench.task.space) == 1 else "known",
            ]
        )
    counts = [f"random search, {count} networks" for count in COUNTS]
    headers = ["task", "networks", "mean", "best", *counts, f"within {_NEAR:g} of the best", "noise"]
    return pipe_table(rows, headers)


def write_numbers(found: list[Study], path: Path) -> None:
    """Write every number of the tables and the figure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "rule", "networks", "n", "regret"])
        for each in found:
            for rule in RULES:
                for count in range(1, len(each.distilled) + 1):
                    writer.writerow(
                        [each.task, rule, len(each.distilled), count, f"{each.regret(rule, count):.4f}"]
                    )


def draw(found: list[Study], stem: Path) -> None:
    """Draw the regret against the number of random networks, one panel a task."""
    with style() as (plt, _):
        figure, axes = plt.subplots(2, 4, figsize=(10.5, 4.8), layout="constrained")
        for axis, each in zip(axes.ravel(), found, strict=False):
            counts = np.unique(np.round(np.geomspace(1, len(each.distilled), 40)).astype(int))
            for rule, colour in RULES.items():
                axis.plot(counts, [each.regret(rule, int(n)) for n in counts], color=colour, label=rule)
            axis.set(title=each.task, xscale="log", ylim=(0, None))
            axis.title.set_fontsize(9)
        legend = axes.ravel()[-1]
        legend.axis("off")
        legend.legend(*axes[0, 0].get_legend_handles_labels(), loc="center", title="the winner is chosen by")
        figure.supxlabel("random networks that are looked at", fontsize=9)
        figure.supylabel("expected regret of the winner (points, distilled)", fontsize=9)
        save(figure, stem)
        plt.close(figure)


def filled(text: str, tables: dict[str, str]) -> str:
    """A page with its tables in their places."""
    for name, table in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->")
        _, _, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}<!-- {name} -->\n{table}\n<!-- end of {name} -->{after}"
    return text


def main() -> None:
    """Make the tables, the figure and the numbers."""
    found = studies()
    page = HERE / "README.md"
    tables = {"correlations": correlations(found), "regrets": regrets(found), "saturation": saturation()}
    page.write_text(filled(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    write_numbers(found, HERE / "regrets.csv")
    draw(found, HERE / "regret")


if __name__ == "__main__":
    sys.exit(main())
