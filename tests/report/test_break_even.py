"""Break-even on hand-made runs whose crossing is known, and settling against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.execution.runs import KEPT, read_runs, write_runs
from nasbench_kd.report import write_report
from nasbench_kd.report.break_even import (
    break_evens,
    first_time,
    rows,
    sentence,
    settling,
    simultaneous_upper,
)
from nasbench_kd.report.scored_runs import score_folder

from .conftest import write_hand_made

TEACHER = 1000
ORDER = np.argsort(open_scorer("cifar10").reference)
WORST, MIDDLE, BEST = (int(ORDER[place]) for place in (0, 8000, -1))
CHEAP, FULL = "nst@3 images=2500 batch=32 size=16 cells=1", "none@200"
PLAIN = [("none@200", 400, 0, WORST), ("none@200", 400, 0, MIDDLE), ("none@200", 3000, 0, MIDDLE)]
"""(fidelity, seconds, teacher's seconds, answer) of each evaluation: level at the middle cell from 800 s on."""


def distilled(answers: list[int], teacher: int = TEACHER) -> list[tuple[str, int, int, int]]:
    """Three cheap students of 10 s, then full ones of 500 s, with these answers after each."""
    return [
        (CHEAP if k < 3 else FULL, 10 if k < 3 else 500, teacher if k == 0 else 0, answer)
        for k, answer in enumerate(answers)
    ]


def scored_runs(folder, answers, pairs=8, **other):
    """Eight repetitions of a search that distils, of the same unbilled, and of its plain counterpart."""
    runs = {
        "kd": [distilled(answers)] * pairs,
        "kd-unbilled": [distilled(answers, teacher=0)] * pairs,
        "plain": [PLAIN] * pairs,
        **other,
    }
    write_hand_made(folder, runs, [("distillation", "kd", "plain")], unbilled={"kd-unbilled": "kd"})
    return score_folder(folder)


def test_a_known_crossing(tmp_path):
    """Spent after k students: 1010, 1020, 1030, 1530, 2030; the counterpart stands at the middle cell then."""
    billed, unbilled = break_evens(scored_runs(tmp_path, [WORST, WORST, WORST, BEST, BEST]))
    assert (billed.task, billed.optimizer, billed.without, billed.pairs) == ("cifar10", "kd", "plain", 8)
    assert billed.billed
    assert billed.students.tolist() == [1, 2, 3, 4, 5]
    assert billed.spent.tolist() == [1_010e6, 1_020e6, 1_030e6, 1_530e6, 2_030e6]
    assert billed.full.tolist() == [0, 0, 0, 1, 2]
    reference = open_scorer("cifar10").reference
    late = reference[MIDDLE] - reference[[WORST, WORST, WORST, BEST, BEST]]
    assert billed.difference == pytest.approx(late)
    assert (billed.settled, billed.first, billed.never) == ((4, 4, 4), 4, 0)
    assert sentence(billed, "seconds") == "4 students (1 full, 3 cheap), 0.425 GPU-hours"
    assert billed.p_value == 2 / 2**8
    # Without the bill it has spent 10, 20, 30 s while the counterpart has no answer, then 530 s and 1030 s.
    assert not unbilled.billed
    assert unbilled.spent.tolist() == [10e6, 20e6, 30e6, 530e6, 1_030e6]
    uninformed = open_scorer("cifar10").uninformed
    assert unbilled.difference[:3] == pytest.approx(uninformed - reference[WORST])
    assert unbilled.difference[3] == pytest.approx(reference[WORST] - reference[BEST])


def test_a_mean_below_zero_is_not_enough(tmp_path):
    """Four pairs of one sign cannot show anything: p is 2/2^4, however narrow their band."""
    billed, _ = break_evens(scored_runs(tmp_path, [WORST, WORST, WORST, BEST, BEST], pairs=4))
    assert (billed.shown, billed.p_value) == (4, 0.125)
    assert sentence(billed, "seconds") == "not shown within the budget"


def test_the_band_holds_at_all_points_at_once():
    """Of 400 worlds without a difference, 5 % have a band that lies below zero anywhere; pointwise ones would 29 %."""
    rng = np.random.default_rng(0)
    shown = pointwise = 0
    for _ in range(400):
        differences = rng.normal(size=(60, 8))
        estimate = differences.mean(axis=0)
        resampled = rng.multinomial(60, np.full(60, 1 / 60), size=400) @ differences / 60
        shown += (simultaneous_upper(estimate, resampled) < 0).any()
        pointwise += (np.percentile(resampled, 95, axis=0) < 0).any()
    assert shown < 400 * 0.09 < 400 * 0.2 < pointwise


def test_one_that_never_crosses_says_so(tmp_path):
    scored = scored_runs(tmp_path, [WORST] * 6)
    billed, _ = break_evens(scored)
    assert (billed.settled, billed.first, billed.never) == ((np.inf,) * 3, np.inf, 1)
    assert sentence(billed, "seconds") == "not shown within the budget"
    assert rows([billed], "seconds")[0][3:8] == [
        "not shown within the budget",
        "never",
        "never to never",
        "never",
        "100%",
    ]


def test_one_that_is_ahead_for_a_while_does_not_settle(tmp_path):
    billed, _ = break_evens(scored_runs(tmp_path, [WORST, BEST, BEST, WORST]))
    assert (billed.first, billed.settled.estimate) == (2, np.inf)
    assert sentence(billed, "seconds") == "not shown within the budget"


def test_the_interval_rests_on_the_pairs(tmp_path):
    """In two of four repetitions the search never finds anything: some resamples never break even."""
    lucky, luckless = distilled([MIDDLE, BEST, BEST]), distilled([MIDDLE, WORST, WORST])
    scored = scored_runs(tmp_path, [WORST] * 3, kd=[lucky, luckless] * 2)
    billed, _ = break_evens(scored)
    gain = np.diff(open_scorer("cifar10").reference[[MIDDLE, BEST]])[0]
    loss = np.diff(open_scorer("cifar10").reference[[WORST, MIDDLE]])[0]
    assert loss > 3 * gain
    assert billed.difference == pytest.approx([0, (loss - gain) / 2, (loss - gain) / 2])
    assert billed.settled == (np.inf, 1, np.inf)
    # On average the search is even at once, and where the mean lies is chance: the band does not say so.
    assert np.isinf(billed.shown)
    # All four drawn from the two lucky ones: 1/16 of the resamples.
    assert billed.never == pytest.approx(15 / 16, abs=0.03)


def test_the_report_shows_it_beside_the_leaderboard(tmp_path):
    scored_runs(tmp_path, [WORST, WORST, WORST, BEST, BEST])
    report = write_report(tmp_path)
    names = {path.name for path in report.files}
    assert {"ablations.md", "ablations.png", "break_even.png", "break_even.svg"} <= names
    page = (tmp_path / "ablations.md").read_text()
    assert "4 students (1 full, 3 cheap), 0.425 GPU-hours" in page
    assert "![break_even](break_even.png)" in page
    assert "[ablations.md](ablations.md)" in report.markdown
    written = {name: (tmp_path / name).read_bytes() for name in names}
    write_report(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == written


def test_it_is_not_counted_in_runs_of_which_steps_are_missing(tmp_path):
    scored_runs(tmp_path, [WORST, WORST, BEST, BEST])
    stored = read_runs(tmp_path / "runs.parquet")
    described = {name: value for name, value in stored.metadata.items() if name != "format"}
    write_runs(tmp_path / "runs.parquet", stored.table, {**described, KEPT: "some"})
    assert break_evens(score_folder(tmp_path)) == []
    write_report(tmp_path)
    text = (tmp_path / "ablations.md").read_text()
    assert "is not said here: that is counted in evaluations" in text
    assert "paid off\n" not in text
    assert not (tmp_path / "break_even.png").exists()


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 8)), elements=st.sampled_from([-1, 0, 2]))
)
def test_settling_is_the_loop_that_its_definition_is(differences):
    def settled(row):
        return next((k + 1.0 for k in range(len(row)) if max(row[k:]) <= 0), np.inf)

    assert settling(differences).tolist() == [settled(row) for row in differences]
    assert all(first_time(row) <= settled(row) for row in differences)


def test_what_is_not_a_number_settles_nothing():
    assert settling(np.array([1.0, -1.0, np.nan])).tolist() == np.inf
