"""The stacked gradient boosting surrogate of MF-KD: bagged trees, the low level a feature of the high one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import MissingDependencyError
from nasbench_kd.spaces.space import SearchSpace

Floats = npt.NDArray[np.float64]
LOW, HIGH = 0, 1


class StackedBoosting:
    """The `gb_stacked` surrogate of MF-KD's released code, over the whole space. Needs scikit-learn.

    Each level is a bag of `bags` gradient boosting models (`trees` trees of depth `depth`), each on
    a draw of `share` of the observations; the prediction is the bag's mean, the uncertainty its
    standard deviation. The low level's prediction is a feature of the high level. Constants are the
    released code's. A level with fewer than two observations predicts their mean and the
    deviation 1 (in percent).
    """

    def __init__(
        self, space: SearchSpace, bags: int = 20, trees: int = 50, depth: int = 5, share: float = 0.51
    ) -> None:
        self.space = space
        self.bags = bags
        self.trees = trees
        self.depth = depth
        self.share = share
        self.predictions = [(np.zeros(len(space)), np.ones(len(space)))] * 2

    def fit(
        self, cells: Sequence[int], levels: Sequence[int], targets: Sequence[float], rng: np.random.Generator
    ) -> None:
        """Fit both bags; `predict` gives this state until the next fit."""
        level, index, values = np.asarray(levels), np.asarray(cells), np.asarray(targets, dtype=float)
        features = self.space.one_hot
        for one in (LOW, HIGH):
            chosen = level == one
            seed = int(rng.integers(2**31))
            self.predictions[one] = self._bag(features, index[chosen], values[chosen], seed)
            features = np.column_stack((features, self.predictions[one][0]))

    def predict(
        self,
        level: int,
        _cells: Sequence[int],
        _levels: Sequence[int],
        _targets: Sequence[float],
    ) -> tuple[Floats, Floats]:
        """Mean and standard deviation of a level over the space, each (n,), in percent.

        What co-kriging conditions on is not needed: the model was fitted to it.
        """
        return self.predictions[level]

    def _bag(
        self, features: Floats, cells: npt.NDArray[np.intp], values: Floats, seed: int
    ) -> tuple[Floats, Floats]:
        if len(values) < 2:
            mean = values.mean() if len(values) else 0.0
            return np.full(len(self.space), mean), np.ones(len(self.space))
        try:
            from sklearn.ensemble import BaggingRegressor, GradientBoostingRegressor
        except ImportError as error:
            raise MissingDependencyError(
                "the boosting surrogate needs scikit-learn: pip install scikit-learn"
            ) from error
        draw = max(1, round(self.share * len(values)))
        trees = GradientBoostingRegressor(n_estimators=self.trees, max_depth=self.depth)
        bag = BaggingRegressor(trees, n_estimators=self.bags, max_samples=draw, random_state=seed)
        bag.fit(features[cells], values)
        members = np.array([member.predict(features) for member in bag.estimators_])
        return members.mean(axis=0), members.std(axis=0)
