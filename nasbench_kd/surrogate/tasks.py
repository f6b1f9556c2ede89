"""Surrogates of accuracy and seconds, fitted to the trainings of one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import HuberRegressor

from nasbench_kd.spaces.nasbench201 import OPERATIONS, SPACE_SIZE, code_matrix
from nasbench_kd.surrogate.features import features, normal_scores
from nasbench_kd.surrogate.model import Answers, Surrogate
from nasbench_kd.surrogate.trainings import Trainings

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def as_counts(accuracy: Array, images: npt.ArrayLike) -> Integers:
    """Percent of `images` as whole correct answers, 0 to `images`; the last axes agree."""
    counts = np.rint(accuracy * np.asarray(images) / 100)
    return np.asarray(np.clip(counts, 0, images), dtype=np.int64)


class TaskSurrogate:
    """Answers for a task that was measured, at some fidelities, given the measured ones of the same cell.

    Args:
        trainings: complete ones are fitted to.
        targets: columns of `trainings` to answer for.
        given: columns that are known of the cells asked for.
    """

    def __init__(self, trainings: Trainings, targets: Sequence[int], given: Sequence[int] = ()) -> None:
        fitted = trainings.select(trainings.complete)
        self._task = trainings.task
        self._surrogate = Surrogate(
            self._features(fitted.classes, fitted.accuracy[:, list(given)]),
            normal_scores(self._task)[fitted.classes],
            fitted.accuracy[:, list(targets)],
            fitted.classes,
        )

    def answer(self, classes: Integers, known: Array) -> Answers:
        """Accuracies in percent for classes (q,) with the accuracies `known` of them (q, given)."""
        return self._surrogate.answer(self._features(classes, known), normal_scores(self._task)[classes])

    def _features(self, classes: Integers, known: Array) -> Array:
        return np.column_stack((features(self._task)[classes], known))


class Seconds:
    """Training seconds of any cell: linear in its operations, the same shares of the time for each epoch.

    The fit (Huber's) holds against trainings that were slowed by other work on the machine.
    """

    def __init__(self, trainings: Trainings) -> None:
        fitted = trainings.select(trainings.complete)
        self._models: list[tuple[list[int], Any, Array, float]] = []
        for end in fitted.ends:
            curve = fitted.curve(end)
            total = fitted.seconds[:, end]
            shares = np.median(fitted.seconds[:, curve] / total[:, None], axis=0)
            unit = float(np.median(total))
            model = HuberRegressor(alpha=0.0, max_iter=1000).fit(_counts()[fitted.classes], total / unit)
            self._models.append((curve, model, shares * unit, float(total.min() / unit)))
        self._columns = len(fitted.fidelities)

    def predict(self, classes: Integers) -> Array:
        """Seconds up to every fidelity for classes (q,), shape (q, fidelities); none below the fastest measured."""
        seconds = np.empty((len(classes), self._columns))
        for curve, model, shares, least in self._models:
            total = np.maximum(model.predict(_counts()[classes]), least)
            seconds[:, curve] = total[:, None] * shares
        return seconds

    def median_error(self, trainings: Trainings) -> dict[str, float]:
        """Median of the relative error at the end of each curve, over the trainings."""
        fitted = trainings.select(trainings.complete)
        error = np.abs(self.predict(fitted.classes) / fitted.seconds - 1)
        return {str(fitted.fidelities[end]): float(np.median(error[:, end])) for end in fitted.ends}


def _counts() -> Array:
    """Edges with each operation but `none`, shape (15625, 4)."""
    codes = code_matrix()
    counts = np.empty((SPACE_SIZE, len(OPERATIONS) - 1))
    for code in range(1, len(OPERATIONS)):
        counts[:, code - 1] = (codes == code).sum(axis=1)
    return counts
