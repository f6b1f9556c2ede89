"""The report as one self-contained HTML page: no network, opens from disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_kd.escaping import html as escape
from nasbench_kd.execution.citations import citations
from nasbench_kd.files import write_text
from nasbench_kd.report.correlations import ceilings, correlations
from nasbench_kd.report.curves import Curve, anytime_curves, rank_curves
from nasbench_kd.report.figures import LEAST_REGRET
from nasbench_kd.report.html_tables import (
    comparison_parts,
    failure_list,
    fidelity_parts,
    leaderboard_table,
    source_parts,
)
from nasbench_kd.report.html_verdict import (
    ablations_part,
    board_table,
    from_markdown,
    overall_table,
    winners_part,
)
from nasbench_kd.report.latex import Selection, latex
from nasbench_kd.report.looks import looks_of
from nasbench_kd.report.pairwise import compare_all
from nasbench_kd.report.readings import Readings
from nasbench_kd.report.replay import sample
from nasbench_kd.report.scored_runs import ScoredRuns, score_folder
from nasbench_kd.report.tables import EXPLANATIONS, setting, to_csv
from nasbench_kd.report.verdict import ranking, verdict
from nasbench_kd.tables.catalog import Data

_SCRIPTS = ("downloads.js", "leaderboard.js", "charts.js", "replay.js", "start.js")
_COLOURED = 5
"""Optimizers that the charts colour at first."""


def write_html(runs: Path | ScoredRuns, data: Data | None = None, output: Path | None = None) -> Path:
    """Write the page of a folder of runs (default `report.html` beside them) and return its path.

    The same runs and tables give the same bytes. Raises as `score_folder` does.
    """
    scored = runs if isinstance(runs, ScoredRuns) else score_folder(runs, data)
    path = output or scored.folder / "report.html"
    write_text(path, page(scored))
    return path


def page(scored: ScoredRuns) -> str:
    """The page's text."""
    readings, scorers = scored.readings, scored.scorers
    title = f"Leaderboard: {readings.provenance.suite.name}"
    largest = [row for row in scored.rows if row.budget == str(readings.budgets[-1])]
    compared = [compare_all(readings, scorers, readings.at_budget, i) for i in range(len(readings.budgets))]
    cut = compare_all(readings, scorers, readings.before_surrogate, len(readings.budgets) - 1)
    found = correlations(scorers, scored.data)
    ablated = ablations_part(scored)
    parts = {
        "title": escape(title),
        "verdict": escape(verdict(scored)),
        "overall": board_table(scored) + overall_table(scored),
        "winners": winners_part(scored),
        "ablations": ablated,
        "ablations_link": '<a href="#ablations">Ablations</a>' if ablated else "",
        "citations": escape(_citations(scored)),
        "style": _asset("style.css"),
        "setting": from_markdown("\n".join(f"- {line}" for line in setting(readings, scorers))),
        "leaderboard": leaderboard_table(scored.rows, readings.budgets),
        "explanations": _definitions(),
        "failures": failure_list(largest),
        "comparisons": comparison_parts([one for one in compared if one is not None]),
        "sources": source_parts(largest, compared[-1], cut),
        "fidelities": fidelity_parts(ceilings(scorers), found),
        "footer": "Made by nasbench-kd from stored runs alone; the same runs give the same page.",
        "data": _json(_embedded(scored)),
        "script": "\n".join(_asset(name) for name in _SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def _embedded(scored: ScoredRuns) -> dict[str, Any]:
    """What the scripts draw from."""
    readings, scorers = scored.readings, scored.scorers
    looks = looks_of(readings)
    numbers = {name: number for number, name in enumerate(readings.optimizers)}
    timed = readings.budgets[0].unit == "seconds"

    def curves(make: Callable[..., list[Curve]]) -> dict[str, list[dict[str, Any]]]:
        return {
            task: [_curve(curve, readings, timed) for curve in make(readings, scorers, task)]
            for task in readings.tasks
        }

    return {
        "tasks": list(readings.tasks),
        "budgets": [str(budget) for budget in readings.budgets],
        "optimizers": list(readings.optimizers),
        "looks": [
            {"colour": looks[name].colour, "variant": looks[name].variant} for name in readings.optimizers
        ],
        "order": [numbers[name] for name in looks],
        "best": [numbers[row.optimizer] for row in ranking(scored)[:_COLOURED]],
        "files": {
            "leaderboard.csv": to_csv(scored.rows, scorers),
            "leaderboard.tex": latex(scored, Selection(budgets=(str(readings.budgets[-1]),))),
        },
        "least": LEAST_REGRET,
        "timed": timed,
        "unit": "simulated GPU-hours" if timed else "evaluations",
        "anytime": curves(anytime_curves),
        "ranks": curves(rank_curves),
        "replay": sample(scored.file, readings, scorers),
    }


def _curve(curve: Curve, readings: Readings, timed: bool) -> dict[str, Any]:
    amounts = curve.amounts / 3.6e9 if timed else curve.amounts
    return {
        "optimizer": readings.optimizers.index(curve.name),
        "x": [float(f"{value:.4g}") for value in amounts],
        **{
            key: np.round(values, 4).tolist()
            for key, values in (("y", curve.estimate), ("low", curve.low), ("high", curve.high))
            if not np.isnan(values).any()
        },
    }


def _definitions() -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in EXPLANATIONS.items())
    return f"<dl>{items}</dl>"


def _citations(scored: ScoredRuns) -> str:
    """BibTeX of the benchmark, the tables and the methods that ran."""
    ran = [entry.optimizer for entry in scored.readings.provenance.suite.optimizers if entry.optimizer]
    return "\n\n".join(citations(ran, scored.data, scored.readings.tasks).entries.values())


def _json(value: Any) -> str:
    """JSON that cannot close the script element that holds it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return resources.files("nasbench_kd.report").joinpath("page", name).read_text(encoding="utf-8").rstrip()
