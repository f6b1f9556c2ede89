"""Two-level autoregressive co-kriging over the whole cell space, extended one observation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs, dtrtri
from scipy.optimize import minimize

from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd_baselines.models.grid_sums import kernel_sums

Floats = npt.NDArray[np.float64]
LOW, HIGH = 0, 1
VARIANCE_BOUNDS = (1e-3, 1e2)
LENGTH_BOUNDS = (0.8, 1e2)
"""Shorter lengths than 0.8 leave cells one coordinate apart uncorrelated (below 1e-4): all white noise."""
_JITTER = 1e-10


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """f_high = rho f_low + d; each process is a constant times an RBF, and each level has white noise.

    The values are those of targets standardised level by level.
    """

    rho: float = 1.0
    low_variance: float = 1.0
    low_length: float = 5.0
    low_noise: float = 0.1
    difference_variance: float = 0.3
    difference_length: float = 5.0
    high_noise: float = 0.1

    def to_vector(self) -> Floats:
        """Rho and the logarithms of the other six, shape (7,)."""
        low = (self.low_variance, self.low_length, self.low_noise)
        high = (self.difference_variance, self.difference_length, self.high_noise)
        return np.concatenate(([self.rho], np.log((*low, *high))))

    @staticmethod
    def from_vector(vector: Floats) -> Hyperparameters:
        """Inverse of `to_vector`."""
        return Hyperparameters(float(vector[0]), *(float(value) for value in np.exp(vector[1:])))


def distance_steps(space: SearchSpace) -> Floats:
    """Half the squared distances of standardised one-hot codes at the Hamming distances 0, 1, ..., (coordinates + 1,).

    One differing coordinate adds 2 / (s (1 - s)), where s is the share of ones among the codes: 12.5 with the five
    operations of NAS-Bench-201.
    """
    share = len(space.choices) / sum(map(len, space.choices))
    return np.asarray(np.arange(len(space.choices) + 1) * (1 / (share * (1 - share))))


def pair_groups(
    distances: npt.NDArray[np.int8], levels: npt.NDArray[np.int8], coordinates: int
) -> npt.NDArray[np.intp]:
    """Which of 3 x (coordinates + 1) values the covariance of each pair has: by how many are high, and their distance.

    `distances` are the (n, n) Hamming distances of the cells, `levels` has the shape (n,).
    """
    highs = levels[:, None].astype(np.intp) + levels[None, :]
    return highs * (coordinates + 1) + distances


def log_marginal_likelihood(
    vector: Floats,
    groups: npt.NDArray[np.intp],
    levels: npt.NDArray[np.int8],
    targets: Floats,
    steps: Floats,
) -> tuple[float, Floats]:
    """Joint log marginal likelihood of both levels and its gradient, shape (7,).

    `vector` is `Hyperparameters.to_vector()`, `groups` is `pair_groups()`, `steps` is `distance_steps()`,
    `levels` and `targets` have the shape (n,). Kennedy and O'Hagan, Biometrika 2000. A covariance that is not
    positive definite gives -inf and a zero gradient.
    """
    rho, (low_variance, low_length, low_noise, gap_variance, gap_length, high_noise) = (
        vector[0],
        np.exp(vector[1:]),
    )
    low = low_variance * np.exp(-steps / low_length**2)
    gap = gap_variance * np.exp(-steps / gap_length**2)
    # The transpose of a symmetric matrix is itself, in the order of LAPACK: factorized in place.
    covariance = np.concatenate((low, rho * low, rho**2 * low + gap))[groups].T
    diagonal = np.arange(len(targets))
    covariance[diagonal, diagonal] += np.where(levels == LOW, low_noise, high_noise) + _JITTER
    factor, failed = dpotrf(covariance, lower=1, overwrite_a=1)
    if failed:
        return -np.inf, np.zeros_like(vector)
    log_root_determinant = np.log(factor[diagonal, diagonal]).sum()
    weights, _ = dpotrs(factor, targets, lower=1)
    likelihood = -0.5 * targets @ weights - log_root_determinant - 0.5 * len(targets) * np.log(2 * np.pi)
    # Half of w w' - K^-1, of which LAPACK gives the lower triangle: counted twice, and its diagonal once.
    inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
    inverse[diagonal, diagonal] /= 2
    slope = np.multiply.outer(0.5 * weights, weights) - inverse.T
    sums = np.bincount(groups.ravel(), slope.ravel(), minlength=3 * len(steps)).reshape(3, -1)
    on_diagonal = slope[diagonal, diagonal]
    by_low = sums[0] + rho * sums[1] + rho**2 * sums[2]
    gradient = np.array(
        [
            (sums[1] + 2 * rho * sums[2]) @ low,
            by_low @ low,
            by_low @ (low * 2 * steps) / low_length**2,
            low_noise * on_diagonal[levels == LOW].sum(),
            sums[2] @ gap,
            sums[2] @ (gap * 2 * steps) / gap_length**2,
            high_noise * on_diagonal[levels == HIGH].sum(),
        ]
    )
    return float(likelihood), gradient


class CoKriging:
    """Co-kriging of two fidelities with one isotropic RBF each on standardised one-hot codes.

    Follows the specification of MF-KD's released model (Trofimov et al., IEEE Access 2023; its
    `MF-ASC` code): joint marginal likelihood, L-BFGS-B from the last optimum and `restarts` random
    points, rho in `rho_bounds`. Three things differ on purpose. The gradient is exact. Each level's
    targets are standardised (mean and standard deviation), so that rho reads as a correlation.
    Standard deviations are those of the latent function: they fall where a cell is known.

    With fewer than `minimum_high` high-fidelity targets, rho is not fitted but `prior_rho`, as in
    the released code. A fit looks at `fit_limit` observations of each level at most, drawn at
    random, because it costs their third power; the posterior always uses all. What is fitted (rho
    and logarithms) is rounded to 0.001, so that the last bits of a machine's arithmetic do not lead
    a search astray.
    """

    def __init__(
        self,
        space: SearchSpace,
        restarts: int = 3,
        prior_rho: float = 1.0,
        rho_bounds: tuple[float, float] = (-1.0, 1.0),
        minimum_high: int = 3,
        fit_limit: int = 150,
    ) -> None:
        self.space = space
        self.restarts = restarts
        self.prior_rho = prior_rho
        self.rho_bounds = rho_bounds
        self.minimum_high = minimum_high
        self.fit_limit = fit_limit
        self.hyperparameters = Hyperparameters(rho=prior_rho)
        self.posteriors = (_Posterior(LOW, self.space), _Posterior(HIGH, self.space))

    def fit(
        self, cells: Sequence[int], levels: Sequence[int], targets: Sequence[float], rng: np.random.Generator
    ) -> None:
        """Maximise the marginal likelihood; cells are indices, targets in the unit of the evaluations."""
        level = np.asarray(levels, dtype=np.int8)
        standard, _ = _standardise(level, np.asarray(targets, dtype=float))
        kept = np.concatenate([self._sample(np.flatnonzero(level == one), rng) for one in (LOW, HIGH)])
        if not len(kept):
            return
        codes = self.space.codes[np.asarray(cells)[kept]]
        distances = (codes[:, None, :] != codes[None, :, :]).sum(axis=2, dtype=np.int8)
        level, standard = level[kept], standard[kept]
        groups = pair_groups(distances, level, codes.shape[1])
        steps = distance_steps(self.space)
        free_rho = np.count_nonzero(level == HIGH) >= self.minimum_high and (level == LOW).any()
        rho_range = self.rho_bounds if free_rho else (self.prior_rho, self.prior_rho)
        variance = tuple(np.log(VARIANCE_BOUNDS))
        length = tuple(np.log(LENGTH_BOUNDS))
        bounds = [rho_range, variance, length, variance, variance, length, variance]
        lower, upper = np.array(bounds, dtype=float).T

        def objective(vector: Floats) -> tuple[float, Floats]:
            likelihood, gradient = log_marginal_likelihood(vector, groups, level, standard, steps)
            return (-likelihood, -gradient) if np.isfinite(likelihood) else (1e10, gradient)

        options = {"maxiter": 40, "ftol": 1e-6}
        starts = [np.clip(self.hyperparameters.to_vector(), lower, upper)]
        starts += [rng.uniform(lower, upper) for _ in range(self.restarts)]
        results = [
            minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
            for start in starts
        ]
        best = min(results, key=lambda result: float(result.fun))
        self.hyperparameters = Hyperparameters.from_vector(np.round(best.x, 3))
        self.posteriors = (_Posterior(LOW, self.space), _Posterior(HIGH, self.space))

    def predict(
        self, level: int, cells: Sequence[int], levels: Sequence[int], targets: Sequence[float]
    ) -> tuple[Floats, Floats]:
        """Mean and latent standard deviation of a level over the whole space, each (n,).

        The low level rests on the low observations alone, the high level on all. Observations of
        earlier calls must come again, in the same order, followed by the new ones; targets may
        have changed.
        """
        level_array = np.asarray(levels, dtype=np.int8)
        standard, scales = _standardise(level_array, np.asarray(targets, dtype=float))
        used = np.flatnonzero(level_array <= level)
        posterior = self.posteriors[level]
        posterior.extend(self.hyperparameters, np.asarray(cells)[used], level_array[used])
        mean, deviation = posterior.predict(standard[used])
        centre, scale = scales[level]
        return centre + scale * mean, scale * deviation

    def variance_reductions(self, cell: int) -> tuple[float, float]:
        """How much one more evaluation of a cell at the low and at the high level would take off
        the variance of its high level, given the observations of the last `predict(HIGH, ...)`.
        """
        parameters, posterior = self.hyperparameters, self.posteriors[HIGH]
        low, gap = _by_distance(parameters, self.space)
        place, levels = np.array([cell, cell]), np.array([LOW, HIGH], dtype=np.int8)
        across = _covariance(parameters, self.space, posterior.cells, posterior.levels, place, levels)
        row, high_row = (posterior.inverse @ across).T
        low_variance = max(low[0] - row @ row, 0.0) + parameters.low_noise
        shared = parameters.rho * low[0] - row @ high_row
        high_variance = max(parameters.rho**2 * low[0] + gap[0] - high_row @ high_row, 0.0)
        return float(shared**2 / low_variance), high_variance**2 / (high_variance + parameters.high_noise)

    def _sample(self, rows: npt.NDArray[np.intp], rng: np.random.Generator) -> npt.NDArray[np.intp]:
        if len(rows) <= self.fit_limit:
            return rows
        return np.sort(rng.choice(rows, self.fit_limit, replace=False))


class _Posterior:
    """Posterior of one level over all cells; a new observation costs a few sums over the space (`kernel_sums`)."""

    def __init__(self, level: int, space: SearchSpace) -> None:
        self.level = level
        self.space = space
        self.parameters = Hyperparameters()
        self.cells = np.empty(0, dtype=np.intp)
        self.levels = np.empty(0, dtype=np.int8)
        self.inverse = np.empty((0, 0))
        """Of the Cholesky factor of the observations' covariance, (n, n)."""
        self.explained = np.zeros(len(space))

    def __getstate__(self) -> dict[str, object]:
        """Leave the arrays out: they follow from the observations."""
        return {"level": self.level, "space": self.space}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def extend(
        self, parameters: Hyperparameters, cells: npt.NDArray[np.intp], levels: npt.NDArray[np.int8]
    ) -> None:
        """Condition on the observations that are not yet in."""
        self.parameters = parameters
        known = len(self.cells)
        if known == len(cells):
            return
        new_cells, new_levels = cells[known:], levels[known:]
        within = _covariance(parameters, self.space, new_cells, new_levels, new_cells, new_levels)
        noise = np.where(new_levels == LOW, parameters.low_noise, parameters.high_noise) + _JITTER
        within[np.diag_indices_from(within)] += noise
        across = _covariance(parameters, self.space, self.cells, self.levels, new_cells, new_levels)
        mixed = self.inverse @ across
        corner, _ = dtrtri(np.linalg.cholesky(within - mixed.T @ mixed), lower=1)
        added = np.concatenate((-corner @ (mixed.T @ self.inverse), corner), axis=1)
        self.inverse = np.concatenate((np.pad(self.inverse, ((0, 0), (0, len(corner)))), added))
        self.cells, self.levels = cells, levels
        for row in added:
            self.explained += self._sums(row) ** 2

    def predict(self, targets: Floats) -> tuple[Floats, Floats]:
        """Mean and latent standard deviation over the space, standardised."""
        low, gap = _by_distance(self.parameters, self.space)
        prior = low[0] if self.level == LOW else self.parameters.rho**2 * low[0] + gap[0]
        deviation = np.sqrt(np.maximum(prior - self.explained, 0.0))
        return self._sums(self.inverse.T @ (self.inverse @ targets)), deviation

    def _sums(self, weights: Floats) -> Floats:
        """Sums over observations of weights times their covariance with this level of every cell, (n,)."""
        parameters, step = self.parameters, distance_steps(self.space)[1]
        rhos = np.where(self.levels == LOW, 1.0, parameters.rho)
        factor = parameters.low_variance * (1.0 if self.level == LOW else parameters.rho)
        ratio = float(np.exp(-step / parameters.low_length**2))
        sums = factor * kernel_sums(self.space, self.cells, weights * rhos, ratio)
        if self.level == HIGH:
            high = np.flatnonzero(self.levels == HIGH)
            ratio = float(np.exp(-step / parameters.difference_length**2))
            gap = kernel_sums(self.space, self.cells[high], weights[high], ratio)
            sums += parameters.difference_variance * gap
        return sums


def _by_distance(parameters: Hyperparameters, space: SearchSpace) -> tuple[Floats, Floats]:
    """Kernel values of the low process and of the difference at every Hamming distance."""
    steps = distance_steps(space)
    low = parameters.low_variance * np.exp(-steps / parameters.low_length**2)
    return low, parameters.difference_variance * np.exp(-steps / parameters.difference_length**2)


def _covariance(
    parameters: Hyperparameters,
    space: SearchSpace,
    cells: npt.NDArray[np.intp],
    levels: npt.NDArray[np.int8],
    others: npt.NDArray[np.intp],
    other_levels: npt.NDArray[np.int8],
) -> Floats:
    """Covariance of the latent functions at (cell, level) pairs, shape (len(cells), len(others))."""
    low, gap = _by_distance(parameters, space)
    codes, other_codes = space.codes[cells], space.codes[others]
    groups = (codes[:, None, :] != other_codes[None, :, :]).sum(axis=2, dtype=np.int8)
    groups += (levels[:, None] + other_levels[None, :]) * np.int8(len(space.choices) + 1)
    return np.asarray(np.concatenate((low, parameters.rho * low, parameters.rho**2 * low + gap))[groups])


def _standardise(
    levels: npt.NDArray[np.int8], targets: Floats
) -> tuple[Floats, tuple[tuple[float, float], tuple[float, float]]]:
    """Targets with mean 0 and deviation 1 in each level, and the (mean, deviation) of both levels."""
    standard = np.empty_like(targets)
    scales = []
    for level in (LOW, HIGH):
        chosen = levels == level
        values = targets[chosen]
        centre = float(values.mean()) if len(values) else 0.0
        scale = (float(values.std()) if len(values) > 1 else 0.0) or 1.0
        standard[chosen] = (values - centre) / scale
        scales.append((centre, scale))
    return standard, (scales[0], scales[1])
