"""Statistics of repeated searches: interquartile means, bootstrap intervals, ranks and tests on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Reduces the last axis of an array: shape (..., n) to (...)."""


class Interval(NamedTuple):
    """An estimate with the ends of its interval, which are NaN where the data have none to give."""

    estimate: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval: a single run has an estimate alone."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def iqm(values: npt.ArrayLike) -> Array:
    """Interquartile mean over the last axis: the mean without the lowest and highest quarter.

    `floor(n / 4)` values are cut on each side, as `scipy.stats.trim_mean(values, 0.25)` and rliable
    (Agarwal et al., NeurIPS 2021, section 4.3) do. NaN where any value is NaN. Raises `ValueError` on an
    empty axis.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    size = ordered.shape[-1]
    if size == 0:
        raise ValueError("the interquartile mean of no values is not defined")
    cut = size // 4
    middle = ordered[..., cut : size - cut].mean(axis=-1)
    # Sorting puts NaN last, where it would be cut away.
    return np.asarray(np.where(np.isnan(ordered[..., -1]), np.nan, middle))


def mean(values: npt.ArrayLike) -> Array:
    """Mean over the last axis."""
    return np.asarray(np.mean(np.asarray(values, dtype=np.float64), axis=-1))


def median(values: npt.ArrayLike) -> Array:
    """Median over the last axis."""
    return np.asarray(np.median(np.asarray(values, dtype=np.float64), axis=-1))


def stratified_bootstrap(
    strata: Sequence[npt.ArrayLike],
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    groups: Sequence[npt.ArrayLike] | None = None,
) -> Interval:
    """Percentile bootstrap interval of a statistic over all values of several strata.

    Every resample draws from each stratum (a 1-D array, say the runs on one task) as many values as
    it has, with replacement, so that no task is over-represented (Agarwal et al., NeurIPS 2021,
    section 4.2). `groups` names, for each stratum, the values that vary together, say runs on one draw of a
    surrogate: a resample then draws as many groups as there are, each with all of its values (Davison and Hinkley,
    1997, section 3.8, strategy 2). A stratum of one group does not say how it varies: the interval is then NaN, as it
    is where a value is NaN. Raises `ValueError` where a stratum is empty.
    """
    parts = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    if not parts or any(part.ndim != 1 or part.size == 0 for part in parts):
        raise ValueError("every stratum of a bootstrap is a 1-D array with at least one value")
    labels = (
        [np.arange(part.size) for part in parts] if groups is None else [np.asarray(one) for one in groups]
    )
    counts = [np.unique(names).size for names in labels]
    estimate = float(statistic(np.concatenate(parts)))
    if math.isnan(estimate) or min(counts) < 2:
        return Interval(estimate, math.nan, math.nan)
    if counts != [part.size for part in parts]:
        picked = zip(*(resampled_groups(names, rng, resamples) for names in labels), strict=True)
        drawn = (
            np.concatenate([part[one] for part, one in zip(parts, pick, strict=True)]) for pick in picked
        )
        low, high = _percentiles(np.array([statistic(values) for values in drawn]), confidence)
        return Interval(estimate, float(low), float(high))
    total = sum(part.size for part in parts)
    estimates = []
    for block in _blocks(resamples, total):
        rows = [part[rng.integers(part.size, size=(block, part.size))] for part in parts]
        estimates.append(statistic(np.concatenate(rows, axis=1)))
    low, high = _percentiles(np.concatenate(estimates), confidence)
    return Interval(estimate, float(low), float(high))


def bootstrap_band(
    values: npt.ArrayLike,
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    groups: npt.ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Pointwise bootstrap band of a statistic: estimate, low and high, each of shape (points,).

    `values` has shape (points, runs); one resample draws the same runs at every point, or
    the same `groups` of them, shape (runs,), as in `stratified_bootstrap`. The band of a single run or group is NaN.
    """
    curves = np.asarray(values, dtype=np.float64)
    size = curves.shape[-1]
    labels = np.arange(size) if groups is None else np.asarray(groups)
    count = np.unique(labels).size
    if count < 2:
        unknown = np.full(len(curves), np.nan)
        return statistic(curves), unknown, unknown
    if count < size:
        found = np.array([statistic(curves[:, pick]) for pick in resampled_groups(labels, rng, resamples)])
        bounds = np.array([_percentiles(point, confidence) for point in found.T])
        return statistic(curves), bounds[:, 0], bounds[:, 1]
    drawn = rng.integers(size, size=(resamples, size))
    bounds = np.array([_percentiles(statistic(curve[drawn]), confidence) for curve in curves])
    return statistic(curves), bounds[:, 0], bounds[:, 1]


def resampled_groups(
    groups: npt.ArrayLike, rng: np.random.Generator, resamples: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Positions that each of some resamples draws: as many groups as there are, with all of their members.

    `groups` has shape (n,) and names the group of every position.
    """
    names, place = np.unique(groups, return_inverse=True)
    members, lengths = np.argsort(place, kind="stable"), np.bincount(place)
    starts = np.cumsum(lengths) - lengths
    for pick in rng.integers(names.size, size=(resamples, names.size)):
        yield members[_ranges(starts[pick], lengths[pick])]


def group_means(values: npt.ArrayLike, groups: npt.ArrayLike) -> Array:
    """Means of groups of rows, shape (groups, ...), in ascending order of their names; `groups` has shape (rows,)."""
    rows = np.asarray(values, dtype=np.float64)
    _, place = np.unique(groups, return_inverse=True)
    total = np.zeros((int(place.max(initial=-1)) + 1, *rows.shape[1:]))
    np.add.at(total, place, rows)
    return np.asarray((total.T / np.bincount(place)).T)


def probability_of_improvement(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Probability that a value of `x` exceeds a value of `y`, ties counted as half.

    The Mann-Whitney U statistic over `len(x) * len(y)` (Agarwal et al., NeurIPS 2021, section 4.3). NaN
    where a value is NaN.
    """
    first, second = np.asarray(x, dtype=np.float64), np.sort(np.asarray(y, dtype=np.float64))
    if not (first.size and second.size):
        raise ValueError("the probability of improvement needs values on both sides")
    if np.isnan(first).any() or np.isnan(second).any():
        return math.nan
    below = np.searchsorted(second, first, side="left")
    up_to = np.searchsorted(second, first, side="right")
    return float((below + up_to).mean() / (2 * second.size))


def ranks(values: npt.ArrayLike) -> Array:
    """Ranks along the last axis, 1 for the smallest, ties given the mean of their ranks; NaN beside any NaN."""
    return np.asarray(stats.rankdata(values, method="average", axis=-1))


class Friedman(NamedTuple):
    """A Friedman test with the mean ranks that it rests on."""

    mean_ranks: Array
    """Mean rank of every treatment, shape (treatments,)."""
    statistic: float
    p_value: float


def friedman(values: npt.ArrayLike) -> Friedman:
    """Friedman test over blocks (Demsar, JMLR 2006, section 3.2.2).

    `values` has shape (blocks, treatments); smaller is better. Raises `ValueError` for fewer than two
    blocks or treatments, and for NaN. With two treatments SciPy has no Friedman test: the p value is then that of
    the chi-square approximation with one degree of freedom.
    """
    blocks = np.asarray(values, dtype=np.float64)
    if blocks.ndim != 2 or min(blocks.shape) < 2:
        raise ValueError(f"a Friedman test needs at least two blocks and two treatments, not {blocks.shape}")
    if np.isnan(blocks).any():
        raise ValueError("a Friedman test needs a value in every place, and there is NaN")
    count, treatments = blocks.shape
    ranked = ranks(blocks)
    mean_ranks = ranked.mean(axis=0)
    spread = float(np.sum((ranked - (treatments + 1) / 2) ** 2)) / (count * (treatments - 1))
    statistic, p_value = 0.0, 1.0
    if spread > 0:
        statistic = count * float(np.sum((mean_ranks - (treatments + 1) / 2) ** 2)) / spread
        p_value = float(stats.chi2.sf(statistic, treatments - 1))
    return Friedman(mean_ranks, statistic, p_value)


def holm(p_values: npt.ArrayLike) -> Array:
    """P values adjusted for many comparisons by Holm's step-down method (1979), in the order given."""
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def kendall(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Kendall's tau-b of two arrays of shape (n,); NaN where one of them is constant."""
    return float(stats.kendalltau(x, y).statistic)


def kendall_interval(
    x: npt.ArrayLike,
    targets: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    resamples: int = 200,
    confidence: float = 0.95,
    groups: npt.ArrayLike | None = None,
) -> Interval:
    """Kendall's tau-b of `x`, shape (n,), with a percentile interval from resampling the n items.

    `targets` has shape (n,), or (n, k) for the mean tau over k targets. Where items depend on each other, `groups`,
    shape (n,), names whose items are drawn together. Where `x` is made up, shape (n, d) has d draws of it: every
    resample reads the items from the next draw, and the estimate is the mean over all. The interval is NaN where
    every resample has constant values, and all of it where a value is NaN.
    """
    shown = np.asarray(x)
    items = shown.reshape(len(shown), -1).T
    columns = np.asarray(targets).reshape(items.shape[1], -1).T
    if np.isnan(items).any() or np.isnan(columns).any():
        return Interval(math.nan, math.nan, math.nan)

    def tau(values: Array, pick: npt.NDArray[np.int64]) -> float:
        return float(np.mean([kendall(values[pick], column[pick]) for column in columns]))

    everything = np.arange(items.shape[1])
    picks = resampled_groups(everything if groups is None else groups, rng, resamples)
    taus = np.array([tau(items[number % len(items)], pick) for number, pick in enumerate(picks)])
    low, high = (
        _percentiles(taus[~np.isnan(taus)], confidence) if not np.isnan(taus).all() else (np.nan, np.nan)
    )
    return Interval(float(np.mean([tau(values, everything) for values in items])), float(low), float(high))


def _ranges(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The whole numbers of several ranges, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.asarray(np.repeat(starts - before, lengths) + np.arange(int(lengths.sum())))


def _percentiles(values: Array, confidence: float) -> Array:
    tail = 50 * (1 - confidence)
    return np.percentile(values, [tail, 100 - tail])


def _blocks(resamples: int, size: int) -> list[int]:
    """Cut resamples into blocks of at most some 4 million drawn values, to bound memory."""
    block = max(1, 4_000_000 // size)
    full, rest = divmod(resamples, block)
    return [block] * full + ([rest] if rest else [])
