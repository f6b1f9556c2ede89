"""Ablations, winners and the column of the unbilled teacher on hand-made runs with known outcomes."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.report import write_report
from nasbench_kd.report.ablations import ablate, markdown, sentence
from nasbench_kd.report.pairwise import compare_all
from nasbench_kd.report.scored_runs import score_folder
from nasbench_kd.report.winners import markdown as winners
from nasbench_kd.report.winners import places

from .conftest import write_hand_made

REFERENCE = open_scorer("cifar10").reference
ORDER = np.argsort(REFERENCE)
REPETITIONS = 20
PLAIN = np.random.default_rng(0).integers(7000, 8000, REPETITIONS)
"""Places of the plain search's answers, the best cell being the last of 15,625."""


def runs(places_by_repetition, teacher=0, low="none@3 images=2500"):
    """One evaluation of 100 s whose answer is the cell of a place in the order, and one of 2 hours."""
    return [
        [(low, 100, teacher, int(ORDER[place])), ("none@200", 7200, 0, int(ORDER[place]))]
        for place in places_by_repetition
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`kd` pays an hour for its teacher and then beats `plain`; `other` is as `plain` is, shuffled."""
    path = tmp_path_factory.mktemp("ablated")
    write_hand_made(
        path,
        {
            "kd": runs(PLAIN + 6000, teacher=3600, low="kd@3 images=2500"),
            "kd-unbilled": runs(PLAIN + 6000, low="kd@3 images=2500"),
            "plain": runs(PLAIN),
            "other": runs(np.random.default_rng(1).permutation(PLAIN)),
        },
        [("distillation", "kd", "plain"), ("shuffling", "other", "plain")],
        unbilled={"kd-unbilled": "kd"},
        budgets=("0.5 gpu-hours", "2 gpu-hours"),
    )
    return path


def test_differences_by_hand(folder):
    scored = score_folder(folder)
    (distillation, shuffling), further = ablate(scored, [1e-9])
    early, late = distillation.differences
    kd, plain = (REFERENCE[ORDER[drawn]] for drawn in (PLAIN + 6000, PLAIN))
    difference = plain - kd
    assert late.regret.estimate == pytest.approx(difference.mean())
    assert late.same_seeds
    # Before the teacher is paid the search has no answer, which counts as an uninformed pick.
    missed = plain - open_scorer("cifar10").uninformed
    assert early.regret.estimate == pytest.approx(missed.mean())
    assert further == [pytest.approx(5e-9)]
    # Holm over the four differences and the other test of the page, the first of all, by hand: SciPy's p value is
    # exact where nothing ties.
    raw = [stats.wilcoxon(one, method="exact").pvalue for one in (missed, difference)]
    others = [entry.p_value for entry in shuffling.differences]
    assert late.p_value == pytest.approx(min(4 * raw[1], 1.0) if raw[1] == min(raw) else 3 * raw[1])
    assert min(others) >= late.p_value
    assert (late.verdict, early.verdict) == (-1, np.sign(missed.mean()))
    assert [entry.verdict for entry in shuffling.differences] == [0, 0]
    assert "**Nowhere is shuffling shown to pay.**" in sentence(shuffling)
    assert "distillation is shown to help on cifar10 at 2 gpu-hours" in sentence(distillation)
    text = markdown([distillation, shuffling], scored)
    assert "Both runs of a pair had the same seed" in text
    assert f"**{late.regret.estimate:+.3f} [{late.regret.low:+.3f}, {late.regret.high:+.3f}]**" in text


def test_winners_and_whether_distillation_is_among_them(folder):
    early, late = places(score_folder(folder))
    assert (late.best, late.level, late.outcome) == (("kd",), (), -1)
    assert late.distilling == {"kd"}
    assert set(early.best) <= {"plain", "other"}
    assert early.outcome == (1 if "kd" not in early.level else 0)
    assert early.comparisons == late.comparisons == 6  # the three pairs of both places
    report = write_report(folder)
    assert "Distillation wins, all searches without a teacher being shown worse: cifar10 at 2 gpu-hours." in (
        report.markdown
    )
    assert f"**kd†** {late.regret:.3f}" in report.markdown


def test_an_entry_that_the_suite_does_not_rank_is_shown_and_wins_nothing(tmp_path):
    made = {"oracle": runs(PLAIN + 7000), "plain": runs(PLAIN), "other": runs(PLAIN + 1)}
    write_hand_made(tmp_path, made, [], unbilled={}, unranked=("oracle",), budgets=("2 gpu-hours",))
    scored = score_folder(tmp_path)
    assert {entry.optimizer for entry in scored.overall} == {"plain", "other"}
    rows = {row.optimizer: row for row in scored.rows}
    assert rows["oracle"].iqm_regret.estimate < rows["other"].iqm_regret.estimate
    assert (rows["oracle"].mean_rank, rows["plain"].mean_rank is None) == (None, False)
    text = write_report(tmp_path).markdown
    assert "**not ranked**: oracle." in text
    assert "| oracle " in text


def test_many_lines_are_drawn_in_rows_of_a_few(tmp_path):
    heights = {}
    for count in (10, 11):
        folder = tmp_path / str(count)
        made = {f"search-{number}": runs([int(PLAIN[0]) + 10 * number]) for number in range(count)}
        write_hand_made(folder, made, [], unbilled={}, budgets=("2 gpu-hours",))
        write_report(folder)
        heights[count] = struct.unpack(">II", (folder / "anytime.png").read_bytes()[16:24])[1]
        svg = (folder / "anytime.svg").read_text()
        assert all(f"<!-- search-{number} -->" in svg for number in range(count))
    assert heights[11] > 1.5 * heights[10]


def test_a_winner_that_asked_the_surrogate_says_so(folder):
    measured = places(score_folder(folder))
    assert {place.surrogate for place in measured} == {0.0}
    assert "% surrogate" not in winners(measured)
    assert "(73% surrogate)" in winners([replace(measured[0], surrogate=0.731)])


def test_curves_begin_at_a_tenth_of_the_smallest_budget_where_evaluations_are_cheaper(folder):
    assert score_folder(folder).readings.curve[0, 0] == pytest.approx(180e6)


def test_an_unbilled_entry_is_a_column_and_is_not_ranked(folder):
    scored = score_folder(folder)
    assert compare_all(scored.readings, scored.scorers, scored.readings.at_budget, 1).names == (
        "kd",
        "plain",
        "other",
    )
    assert {entry.optimizer for entry in scored.overall} == {"kd", "plain", "other"}
    (row,) = [r for r in scored.rows if (r.optimizer, r.budget) == ("kd-unbilled", "0.5 gpu-hours")]
    assert row.mean_rank is None
    text = write_report(folder).markdown
    assert "**Not billed**, and therefore not ranked: kd-unbilled" in text
    header, _, *lines = text[text.index("### cifar10, 0.5 gpu-hours") :].split("\n\n")[1].splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in lines}
    assert header.split("|")[3].strip() == "IQM regret, teacher not billed"
    assert sorted(cells) == ["kd", "other", "plain"]
    assert cells["kd"].startswith(f"{row.iqm_regret.estimate:.3f} [")
    assert cells["plain"] == cells["other"] == ""
