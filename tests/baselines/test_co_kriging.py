"""The co-kriging model against independent float64 computations."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, one_hot_matrix
from nasbench_kd_baselines.models.co_kriging import (
    HIGH,
    LOW,
    CoKriging,
    Hyperparameters,
    distance_steps,
    log_marginal_likelihood,
    pair_groups,
)

PARAMETERS = Hyperparameters(
    rho=0.7,
    low_variance=1.3,
    low_length=4.0,
    low_noise=0.2,
    difference_variance=0.4,
    difference_length=7.0,
    high_noise=0.05,
)


def standardised():
    features = one_hot_matrix()
    return (features - features.mean(axis=0)) / features.std(axis=0)


def rbf(first, second, variance, length):
    squared = ((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=2)
    return variance * np.exp(-squared / (2 * length**2))


def covariance(parameters, cells, levels, others, other_levels):
    """The block matrix of the specification, entry by entry from the 30 standardised features."""
    features = standardised()
    low = rbf(features[cells], features[others], parameters.low_variance, parameters.low_length)
    gap = rbf(features[cells], features[others], parameters.difference_variance, parameters.difference_length)
    left = np.where(levels == HIGH, parameters.rho, 1.0)[:, None]
    right = np.where(other_levels == HIGH, parameters.rho, 1.0)[None, :]
    both_high = (levels[:, None] == HIGH) & (other_levels[None, :] == HIGH)
    return left * right * low + both_high * gap


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    cells = rng.choice(SPACE_SIZE, 30, replace=False)
    cells[25:] = cells[:5]
    levels = np.array([LOW] * 20 + [HIGH] * 10, dtype=np.int8)
    return cells, levels, rng.standard_normal(30)


def noisy(parameters, cells, levels):
    noise = np.where(levels == LOW, parameters.low_noise, parameters.high_noise)
    return covariance(parameters, cells, levels, cells, levels) + np.diag(noise + 1e-10)


def test_the_likelihood_is_that_of_the_joint_normal(data):
    cells, levels, targets = data
    codes = one_hot_matrix()[cells]
    distances = (6 - codes @ codes.T).astype(np.int8)
    groups = pair_groups(distances, levels, 6)
    value, gradient = log_marginal_likelihood(
        PARAMETERS.to_vector(), groups, levels, targets, distance_steps(SPACE)
    )
    expected = multivariate_normal(cov=noisy(PARAMETERS, cells, levels)).logpdf(targets)
    assert value == pytest.approx(expected, rel=1e-10)

    def likelihood(vector):
        return log_marginal_likelihood(vector, groups, levels, targets, distance_steps(SPACE))[0]

    assert gradient == pytest.approx(approx_fprime(PARAMETERS.to_vector(), likelihood, 1e-6), abs=1e-4)


@pytest.mark.parametrize("level", [LOW, HIGH])
def test_the_posterior_is_the_textbook_one_however_the_observations_arrive(data, level):
    cells, levels, targets = data
    cells, levels = list(cells), list(levels)
    order = [*range(15), *range(20, 26), *range(15, 20), *range(26, 30)]
    cells, levels = [cells[i] for i in order], [levels[i] for i in order]
    model = CoKriging(SPACE)
    model.hyperparameters = PARAMETERS
    for count in (3, 4, 21, 30):
        mean, deviation = model.predict(level, cells[:count], levels[:count], targets[:count])
    used = [i for i in range(30) if level == HIGH or levels[i] == LOW]
    chosen, chosen_levels = np.array(cells)[used], np.array(levels)[used]
    values = targets.copy()
    for one in (LOW, HIGH):
        at = np.array(levels) == one
        values[at] = (values[at] - values[at].mean()) / values[at].std()
    everywhere = np.arange(0, SPACE_SIZE, 97)
    across = covariance(PARAMETERS, everywhere, np.full(len(everywhere), level), chosen, chosen_levels)
    solved = np.linalg.solve(
        noisy(PARAMETERS, chosen, chosen_levels), np.column_stack((values[used], across.T))
    )
    own = targets[np.array(levels) == level]
    prior = PARAMETERS.low_variance
    if level == HIGH:
        prior = PARAMETERS.rho**2 * PARAMETERS.low_variance + PARAMETERS.difference_variance
    assert mean[everywhere] == pytest.approx(own.mean() + own.std() * (across @ solved[:, 0]), abs=1e-9)
    variance = prior - (across * solved[:, 1:].T).sum(axis=1)
    assert deviation[everywhere] == pytest.approx(own.std() * np.sqrt(variance), abs=1e-7)


def test_variance_reductions_are_what_one_more_observation_takes_off(data):
    cells, levels, targets = data
    model = CoKriging(SPACE)
    model.hyperparameters = PARAMETERS
    candidate = 777
    _, before = model.predict(HIGH, cells, levels, targets)
    by_low, by_high = model.variance_reductions(candidate)
    scale = targets[levels == HIGH].std()
    for level, expected in ((LOW, by_low), (HIGH, by_high)):
        more = CoKriging(SPACE)
        more.hyperparameters = PARAMETERS
        filler = targets[levels == level].mean()
        _, after = more.predict(HIGH, [*cells, candidate], [*levels, level], [*targets, filler])
        new_scale = np.append(targets, filler)[np.append(levels, level) == HIGH].std()
        removed = (before[candidate] / scale) ** 2 - (after[candidate] / new_scale) ** 2
        assert removed == pytest.approx(expected, rel=1e-6)


def test_the_fit_recovers_the_sign_and_size_of_rho():
    rng = np.random.default_rng(1)
    low_cells = rng.choice(SPACE_SIZE, 100, replace=False)
    cells = np.concatenate((low_cells, low_cells[:50]))
    levels = np.array([LOW] * 100 + [HIGH] * 50, dtype=np.int8)
    for rho in (0.9, -0.9):
        truth = Hyperparameters(
            rho=rho,
            low_variance=1.0,
            low_length=5.0,
            low_noise=0.01,
            difference_variance=0.01,
            difference_length=5.0,
            high_noise=0.01,
        )
        joint = noisy(truth, cells, levels)
        targets = np.linalg.cholesky(joint) @ rng.standard_normal(150)
        model = CoKriging(SPACE)
        model.fit(list(cells), list(levels), list(targets), rng)
        assert model.hyperparameters.rho == pytest.approx(rho, abs=0.1)


def test_rho_stays_at_its_prior_until_there_are_enough_high_points(data):
    cells, levels, targets = data
    model = CoKriging(SPACE, prior_rho=1.0, minimum_high=3)
    model.fit(list(cells[:22]), list(levels[:22]), list(targets[:22]), np.random.default_rng(0))
    assert model.hyperparameters.rho == 1.0
    model.fit(list(cells), list(levels), list(targets), np.random.default_rng(0))
    assert model.hyperparameters.rho != 1.0


def test_a_pickled_model_predicts_the_same(data):
    cells, levels, targets = data
    model = CoKriging(SPACE)
    model.fit(list(cells), list(levels), list(targets), np.random.default_rng(0))
    expected = model.predict(HIGH, cells, levels, targets)
    stored = pickle.dumps(model)
    assert len(stored) < 10_000
    again = pickle.loads(stored).predict(HIGH, cells, levels, targets)
    assert np.allclose(again, expected, rtol=0, atol=1e-10)


def test_a_fit_of_nothing_keeps_the_prior():
    model = CoKriging(SPACE)
    model.fit([], [], [], np.random.default_rng(0))
    mean, deviation = model.predict(HIGH, [], [], [])
    assert mean.tolist() == [0.0] * SPACE_SIZE
    assert deviation.min() == deviation.max() > 0
