"""The surrogate of one task: gradient boosting for the mean, measured residuals of alike cells around it.

A draw is the prediction plus the residuals that one measured training of a similar cell left in
cross-validation, at all epochs and distillations at once, so that draws scatter, and hang together, as
trainings do. The same residuals give the intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nasbench_kd.tables.draws import peer_of

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
FEWEST_CLASSES = 50
"""Classes below which nothing is fitted."""
PEERS = 39
"""Trainings whose residuals stand for the uncertainty of a cell."""
CONFIDENCE = 0.9
_TAIL = 1
"""Residuals cut on each side of an interval: (39 - 1 - 2 * 1) / (39 + 1) = 0.9 (order statistics)."""
FOLDS = 4
_MEMBERS = 2


def fold_of(classes: npt.ArrayLike, folds: int) -> Integers:
    """Fold of every training, 0 to folds - 1, shape (n,); the trainings of a class share theirs."""
    names, places = np.unique(np.asarray(classes), return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(names)) % folds)[places]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a surrogate says of q cells at T fidelities, in the unit of the responses that it was fitted to."""

    prediction: Array
    """Expected response of one training, shape (q, T)."""
    peers: Integers
    """Trainings most alike, the most alike first, shape (q, `PEERS`)."""
    pool: Array
    """Residuals of all n trainings that were fitted to, shape (n, T)."""

    @property
    def residuals(self) -> Array:
        """Residuals of the trainings most alike, shape (q, `PEERS`, T)."""
        return np.asarray(self.pool[self.peers])

    def intervals(self) -> Array:
        """90 % intervals of the response of one training, shape (q, T, 2)."""
        ordered = np.sort(self.residuals, axis=1)
        bounds = np.stack((ordered[:, _TAIL], ordered[:, -1 - _TAIL]), axis=-1)
        return np.asarray(self.prediction[:, :, None] + bounds)

    def draw(self, task: str, classes: npt.ArrayLike, repetition: int = 0) -> Array:
        """One made-up training for each cell, shape (q, T); fixed by task, class and repetition."""
        rows, count = self.peers.shape
        chosen = [peer_of(task, number, repetition, count) for number in np.asarray(classes).tolist()]
        return np.asarray(self.prediction + self.pool[self.peers[np.arange(rows), chosen]])


class Surrogate:
    """Fitted to trainings: n rows, F features, T responses.

    Args:
        features: shape (n, F).
        results: normal score of the 200-epoch result of each training's cell, shape (n,).
        responses: what the trainings reached, shape (n, T), finite.
        classes: isomorphism class of each training, shape (n,).
    """

    def __init__(self, features: Array, results: Array, responses: Array, classes: npt.ArrayLike) -> None:
        fold, members = fold_of(classes, FOLDS), np.empty((_MEMBERS, *responses.shape))
        for number in range(FOLDS):
            inside = fold != number
            members[:, ~inside] = _predict(_fit(features[inside], responses[inside]), features[~inside])
        self._mean, self._weights = responses.mean(axis=0), _weights(members, responses)
        held_out = self._combine(members)
        self.residuals = responses - held_out
        self._models = _fit(features, responses)
        self._axes = [np.sort(axis) for axis in np.column_stack((results, held_out)).T]
        self._neighbours = NearestNeighbors(n_neighbors=min(PEERS, len(results)), algorithm="kd_tree")
        self._neighbours.fit(self._places(results, held_out))

    def answer(self, features: Array, results: Array) -> Answers:
        """Answer for q cells: features (q, F) and the normal scores of their 200-epoch results (q,)."""
        prediction = self._combine(_predict(self._models, features))
        peers = self._neighbours.kneighbors(self._places(results, prediction), return_distance=False)
        return Answers(prediction, np.asarray(peers, dtype=np.int64), self.residuals)

    def _combine(self, members: Array) -> Array:
        return np.asarray(self._mean + ((members - self._mean) * self._weights[:, None]).sum(axis=0))

    def _places(self, results: Array, prediction: Array) -> Array:
        """Where cells lie among those fitted to, as shares of them that lie below, shape (q, 1 + T).

        Alike are cells with alike 200-epoch results and alike predictions; both count the same.
        """
        columns = np.column_stack((results, prediction)).T
        shares = [
            (np.searchsorted(axis, column, "left") + np.searchsorted(axis, column, "right")) / (2 * axis.size)
            for axis, column in zip(self._axes, columns, strict=True)
        ]
        weights = np.array([1.0] + [1 / np.sqrt(prediction.shape[1])] * prediction.shape[1])
        return np.asarray(np.column_stack(shares) * weights)


def _fit(features: Array, responses: Array) -> tuple[Any, list[Any]]:
    """A ridge regression for all responses, and a gradient boosting model for each."""
    ridge = RidgeCV(np.logspace(0, 4, 9), alpha_per_target=True)
    boosting = {
        "n_estimators": 100,
        "learning_rate": 0.1,
        "max_depth": 4,
        "subsample": 0.5,
        "max_features": 0.3,
        "min_samples_leaf": 3,
        "random_state": 0,
    }
    return (
        make_pipeline(StandardScaler(), ridge).fit(features, responses),
        [GradientBoostingRegressor(**boosting).fit(features, response) for response in responses.T],
    )


def _predict(models: tuple[Any, list[Any]], features: Array) -> Array:
    """Predictions of the members, shape (members, q, T)."""
    ridge, boosting = models
    linear = ridge.predict(features).reshape(len(features), len(boosting))
    return np.array([linear, np.column_stack([model.predict(features) for model in boosting])])


def _weights(members: Array, responses: Array) -> Array:
    """Weights of the members that fit the responses best in cross-validation, none negative, shape (members, T).

    They are not made to sum to 1: members that know nothing are shrunk to the mean response.
    """
    mean = responses.mean(axis=0)
    return np.column_stack(
        [
            nnls((members[:, :, each] - mean[each]).T, responses[:, each] - mean[each])[0]
            for each in range(responses.shape[1])
        ]
    )
