"""The comparison that a suite was made for, which alone needs no correction for the others."""

from __future__ import annotations

from nasbench_kd.escaping import markdown as markdown_text
from nasbench_kd.report.compare import Difference, differences_of, sentence
from nasbench_kd.report.pairwise import LEVEL, limit_text
from nasbench_kd.report.scored_runs import ScoredRuns


def primary_difference(scored: ScoredRuns) -> Difference | None:
    """The difference that the suite names; None where it names none, or its runs cannot be compared."""
    named = scored.readings.provenance.suite.primary
    if named is None or not {named.optimizer, named.against} <= set(scored.readings.optimizers):
        return None
    for entry in differences_of(named.optimizer, named.against, scored, scored):
        if (entry.task, entry.budget) == (named.task, named.budget):
            return entry
    return None


def markdown(entry: Difference) -> str:
    """The outcome in words, as GitHub Markdown."""
    labels = markdown_text(entry.first), markdown_text(entry.second)
    limit = limit_text(entry.pairs, 1)
    return (
        f"Named in the suite: {labels[0]} against {labels[1]} on {entry.task} at {entry.budget}. "
        f"{sentence(entry, labels)} p = {entry.p_value:.2g} by Wilcoxon's signed-rank test on the differences of the "
        f"mean regret of this one comparison, at {LEVEL:.0%}: over seeds, on these tables. Whatever else the report "
        "compares is exploratory, and corrected for all that its page shows."
    ) + (f"\n\n{limit}" if limit else "")
