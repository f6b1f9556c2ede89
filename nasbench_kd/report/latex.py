"""The leaderboard as LaTeX tables for papers, with booktabs: a row an optimizer, a column a task at a budget."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.report.leaderboard import LeaderboardRow
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import BASIS

_MOST_COLUMNS, _MOST_ROWS = 3, 40
"""Of a table in small type that fits the width of a page, and its height."""
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
    """Interquartile mean regret with 95 % intervals as tables with caption and label, each of the width of a page.

    In every column the least regret is bold, and so is every other one that lies within its interval. Columns that
    have no room beside each other make further tables, labelled `tab:suite-2` and so on. More rows than a page has
    room for are a `longtable`, which breaks where pages do (and is not for text in two columns). Needs
    `\\usepackage{booktabs}`, and for long tables `\\usepackage{longtable}`: the first line says so. Raises
    `UnknownNameError` where the selection names what the runs lack.
    """
    chosen = selection.checked(scored)
    places = [(task, budget) for task in chosen.tasks for budget in chosen.budgets]
    pages = [places[first : first + _MOST_COLUMNS] for first in range(0, len(places), _MOST_COLUMNS)]
    long = len(chosen.optimizers) > _MOST_ROWS
    packages = "booktabs,longtable" if long else "booktabs"
    tables = [
        _table(scored, chosen, page, "" if number == 1 else f"-{number}", long)
        for number, page in enumerate(pages, start=1)
    ]
    return "\n".join([f"% \\usepackage{{{packages}}}", *tables])


def _table(
    scored: ScoredRuns, chosen: Selection, places: Sequence[tuple[str, str]], suffix: str, long: bool
) -> str:
    """The table of some places, each a task at a budget."""
    cells = {(row.optimizer, row.task, row.budget): row for row in scored.rows}
    bold = {
        place: _best([row for name in chosen.optimizers if (row := cells.get((name, *place)))])
        for place in places
    }
    tasks = [(task, len(list(group))) for task, group in groupby(places, key=lambda place: place[0])]
    above = [f"\\multicolumn{{{width}}}{{c}}{{{escape(task)}}}" for task, width in tasks]
    ends = list(accumulate((width for _, width in tasks), initial=1))
    rules = [f"\\cmidrule(lr){{{one + 1}-{other}}}" for one, other in pairwise(ends)]
    head = [
        r"\toprule",
        " & ".join(["", *above]) + r" \\",
        " ".join(rules),
        " & ".join(["Method", *(escape(budget) for _, budget in places)]) + r" \\",
        r"\midrule",
    ]
    body = []
    for name in chosen.optimizers:
        values = [_cell(cells.get((name, *place)), name in bold[place]) for place in places]
        body.append(" & ".join([escape(chosen.name(name)), *values]) + r" \\")
    slug = re.sub(r"[^a-z0-9-]+", "-", scored.readings.provenance.suite.name.lower())
    caption = f"\\caption{{{_caption(scored, dict.fromkeys(task for task, _ in tasks))}}}"
    label = f"\\label{{tab:{slug}{suffix}}}"
    columns = "l" + "r" * len(places)
    if long:
        lines = [
            r"\begingroup\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\LTcapwidth}{\linewidth}",
            f"\\begin{{longtable}}{{{columns}}}",
            f"{caption} {label} \\\\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *body,
            r"\end{longtable}",
            r"\endgroup",
        ]
    else:
        lines = [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            caption,
            label + r"\smallskip",
            f"\\begin{{tabular}}{{{columns}}}",
            *head,
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join([*lines, ""])


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
    # Told apart as they are printed: what reads the same is bold or not alike.
    return frozenset(name for name, interval in known if round(interval.estimate, 2) <= round(limit, 2))


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


def _caption(scored: ScoredRuns, tasks: Iterable[str]) -> str:
    readings = scored.readings
    repetitions = int(readings.repetition.max()) + 1
    bases = dict.fromkeys(BASIS[scored.scorers[task].basis] for task in tasks)
    return escape(
        f"Regret in percentage points: interquartile mean over up to {repetitions} repetitions with 95 % bootstrap "
        f"intervals (suite {readings.provenance.suite.name}). Scored by {'; '.join(bases)}. Bold: the least regret "
        "of a column, and those that lie within its interval."
    )
