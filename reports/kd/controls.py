"""Does any search that distils beat the controls? First figure and first table of this page, from stored runs.

Run `python reports/kd/controls.py [FOLDER]`. It reads `runs.parquet` of that folder, by default beside it, and writes
`controls.csv`, `.png` and `.svg` there.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.plotting import look, save, style
from nasbench_kd.report.figures import LEAST_REGRET
from nasbench_kd.report.leaderboard import regrets
from nasbench_kd.report.scored_runs import ScoredRuns, score_folder
from nasbench_kd.report.tables import pipe_table
from nasbench_kd.stats.signed_rank import signed_rank_p
from nasbench_kd.stats.statistics import holm, iqm

Array = npt.NDArray[np.float64]
HERE = Path(__file__).parent
DISTILLING = ("mf-kd", "trade", "rank-nosh", "hyperband", "bohb", "asha", "botorch", "dna", "rmi")
CONTROLS = (
    "parameters",
    "screening",
    "screening-without-size",
    "screening-plain",
    "zero-cost-nwot",
    "zero-cost-jacov",
    "successive-halving-12",
    "successive-halving-plain",
    "predictor-argmax",
    "marginal-argmax",
    "dna-random-teacher",
    "rmi-random-teacher",
)


class Place(NamedTuple):
    """One task and budget: on each side the entry of the least interquartile mean regret."""

    task: str
    budget: str
    searcher: str
    regret: float
    control: str
    control_regret: float
    difference: float
    """Mean over repetitions of the searcher's regret less the control's; negative where the searcher is better."""
    p: float
    """Of the signed-rank test of these differences, after Holm's correction over all places."""
    pairs: int


def by_entry(scored: ScoredRuns, task: str) -> dict[str, Array]:
    """Regret in points of every entry that has an answer in most runs, (repetitions, budgets), infinite for none."""
    readings = scored.readings
    every = regrets(readings, scored.scorers, readings.at_budget)
    found = {}
    for name in readings.optimizers:
        rows = readings.select(task, name)
        if rows.size:
            order = np.argsort(readings.repetition[rows])
            found[name] = np.where(np.isnan(every[rows]), np.inf, every[rows])[order]
    return found


def places(scored: ScoredRuns) -> list[Place]:
    """The best of both sides at every task and budget, compared by repetition."""
    found = []
    for task in scored.readings.tasks:
        entries = by_entry(scored, task)
        for number, budget in enumerate(scored.readings.budgets):
            values = {name: regret[:, number] for name, regret in entries.items()}
            searcher, control = (
                min((name for name in side if name in values), key=lambda name: float(iqm(values[name])))
                for side in (DISTILLING, CONTROLS)
            )
            both = np.isfinite(values[searcher]) & np.isfinite(values[control])
            difference = (values[searcher] - values[control])[both]
            found.append(
                Place(
                    task,
                    str(budget),
                    searcher,
                    float(iqm(values[searcher])),
                    control,
                    float(iqm(values[control])),
                    float(difference.mean()),
                    signed_rank_p(difference),
                    len(difference),
                )
            )
    corrected = holm([place.p for place in found])
    return [place._replace(p=float(p)) for place, p in zip(found, corrected, strict=True)]


def table(found: list[Place]) -> str:
    """The places as Markdown."""
    rows = [
        [
            place.task,
            place.budget.removesuffix(" gpu-hours"),
            f"{place.regret:.2f} {place.searcher}",
            f"{place.control_regret:.2f} {place.control}",
            f"{place.difference:+.2f}",
            f"{place.p:.3f}",
        ]
        for place in found
    ]
    headers = ["task", "hours", "best that distils", "best control", "difference", "p"]
    return pipe_table(rows, headers)


def adds(scored: ScoredRuns, of: str, without: str) -> str:
    """What ablations of one kind add to each search: mean difference in regret to its other form, as Markdown.

    A star is p < 0.05 of the signed-rank test of these pairs, before any correction.
    """
    readings = scored.readings
    rows = []
    for task in readings.tasks:
        entries = by_entry(scored, task)
        for ablation in readings.provenance.suite.ablations:
            if ablation.of != of or not {ablation.optimizer, ablation.without} <= set(entries):
                continue
            cells = []
            for one, other in zip(entries[ablation.optimizer].T, entries[ablation.without].T, strict=True):
                both = np.isfinite(one) & np.isfinite(other)
                difference = (one - other)[both]
                star = "*" if signed_rank_p(difference) < 0.05 else ""
                cells.append(f"{difference.mean():+.2f}{star}")
            rows.append([task, ablation.optimizer, ablation.without, *cells])
    hours = [str(budget).removesuffix(" gpu-hours") + " h" for budget in readings.budgets]
    return pipe_table(rows, ["task", "search", without, *hours])


def searches_to_pay(scored: ScoredRuns, hours: float) -> str:
    """After how many searches on one task a teacher has paid for itself, as Markdown.

    A search without a teacher has a mean regret after so many hours; the same search with a teacher that is not
    billed needs less time to get there (or more: never). The teacher's cost over the time that one search
    saves is the number of searches. Both times hold the low fidelities at their price on the table's clock.
    """
    readings = scored.readings
    every = regrets(readings, scored.scorers, readings.at_curve)
    rows = []
    for ablation in readings.provenance.suite.ablations:
        twin = readings.provenance.suite.unbilled_twins.get(ablation.optimizer)
        if ablation.of != "distillation" or twin is None:
            continue
        cells = []
        for task in readings.tasks:
            amounts = readings.curve[readings.tasks.index(task)] / 3.6e9
            billed = readings.select(task, ablation.optimizer)
            teacher = float(readings.teacher_seconds[billed].max()) / 3600
            plain = every[readings.select(task, ablation.without)].mean(axis=0)
            given = every[readings.select(task, twin)].mean(axis=0)
            aim = float(plain[np.flatnonzero(amounts <= hours)[-1]])
            reached = np.flatnonzero(given <= aim)
            saved = hours - float(amounts[reached[0]]) if len(reached) else 0.0
            cells.append(f"{teacher / saved:.2f}" if saved > 0 else "never")
        rows.append([ablation.optimizer, ablation.without, *cells])
    return pipe_table(rows, ["search", "without a teacher", *readings.tasks])


def write_numbers(found: list[Place], path: Path) -> None:
    """Write the places with all digits that matter."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Place._fields)
        for place in found:
            writer.writerow([round(each, 6) if isinstance(each, float) else each for each in place])


def draw(scored: ScoredRuns, stem: Path) -> None:
    """Interquartile mean regret over the budget: the least of all controls as an area, each search as a line."""
    readings = scored.readings
    hours = [budget.amount / 3.6e9 for budget in readings.budgets]
    with style() as (plt, _):
        figure, axes = plt.subplots(
            1, len(readings.tasks), figsize=(4.6 * len(readings.tasks) + 1.6, 4.0), squeeze=False
        )
        for axis, task in zip(axes[0], readings.tasks, strict=True):
            means = {name: iqm_of(regret) for name, regret in by_entry(scored, task).items()}
            controls = [means[name] for name in CONTROLS if name in means]
            for line in controls:
                axis.plot(hours, line, color="#bbbbbb", linewidth=0.8, zorder=1)
            best = np.min(controls, axis=0)
            axis.plot(hours, best, color="black", linewidth=2.4, zorder=3, label="best control")
            axis.fill_between(hours, LEAST_REGRET, best, color="black", alpha=0.07, zorder=0)
            for number, name in enumerate(name for name in DISTILLING if name in means):
                axis.plot(
                    hours, means[name], label=name, markersize=4, linewidth=1.2, zorder=4, **look(number)
                )
            axis.set(xscale="log", yscale="log", title=task, xlabel="GPU-hours")
            axis.set_xticks(hours, [f"{each:g}" for each in hours], minor=False)
            axis.set_xticks([], minor=True)
        axes[0][0].set_ylabel(f"regret in points, interquartile mean\n({LEAST_REGRET:g} stands for less)")
        axes[0][-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        figure.tight_layout()
        save(figure, stem)
        plt.close(figure)


def iqm_of(regret: Array) -> Array:
    """Interquartile mean at every budget, (budgets,), at least `LEAST_REGRET`; NaN while half have no answer."""
    with np.errstate(invalid="ignore"):
        values = np.array([float(iqm(column)) for column in regret.T])
    return np.where(np.isfinite(values), np.maximum(values, LEAST_REGRET), np.nan)


def main(folder: Path) -> None:
    """Write the numbers and the figure of a folder of runs, and print the table."""
    scored = score_folder(folder)
    found = places(scored)
    write_numbers(found, folder / "controls.csv")
    draw(scored, folder / "controls")
    print(table(found))
    ahead = [place for place in found if place.regret < place.control_regret]
    shown = [place for place in ahead if place.p < 0.05 and place.difference < 0]
    teacher = adds(scored, "distillation", "without a teacher")
    print(f"\nWhat a teacher adds to each search:\n\n{teacher}")
    knowledge = adds(scored, "what the teacher knows", "with a random teacher")
    print(f"\nWhat the teacher's knowledge adds:\n\n{knowledge}")
    for hours in (10.0, 50.0):
        print(
            f"\nSearches after which a teacher has paid, {hours:g} hours each:\n\n{searches_to_pay(scored, hours)}"
        )
    print(f"\nA search that distils is ahead at {len(ahead)} of {len(found)} places, shown at {len(shown)}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
