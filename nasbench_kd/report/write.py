"""Writes the report of a folder of runs: leaderboard.md, leaderboard.csv, ablations.md and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nasbench_kd.escaping import markdown as markdown_text
from nasbench_kd.execution.verify import stored_verification
from nasbench_kd.files import write_text
from nasbench_kd.report import ablations, break_even, controls, methods, primary, saturation, verdict, winners
from nasbench_kd.report.ablation_figures import draw_ablations, draw_break_even
from nasbench_kd.report.figures import draw
from nasbench_kd.report.latex import Selection, latex
from nasbench_kd.report.leaderboard import LeaderboardRow, Overall, contenders
from nasbench_kd.report.scored_runs import ScoredRuns, score_folder
from nasbench_kd.report.tables import markdown, pipe_table, records, setting, to_csv
from nasbench_kd.tables.catalog import Data

ABLATIONS = "ablations.md"

_NOT_ISOLATED = "Not made with `--isolated`: an optimizer that looked for the tables could have read them."
_ISOLATED: Mapping[str | None, str] = {
    "process": "Made with `--isolated`: each optimizer lived in a process without tables, on a system that could not "
    "keep it from reading them from disk.",
    "process and files": "Made with `--isolated`: each optimizer lived in a process without tables and could not read "
    "them from disk.",
}


@dataclass(frozen=True, slots=True)
class Report:
    """A leaderboard as text and as numbers."""

    markdown: str
    rows: tuple[LeaderboardRow, ...]
    records: tuple[Mapping[str, Any], ...]
    """The rows as flat records, with the columns of leaderboard.csv."""
    overall: tuple[Overall, ...]
    files: tuple[Path, ...]
    """What was written."""
    name: str
    """Name of the suite."""
    budget: str
    """The largest budget."""
    ranking: tuple[Overall, ...]
    """The rows over all tasks at the largest budget, best first."""
    verdict: str
    """Who is best there, and who is not shown to be worse, in a sentence."""
    without_place: tuple[str, ...]
    """Those that would be ranked and are not: they failed on some task, or have no runs there."""


def write_report(runs: Path | ScoredRuns, data: Data | None = None) -> Report:
    """Write leaderboard.md, leaderboard.csv and the figures `anytime` and `ranks` into a folder of runs.

    The runs are scored, unless they have been (`score_folder`).

    Where the suite names ablations, write ablations.md and the figures `ablations` and, where a
    search paid for a teacher and its counterpart did not, `break_even`. The same runs give the same
    bytes. Raises as `score_folder` does, and `MissingDependencyError` where the extra `report` is
    not installed.
    """
    scored = runs if isinstance(runs, ScoredRuns) else score_folder(runs, data)
    folder = scored.folder
    figures = draw(scored.readings, scored.scorers, folder)
    more, drawn = _ablations(scored, folder)
    sections = []
    if (named := primary.primary_difference(scored)) is not None:
        sections.append(f"## Primary comparison\n\n{primary.markdown(named)}")
    if places := winners.places(scored):
        sections.append(f"## Who wins where\n\n{winners.markdown(places)}")
    sections.append(
        f"## Time to a regret below the noise\n\n{saturation.markdown(scored.readings, scored.scorers)}"
    )
    if entries := scored.readings.provenance.suite.optimizers:
        sections.append(f"## What the names stand for\n\n{methods.markdown(entries)}")
    if more:
        sections.append(
            f"What its parts add to a search, and when a teacher pays off: [{ABLATIONS}]({ABLATIONS})."
        )
    if (checked := stored_verification(folder)) is not None:
        sections.append(checked.sentence)
    sections.append(_ISOLATED.get(scored.readings.provenance.isolation, _NOT_ISOLATED))
    names = [path.name for path in figures]
    text = markdown(scored.readings, scored.scorers, scored.rows, scored.overall, names, sections)
    write_text(folder / "leaderboard.md", text)
    write_text(folder / "leaderboard.csv", to_csv(scored.rows, scored.scorers))
    files = (
        folder / "leaderboard.md",
        folder / "leaderboard.csv",
        *more,
        *(path.with_suffix(suffix) for path in (*figures, *drawn) for suffix in (".png", ".svg")),
    )
    listed = tuple(records(scored.rows, scored.scorers))
    readings = scored.readings
    ranking = tuple(verdict.ranking(scored))
    ranked = {row.optimizer for row in ranking}
    return Report(
        text,
        scored.rows,
        listed,
        scored.overall,
        files,
        readings.provenance.suite.name,
        str(readings.budgets[-1]),
        ranking,
        " ".join(filter(None, (verdict.verdict(scored), controls.sentence(readings.provenance.suite)))),
        tuple(name for name in contenders(readings) if name not in ranked),
    )


def write_latex(
    runs: Path | ScoredRuns, data: Data | None = None, selection: Selection | None = None
) -> list[Path]:
    """Write leaderboard.tex and the figures `anytime` and `ranks` as PDF into a folder of runs; returns the paths.

    The table is at the largest budget unless the selection names others. Raises as `write_report` does, and
    `UnknownNameError` where the selection names what the runs lack.
    """
    scored = runs if isinstance(runs, ScoredRuns) else score_folder(runs, data)
    folder = scored.folder
    chosen = selection or Selection()
    chosen.checked(scored)
    if not chosen.budgets:
        chosen = replace(chosen, budgets=(str(scored.readings.budgets[-1]),))
    path = folder / "leaderboard.tex"
    write_text(path, latex(scored, chosen))
    return [path, *draw(scored.readings, scored.scorers, folder, chosen, pdf=True)]


def _ablations(scored: ScoredRuns, folder: Path) -> tuple[list[Path], list[Path]]:
    """Write ablations.md and its figures; the page and the PNGs, or nothing where the suite names none."""
    ablated, found = ablations.ablations_and_pay_offs(scored)
    if not ablated:
        return [], []
    readings = scored.readings
    drawn = [draw_ablations(ablated, readings, folder / "ablations")]
    parts = [
        f"# Ablations: {markdown_text(readings.provenance.suite.name)}",
        "\n".join(f"- {line}" for line in setting(readings, scored.scorers)),
        f"![ablations]({drawn[0].name})",
        ablations.markdown(ablated, scored, len(found)),
    ]
    if found:
        drawn.append(draw_break_even(found, readings, folder / "break_even"))
        parts += _break_even(found, drawn[-1].name, readings.budgets[0].unit)
    write_text(folder / ABLATIONS, "\n\n".join(parts) + "\n")
    return [folder / ABLATIONS], drawn


def _break_even(found: Sequence[break_even.BreakEven], figure: str, unit: str) -> list[str]:
    return [
        "## When the teacher's cost has paid off",
        "The distilled search after k paid evaluations (students, full and cheap ones) is held against its plain "
        "counterpart of the same repetition when that had spent as much, teacher included. It is *shown to pay off* "
        "where Wilcoxon's signed-rank test finds it better at the end of the shortest run (p, after Holm's correction "
        "over all tests of this page), from the smallest k on from which the upper end of a one-sided 95 % band of "
        f"the mean difference in regret, for all k at once, over {break_even.RESAMPLES:,} resamples of the pairs, "
        "stays at or below zero to that end. The bands in the figure are pointwise. "
        "*On average* is where the mean itself stays there, which searches that are level reach by chance too, with "
        "its percentile interval; `never in` is the share of the resamples in which it never does, and *first even* "
        "the smallest k at which the mean is there. All of it is over seeds, on these tables.",
        f"![break_even]({figure})",
        pipe_table(break_even.rows(found, unit), break_even.HEADERS),
    ]
