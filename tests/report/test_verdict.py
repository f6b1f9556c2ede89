"""The verdict names the best, calls ties ties, and names nobody where nobody has an answer."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_kd import load
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.report.pairwise import compare_all
from nasbench_kd.report.scored_runs import score_folder
from nasbench_kd.report.verdict import names, verdict
from nasbench_kd.report.winners import markdown, places

from .conftest import write_hand_made

HOUR = 3600


@pytest.fixture(scope="module")
def order():
    """Indices of cells by falling validation accuracy on cifar10."""
    told = load("cifar10", data="embedded").to_frame("none@200").groupby("cell")["valid_accuracy"].mean()
    return told.sort_values(ascending=False).index.tolist()


def sentence(folder, made):
    write_hand_made(folder, made, (), unbilled={})
    return verdict(score_folder(folder))


def test_the_best_is_named_with_those_that_are_level(tmp_path, order):
    made = {
        "best": [[("none@200", 600, 0, order[i])] for i in range(12)],
        "close": [[("none@200", 600, 0, order[i if i < 9 else 3000])] for i in range(12)],
        "far": [[("none@200", 600, 0, order[9000 + i])] for i in range(12)],
    }
    text = sentence(tmp_path, made)
    assert "At 1 gpu-hours on cifar10, " in text
    assert "is not shown to be worse, 1 of 2 others are." in text
    assert "best has the least regret" in text
    assert "; close is not" in text


def test_a_test_that_favours_the_other_does_not_show_it_to_be_worse(tmp_path):
    """36 of 40 pairs favour `other` a little, and four lift its interquartile mean above that of `first`."""
    ranked = np.argsort(-open_scorer("cifar10", "embedded").reference, kind="stable").tolist()
    first = [ranked[60 * i + 100] for i in range(40)]
    other = [ranked[60 * i + 70] if i >= 4 else ranked[60 * 25] for i in range(40)]
    made = {
        name: [[("none@200", 600, 0, cell)] for cell in cells]
        for name, cells in (("first", first), ("other", other))
    }
    write_hand_made(tmp_path, made, (), unbilled={})
    scored = score_folder(tmp_path)
    (compared,) = [compare_all(scored.readings, scored.scorers, scored.readings.at_budget, 0)]
    assert compared.adjusted[0, 1] < 0.05
    text = verdict(scored)
    assert "first has the least regret" in text
    assert "no other is shown to be worse" in text


def test_ties_are_called_ties(tmp_path, order):
    same = [[("none@200", 600, 0, order[i])] for i in range(12)]
    far = [[("none@200", 600, 0, order[9000 + i])] for i in range(12)]
    text = sentence(tmp_path, {"one": same, "two": same, "far": far})
    assert "one and two are tied at the least regret" in text
    assert "1 of 2 others are shown to be worse" in text
    found = places(score_folder(tmp_path))
    assert "**one**, **two** tie" in markdown(found)


def test_nobody_wins_where_nobody_has_an_answer(tmp_path, order):
    late = [[("none@200", 2 * HOUR, 0, order[i])] for i in range(8)]
    write_hand_made(
        tmp_path, {"one": late, "two": late}, (), unbilled={}, budgets=("1 gpu-hours", "3 gpu-hours")
    )
    scored = score_folder(tmp_path)
    found = {place.budget: place for place in places(scored)}
    assert found["1 gpu-hours"].best == ()
    assert "nobody has an answer" in markdown(list(found.values()))
    assert found["3 gpu-hours"].best == ("one", "two")


def test_an_early_verdict_names_nobody(tmp_path, order):
    nothing = [[("none@200", 2 * HOUR, 0, order[i])] for i in range(8)]
    assert "nobody wins" in sentence(tmp_path, {"one": nothing, "two": nothing})


def test_few_pairs_show_nothing_and_say_so(tmp_path, order):
    made = {
        "good": [[("none@200", 600, 0, order[i])] for i in range(3)],
        "far": [[("none@200", 600, 0, order[9000 + i])] for i in range(3)],
    }
    assert "3 pairs of runs are too few to show any difference" in sentence(tmp_path, made)


def test_names_are_listed_as_people_do():
    assert names(["a"]) == "a"
    assert names(["a", "b", "c"]) == "a, b and c"
    assert names(list("abcdefg")) == "a, b, c, d, e and 2 more"
