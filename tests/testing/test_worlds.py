"""The dial of the KD worlds turns what it says."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.testing.worlds import FULL_SECONDS, kd_world

EVERY = np.arange(SPACE_SIZE)


def correlation(world, fidelity):
    """Spearman correlation of a fidelity with the full training over the space."""
    ranks = [
        np.argsort(np.argsort(world.evaluate_many(EVERY, name).valid_accuracy))
        for name in (fidelity, "none@200")
    ]
    return np.corrcoef(ranks)[0, 1]


@pytest.mark.parametrize("agreement", [1.0, 0.5, 0.0, -0.5, -1.0])
def test_the_dial_is_the_correlation(agreement):
    world = kd_world(agreement, noise=0.0)
    assert correlation(world, "nst@12") == pytest.approx(agreement, abs=0.06)
    assert correlation(world, "none@12") == pytest.approx(0.5, abs=0.06)


def test_noise_weakens_the_correlation_as_theory_says():
    noise = 0.5
    expected = 0.8 / (1 + noise**2)
    assert correlation(kd_world(0.8, noise=noise), "nst@12") == pytest.approx(expected, abs=0.06)


def test_prices_follow_the_ratio():
    world = kd_world(0.8, cost_ratio=0.1)
    assert world.mean_seconds("none@200") == pytest.approx(FULL_SECONDS, rel=0.01)
    assert world.mean_seconds("nst@12") / world.mean_seconds("none@200") == pytest.approx(0.1, rel=1e-6)
    assert world.mean_seconds("nst@12") / world.mean_seconds("none@12") == pytest.approx(1.3, rel=1e-6)


def test_the_same_seed_gives_the_same_world_and_another_a_different_one():
    first, again, other = kd_world(0.5, seed=3), kd_world(0.5, seed=3), kd_world(0.5, seed=4)
    assert first.table_versions == again.table_versions
    assert first.table_versions != other.table_versions


def test_accuracies_are_plausible_and_saturate():
    accuracies = kd_world(0.8).evaluate_many(EVERY, "none@200").valid_accuracy
    assert accuracies.min() >= 10
    assert 85 < np.median(accuracies) < 92
    assert accuracies.max() < 95


@pytest.mark.parametrize("name", ["agreement", "plain_agreement"])
def test_a_correlation_beyond_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is a correlation from -1 to 1, not 1.5"):
        kd_world(**{"agreement": 0.0, name: 1.5})
