"""Signals: the named readings of a training, each with its direction, its unit and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.tasks.fidelity import DISTILLATIONS, Fidelity

ACCURACY = "valid_accuracy"
"""The signal that everything reads unless it asks for another."""
SUM_OF_LOSSES = "sum_train_loss"
"""The derived signal: no table stores it."""
SCORE = "score"
"""The only signal of a score without training (`Fidelity.score`)."""


class Signal(NamedTuple):
    """A named reading of a training. Readings called *train* are means over the epoch's own batches."""

    name: str
    better: Literal["more", "less"]
    """Which of two values speaks for the architecture."""
    unit: str
    definition: str
    extra_cost: str
    """What reading it costs beyond the training; empty where nothing."""

    def utility(self, value: float) -> float:
        """The value as a number of which more is better; NaN stays NaN."""
        return value if self.better == "more" else -value

    def floor(self, classes: int) -> float:
        """What a diverged training counts as: a guess among the classes; infinite where a guess has no known loss."""
        if self.unit == "percent":
            return 100 / classes
        return math.log(classes) if self.name.endswith("cross_entropy") else math.inf


_VALIDATION = "a pass over the validation images"
_TEACHER_PASS = "a pass of student and teacher over the validation images"


def _distillation(split: str, term: str) -> Signal:
    of = f" of {term}" if term else ""
    train = split == "train"
    return Signal(
        f"{split}_distillation" + (f"_{term}" if term else ""),
        "less",
        "loss",
        f"distillation term{of} alone, without its weight, over the "
        + ("epoch's training batches" if train else "validation images"),
        "" if train else _TEACHER_PASS,
    )


SIGNALS: Mapping[str, Signal] = MappingProxyType(
    {
        signal.name: signal
        for signal in (
            Signal(
                ACCURACY, "more", "percent", "share of the validation images answered correctly", _VALIDATION
            ),
            Signal(
                "train_accuracy",
                "more",
                "percent",
                "share of the training images answered correctly, batch by batch while the weights move",
                "",
            ),
            Signal(
                "train_loss",
                "less",
                "loss",
                "whole objective over the epoch's training batches: cross-entropy and weighted distillation terms",
                "",
            ),
            Signal(
                "train_cross_entropy", "less", "nats", "cross-entropy over the epoch's training batches", ""
            ),
            *(_distillation("train", term) for term in ("", *DISTILLATIONS[1:])),
            Signal("valid_loss", "less", "loss", "whole objective over the validation images", _TEACHER_PASS),
            Signal(
                "valid_cross_entropy", "less", "nats", "cross-entropy over the validation images", _VALIDATION
            ),
            *(_distillation("valid", term) for term in ("", *DISTILLATIONS[1:])),
            Signal(
                SUM_OF_LOSSES,
                "less",
                "loss",
                "sum of `train_loss` over all epochs of the curve up to this one (Ru et al., NeurIPS 2021)",
                "",
            ),
            Signal(
                SCORE,
                "more",
                "score",
                "what the score that the fidelity names says of the network; no number of a training",
                "",
            ),
        )
    }
)
"""Every signal by name: the one list.

The distillation term of a training with a single one is `train_distillation`; where there are several
(`kd+nst`) each has its own name (`train_distillation_kd`, `train_distillation_nst`).
"""


def find_signal(name: str) -> Signal:
    """Return a signal by name; raises `UnknownNameError`, naming what comes close."""
    if not isinstance(name, str) or name not in SIGNALS:
        raise UnknownNameError(
            f"unknown signal {name!r}: expected one of {', '.join(SIGNALS)}.{nearest(str(name), SIGNALS)}"
        )
    return SIGNALS[name]


def readings_of(fidelity: Fidelity, *, validated: bool = True) -> tuple[str, ...]:
    """The signals that a training of this fidelity can record, in the order of the list.

    A training without validation has the *train* readings alone.
    """
    if fidelity.score is not None:
        return (SCORE,)
    terms = [] if fidelity.distillation == "none" else fidelity.distillation.split("+")
    names = [f"distillation_{term}" for term in terms] if len(terms) > 1 else ["distillation"] * len(terms)
    found = {"train_accuracy", "train_loss", "train_cross_entropy", *(f"train_{name}" for name in names)}
    if validated:
        found |= {ACCURACY, "valid_loss", "valid_cross_entropy", *(f"valid_{name}" for name in names)}
    return tuple(name for name in SIGNALS if name in found)
