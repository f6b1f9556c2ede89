"""The one list of signals: names, directions, floors, and errors that name what comes close."""

from __future__ import annotations

import math

import pytest

from nasbench_kd.errors import UnknownNameError
from nasbench_kd.tasks.fidelity import DISTILLATIONS, Fidelity
from nasbench_kd.tasks.signals import SIGNALS, find_signal, readings_of


def test_losses_are_better_smaller_and_accuracies_larger():
    for name, signal in SIGNALS.items():
        assert signal.name == name
        assert signal.better == ("more" if name.endswith(("accuracy", "score")) else "less")
        assert math.copysign(1, signal.utility(2.0) - signal.utility(1.0)) == (
            1 if signal.better == "more" else -1
        )
        assert math.isnan(signal.utility(math.nan))
        assert signal.definition.strip()


def test_a_diverged_training_counts_as_a_guess_or_as_an_infinite_loss():
    assert SIGNALS["valid_accuracy"].floor(100) == 1.0
    assert SIGNALS["train_cross_entropy"].floor(10) == pytest.approx(2.302585)
    assert SIGNALS["train_loss"].floor(10) == math.inf


def test_train_readings_cost_nothing_and_validation_does():
    assert [name for name, signal in SIGNALS.items() if not signal.extra_cost] == [
        name for name in SIGNALS if "train" in name or name == "score"
    ]
    assert "teacher" in SIGNALS["valid_distillation"].extra_cost


def test_every_distillation_has_a_term_of_its_own():
    for split in ("train", "valid"):
        for term in DISTILLATIONS[1:]:
            assert f"{split}_distillation_{term}" in SIGNALS
    assert readings_of(Fidelity.parse("nst@3/12"), validated=False) == (
        "train_accuracy",
        "train_loss",
        "train_cross_entropy",
        "train_distillation",
    )
    both = readings_of(Fidelity.parse("kd+nst@4"))
    assert {"train_distillation_kd", "valid_distillation_nst", "valid_accuracy"} <= set(both)
    assert "train_distillation" not in both
    assert not any("distillation" in name for name in readings_of(Fidelity.parse("none@12")))


@pytest.mark.parametrize(("name", "near"), [("train_los", "train_loss"), ("valid_acuracy", "valid_accuracy")])
def test_an_unknown_signal_names_the_nearest(name, near):
    with pytest.raises(UnknownNameError, match=f"unknown signal '{name}'.*Did you mean '{near}'"):
        find_signal(name)
