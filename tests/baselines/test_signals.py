"""What multi-fidelity optimizers read: a signal where short trainings record it, accuracy at the full training."""

from __future__ import annotations

import math

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import UnknownNameError
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.testing.landscapes import loss_benchmark
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd_baselines.asha import ASHA
from nasbench_kd_baselines.bohb import BOHB
from nasbench_kd_baselines.hyperband import Hyperband
from nasbench_kd_baselines.mf_kd import MFKD
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker
from nasbench_kd_baselines.multi_fidelity_botorch import MultiFidelityBoTorch
from nasbench_kd_baselines.rank_nosh import RankNosh
from nasbench_kd_baselines.successive_halving import SuccessiveHalving
from nasbench_kd_baselines.trade import Trade

RUNGS = ("nst@12", "none@200")
MAKERS = {
    "mf-kd": lambda **kw: MFKD(low_fidelity="nst@12", initial_low=8, restarts=1, refit_growth=1.5, **kw),
    "successive halving": lambda **kw: SuccessiveHalving(rungs=RUNGS, initial=8, **kw),
    "hyperband": lambda **kw: Hyperband(rungs=RUNGS, **kw),
    "asha": lambda **kw: ASHA(rungs=RUNGS, **kw),
    "bohb": lambda **kw: BOHB(rungs=RUNGS, **kw),
    "rank-nosh": lambda **kw: RankNosh(
        rungs=RUNGS, initial=8, proposals=4, ranker=PairwiseRanker(epochs=5), **kw
    ),
    "trade": lambda **kw: Trade(fidelity="nst@12", initial=6, maximum=15, **kw),
}
WORLD = loss_benchmark("cifar10", RUNGS)


def run(optimizer, world=WORLD, **arguments):
    return nk.search(
        optimizer,
        task=world,
        **{"budget": "30 evaluations", "bill_teacher": False, "workers": 2, **arguments},
    )


@pytest.mark.parametrize("name", MAKERS)
def test_full_trainings_are_judged_by_accuracy(name):
    steps = run(MAKERS[name](signal="train_loss")).steps
    assert {(step.fidelity, step.signal) for step in steps} == {
        ("nst@12", "train_loss"),
        ("none@200", "valid_accuracy"),
    }
    full = [step for step in steps if step.fidelity == "none@200"]
    assert steps[-1].answer == max(full, key=lambda step: step.value).cell


@pytest.mark.parametrize("name", MAKERS)
def test_a_signal_that_no_fidelity_has_ends_the_search_in_words(name):
    ended = run(MAKERS[name](signal="train_distillation"))
    assert ended.ending == "failed"
    assert "train_distillation" in ended.reason
    assert "nst@12: valid_accuracy, train_loss" in ended.reason


@pytest.mark.parametrize("make", [*MAKERS.values(), MultiFidelityBoTorch])
def test_an_unknown_signal_is_refused_at_once(make):
    with pytest.raises(UnknownNameError, match="Did you mean 'train_loss'"):
        make(signal="train_los")


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("scale", [1e-3, -1e3])
def test_unit_sign_and_divergence_of_a_loss_do_no_harm(name, scale):
    """Losses of another scale, an uninformative order, and three trainings in ten that diverge."""
    rng = np.random.default_rng(1)
    short = np.where(rng.random(SPACE_SIZE) < 0.3, np.nan, 50.0)
    loss = scale * rng.random(SPACE_SIZE)
    world = table_benchmark(
        "cifar10",
        {"nst@12": (short, 120.0), "none@200": (rng.uniform(10, 90, SPACE_SIZE), 2000.0)},
        losses={"nst@12": {"train_loss": loss}},
    )
    for workers in (1, 3):
        ended = run(MAKERS[name](signal="train_loss"), world, workers=workers, seed=1)
        assert ended.ending == "budget", ended.reason
        assert any(math.isnan(step.value) for step in ended.steps)
        assert ended.answer is not None


def test_a_diverged_training_is_worth_the_worst_that_was_seen():
    optimizer = nk.Optimizer()
    view = nk.SearchView("cifar10", 10, 1, (), (), 0.0, space=SPACE, target=FULL)
    optimizer.setup(view, np.random.default_rng(0))

    def worth(value, signal):
        return optimizer.worth(nk.Evaluation(value, signal, 1.0, 777, "measured"))

    assert worth(math.nan, "valid_accuracy") == 10.0
    assert worth(5.0, "valid_accuracy") == 5.0
    assert worth(math.nan, "valid_accuracy") == 10.0
    assert worth(math.nan, "train_cross_entropy") == pytest.approx(-math.log(10))
    assert [worth(value, "train_loss") for value in (2.0, -1.0, math.nan)] == [-2.0, 1.0, -2.0]


def test_cost_stays_a_penalty_where_worths_are_negative():
    """Of two students of one loss the dearer one is worth less, on either side of zero."""
    optimizer = Trade(
        fidelity="nst@12", cost_target=10.0, cost=lambda cell, _: float(cell.index), signal="train_loss"
    )
    optimizer.setup(
        nk.SearchView(
            "cifar10", 10, 1, (nk.Fidelity.parse("nst@12"),), (1.0,), 0.0,
            signals={nk.Fidelity.parse("nst@12"): ("valid_accuracy", "train_loss")}, space=SPACE, target=FULL),
        np.random.default_rng(0),
    )  # fmt: skip
    for loss in (3.0, -3.0):
        cheap, dear = (
            optimizer._objective(
                nk.Query(nk.Cell.from_index(index), "nst@12", "train_loss"),
                nk.Evaluation(loss, "train_loss", 1.0, 777, "measured"),
            )
            for index in (5, 500)
        )
        assert cheap > dear
