"""Two optimizers, or two versions of one, against each other: paired differences in words and one figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nasbench_kd.errors import StoreError, UnknownNameError, nearest
from nasbench_kd.escaping import markdown as markdown_text
from nasbench_kd.files import write_text
from nasbench_kd.plotting import save, style
from nasbench_kd.report.leaderboard import cut_short, generator, regrets, resamples
from nasbench_kd.report.pairwise import LEVEL, limit_text
from nasbench_kd.report.scored_runs import RUNS, ScoredRuns, score_folder
from nasbench_kd.report.tables import pipe_table, signed_text
from nasbench_kd.stats.signed_rank import signed_rank_p
from nasbench_kd.stats.statistics import Interval, group_means, holm, mean, stratified_bootstrap
from nasbench_kd.tables.catalog import Data


@dataclass(frozen=True, slots=True)
class Difference:
    """Paired differences of the first side to the second on one task at one budget."""

    task: str
    budget: str
    first: str
    second: str
    pairs: int
    same_seeds: bool
    """Whether both runs of every pair had the same seed, and so saw the same table draws."""
    regret: Interval
    """Mean of the first's regret minus the second's, in percentage points: negative favours the first."""
    better: float
    """Share of pairs in which the first ended with less regret, ties as half."""
    p_value: float
    """Wilcoxon's signed-rank test, after Holm's correction for all differences of the comparison."""

    @property
    def verdict(self) -> int:
        """-1 where the first is better, 1 where it is worse, 0 where no difference is shown.

        A difference counts as shown where the interval excludes zero and the p value is below `LEVEL`.
        """
        if not (self.p_value < LEVEL and (self.regret.low > 0 or self.regret.high < 0)):
            return 0
        return -1 if self.regret.estimate < 0 else 1


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison as text and as numbers."""

    markdown: str
    differences: tuple[Difference, ...]
    files: tuple[Path, ...]
    """What was written."""


def compare(
    first: str, second: str, *, runs: Path | None = None, data: Data | None = None, output: Path | None = None
) -> Compared:
    """Compare two sides, each `FOLDER:OPTIMIZER`, `FOLDER`, or `OPTIMIZER` of the folder `runs`.

    A folder alone stands for the other side's optimizer in it; two folders alone compare every
    optimizer that both have. Runs are paired by task and repetition; at least two pairs are needed.
    With `output`, `compare.md` and `compare` as PNG and SVG are written into that folder. Raises
    `UnknownNameError`, and `StoreError` where the two sides have nothing in common, or rest on
    different tables.
    """
    sides = [_Side.parse(text, runs) for text in (first, second)]
    scored = {side.folder: score_folder(side.folder, data) for side in sides}
    pair = [scored[side.folder] for side in sides]
    _check_tables(sides, pair)
    names = _names(sides, pair)
    if sides[0].folder == sides[1].folder and all(one == other for one, other in names):
        raise StoreError(f"{first} and {second} are the same runs: name two optimizers, or two folders")
    raw = [entry for one, other in names for entry in differences_of(one, other, *pair)]
    if not raw:
        raise StoreError(
            f"{first} and {second} have no task, budget and two repetitions in common, or all runs of one failed"
        )
    adjusted = holm([entry.p_value for entry in raw])
    differences = tuple(replace(entry, p_value=float(p)) for entry, p in zip(raw, adjusted, strict=True))
    labels = _labels(sides, names)
    text = _markdown(labels, differences, pair[0])
    files: tuple[Path, ...] = ()
    if output is not None:
        picture = _draw(labels, differences, output / "compare")
        write_text(output / "compare.md", text + f"\n![compare]({picture.name})\n")
        files = (output / "compare.md", picture, picture.with_suffix(".svg"))
    return Compared(text, differences, files)


@dataclass(frozen=True, slots=True)
class _Side:
    folder: Path
    optimizer: str | None

    @staticmethod
    def parse(text: str, runs: Path | None) -> _Side:
        if (Path(text) / RUNS).is_file():
            return _Side(Path(text), None)
        for position, letter in enumerate(text):
            if letter == ":" and (Path(text[:position]) / RUNS).is_file():
                return _Side(Path(text[:position]), text[position + 1 :])
        if runs is None:
            raise UnknownNameError(
                f"{text!r} is no folder of runs: write FOLDER, FOLDER:OPTIMIZER, or name the folder of an optimizer"
            )
        return _Side(runs, text)


def _check_tables(sides: Sequence[_Side], pair: Sequence[ScoredRuns]) -> None:
    first, second = (scored.readings.provenance.tables for scored in pair)
    if first != second:
        names = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
        raise StoreError(
            f"{sides[0].folder} and {sides[1].folder} rest on different tables or versions of them "
            f"({', '.join(names)}): their results cannot be compared"
        )


def _names(sides: Sequence[_Side], pair: Sequence[ScoredRuns]) -> list[tuple[str, str]]:
    """Names of the optimizers to compare, on the first side and on the second."""
    first, second = (side.optimizer for side in sides)
    if first is None and second is None:
        both = [name for name in pair[0].readings.optimizers if name in pair[1].readings.optimizers]
        return [(name, name) for name in both]
    chosen = (first or second or "", second or first or "")
    for name, scored, side in zip(chosen, pair, sides, strict=True):
        known = scored.readings.optimizers
        if name not in known:
            raise UnknownNameError(
                f"no runs of {name!r} in {side.folder}: there are {', '.join(known)}.{nearest(name, known)}"
            )
    return [chosen]


def differences_of(first: str, second: str, one: ScoredRuns, other: ScoredRuns) -> Iterator[Difference]:
    """Differences of an optimizer of one folder to one of another, their p values not yet adjusted.

    One for each common task and budget with at least two pairs of runs that did not all fail; where one of the
    two works through a plan, at the budget of its runs alone.
    """
    left, right = one.readings, other.readings
    regret_left = regrets(left, one.scorers, left.at_budget)
    regret_right = regrets(right, other.scorers, right.at_budget)
    columns = {(budget.unit, budget.amount): column for column, budget in enumerate(right.budgets)}
    for task in (task for task in left.tasks if task in right.tasks):
        rows, others = left.select(task, first), right.select(task, second)
        common, pick, other_pick = np.intersect1d(
            left.repetition[rows], right.repetition[others], return_indices=True
        )
        rows, others = rows[pick], others[other_pick]
        for column, budget in enumerate(left.budgets):
            other_column = columns.get((budget.unit, budget.amount))
            if other_column is None or len(common) < 2:
                continue
            if cut_short(left, first, column) or cut_short(right, second, other_column):
                continue
            if left.failed[rows, column].all() or right.failed[others, other_column].all():
                continue
            difference = regret_left[rows, column] - regret_right[others, other_column]
            draws = generator("compare", task, str(budget), first, second)
            # A pair has a label of its own, or -1 where one of its runs rests on a draw that is shared.
            groups = np.minimum(left.groups(column, rows), right.groups(other_column, others))
            yield Difference(
                task=task,
                budget=str(budget),
                first=first,
                second=second,
                pairs=len(common),
                same_seeds=bool((left.seed[rows] == right.seed[others]).all()),
                regret=stratified_bootstrap(
                    [difference], mean, draws, resamples=resamples(len(common)), groups=[groups]
                ),
                better=float((difference < 0).mean() + (difference == 0).mean() / 2),
                p_value=signed_rank_p(group_means(difference, groups)),
            )


def _labels(sides: Sequence[_Side], names: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """What to call the two sides: by optimizer, by folder, or by both."""
    folders = [str(side.folder) for side in sides]
    if len(names) > 1:
        return folders[0], folders[1]
    if folders[0] == folders[1]:
        return names[0]
    return f"{names[0][0]} ({folders[0]})", f"{names[0][1]} ({folders[1]})"


def _markdown(labels: tuple[str, str], found: Sequence[Difference], scored: ScoredRuns) -> str:
    first, second = labels = markdown_text(labels[0]), markdown_text(labels[1])
    counts = [sum(entry.verdict == verdict for entry in found) for verdict in (-1, 1, 0)]
    bases = sorted({scorer.basis for scorer in scored.scorers.values()})
    lines = [
        f"# {first} against {second}",
        f"{first} is better in {counts[0]} of {len(found)} comparisons, worse in {counts[1]}, and in {counts[2]} no "
        "difference is shown. A difference counts as shown where its 95 % bootstrap interval excludes zero and the p "
        "value of Wilcoxon's signed-rank test, after Holm's correction for all comparisons, is below "
        f"{LEVEL:.0%}.",
        *_limits(found),
        f"Differences are the first's regret minus the second's in percentage points ({' and '.join(bases)}), "
        f"paired by repetition; {_seeds(found)}. All of it is over seeds, on these tables.",
        "\n".join(f"- {sentence(entry, labels)}" for entry in found),
    ]
    headers = [
        "task",
        "budget",
        "optimizer",
        "pairs",
        "difference in regret",
        "first better in",
        "adjusted p",
    ]
    rows = [
        [
            entry.task,
            entry.budget,
            entry.first if entry.first == entry.second else f"{entry.first} - {entry.second}",
            str(entry.pairs),
            signed_text(entry.regret, 3),
            f"{entry.better:.0%}",
            f"{entry.p_value:.3g}",
        ]
        for entry in found
    ]
    return "\n\n".join([*lines, pipe_table(rows, headers)]) + "\n"


def sentence(entry: Difference, labels: tuple[str, str]) -> str:
    """One difference in words of Markdown; `labels` are escaped already."""
    first, second = labels
    optimizer = markdown_text(entry.first)
    name = f", {optimizer}" if entry.first == entry.second and optimizer not in first else ""
    place = f"{entry.task}, {entry.budget}{name}: "
    low, high = sorted((abs(entry.regret.low), abs(entry.regret.high)))
    if entry.verdict:
        how = "better" if entry.verdict < 0 else "worse"
        return (
            f"{place}{first} ends {abs(entry.regret.estimate):.2f} points {how} than {second} [{low:.2f}, {high:.2f}], "
            f"and is better in {entry.better:.0%} of {entry.pairs} pairs."
        )
    return (
        f"{place}no difference shown ({signed_text(entry.regret, 2, ' points')}; {entry.pairs} pairs"
        f"{'' if entry.regret.known else ', all on one draw of a surrogate'})."
    )


def _limits(found: Sequence[Difference]) -> list[str]:
    """What the fewest pairs of the comparison cannot show."""
    limit = limit_text(min(entry.pairs for entry in found), len(found))
    return [limit] if limit else []


def _seeds(found: Sequence[Difference]) -> str:
    if all(entry.same_seeds for entry in found):
        return "both runs of a pair had the same seed and saw the same table draws"
    return "the runs of a pair had different seeds, so that pairing removes no noise"


def _draw(labels: tuple[str, str], found: Sequence[Difference], stem: Path) -> Path:
    """Every difference with its interval on one axis, zero marked."""
    with style() as (plt, seaborn):
        colours = {
            -1: seaborn.color_palette("colorblind")[0],
            0: "0.45",
            1: seaborn.color_palette("colorblind")[3],
        }
        markers = {-1: "o", 0: "s", 1: "D"}
        figure, axis = plt.subplots(figsize=(7.5, 1.4 + 0.28 * len(found)), layout="constrained")
        for position, entry in enumerate(found):
            axis.plot(
                [entry.regret.low, entry.regret.high],
                [position] * 2,
                color=colours[entry.verdict],
                linewidth=2,
            )
            axis.plot(entry.regret.estimate, position, markers[entry.verdict], color=colours[entry.verdict])
        axis.axvline(0, color="0.2", linewidth=1)
        many = len({entry.first for entry in found}) > 1
        names = [f"{e.task}, {e.budget}" + (f", {e.first}" if many else "") for e in found]
        axis.set_yticks(range(len(found)), names)
        axis.set_ylim(len(found) - 0.5, -0.5)
        axis.set_xlabel("difference in mean regret (percentage points, 95 % intervals)")
        axis.set_title(
            f"left of zero: {labels[0]} is better\nright of zero: {labels[1]} is better", fontsize=9
        )
        axis.grid(axis="y", visible=False)
        seaborn.despine(figure, left=True)
        path = save(figure, stem)
        plt.close(figure)
    return path
