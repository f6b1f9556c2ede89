"""The one screen of a report: who is on it where there are many."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasbench_kd.cli.screen import show
from nasbench_kd.stats.statistics import Interval


@pytest.mark.parametrize(
    ("brought", "places", "more"),
    [((), range(1, 16), 15), (("o30", "o2", "failed"), [*range(1, 16), 30], 14)],
)
def test_those_that_are_brought_to_a_board_are_on_the_screen(
    capsys: pytest.CaptureFixture[str], brought: tuple[str, ...], places: Any, more: int
) -> None:
    rows = [
        SimpleNamespace(
            optimizer=f"o{place}", normalised_regret=Interval(place, place, place), mean_rank=float(place)
        )
        for place in range(1, 31)
    ]
    counts = [SimpleNamespace(optimizer=row.optimizer, budget="5 evaluations", runs=50) for row in rows]
    report: Any = SimpleNamespace(
        name="kd",
        budget="5 evaluations",
        ranking=rows,
        rows=counts,
        without_place=(),
        verdict="o1 it is.",
        files=(),
    )
    show(report, Path("board"), brought=brought)
    said = capsys.readouterr().out
    assert re.findall(r"^ +(\d+) +o\1 ", said, re.MULTILINE) == [str(place) for place in places]
    assert f"... and {more} more in board" in said
    assert "repetitions that all have" not in said
    counts[29].runs = 3
    show(report, Path("board"))
    assert "over the 3 repetitions that all have: no more of o30" in capsys.readouterr().out
