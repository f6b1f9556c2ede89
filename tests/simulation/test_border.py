"""What an optimizer hands over buys no more than its plain form would."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError
from nasbench_kd.simulation.border import canonical_answer, canonical_query
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.testing.tables import table_benchmark
from tests.counts import counted

sys.path.append(str(Path(__file__).parents[1] / "plugins"))

import cheats

FULL = Fidelity.parse("none@200")


def world():
    """A benchmark of its own, with two training seeds: a cheat may spoil what it is looked up in."""
    rng = np.random.default_rng(0)
    prices = {"none@200": 1000.0, "none@12/200": 60.0, "none@12": 60.0, "kd@4": 10.0}
    return table_benchmark(
        "cifar10", {name: (rng.uniform(20, 90, (SPACE_SIZE, 2)), price) for name, price in prices.items()}
    )


honest_world = cache(world)


def audit(run: nk.Run) -> None:
    """Every step costs, shows and is drawn as an honest query for its cell and fidelity would be."""
    fresh, paid, teacher = honest_world(), {}, False
    for step in run.steps:
        assert type(step.cell) is type(step.answer) is int
        cell, fidelity = nk.Cell.from_index(step.cell), Fidelity.parse(step.fidelity)
        honest = fresh.draw(cell, fidelity, run.seed)
        assert (step.seed, step.valid_accuracy) == (honest.seed, honest.valid_accuracy)
        key, price = (step.cell, fidelity.curve), round(honest.seconds * 1e6)
        assert step.charged + step.teacher == max(0, price - paid.get(key, 0))
        paid[key] = max(price, paid.get(key, 0))
        teacher |= step.teacher > 0
        assert teacher or fidelity.distillation == "none"
        assert -1 <= step.answer < SPACE_SIZE
    assert run.steps[-1].spent <= 20


@pytest.mark.parametrize("kind", cheats.ASKING)
def test_a_clever_query_buys_nothing(kind: type[nk.Optimizer]):
    counted("cheat")
    run = nk.search(kind, task=world(), budget="20 evaluations", seed=4)
    assert run.steps
    audit(run)


@pytest.mark.parametrize("kind", cheats.ANSWERING)
def test_a_forged_answer_is_a_recorded_failure(kind: type[nk.Optimizer]):
    counted("cheat")
    run = nk.search(kind, task=world(), budget="20 evaluations", seed=4)
    assert (run.ending, run.steps) == ("failed", ())
    assert "answer returned a cell that is not of the space" in run.reason


def test_what_passes_has_exact_types_and_text_stays_text():
    query = canonical_query(
        cheats.TwoQueries(nk.Cell.from_index(3), cheats.LyingText("kd@4")), TASKS["cifar10"]
    )
    assert (type(query), type(query.cell), type(query.fidelity)) == (nk.Query, nk.Cell, str)
    assert canonical_query(
        nk.Query(nk.Cell.from_index(3), cheats.Equal("kd", 4, 4)), TASKS["cifar10"]
    ).fidelity == (Fidelity.parse("kd@4"))
    assert canonical_answer(None, TASKS["cifar10"].space) == -1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workers": 2.5}, "workers is a whole number of at least 1, not 2.5"),
        ({"workers": 0}, "workers is a whole number of at least 1, not 0"),
        ({"workers": True}, "workers"),
        ({"seed": None}, "seed is a whole number of at least 0, not None"),
        ({"seed": -1}, "seed is a whole number of at least 0, not -1"),
        ({"on_error": "ignore"}, "on_error is one of record, raise"),
        ({"bill_teacher": "no"}, "bill_teacher is True or False, not 'no'"),
    ],
)
def test_public_arguments_are_checked(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        nk.search("random", task=honest_world(), budget="2 evaluations", **arguments)


def test_seeds_and_workers_of_numpy_are_whole_numbers():
    run = nk.search(
        "random", task=honest_world(), budget="2 evaluations", seed=np.int64(3), workers=np.uint8(2)
    )
    assert type(run.seed) is type(run.workers) is int


class Breaks(cheats.Cheat):
    def tell(self, query, evaluation):
        self.helper()

    def helper(self):
        raise LookupError("out of ideas")


class Mute(cheats.Cheat):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def tell(self, query, evaluation):
        raise self.Silent


def test_an_error_keeps_its_traceback():
    run = nk.search(Breaks, task=honest_world(), budget="2 evaluations")
    assert run.reason == "LookupError in tell: out of ideas"
    lines = run.traceback.splitlines()
    assert lines[0].startswith("test_border.py, line ")
    assert lines[0].endswith("in tell: self.helper()")
    assert lines[-1] == "LookupError: out of ideas"
    assert nk.search("random", task=honest_world(), budget="2 evaluations").traceback == ""


def test_an_error_is_raised_where_that_is_asked_for():
    with pytest.raises(LookupError, match="out of ideas"):
        nk.search(Breaks, task=honest_world(), budget="2 evaluations", on_error="raise")


def test_an_error_without_words_is_recorded():
    run = nk.search(Mute, task=honest_world(), budget="2 evaluations")
    assert "Silent, whose message cannot be read" in run.reason
