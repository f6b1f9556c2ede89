"""ENAS: probabilities add up, policy gradients are those of the expected reward, a tiny search learns and resumes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from nasbench_kd.live.supernet import enas
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.live.supernet.enas import Controller, ControllerSearch, policy_loss
from nasbench_kd.live.supernet.supernet import seeded_supernet
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.training_seconds import FORWARD, seconds_per_image


@pytest.fixture
def small(monkeypatch) -> Controller:
    """A controller over two edges of three operations, with weights that tell them apart."""
    monkeypatch.setattr(enas, "EDGES", ((0, 1), (0, 2)))
    monkeypatch.setattr(enas, "OPERATIONS", ("a", "b", "c"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        controller = Controller(width=4, temperature=0.3)
    for each in controller.parameters():
        each.data *= 5
    return controller.double()


ALL = list(itertools.product(range(3), repeat=2))


def test_probabilities_are_of_a_distribution_and_draws_follow_it(small):
    exact = np.array([float(small.log_probability(codes).detach().exp()) for codes in ALL])
    assert exact.sum() == pytest.approx(1)
    assert exact.max() > 2 * exact.min()
    generator = torch.Generator().manual_seed(0)
    drawn = [small.draw(generator) for _ in range(600)]
    shares = np.array([np.mean([codes == each for codes, _, _ in drawn]) for each in ALL])
    assert np.abs(shares - exact).max() < 0.06
    codes, logarithm, entropy = drawn[0]
    assert float(logarithm.detach()) == pytest.approx(float(small.log_probability(codes).detach()))
    assert 0 < float(entropy.detach()) < 2 * np.log(3)


def test_the_policy_gradient_is_that_of_the_expected_reward(small):
    """Summed over all draws with their probabilities; a baseline changes nothing."""
    rewards = dict(zip(ALL, [0.1, 0.9, 0.4, 0.3, 0.2, 0.8, 0.5, 0.6, 0.7], strict=True))
    parameters = list(small.parameters())
    expected = sum(small.log_probability(codes).exp() * rewards[codes] for codes in ALL)
    exact = torch.autograd.grad(expected, parameters)
    losses = [
        small.log_probability(codes).detach().exp()
        * policy_loss(small.log_probability(codes), rewards[codes] - 0.35, torch.zeros(()))
        for codes in ALL
    ]
    found = torch.autograd.grad(sum(losses), parameters)
    for each, other in zip(found, exact, strict=True):
        assert torch.allclose(-each, other, atol=1e-10)
    entropy = torch.tensor(1.5, requires_grad=True)
    policy_loss(torch.zeros(()), 0.0, entropy).backward()
    assert float(entropy.grad) == pytest.approx(-1e-4)  # minus its weight: entropy is a bonus


def start(halves) -> ControllerSearch:
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    return ControllerSearch(supernet, *halves, epochs=3, seed=2, batch=32, updates=2, draws=3)


def test_it_learns_resumes_and_bills_its_passes(halves):
    whole = start(halves)
    before = [value.detach().clone() for value in whole.controller.parameters()]
    losses = [whole.run_epoch() for _ in range(3)]
    assert any((value != old).any() for value, old in zip(whole.controller.parameters(), before, strict=True))
    first, second = start(halves), start(halves)
    first.run_epoch()
    second.restore(first.state())
    assert [second.run_epoch() for _ in range(2)] == losses[1:]
    assert (second.rewards, second.baseline) == (whole.rewards, whole.baseline)
    assert second.passes.seconds == whole.passes.seconds
    cheapest, dearest = ((192 + 18 * 32 * FORWARD) * seconds_per_image((code,) * 6, 1) for code in (1, 3))
    assert cheapest < whole.passes.seconds < dearest
    assert 0.2 < whole.baseline < 1


def test_a_dead_draw_is_rewarded_as_a_guess_without_a_pass(halves):
    search = start(halves)
    assert search._reward((0,) * 6) == 0.25
    assert search.passes.seconds == 0
    assert search._reward(Cell.from_index(9930).codes) > 0
    assert search.passes.seconds == pytest.approx(
        32 * FORWARD * seconds_per_image(Cell.from_index(9930).codes, 1)
    )
    assert all(path_edges(codes) for (codes,) in (search._draw_live(search._generator) for _ in range(10)))


def test_rewards_teach_the_controller(halves, monkeypatch):
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    search = ControllerSearch(supernet, *halves, epochs=2, seed=2, batch=32, updates=15, draws=6)
    monkeypatch.setattr(search, "_reward", lambda codes: codes.count(3) / 6)
    monkeypatch.setattr(search._training, "step", lambda: 0.0)
    for group in search._adam.param_groups:
        group["lr"] = 0.02
    for _ in range(2):
        search.run_epoch()
    assert search.rewards[-1] > search.rewards[0] + 0.1


def test_rewards_are_of_a_batch_for_scoring_not_of_one_for_training(halves):
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    search = ControllerSearch(supernet, halves[1], halves[0], epochs=1, seed=2, batch=16)
    search._reward(Cell.from_index(9930).codes)
    assert search.passes.forward == 64  # all that there are of 512
