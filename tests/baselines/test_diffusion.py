"""The diffusion behind DiffusionNAG: its score, its predictor and its samples against known answers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.spaces.nasbench201 import SPACE
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd_baselines.diffusion_nag import DiffusionNAG, DiffusionNAGArgmax
from nasbench_kd_baselines.models.diffusion import NoisedRegression, sample, score, states

GRID = SearchSpace("grid", {"a": ("1", "2", "3"), "b": ("x", "y")})
SPARSE = SearchSpace("sparse", {"a": ("1", "2", "3"), "b": ("x", "y")}, [(0, 0), (1, 1), (2, 0)])


def log_density(space, place, deviation):
    """Of the mixture of normal distributions around all architectures, up to a constant, term by term."""
    distances = ((states(space) - place) ** 2).sum(axis=1)
    return np.log(np.exp(-distances / (2 * deviation**2)).sum())


@pytest.mark.parametrize("space", [GRID, SPARSE])
@pytest.mark.parametrize("deviation", [0.5, 2.0])
def test_the_score_is_the_gradient_of_the_log_density(space, deviation):
    place = np.random.default_rng(0).normal(size=5)
    found = score(space, place[None], deviation)[0]
    for coordinate, direction in enumerate(np.eye(5) * 1e-5):
        ahead, behind = (log_density(space, place + sign * direction, deviation) for sign in (1, -1))
        assert found[coordinate] == pytest.approx((ahead - behind) / 2e-5, abs=1e-5)


def test_without_guidance_samples_are_uniform_and_guidance_moves_them():
    rng = np.random.default_rng(0)
    drawn = sample(GRID, 3000, rng, steps=60)
    assert np.bincount(drawn, minlength=6) == pytest.approx(np.full(6, 500), abs=90)
    towards = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    guided = sample(GRID, 300, rng, steps=60, scale=5.0, guidance=lambda noised, _: towards + 0 * noised)
    assert (GRID.codes[guided, 0] == 2).mean() > 0.9
    assert 0.3 < (GRID.codes[guided, 1] == 0).mean() < 0.7


def test_the_predictor_learns_and_its_gradient_is_that_of_its_prediction():
    rng = np.random.default_rng(1)
    clean = states(SPACE)
    values = clean[:, [3, 8]].sum(axis=1) / 2
    predictor = NoisedRegression(clean.shape[1], rng, width=32)
    predictor.fit(clean[:200], values[:200], rng, steps=400)
    assert np.corrcoef(predictor.predict(clean[200:], 0.1), values[200:])[0, 1] > 0.9
    place = rng.normal(size=(1, 30))
    slope = predictor.gradient(place, 0.7)[0]
    for coordinate, direction in enumerate(np.eye(30) * 1e-5):
        ahead, behind = (predictor.predict(place + sign * direction, 0.7) for sign in (1, -1))
        assert slope[coordinate] == pytest.approx(float(ahead[0] - behind[0]) / 2e-5, abs=1e-6)


def test_generated_cells_are_better_than_random_ones_and_no_better_than_those_of_the_control():
    runs = {}
    for make in (partial(DiffusionNAG, steps=60, samples=128), DiffusionNAGArgmax):
        run = nk.search(make(cells=100, training_steps=600), "cifar100", "121 evaluations", seed=0)
        read = [step for step in run.steps if step.fidelity == "none@12"]
        assert len({step.cell for step in read}) == 120
        runs[make] = np.array([step.valid_accuracy for step in read])
    generated, control = runs.values()
    assert (generated[:100] == control[:100]).all()
    for accuracies in (generated, control):
        assert accuracies[100:].mean() > np.quantile(accuracies[:100], 0.8)
