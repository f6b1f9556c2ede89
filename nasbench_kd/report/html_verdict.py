"""The head of the HTML page: who is best over all tasks, and the sections that the Markdown report has as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt

from nasbench_kd.escaping import html as escape
from nasbench_kd.report import ablations, board, break_even, primary, winners
from nasbench_kd.report.html_tables import Value, table
from nasbench_kd.report.leaderboard import Overall
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import interval_text, number, pipe_table
from nasbench_kd.report.verdict import ranking


def overall_table(scored: ScoredRuns) -> str:
    """The ranking over all tasks: normalised regret at the largest budget, and mean ranks at every budget."""
    rows = ranking(scored)
    ranks = {(entry.budget, entry.optimizer): entry for entry in scored.overall}
    budgets = [str(budget) for budget in scored.readings.budgets]
    lines = [
        (
            [
                Value(escape(row.optimizer)),
                Value(str(place)),
                Value(interval_text(row.normalised_regret, 4)),
                *(_rank(ranks.get((budget, row.optimizer))) for budget in budgets),
            ],
            "",
        )
        for place, row in enumerate(rows, start=1)
    ]
    headers = [
        "optimizer",
        "place",
        f"normalised regret, {budgets[-1]}",
        *(f"mean rank, {b}" for b in budgets),
    ]
    return table(
        "Over all tasks: regret over that of an uninformed pick, 0 is the best cell; brackets hold 95 % intervals",
        headers,
        lines,
    )


def board_table(scored: ScoredRuns) -> str:
    """Every method's place over all tasks, what it was billed and given, and whether it was verified."""
    lines = []
    for row in board.board(scored, scored.file.path.parent):
        place, method, *others = map(escape, board.cells(row))
        lines.append(([Value(method), Value(place), *(Value(text, left=True) for text in others)], ""))
    place, method, *others = board.HEADERS
    return table(
        "The board: places over all tasks and these budgets; brackets hold 95 % intervals over repetitions",
        [method, place, *others],
        lines,
    )


def _rank(entry: Overall | None) -> Value:
    return Value("" if entry is None else number(entry.mean_rank, 2))


def winners_part(scored: ScoredRuns) -> str:
    """The primary comparison, and who wins where, or nothing where there are fewer than two to compare."""
    found, named = winners.places(scored), primary.primary_difference(scored)
    first = "" if named is None else f"<h3>Primary comparison</h3>{from_markdown(primary.markdown(named))}"
    return f"{first}<h3>Who wins where</h3>{from_markdown(winners.markdown(found))}" if found else first


def ablations_part(scored: ScoredRuns) -> str:
    """The section of ablations and break-even, or nothing where the suite names none."""
    ablated, found = ablations.ablations_and_pay_offs(scored)
    if not ablated:
        return ""
    parts = [from_markdown(ablations.markdown(ablated, scored, len(found)))]
    if found:
        listed = pipe_table(break_even.rows(found, scored.readings.budgets[0].unit), list(break_even.HEADERS))
        parts.append(f"<h3>When the teacher's cost has paid off</h3>{from_markdown(listed)}")
    return (
        '<section id="ablations" aria-labelledby="ablations-title"><h2 id="ablations-title">Ablations</h2>'
        f"{''.join(parts)}</section>"
    )


def from_markdown(text: str) -> str:
    """HTML of the report's own Markdown, whose text stays text, with tables that scroll and headings below h2."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    _fit(tokens)
    rendered = str(reader.renderer.render(tokens, reader.options, {}))
    wrapped = rendered.replace(
        "<table>", '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table class="prose">'
    )
    return wrapped.replace("</table>", "</table></div>")


def _fit(tokens: Sequence[Any]) -> None:
    """Let headings be h3 at the most, and the first cell of a row its head."""
    first = False
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
        elif token.type == "tr_open":
            first = True
        elif token.type == "td_open" and first:
            token.tag = "th"
            token.attrs = {"scope": "row"}
        elif token.type in ("td_close", "th_close"):
            if token.type == "td_close" and first:
                token.tag = "th"
            first = False
