"""The leaderboard as a LaTeX table for papers, with booktabs: a row an optimizer, a column a task at a budget."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.report.leaderboard import LeaderboardRow
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import BASIS

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {character: f"\\{character}" for character in "&%$#_"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a paper shows of a report; an empty choice is everything, in the order of the suite."""

    optimizers: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    """Names to show instead of the suite's."""

    def name(self, optimizer: str) -> str:
        """The name under which an optimizer is shown."""
        return self.names.get(optimizer, optimizer)

    def checked(self, scored: ScoredRuns) -> Selection:
        """The selection with every empty choice filled; raises `UnknownNameError` on what the runs lack."""
        readings = scored.readings
        there = {
            "optimizer": readings.optimizers,
            "task": readings.tasks,
            "budget": tuple(map(str, readings.budgets)),
        }
        asked = {"optimizer": self.optimizers, "task": self.tasks, "budget": self.budgets}
        for kind, wanted in {**asked, "optimizer": (*self.optimizers, *self.names)}.items():
            for name in wanted:
                if name not in there[kind]:
                    raise UnknownNameError(
                        f"the runs have no {kind} {name!r}; there are {', '.join(there[kind])}."
                        f"{nearest(name, there[kind])}"
                    )
        return Selection(
            self.optimizers or there["optimizer"],
            self.tasks or there["task"],
            self.budgets or there["budget"],
            self.names,
        )


def latex(scored: ScoredRuns, selection: Selection = Selection()) -> str:  # it is immutable
    """The table with caption and label: interquartile mean regret with 95 % intervals.

    In every column the least regret is bold, and so is every other one that lies within its interval. Needs
    `\\usepackage{booktabs}`. Raises `UnknownNameError` where the selection names what the runs lack.
    """
    chosen = selection.checked(scored)
    cells = {(row.optimizer, row.task, row.budget): row for row in scored.rows}
    places = [(task, budget) for task in chosen.tasks for budget in chosen.budgets]
    bold = {
        place: _best([row for name in chosen.optimizers if (row := cells.get((name, *place)))])
        for place in places
    }
    width = len(chosen.budgets)
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_caption(scored, chosen)}}}",
        f"  \\label{{tab:{re.sub(r'[^a-z0-9-]+', '-', scored.readings.provenance.suite.name.lower())}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(places)}}}",
        r"    \toprule",
        "    "
        + " & ".join(["", *(f"\\multicolumn{{{width}}}{{c}}{{{escape(task)}}}" for task in chosen.tasks)])
        + r" \\",
        "    "
        + " ".join(
            f"\\cmidrule(lr){{{2 + i * width}-{1 + (i + 1) * width}}}" for i in range(len(chosen.tasks))
        ),
        "    " + " & ".join(["Method", *(escape(budget) for _, budget in places)]) + r" \\",
        r"    \midrule",
    ]
    for name in chosen.optimizers:
        values = [_cell(cells.get((name, *place)), name in bold[place]) for place in places]
        lines.append("    " + " & ".join([escape(chosen.name(name)), *values]) + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def escape(text: str) -> str:
    """Text whose characters LaTeX takes for themselves; others than printable ones are left out."""
    return "".join(_SPECIAL.get(character, character) for character in text if character.isprintable())


def _best(rows: Sequence[LeaderboardRow]) -> frozenset[str]:
    """The optimizer of the least regret and those whose regret lies within its interval."""
    known = [(row.optimizer, row.iqm_regret) for row in rows if row.iqm_regret]
    if not known:
        return frozenset()
    least = min((interval for _, interval in known), key=lambda interval: interval.estimate)
    limit = least.high if least.known else least.estimate
    return frozenset(name for name, interval in known if interval.estimate <= limit)


def _cell(row: LeaderboardRow | None, bold: bool) -> str:
    if row is None or row.iqm_regret is None:
        return "--"
    regret = row.iqm_regret
    text = f"{regret.estimate:.2f}"
    if bold:
        text = f"\\textbf{{{text}}}"
    if regret.known:
        text += f" {{\\scriptsize [{regret.low:.2f}, {regret.high:.2f}]}}"
    return text


def _caption(scored: ScoredRuns, chosen: Selection) -> str:
    readings = scored.readings
    repetitions = int(readings.repetition.max()) + 1
    bases = dict.fromkeys(BASIS[scored.scorers[task].basis] for task in chosen.tasks)
    return escape(
        f"Regret in percentage points: interquartile mean over up to {repetitions} repetitions with 95 % bootstrap "
        f"intervals (suite {readings.provenance.suite.name}). Scored by {'; '.join(bases)}. Bold: the least regret "
        "of a column, and those that lie within its interval."
    )
