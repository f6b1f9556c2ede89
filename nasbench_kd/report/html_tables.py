"""The tables of the HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from nasbench_kd.escaping import html as escape
from nasbench_kd.report.correlations import FEWEST_CELLS, Ceiling, Correlation
from nasbench_kd.report.diagram import diagram
from nasbench_kd.report.leaderboard import LeaderboardRow
from nasbench_kd.report.pairwise import LEVEL, Comparison, limit_text
from nasbench_kd.report.prefixes import SOURCES
from nasbench_kd.report.tables import (
    interval_text,
    name_text,
    number,
    random_search_text,
    sources_header,
    sources_text,
)
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.stats.signed_rank import pairs_needed
from nasbench_kd.stats.statistics import Interval
from nasbench_kd.tasks.fidelity import Fidelity, legend


class Value(NamedTuple):
    """What a table cell shows, and what it sorts by."""

    text: str
    key: float | str | None = None
    left: bool = False


def table(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[tuple[Sequence[Value], str]],
    *,
    sortable: bool = False,
) -> str:
    """A table whose first column heads its rows; each row comes with more attributes for its tag."""
    listed = list(rows)
    lines = []
    for values, attributes in listed:
        cells = []
        for column, value in enumerate(values):
            tag = 'th scope="row"' if column == 0 else ('td class="text"' if value.left else "td")
            key = f' data-value="{escape(_key(value))}"' if sortable else ""
            cells.append(f"<{tag}{key}>{value.text}</{tag.split()[0]}>")
        lines.append(f"<tr{attributes}>{''.join(cells)}</tr>")
    left = [column == 0 or any(values[column].left for values, _ in listed) for column in range(len(headers))]
    heads = [
        f'<button type="button">{escape(head)}</button>' if sortable else escape(head) for head in headers
    ]
    head = "".join(
        f'<th scope="col"{" class=text" if aligned else ""}>{text}</th>'
        for text, aligned in zip(heads, left, strict=True)
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def leaderboard_table(rows: Sequence[LeaderboardRow], budgets: Sequence[Budget]) -> str:
    """Every row; the script filters by the attributes `data-task` and `data-budget`."""
    by_text = {str(budget): budget for budget in budgets}
    headers = (
        "optimizer", "task", "budget", "IQM regret", "best observed", "median regret", "accuracy", "mean rank",
        "random search needs", sources_header(rows), "optimizer time", "runs", "failed",
    )  # fmt: skip
    lines = [
        (
            _leaderboard_row(row, by_text[row.budget]),
            f' data-task="{escape(row.task)}" data-budget="{escape(row.budget)}"',
        )
        for row in rows
    ]
    caption = "Regret in percentage points and accuracy in percent; brackets hold 95 % intervals"
    return table(caption, headers, lines, sortable=True)


def failure_list(rows: Sequence[LeaderboardRow]) -> str:
    """What went wrong at the largest budget, or nothing."""
    items = [
        f"<li><strong>{escape(row.optimizer)}</strong> on {escape(row.task)}: {row.failures} of {row.runs} runs "
        f"failed: {escape(row.reason)}</li>"
        for row in rows
        if row.failures
    ]
    return f"<h3>Failures</h3><ul>{''.join(items)}</ul>" if items else ""


def comparison_parts(comparisons: Sequence[Comparison]) -> str:
    """Critical-difference diagrams for every budget, the largest open, and its chances of improvement."""
    if not comparisons:
        return "<p>Fewer than two optimizers or two repetitions: nothing to compare.</p>"
    pairs = _pairs(comparisons[-1])
    parts = [
        "<h3>Critical differences</h3><p>Mean ranks over the repetitions on a task (Demšar, JMLR 2006); a bar joins "
        "neighbours of which no pair is shown to differ, by Wilcoxon's signed-rank test on paired regret after Holm's "
        "correction for all pairs, and p is Friedman's, for no difference at all, both corrected for the diagrams of "
        "all tasks and budgets and at the 5&nbsp;% level. Pairs are tested, not differences of mean ranks, by which "
        "what is said of two optimizers would depend on which others are there (Benavoli et al., JMLR 2016). The "
        "blocks are the repetitions, whose seeds are drawn independently: what is said is over seeds, on these "
        f"tables. A claim about other tasks would need tasks as blocks, {_blocks_of_tasks(comparisons[-1])}.</p>"
    ]
    fewest = min(one.blocks for one in comparisons[-1].by_task)
    diagrams = sum(len(found.by_task) for found in comparisons)
    if limit := limit_text(fewest, diagrams * pairs):
        parts.append(f"<p>{escape(limit).replace('**', '')}</p>")
    for position, found in enumerate(reversed(comparisons)):
        parts.append(
            f"<details{'' if position else ' open'}><summary>{escape(found.budget)}</summary>"
            + "".join(
                f"<p>{escape(one.task)}: {one.blocks} repetitions, p {p_text(one.p_value)}</p><div class='diagram'>"
                f"{diagram(found.names, one.mean_ranks.tolist(), one.adjusted < LEVEL)}</div>"
                for one in found.by_task
            )
            + "</details>"
        )
    last = comparisons[-1]
    parts.append(
        f"<h3>Chance of improvement, {escape(last.budget)}</h3><p>Chance that a run of the row's optimizer ends with "
        "less regret than one of the column's, ties as half, mean over tasks; * marks pairs that differ at the "
        "5&nbsp;% level by Wilcoxon's signed-rank test on paired normalised regret, after Holm's correction for all "
        "pairs.</p>"
    )
    if limit := limit_text(last.blocks, pairs):
        parts.append(f"<p>{escape(limit).replace('**', '')}</p>")
    lines = [
        ([Value(escape(name)), *(_chance(last, i, j) for j in range(len(last.names)))], "")
        for i, name in enumerate(last.names)
    ]
    return "".join(parts) + table("Chance of improvement", ["", *last.names], lines)


def _blocks_of_tasks(found: Comparison) -> str:
    needed, there = pairs_needed(LEVEL, _pairs(found)), len(found.by_task)
    return (
        f"at least {needed} of them to show any difference, and there {'is' if there == 1 else 'are'} {there}"
    )


def _pairs(found: Comparison) -> int:
    return len(found.names) * (len(found.names) - 1) // 2


def source_parts(rows: Sequence[LeaderboardRow], full: Comparison | None, cut: Comparison | None) -> str:
    """Shares at the largest budget, and ranks with and without the surrogate's entries."""
    headers = ("optimizer", "task", sources_header(rows).replace("by source", "per run"), *SOURCES)
    lines = [
        (
            [
                Value(escape(row.optimizer)),
                Value(escape(row.task), left=True),
                Value(f"{row.evaluations:,.1f}"),
                *(Value(f"{row.shares[source]:.1%}" if row.evaluations else "") for source in SOURCES),
            ],
            "",
        )
        for row in rows
    ]
    text = (
        "<p>The share of paid evaluations, at the largest budget, that was measured, taken from an isomorphic cell, "
        "trained live, or filled in by the surrogate.</p>"
        + table(sources_header(rows).capitalize(), headers, lines)
    )
    text += "<h3>Ranks without the surrogate</h3>"
    if not any(row.shares["surrogate"] for row in rows):
        return text + "<p>No evaluation came from the surrogate: ranks without it are the same.</p>"
    if full is None or cut is None:
        return text + "<p>Fewer than two optimizers or two repetitions: nothing to rank.</p>"
    stable = list(np.argsort(full.mean_ranks)) == list(np.argsort(cut.mean_ranks))
    ranks = [
        ([Value(escape(name)), Value(f"{before:.2f}"), Value(f"{after:.2f}")], "")
        for name, before, after in zip(full.names, full.mean_ranks, cut.mean_ranks, strict=True)
    ]
    return (
        text
        + "<p>Every run is read only up to its first entry from the surrogate, so that nothing that it answered can "
        + f"rest on one. The order of the optimizers {'stays the same' if stable else '<strong>changes</strong>'}.</p>"
        + table(f"Mean ranks, {full.budget}", ("optimizer", "all entries", "without the surrogate"), ranks)
    )


def fidelity_parts(limits: Sequence[Ceiling], found: Sequence[Correlation]) -> str:
    """The noise ceiling of every task, and how every cheap fidelity of the tables ranks cells."""
    lines = [
        (
            [
                Value(escape(limit.task)),
                Value(interval_text(limit.everywhere, 3)),
                Value(interval_text(limit.top, 3)),
                Value(number(limit.size, 3)),
            ],
            "",
        )
        for limit in limits
    ]
    text = (
        "<p>The noise ceiling is Kendall's tau between two full trainings of the same cells from different seeds: "
        "about as well as any proxy can be expected to rank a single training. Beside it stands the number of "
        "parameters, with the mean over seeds, over one cell of each class: what ranks no better than it need not be "
        "trained.</p>"
        + table(
            "Noise ceiling of full trainings",
            ("task", "all cells", "best tenth by mean accuracy", "parameters alone, all classes"),
            lines,
        )
        if lines
        else "<p>No cell of these tasks was trained twice in full: the noise between trainings, and with it the "
        "ceiling of what a proxy can be expected to rank, is not known.</p>"
    )
    if not found:
        return text + (
            "<p>The tables that were opened hold no cheaper fidelity than the target: no correlations and no lift by "
            "distillation to show.</p>"
        )
    rows = [
        (
            [
                Value(escape(Fidelity.parse(row.fidelity).alias)),
                Value(escape(row.task), left=True),
                Value(row.source, left=True),
                Value(f"{row.cells:,}"),
                Value(interval_text(row.tau, 3)),
                Value(number(row.size, 3)),
                Value(number(row.ceiling, 3)),
                Value(number(row.lift, 2)),
            ],
            "",
        )
        for row in found
    ]
    headers = (
        "fidelity",
        "task",
        "source",
        "cells",
        "tau with a full training",
        "parameters alone on these cells",
        "ceiling on these cells",
        "lift by distillation",
    )
    aliases = legend(Fidelity.parse(row.fidelity).alias for row in found)
    return (
        text
        + "<h3>Cheap fidelities</h3><p>Kendall's tau between a fidelity and one full training (mean over the first two "
        "seeds, where there are two), with the ceiling on the same cells. Lift is the share of the room between the "
        f"same fidelity without distillation and the ceiling that distillation gains. Fewer than {FEWEST_CELLS} "
        "cells are not correlated. Intervals resample classes of cells that compute the same function, and every "
        "resample takes another draw of what a surrogate answers."
        + (f" {escape('; '.join(aliases))}." if aliases else "")
        + "</p>"
        + table("Correlation of fidelities", headers, rows)
    )


def p_text(value: float) -> str:
    """`= 0.012`, or `< 0.001`."""
    return "&lt; 0.001" if value < 0.001 else f"= {value:.3f}"


def _leaderboard_row(row: LeaderboardRow, budget: Budget) -> list[Value]:
    name, task = Value(escape(name_text(row)), row.optimizer), Value(escape(row.task), row.task, left=True)
    size = Value(escape(row.budget), budget.amount)
    counted = [Value(str(row.runs), row.runs), Value(str(row.failures), row.failures)]
    if row.iqm_regret is None:
        return [name, task, size, Value("failed"), *(Value("") for _ in range(7)), *counted]
    accuracy = number(row.accuracy_mean, 2)
    if row.accuracy_deviation is not None:
        accuracy += f" ± {row.accuracy_deviation:.2f}"
    return [
        name,
        task,
        size,
        _interval(row.iqm_regret, 3),
        Value(number(row.observed_regret, 3), row.observed_regret),
        _interval(row.median_regret, 3),
        Value(accuracy, row.accuracy_mean),
        _interval(row.mean_rank, 2),
        Value(random_search_text(row, budget), row.random_search_ratio),
        Value(_sources(row), row.evaluations),
        Value(
            "" if row.optimizer_seconds is None else f"{row.optimizer_seconds:.3g} s", row.optimizer_seconds
        ),
        *counted,
    ]


def _sources(row: LeaderboardRow) -> str:
    amount, _, shares = sources_text(row).partition(": ")
    return f"{amount} <small>{shares}</small>"


def _interval(interval: Interval | None, digits: int) -> Value:
    if interval is None:
        return Value("")
    if not interval.known:
        return Value(number(interval.estimate, digits), interval.estimate)
    low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
    return Value(f"{interval.estimate:.{digits}f} <small>[{low}, {high}]</small>", interval.estimate)


def _chance(found: Comparison, i: int, j: int) -> Value:
    if i == j:
        return Value("&ndash;")
    return Value(f"{found.improvement[i, j]:.2f}{'*' if found.adjusted[i, j] < LEVEL else ''}")


def _key(value: Value) -> str:
    if value.key is None:
        return ""
    return value.key if isinstance(value.key, str) else repr(float(value.key))
