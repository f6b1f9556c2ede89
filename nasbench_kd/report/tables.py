"""A leaderboard as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.escaping import code, csv_text, table_cell
from nasbench_kd.escaping import markdown as markdown_text
from nasbench_kd.report import bought_once, controls
from nasbench_kd.report.leaderboard import LeaderboardRow, Overall, contenders
from nasbench_kd.report.prefixes import SOURCES
from nasbench_kd.report.readings import Readings
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.stats.statistics import Interval
from nasbench_kd.tasks.fidelity import legend
from nasbench_kd.tasks.registry import find_task

BASIS = {
    "test": "mean test accuracy over the training seeds, which no search can see",
    "hidden seeds": (
        "mean validation accuracy over the training seeds that the run was not shown for its answer (test "
        "results are not opened); a single run's regret can therefore fall slightly below zero"
    ),
    "shown": (
        "the accuracy at the target itself, which a search that trains its answer is shown: the source trained each "
        "architecture once and held nothing out, so that the noise between trainings is not known"
    ),
}
PLANNED = "‡"
"""Marks searches whose runs were planned for a larger budget."""
EXPLANATIONS = {
    "Regret": (
        "the best cell's mean accuracy minus the score of the run's answer, in percentage points; a run "
        "that has no answer yet counts as an uninformed pick, with the mean accuracy of all cells, and a "
        "run that failed keeps the answer that it had."
    ),
    "Median and IQM": (
        "the middle run, and the mean of the middle half of the runs (interquartile mean); brackets hold "
        "95 % percentile intervals of a stratified bootstrap over runs, which a single run does not have, nor "
        "runs that share one draw of a surrogate: they say how far other seeds on the same tables would move a figure, "
        "and nothing of other tasks."
    ),
    "Best observed": (
        "the IQM regret had every run answered with the best full training that it was shown, whatever its own "
        "rule: methods with a model may answer by its posterior mean, and compare with the others in this column."
    ),
    "Accuracy": "mean ± standard deviation over runs of the answers' scores, in percent, as papers print it.",
    "Mean rank": (
        "rank by regret among the optimizers of the same repetition, ties averaged, 1 is best; an "
        "optimizer whose runs have all failed is not ranked."
    ),
    "Random search needs": (
        "the budget at which plain random search at the target has the same expected score, in closed form "
        "from the sorted table, and that budget over the one given."
    ),
    "Evaluations by source": (
        "paid evaluations per run, and the share that was measured, taken from an isomorphic cell, trained "
        "live, or filled in by the surrogate, of which every run has a draw of its own: intervals over runs cover the "
        "draws, not the choice of the classes that it was fitted to. Where it says 'stored', runs are "
        "kept without the steps that do not decide their scores: how many there were in all is not known from them."
    ),
    "Optimizer time": (
        "real seconds that the method itself computed in a whole run at the largest budget; never part of "
        "the simulated clock."
    ),
}


def markdown(
    readings: Readings,
    scorers: Mapping[str, Scorer],
    rows: Sequence[LeaderboardRow],
    overall: Sequence[Overall],
    figures: Sequence[str],
    sections: Sequence[str] = (),
) -> str:
    """The whole report as GitHub Markdown; `sections` stand between the overview and the tasks."""
    suite = readings.provenance.suite
    parts = [
        f"# Leaderboard: {markdown_text(suite.name)}",
        "\n".join(f"- {line}" for line in setting(readings, scorers)),
    ]
    parts += [f"![{name.partition('.')[0]}]({name})" for name in figures]
    parts.append("## Over all tasks" if len(readings.tasks) > 1 else "## Overview")
    parts.append(_overview(readings, overall))
    parts += sections
    for task in readings.tasks:
        scorer = scorers[task]
        parts.append(f"## {task}")
        parts.append(
            f"Best cell {scorer.best:.3f} %, mean of all cells {scorer.uninformed:.3f} % ({_basis(scorer)})."
        )
        for budget in readings.budgets:
            part = [row for row in rows if (row.task, row.budget) == (task, str(budget))]
            if part:
                parts += [
                    f"### {task}, {budget}",
                    _table(part, budget, suite.unbilled_twins),
                    *_failures(part),
                ]
    parts.append("## What the columns say")
    parts.append("\n".join(f"- **{name}**: {text}" for name, text in EXPLANATIONS.items()))
    return "\n\n".join(parts) + "\n"


def to_csv(rows: Sequence[LeaderboardRow], scorers: Mapping[str, Scorer]) -> str:
    """One line a row with plain numbers as they were computed; empty where there is none."""
    listed = records(rows, scorers)
    text = io.StringIO()
    if listed:
        writer = csv.DictWriter(text, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        for record in listed:
            writer.writerow(
                {key: csv_text(field) if isinstance(field, str) else field for key, field in record.items()}
            )
    return text.getvalue()


def records(rows: Sequence[LeaderboardRow], scorers: Mapping[str, Scorer]) -> list[dict[str, Any]]:
    """The rows as flat records with the columns of leaderboard.csv; None where there is no number."""
    return [_record(row, scorers[row.task]) for row in rows]


def _record(row: LeaderboardRow, scorer: Scorer) -> dict[str, Any]:
    record: dict[str, Any] = {
        "task": row.task,
        "budget": row.budget,
        "optimizer": row.optimizer,
        "runs": row.runs,
        "failures": row.failures,
        "runs_without_answer": row.without_answer,
        "score": scorer.basis,
    }
    for name in ("median_regret", "iqm_regret", "mean_rank"):
        interval: Interval | None = getattr(row, name)
        for field, key in (("estimate", name), ("low", f"{name}_low"), ("high", f"{name}_high")):
            record[key] = _plain(None if interval is None else getattr(interval, field))
    for name in (
        "observed_regret",
        "accuracy_mean",
        "accuracy_deviation",
        "random_search_evaluations",
        "random_search_ratio",
    ):
        record[name] = _plain(getattr(row, name))
    record["evaluations"] = None if row.thinned else _plain(row.evaluations)
    record |= {f"share_{source}": None if row.thinned else _plain(row.shares[source]) for source in SOURCES}
    return record | {
        "cut_short": row.cut_short,
        "teacher_hours": _plain(row.teacher_hours),
        "optimizer_seconds": _plain(row.optimizer_seconds),
        "failure_reason": row.reason,
    }


_MOST_DRAWN = 3


def setting(readings: Readings, scorers: Mapping[str, Scorer]) -> list[str]:
    """What was run, on which tables, and how it is scored."""
    provenance = readings.provenance
    suite = provenance.suite
    lines = [
        _measured(readings),
        _resampled(readings),
        f"{len(readings.optimizer)} runs: {len(readings.optimizers)} optimizers on {len(readings.tasks)} "
        f"task(s), up to {int(readings.repetition.max()) + 1} repetitions each, largest budget "
        f"{readings.budgets[-1]}, {suite.workers} parallel worker(s); a smaller budget is the "
        "part of the same run that was paid for within it. No search is told its budget: at a smaller one "
        "it does what it does at the start of the largest.",
    ]
    if suite.mean_over_seeds:
        lines.append(
            "**A query gives the mean over a cell's training seeds**, for the price of one training, and answers are "
            "scored by the mean test accuracy: the protocol of much of the literature, whose curves these runs compare "
            "with. A query that is one training, as in the other suites, is noisier."
        )
    if suite.planned and len(readings.budgets) > 1:
        lines.append(
            f"{PLANNED} works through a plan that one would lay out for the budget "
            f"({', '.join(map(markdown_text, sorted(suite.planned)))}): below {readings.budgets[-1]} its runs are cut "
            "short in one for more, shown without a rank, and in no curve or comparison."
        )
    if suite.workers > 1:
        lines.append(_running(readings))
    bases = {scorer.basis: scorer for scorer in scorers.values()}
    for basis in bases:
        on = [task for task in readings.tasks if scorers[task].basis == basis]
        lines.append(f"Score ({', '.join(on)}): {BASIS[basis]}.")
    for rule in dict.fromkeys(map(_price_rule, readings.tasks)):
        if rule:
            on = [task for task in readings.tasks if _price_rule(task) == rule]
            lines.append(f"**Hours are a rule and no measurement** ({', '.join(on)}): {rule}.")
    lines.append(bought_once.sentences(readings))
    if aside := sorted(suite.unranked):
        lines.append(
            f"Shown, and by the suite's word **not ranked**: {', '.join(map(markdown_text, aside))}."
        )
    if alone := controls.sentence(suite):
        lines.append(f"**{alone}**")
    if aliases := legend(json.dumps(dict(entry.arguments)) for entry in suite.optimizers):
        lines.append(f"Fidelities: {'; '.join(aliases)}.")
    versions = sorted(provenance.tables.items())
    lines.append(
        "Tables: " + ", ".join(f"{markdown_text(name)} {code(str(sha)[:12])}" for name, sha in versions) + "."
    )
    if provenance.package_version is not None:
        lines.append(f"Runs made by nasbench-kd {markdown_text(str(provenance.package_version))}.")
    return lines


def _price_rule(task: str) -> str:
    return find_task(task).prices


def _measured(readings: Readings) -> str:
    """Which share of what searches were told is measured, and who was told most of the rest."""
    count = readings.steps[:, -1].sum(axis=0)
    surrogate = SOURCES.index("surrogate")
    what = (
        "paid evaluations"
        if readings.provenance.whole
        else "evaluations that decide the scores (no others are kept)"
    )
    if not count[surrogate]:
        return f"**All {count.sum():,} {what} were measured**, on the cell itself or on an isomorphic one."
    drawn = {
        name: float(mine[surrogate] / max(1, mine.sum()))
        for place, name in enumerate(readings.optimizers)
        if (mine := readings.steps[readings.optimizer == place, -1].sum(axis=0))[surrogate]
    }
    most = sorted(drawn, key=lambda name: -drawn[name])[:_MOST_DRAWN]
    named = ", ".join(f"{markdown_text(name)} {drawn[name]:.0%}" for name in most)
    return (
        f"**{1 - count[surrogate] / count.sum():.1%} of {count.sum():,} {what} were measured**, on the cell itself or "
        f"on an isomorphic one; the others are draws of a surrogate, in {len(drawn)} of {len(readings.optimizers)} "
        f"optimizers, most in {named}."
    )


def _resampled(readings: Readings) -> str:
    """What intervals and tests take to vary, level by level: classes, draws of a surrogate, runs."""
    drawn = readings.steps[:, -1, SOURCES.index("surrogate")] > 0
    shared = [
        task
        for number, task in enumerate(readings.tasks)
        if task in readings.shared_draws and drawn[readings.task == number].any()
    ]
    parts = [
        "**What intervals resample**: runs, each with seeds of its own",
        "not classes, all of which are in the table that answers are scored by",
    ]
    if not drawn.any():
        parts.append("nor draws of a surrogate, of which there are none")
    elif len(shared) < len(readings.tasks):
        parts[0] += " and with them its own draw of what a surrogate answers"
        parts.append("nor the sample of classes that the surrogate was fitted to, which is one")
    text = f"{parts[0]}; {', '.join(parts[1:])}."
    if shared:
        text += (
            f" **On {', '.join(map(markdown_text, shared))} all runs see one and the same draw of a surrogate**, whose "
            "luck they share: what rests on it has no interval there, is one block in tests, and shows no difference."
        )
    return text


def _running(readings: Readings) -> str:
    """How evaluations are read that were still running when others beyond a budget had finished."""
    text = (
        "Evaluations that were paid for within a budget and still running when the first one beyond it finished are "
        "counted: the answer is the best full training among all of them, as a run at that budget would have it"
    )
    late = []
    for place, name in enumerate(readings.optimizers):
        missing = readings.untold[readings.optimizer == place, :-1]
        if missing.any():
            late.append(f"{markdown_text(name)} {missing.mean():.1f}")
    if not late:
        return f"{text}."
    return (
        f"{text}. Searches that answer by another rule are read a little too low below the largest budget: by their "
        f"answer before anything beyond it was told, which lacks that many evaluations on average: {', '.join(late)}."
    )


def _overview(readings: Readings, overall: Sequence[Overall]) -> str:
    """Normalised regret and mean rank at the largest budget and mean rank at every other."""
    largest = str(readings.budgets[-1])
    table = []
    for entry in (entry for entry in overall if entry.budget == largest):
        by_budget = {other.budget: other.mean_rank for other in overall if other.optimizer == entry.optimizer}
        table.append(
            [entry.optimizer, interval_text(entry.normalised_regret, 4)]
            + [number(by_budget.get(str(budget)), 2) for budget in readings.budgets]
        )
    headers = [
        "optimizer",
        f"normalised IQM regret, {largest}",
        *(f"mean rank, {b}" for b in readings.budgets),
    ]
    absent = [name for name in contenders(readings) if name not in {row[0] for row in table}]
    text = (
        "Normalised regret is regret over that of an uninformed pick: 0 is the best cell, 1 the mean of "
        "all cells. The runs of all tasks are taken together, the tasks as strata of the bootstrap.\n\n"
    )
    text += pipe_table(table, headers)
    return text + (
        f"\n\nFailed or without runs on some task: {', '.join(map(markdown_text, absent))}." if absent else ""
    )


def _table(rows: Sequence[LeaderboardRow], budget: Budget, twins: Mapping[str, str]) -> str:
    """The rows of one task at one budget; an unbilled twin is a column of the entry that pays."""
    regret = {row.optimizer: interval_text(row.iqm_regret, 3) for row in rows}
    headers = [
        "optimizer",
        "IQM regret",
        "best observed",
        "median regret",
        "accuracy",
        "mean rank",
        "random search needs",
        sources_header(rows),
        "optimizer time",
        "runs (failed)",
    ]
    listed = [row for row in rows if row.optimizer not in twins.values()]
    lines = [_line(row, budget) for row in listed]
    if twins:
        headers.insert(2, "IQM regret, teacher not billed")
        for row, line in zip(listed, lines, strict=True):
            line.insert(2, regret.get(twins.get(row.optimizer, ""), ""))
    return pipe_table(lines, headers)


def name_text(row: LeaderboardRow) -> str:
    """The optimizer's name, marked where its runs were planned for a larger budget."""
    return f"{row.optimizer} {PLANNED}" if row.cut_short else row.optimizer


def _line(row: LeaderboardRow, budget: Budget) -> list[str]:
    counted = f"{row.runs} ({row.failures})"
    if row.iqm_regret is None:
        return [name_text(row), "failed", *[""] * 7, counted]
    accuracy = number(row.accuracy_mean, 2)
    if row.accuracy_deviation is not None:
        accuracy += f" ± {row.accuracy_deviation:.2f}"
    return [
        name_text(row),
        interval_text(row.iqm_regret, 3),
        number(row.observed_regret, 3),
        interval_text(row.median_regret, 3),
        accuracy,
        interval_text(row.mean_rank, 2),
        random_search_text(row, budget),
        sources_text(row),
        "" if row.optimizer_seconds is None else f"{row.optimizer_seconds:.3g} s",
        counted,
    ]


def _failures(rows: Sequence[LeaderboardRow]) -> list[str]:
    """A list of what went wrong, where something did."""
    notes = [
        f"- {code(row.optimizer)}: {row.failures} of {row.runs} runs failed: {markdown_text(row.reason)}"
        for row in rows
        if row.failures
    ]
    notes += [
        f"- {code(row.optimizer)}: {row.without_answer} of {row.runs} runs had no answer"
        for row in rows
        if row.without_answer and row.iqm_regret
    ]
    return ["\n".join(notes)] if notes else []


def number(value: float | None, digits: int) -> str:
    """A number with fixed decimals, or an empty string."""
    return "" if value is None else f"{value:.{digits}f}"


def interval_text(interval: Interval | None, digits: int) -> str:
    """`estimate [low, high]`, or the estimate alone where there is no interval, or an empty string."""
    if interval is None:
        return ""
    if not interval.known:
        return number(interval.estimate, digits)
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def signed_text(interval: Interval, digits: int, unit: str = "") -> str:
    """`+estimate [+low, +high]` of a difference, or the estimate alone where there is no interval."""
    text = f"{interval.estimate:+.{digits}f}{unit}"
    return f"{text} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]" if interval.known else text


def random_search_text(row: LeaderboardRow, budget: Budget) -> str:
    """What random search needs for the same score, in the budget's unit, and the ratio."""
    evaluations, ratio = row.random_search_evaluations, row.random_search_ratio
    if evaluations is None or ratio is None or row.without_answer == row.runs:
        return ""
    if evaluations == 0:
        return "less than 1 evaluation"
    if math.isinf(evaluations):
        return "more than the whole space"
    amount = f"{evaluations:.3g} evaluations"
    if budget.unit == "seconds":
        amount = f"{ratio * budget.amount / 3.6e9:.3g} h"
    return f"{amount} ({ratio:.2g}x)"


def sources_header(rows: Sequence[LeaderboardRow]) -> str:
    """The head of the column of `sources_text`."""
    return "stored evaluations by source" if any(row.thinned for row in rows) else "evaluations by source"


def sources_text(row: LeaderboardRow) -> str:
    """Mean number of evaluations and the shares that are not zero."""
    shares = ", ".join(f"{share:.0%} {source}" for source, share in row.shares.items() if share > 0)
    amount = f"{row.evaluations:,.1f}" if row.evaluations < 100 else f"{row.evaluations:,.0f}"
    return f"{amount}: {shares}" if shares else "0"


def _basis(scorer: Scorer) -> str:
    if scorer.basis == "shown":
        return "the accuracy that searches are shown, one training each"
    if scorer.basis != "test":
        return "validation accuracy, all seeds"
    return f"test accuracy, {scorer.origin}" if scorer.origin else "test accuracy"


def pipe_table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    """A GitHub table, the first column to the left and the others to the right."""
    align = ("left", *("right" for _ in headers[1:]))
    safe = [[table_cell(cell) for cell in row] for row in rows]
    return str(
        tabulate(
            safe,
            [table_cell(head) for head in headers],
            tablefmt="github",
            colalign=align,
            disable_numparse=True,
        )
    )


def _plain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
