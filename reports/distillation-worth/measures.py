"""What a score of cells is worth: correlations with the truth, and the cells that it would pick."""

from __future__ import annotations

import numpy as np
from readings import Array
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nasbench_kd.stats.statistics import kendall

DRAWS = 1000
FOLDS = 10
SHARES = (0.05, 0.10)
PICKED, POOL = 5, 50
"""The top-of-50 exercise: the best accuracy among the five of 50 random classes that a reading likes best."""


def partial_tau(x: Array, y: Array, z: Array) -> float:
    """Kendall's partial tau of x and y given z."""
    xy, xz, yz = kendall(x, y), kendall(x, z), kendall(y, z)
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / np.sqrt(rest) if rest > 0 else np.nan


def interval(values: list[float] | Array) -> str:
    """The 95 % percentile interval as text."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return f"[{low:.2f}, {high:.2f}]"


def resampled(statistic, size: int, draws: int = DRAWS) -> Array:  # type: ignore[no-untyped-def]
    """A statistic of index arrays over bootstrap samples of classes."""
    rng = np.random.default_rng(0)
    return np.array([statistic(rng.integers(0, size, size)) for _ in range(draws)])


def top(score: Array, truth: Array, share: float) -> float:
    """Best 200-epoch accuracy among the share of classes that the score likes best."""
    count = max(1, round(share * len(truth)))
    return float(truth[np.argsort(-score, kind="stable")[:count]].max())


def five_of_fifty(score: Array, truth: Array) -> float:
    """Mean best accuracy among the five of 50 random classes that the score likes best (2,000 draws)."""
    rng = np.random.default_rng(1)
    pools = np.array([rng.choice(len(truth), POOL, replace=False) for _ in range(2000)])
    chosen = np.take_along_axis(pools, np.argsort(-score[pools], axis=1, kind="stable")[:, :PICKED], axis=1)
    return float(truth[chosen].max(1).mean())


def out_of_class(features: list[Array], truth: Array) -> Array:
    """Ten-fold predictions of a linear model on ranks; every class is a representative of its own."""
    columns = np.stack([rankdata(feature) for feature in features], 1)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    predicted: Array = cross_val_predict(model, columns, rankdata(truth), cv=folds)
    return predicted


def row(name: str, score: Array, truth: Array, size: Array, price: float | None) -> dict[str, object]:
    """One line of the main table; the classes are those that have the score."""
    known = np.isfinite(score)
    score, truth, size = score[known], truth[known], size[known]
    upper, tenth = truth >= np.median(truth), truth >= np.quantile(truth, 0.9)
    taus = resampled(lambda pick: kendall(score[pick], truth[pick]), len(truth))
    return {
        "reading": name,
        "classes": len(truth),
        "tau": kendall(score, truth),
        "interval": interval(taus),
        "better half": kendall(score[upper], truth[upper]),
        "best tenth": kendall(score[tenth], truth[tenth]),
        "given parameters": partial_tau(score, truth, size) if name != "parameters" else np.nan,
        "best of top 5 %": top(score, truth, SHARES[0]),
        "best of top 10 %": top(score, truth, SHARES[1]),
        "best 5 of 50": five_of_fifty(score, truth),
        "seconds": price,
    }
