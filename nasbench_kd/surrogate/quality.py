"""How good the surrogate is: cross-validation over classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.stats.statistics import kendall, kendall_interval
from nasbench_kd.surrogate.features import full_accuracy
from nasbench_kd.surrogate.model import fold_of
from nasbench_kd.surrogate.tasks import TaskSurrogate, as_counts
from nasbench_kd.surrogate.trainings import Trainings

Array = npt.NDArray[np.float64]
FOLDS = 5
REPETITIONS = 3
"""Independent draws of each held-out class, over which Kendall's tau is averaged."""
_RESAMPLES = 100
_FEWEST_PAIRS = 10
"""Classes with two seeds below which no seed noise is stated."""


class _HeldOut:
    """Answers for n trainings, none of whose classes was seen, at T fidelities."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.prediction = np.empty(shape)
        self.intervals = np.empty((*shape, 2))
        self.draws = np.empty((REPETITIONS, *shape))


def cross_validate(
    trainings: Trainings, targets: Sequence[int], given: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """The figures of every target fidelity by 5-fold cross-validation over classes, as JSON values.

    The whole of fitting, its inner cross-validation included, is repeated without each fold.
    """
    fitted = trainings.select(trainings.complete)
    fold, held_out = fold_of(fitted.classes, FOLDS), _HeldOut((len(fitted.classes), len(targets)))
    images = np.array(fitted.images)[list(targets)]
    for number in range(FOLDS):
        outside = fold == number
        answers = TaskSurrogate(fitted.select(~outside), targets, given).answer(
            fitted.classes[outside], fitted.accuracy[outside][:, list(given)]
        )
        held_out.prediction[outside] = answers.prediction
        held_out.intervals[outside] = answers.intervals()
        for repetition in range(REPETITIONS):
            drawn = answers.draw(fitted.task, fitted.classes[outside], repetition)
            held_out.draws[repetition, outside] = _as_recorded(drawn, images)
    figures = _figures(fitted, targets, held_out)
    for each in figures:
        each["given"] = [str(fitted.fidelities[place]) for place in given]
    return figures


def _between_curves(fitted: Trainings, targets: Sequence[int], draws: Array) -> list[dict[str, Any]]:
    """Kendall's tau between the ends of two curves of the same classes: as measured, and as drawn."""
    first = _one_for_each_class(fitted)
    ends = [(place, column) for place, column in enumerate(targets) if column in fitted.ends]
    found = []
    for (one, left), (two, right) in combinations(ends, 2):
        names = [str(fitted.fidelities[column]) for column in (left, right)]
        measured = kendall_interval(
            fitted.accuracy[first, left],
            fitted.accuracy[first, right],
            _generator(fitted.task, *names),
            resamples=_RESAMPLES,
        )
        drawn = np.mean([kendall(draw[first, one], draw[first, two]) for draw in draws])
        found.append({"curves": names, "measured": _listed(measured), "drawn": _figure(float(drawn))})
    return found


def _figures(fitted: Trainings, targets: Sequence[int], held_out: _HeldOut) -> list[dict[str, Any]]:
    first = _one_for_each_class(fitted)
    full = full_accuracy(fitted.task)[fitted.classes]
    between = _between_curves(fitted, targets, held_out.draws)
    found = []
    for place, column in enumerate(targets):
        fidelity, reached = str(fitted.fidelities[column]), fitted.accuracy[:, column]
        prediction, bounds = held_out.prediction[:, place], held_out.intervals[:, place]
        error = reached - prediction
        measured, drawn = (
            kendall_interval(
                full[first], values, _generator(fitted.task, fidelity, name), resamples=_RESAMPLES
            )
            for name, values in (
                ("measured", reached[first]),
                ("drawn", held_out.draws[:, first, place].T),
            )
        )
        found.append(
            {
                "task": fitted.task,
                "fidelity": fidelity,
                "classes": len(first),
                "trainings": len(reached),
                "r2": _figure(1 - float(np.mean(error**2) / np.var(reached))),
                "tau_of_prediction": _figure(kendall(prediction, reached)),
                "rmse": _figure(float(np.sqrt(np.mean(error**2)))),
                "seed_noise": _seed_noise(fitted, column),
                "coverage": _figure(float(np.mean((bounds[:, 0] <= reached) & (reached <= bounds[:, 1])))),
                "interval_width": _figure(float(np.mean(bounds[:, 1] - bounds[:, 0]))),
                "tau_with_full_measured": _listed(measured),
                "tau_with_full_drawn": _listed(drawn),
                "tau_with_full_predicted": _figure(kendall(prediction[first], full[first])),
                "agrees": bool(measured.low <= drawn.estimate <= measured.high),
                "between_curves": [each for each in between if each["curves"][0] == fidelity],
            }
        )
    return found


def _as_recorded(accuracy: Array, images: npt.NDArray[np.int64]) -> Array:
    return as_counts(accuracy, images) * (100 / images)


def _one_for_each_class(trainings: Trainings) -> npt.NDArray[np.int64]:
    """The row of each class with its lowest seed."""
    order = np.lexsort((trainings.seeds, trainings.classes))
    _, first = np.unique(trainings.classes[order], return_index=True)
    return np.asarray(order[first])


def _seed_noise(trainings: Trainings, column: int) -> float | None:
    """Standard deviation between two seeds of a class, percentage points; None for too few such classes."""
    first = _one_for_each_class(trainings)
    rest = trainings.select(~np.isin(np.arange(len(trainings.classes)), first))
    second = _one_for_each_class(rest)
    if len(second) < _FEWEST_PAIRS:
        return None
    place = dict(zip(trainings.classes[first].tolist(), trainings.accuracy[first, column], strict=True))
    difference = [
        accuracy - place[number]
        for number, accuracy in zip(rest.classes[second].tolist(), rest.accuracy[second, column], strict=True)
    ]
    return _figure(float(np.sqrt(np.mean(np.square(difference)) / 2)))


def _generator(*words: str) -> np.random.Generator:
    digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _listed(interval: Sequence[float]) -> list[float | None]:
    return [_figure(value) for value in interval]


def _figure(value: float) -> float | None:
    """A figure as it was measured, as a JSON value: None for NaN."""
    return None if np.isnan(value) else float(value)
