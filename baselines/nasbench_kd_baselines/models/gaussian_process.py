"""Gaussian process on cells: Matern-5/2 over a weighted Hamming distance, marginals over many cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack, solve_triangular
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]

PRIOR_DEVIATION = 1.0
_BOUNDS = 5.0


MOST_WEIGHTS = 8
"""Coordinates up to which each has a weight of its own; a space of more has one for all."""
_CELL_EDGES = 6


@cache
def _mismatches(coordinates: int) -> Array:
    """How many coordinates of each weight differ, for each pattern that two cells can form, (patterns, weights).

    With a weight for each coordinate a pattern says which differ, else only how many.
    """
    if coordinates > MOST_WEIGHTS:
        return np.arange(coordinates + 1, dtype=float)[:, None]
    return (np.arange(2**coordinates)[:, None] >> np.arange(coordinates) & 1).astype(float)


def prior_mean(coordinates: int) -> Array:
    """Means of the normal priors on the logarithms in `Hyperparameters`, for targets of variance one.

    A single weight for all coordinates is expected where theirs add up to those of a cell's six edges.
    """
    if coordinates > MOST_WEIGHTS:
        return np.array([0.0, np.log(_CELL_EDGES / coordinates) - 1.0, -4.0])
    return np.array([0.0] + [-1.0] * coordinates + [-4.0])


class Hyperparameters(NamedTuple):
    """Parameters of the covariance; the optimized vector holds their logarithms in this order."""

    variance: float
    """Of the latent function."""
    weights: Array
    """One for each coordinate, or one for all: 2 / (length scale)^2 on the coordinate's one-hot code."""
    noise: float
    """Variance of the observation noise."""

    @staticmethod
    def from_logarithms(logarithms: Array) -> Hyperparameters:
        """Read the optimized vector, shape (weights + 2,)."""
        values = np.exp(logarithms)
        return Hyperparameters(float(values[0]), values[1:-1], float(values[-1]))


class GaussianProcess:
    """Zero-mean Gaussian process whose marginal posterior over all candidates stays up to date.

    Two architectures form one of 2^d patterns of d differing coordinates (64 of a cell's six edges), so that the
    covariance is a lookup in a table; in a space of more than `MOST_WEIGHTS` coordinates, one of d + 1 Hamming
    distances. `L^-1 K` between observations and candidates is kept, and a new
    observation adds one row: n observations and C candidates cost O(n C) a step.

    Args:
        codes: of the candidates, shape (C, coordinates). Observations are candidates too, named by their position.
    """

    def __init__(self, codes: npt.NDArray[np.integer]) -> None:
        self.codes = codes.astype(np.int8)
        self.coordinates = codes.shape[1]
        self.prior_mean = prior_mean(self.coordinates)
        self.logarithms = self.prior_mean.copy()
        self.condition(())

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The parameters in use."""
        return Hyperparameters.from_logarithms(self.logarithms)

    def fit(self, observed: Sequence[int], targets: Array) -> None:
        """Maximize the posterior of the parameters, from where they stand, and condition.

        The parameters are rounded to 0.01, so that the last bits of a machine's arithmetic do not
        lead a search astray.
        """
        patterns = self.patterns(observed, observed)

        def loss(logarithms: Array) -> tuple[float, Array]:
            value, gradient = log_marginal_likelihood(logarithms, patterns, targets, self.coordinates)
            offset = (logarithms - self.prior_mean) / PRIOR_DEVIATION
            return 0.5 * float(offset @ offset) - value, offset / PRIOR_DEVIATION - gradient

        bounds = np.stack([self.prior_mean - _BOUNDS, self.prior_mean + _BOUNDS], axis=1)
        options = {"maxiter": 30, "ftol": 1e-5}
        found = minimize(loss, self.logarithms, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        self.logarithms = np.round(found.x, 2)
        self.condition(observed)

    def condition(self, observed: Sequence[int]) -> None:
        """Take these observations (candidate positions, with repeats) in place of all others."""
        self.observed: list[int] = list(observed)
        n, parameters = len(self.observed), self.hyperparameters
        self._table = covariance_table(parameters, self.coordinates)
        covariance = self._table[self.patterns(self.observed)]
        capacity = n + n // 4 + 16
        self._factor = np.zeros((capacity, capacity))
        self._whitened = np.zeros((capacity, len(self.codes)))
        if n:
            own = covariance[:, self.observed] + parameters.noise * np.eye(n)
            self._factor[:n, :n] = np.linalg.cholesky(own)
            self._whitened[:n] = solve_triangular(self._factor[:n, :n], covariance, lower=True)
        self._explained = np.einsum("ij,ij->j", self._whitened[:n], self._whitened[:n])

    def add(self, point: int) -> None:
        """Add one observation, with the parameters as they are."""
        n, parameters = len(self.observed), self.hyperparameters
        if n == len(self._factor):
            self._factor = np.pad(self._factor, (0, n))
            self._whitened = np.pad(self._whitened, ((0, n), (0, 0)))
        covariance = self._table[self.patterns([point])[0]]
        row = self._whitened[:n, point].copy()
        pivot = np.sqrt(parameters.variance + parameters.noise - row @ row)
        whitened = (covariance - _combine(row, self._whitened[:n])) / pivot
        self._factor[n, :n], self._factor[n, n] = row, pivot
        self._whitened[n] = whitened
        self._explained = self._explained + whitened**2
        self.observed.append(point)

    def mean(self, targets: Array, candidates: Sequence[int] | None = None) -> Array:
        """Posterior mean of candidates, by default of all, shape (C,), for the targets of the observations."""
        n = len(self.observed)
        rows = self._whitened[:n] if candidates is None else self._whitened[:n, list(candidates)]
        return _combine(solve_triangular(self._factor[:n, :n], targets, lower=True), rows)

    def variance(self, pending: Sequence[int] = ()) -> Array:
        """Posterior variance of every candidate, without the noise, shape (C,).

        Observations that are still running shrink it as if they were known; given their own
        posterior means they would leave the mean unchanged.
        """
        observed, explained = list(self.observed), self._explained
        for point in pending:
            self.add(point)
        variance = np.maximum(self.hyperparameters.variance - self._explained, 0.0)
        self.observed, self._explained = observed, explained
        return np.asarray(variance)

    def patterns(self, points: Sequence[int], others: Sequence[int] | None = None) -> npt.NDArray[np.uint8]:
        """Pattern of differing coordinates (bit i for coordinate i), or their number, (n, others).

        The others are candidates, by default all.
        """
        codes = self.codes if others is None else self.codes[list(others)]
        if self.coordinates > MOST_WEIGHTS:
            differing = self.codes[list(points), None] != codes[None]
            return np.asarray(differing.sum(axis=2, dtype=np.uint8))
        patterns = np.zeros((len(points), len(codes)), dtype=np.uint8)
        for edge, column in enumerate(np.ascontiguousarray(codes.T)):
            differs = self.codes[list(points), edge, None] != column[None]
            patterns |= np.left_shift(differs, edge, dtype=np.uint8)
        return patterns


def _combine(weights: Array, rows: Array) -> Array:
    """Weighted sum of rows, in one thread and in a fixed order, as BLAS does not promise."""
    return np.asarray(np.einsum("i,ij->j", weights, rows))


def covariance_table(parameters: Hyperparameters, coordinates: int | None = None) -> Array:
    """Covariance of two cells for each pattern, shape (patterns,); by default with a weight for each coordinate."""
    distance = np.sqrt(5 * (_mismatches(coordinates or len(parameters.weights)) @ parameters.weights))
    return np.asarray(parameters.variance * (1 + distance + distance**2 / 3) * np.exp(-distance))


def log_marginal_likelihood(
    logarithms: Array, patterns: npt.NDArray[np.uint8], targets: Array, coordinates: int | None = None
) -> tuple[float, Array]:
    """Log density of the targets and its gradient by the logarithms (Rasmussen and Williams, 5.8-5.9).

    `patterns` has the shape (n, n). Where rounding makes the covariance indefinite the density is
    given as -1e10, so that a line search steps back.
    """
    parameters = Hyperparameters.from_logarithms(logarithms)
    table = covariance_table(parameters, coordinates)
    n = len(targets)
    covariance = table[patterns]
    covariance.flat[:: n + 1] += parameters.noise
    factor, failed = lapack.dpotrf(covariance, lower=1, clean=1)
    if failed:
        return -1e10, np.zeros_like(logarithms)
    inverse, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    solved = inverse @ targets
    value = -0.5 * targets @ solved - np.log(np.diag(factor)).sum() - 0.5 * n * np.log(2 * np.pi)
    sensitivity = 0.5 * (np.outer(solved, solved) - inverse)
    by_pattern = np.bincount(patterns.ravel(), weights=sensitivity.ravel(), minlength=len(table))
    mismatches = _mismatches(coordinates or len(parameters.weights))
    distance = np.sqrt(5 * (mismatches @ parameters.weights))
    slope = -(5 / 6) * parameters.variance * (1 + distance) * np.exp(-distance)
    gradient = np.concatenate(
        [
            [by_pattern @ table],
            ((by_pattern * slope) @ mismatches) * parameters.weights,
            [parameters.noise * np.trace(sensitivity)],
        ]
    )
    return float(value), gradient
