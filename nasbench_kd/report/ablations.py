"""The ablations that a suite names: paired differences on every task at every budget, in tables and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nasbench_kd.execution.ablations import Ablation
from nasbench_kd.report.compare import LEVEL, Difference, differences_of
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import pipe_table
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


def ablate(scored: ScoredRuns) -> list[Ablated]:
    """Every ablation of the suite; p values after Holm's correction over the places of one ablation."""
    found = []
    for ablation in scored.readings.provenance.suite.ablations:
        known = scored.readings.optimizers
        if ablation.optimizer not in known or ablation.without not in known:
            continue
        raw = list(differences_of(ablation.optimizer, ablation.without, scored, scored))
        adjusted = holm([entry.p_value for entry in raw])
        found.append(
            Ablated(
                ablation,
                tuple(replace(entry, p_value=float(p)) for entry, p in zip(raw, adjusted, strict=True)),
            )
        )
    return found


def markdown(ablated: Sequence[Ablated], scored: ScoredRuns) -> str:
    """What the ablations show, as GitHub Markdown without a title."""
    budgets = [str(budget) for budget in scored.readings.budgets]
    paired = all(entry.same_seeds for one in ablated for entry in one.differences)
    parts = [
        "Differences are in mean regret, in percentage points, with 95 % bootstrap intervals over pairs of runs: "
        "below zero the entry is better than its simpler form. Bold ones are shown: the interval excludes zero, and "
        "the p value of Wilcoxon's signed-rank test, after Holm's correction over the places (task and budget) of one "
        f"ablation, is below {LEVEL:.0%}. "
        + (
            "Both runs of a pair had the same seed and saw the same table draws."
            if paired
            else "The runs of a pair had different seeds, so that pairing removes no noise."
        ),
        overview(ablated),
    ]
    for one in ablated:
        parts += [f"### {title(one.ablation)}", sentence(one), _table(one, scored.readings.tasks, budgets)]
    return "\n\n".join(parts)


def title(ablation: Ablation) -> str:
    """`of: optimizer against without`."""
    return f"{ablation.of}: {ablation.optimizer} against {ablation.without}"


def overview(ablated: Sequence[Ablated]) -> str:
    """One line for each ablation: in how many places it helps, costs, or makes no difference."""
    rows = [
        [title(one.ablation), *(str(len(one.places(verdict))) for verdict in (-1, 0, 1))] for one in ablated
    ]
    return pipe_table(rows, ["ablation", "helps", "no difference shown", "costs"])


def sentence(one: Ablated) -> str:
    """Where the thing pays and where it does not."""
    of = one.ablation.of
    if not one.differences:
        return "No two pairs of runs to compare."
    helps, costs = one.places(-1), one.places(1)
    lines = [f"In {len(helps)} of {len(one.differences)} places {of} helps{_listing(helps)}."]
    lines.append(f"It makes {one.ablation.optimizer} worse in {len(costs)}{_listing(costs)}.")
    if not helps:
        lines.append(f"**Nowhere is {of} shown to pay.**")
    return " ".join(lines)


def _listing(found: Sequence[Difference]) -> str:
    """`: cifar10 at 1 and 2 gpu-hours; ...`, or nothing."""
    by_task: dict[str, list[str]] = {}
    for entry in found:
        by_task.setdefault(entry.task, []).append(entry.budget)
    texts = [f"{task} at {', '.join(budgets)}" for task, budgets in by_task.items()]
    return f" ({'; '.join(texts)})" if texts else ""


def _table(one: Ablated, tasks: Sequence[str], budgets: Sequence[str]) -> str:
    by_place = {(entry.task, entry.budget): _cell(entry) for entry in one.differences}
    rows = [[budget, *(by_place.get((task, budget), "") for task in tasks)] for budget in budgets]
    return pipe_table(rows, ["budget", *tasks])


def _cell(entry: Difference) -> str:
    text = f"{entry.regret.estimate:+.3f} [{entry.regret.low:+.3f}, {entry.regret.high:+.3f}]"
    return f"**{text}**" if entry.verdict else text
