"""The ablations that a suite names: paired differences on every task at every budget, in tables and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nasbench_kd.escaping import Formatted
from nasbench_kd.escaping import markdown as markdown_text
from nasbench_kd.execution.ablations import Ablation
from nasbench_kd.report.break_even import BreakEven, break_evens
from nasbench_kd.report.compare import Difference, differences_of
from nasbench_kd.report.pairwise import LEVEL, limit_text
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import pipe_table, signed_text
from nasbench_kd.stats.statistics import holm


@dataclass(frozen=True, slots=True)
class Ablated:
    """An ablation and what it shows; the first side of each difference is the entry that has the thing."""

    ablation: Ablation
    differences: tuple[Difference, ...]
    """By task and budget; empty where fewer than two pairs of runs could be compared."""

    def places(self, verdict: int) -> list[Difference]:
        """Where the thing helps (-1), costs (1), or makes no difference that is shown (0)."""
        return [entry for entry in self.differences if entry.verdict == verdict]


def ablate(scored: ScoredRuns, others: Sequence[float] = ()) -> tuple[list[Ablated], list[float]]:
    """Every ablation of the suite, and the p values of other tests of the same page.

    All p values are after Holm's correction over the places of all ablations and the other tests.
    """
    known = scored.readings.optimizers
    raw = {
        ablation: list(differences_of(ablation.optimizer, ablation.without, scored, scored))
        for ablation in scored.readings.provenance.suite.ablations
        if ablation.optimizer in known and ablation.without in known
    }
    listed = [entry.p_value for entries in raw.values() for entry in entries]
    adjusted = iter(holm([*listed, *others]).tolist())
    ablated = [
        Ablated(ablation, tuple(replace(entry, p_value=next(adjusted)) for entry in entries))
        for ablation, entries in raw.items()
    ]
    return ablated, list(adjusted)


_UNCOUNTED = (
    "When the cost of a teacher has paid off is not said here: that is counted in evaluations, and of these runs only "
    "the steps that decide their scores are stored."
)


def ablations_and_pay_offs(scored: ScoredRuns) -> tuple[list[Ablated], list[BreakEven]]:
    """What a page of ablations shows, its p values after Holm's correction over all of it."""
    found = break_evens(scored)
    ablated, p_values = ablate(scored, [one.p_value for one in found])
    return ablated, [replace(one, p_value=value) for one, value in zip(found, p_values, strict=True)]


def markdown(ablated: Sequence[Ablated], scored: ScoredRuns, others: int = 0) -> str:
    """What the ablations show, as GitHub Markdown without a title; `others` counts further tests of the page."""
    budgets = [str(budget) for budget in scored.readings.budgets]
    differences = [entry for one in ablated for entry in one.differences]
    paired = all(entry.same_seeds for entry in differences)
    tests = len(differences) + others
    limit = limit_text(min((entry.pairs for entry in differences), default=0), tests)
    parts = [
        "Differences are in mean regret, in percentage points, with 95 % bootstrap intervals over pairs of runs: "
        "below zero the entry is better than its simpler form. Bold ones are shown: the interval excludes zero, and "
        f"the p value of Wilcoxon's signed-rank test, after Holm's correction over the {tests} "
        f"tests of this page, is below {LEVEL:.0%}. The budgets of a task are read from the same runs, so that "
        "its places are no independent pieces of evidence and are not counted; tests are over seeds, on these tables. "
        + (
            "Both runs of a pair had the same seed and saw the same table draws."
            if paired
            else "The runs of a pair had different seeds, so that pairing removes no noise."
        ),
        *([limit] if limit else []),
        overview(ablated, scored.readings.tasks),
    ]
    for one in ablated:
        parts += [
            f"### {markdown_text(title(one.ablation))}",
            sentence(one),
            _table(one, scored.readings.tasks, budgets),
        ]
    if not scored.readings.provenance.whole and (scored.readings.teacher_seconds > 0).any():
        parts.append(_UNCOUNTED)
    return "\n\n".join(parts)


def title(ablation: Ablation) -> str:
    """`of: optimizer against without`."""
    return f"{ablation.of}: {ablation.optimizer} against {ablation.without}"


def overview(ablated: Sequence[Ablated], tasks: Sequence[str]) -> str:
    """One line for each ablation: at which budgets of each task it helps or costs."""
    rows = [[title(one.ablation), *(_outcome(one, task) for task in tasks)] for one in ablated]
    return pipe_table(rows, ["ablation", *tasks])


def _outcome(one: Ablated, task: str) -> str:
    """`helps at 1 gpu-hours; costs at 20 gpu-hours`, or that nothing is shown."""
    parts = []
    for verdict, word in ((-1, "helps"), (1, "costs")):
        if at := [entry.budget for entry in one.places(verdict) if entry.task == task]:
            parts.append(f"{word} at {', '.join(at)}")
    return "; ".join(parts) or "nothing shown"


def sentence(one: Ablated) -> str:
    """Where the thing pays and where it does not."""
    of = markdown_text(one.ablation.of)
    if not one.differences:
        return "No two pairs of runs to compare."
    helps, costs = one.places(-1), one.places(1)
    lines = [f"{of} is shown to help{_listing(helps)}." if helps else f"**Nowhere is {of} shown to pay.**"]
    if costs:
        lines.append(f"It makes {markdown_text(one.ablation.optimizer)} worse{_listing(costs)}.")
    return " ".join(lines)


def _listing(found: Sequence[Difference]) -> str:
    """` on cifar10 at 1 gpu-hours, 2 gpu-hours; ...`."""
    by_task: dict[str, list[str]] = {}
    for entry in found:
        by_task.setdefault(entry.task, []).append(entry.budget)
    texts = [f"{task} at {', '.join(budgets)}" for task, budgets in by_task.items()]
    return f" on {'; '.join(texts)}"


def _table(one: Ablated, tasks: Sequence[str], budgets: Sequence[str]) -> str:
    by_place = {(entry.task, entry.budget): _cell(entry) for entry in one.differences}
    rows = [[budget, *(by_place.get((task, budget), "") for task in tasks)] for budget in budgets]
    return pipe_table(rows, ["budget", *tasks])


def _cell(entry: Difference) -> str:
    text = signed_text(entry.regret, 3)
    return Formatted(f"**{text}**") if entry.verdict else text
