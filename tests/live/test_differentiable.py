"""Gradients through weights against autograd and closed forms; relaxations by hand; searches that learn and resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasbench_kd.errors import UnknownNameError
from nasbench_kd.live.methods import searches
from nasbench_kd.live.supernet.differentiable import METHODS, DifferentiableSearch
from nasbench_kd.live.supernet.gradients import first_order, implicit, unrolled
from nasbench_kd.live.supernet.passes import Passes
from nasbench_kd.live.supernet.relaxations import (
    dirichlet,
    gumbel,
    project_to_bound,
    strongest,
    temperature_at,
)
from nasbench_kd.live.supernet.supernet import seeded_supernet
from nasbench_kd.spaces.training_seconds import joint_seconds_per_image


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network_loss(inputs: torch.Tensor, targets: torch.Tensor):
    """Two layers whose hidden units are gated by alphas."""

    def loss(weights, alphas):
        hidden = torch.tanh(inputs @ weights[0]) * alphas.softmax(0)
        return ((hidden @ weights[1] - targets) ** 2).mean()

    return loss


def test_the_unrolled_gradient_is_that_of_autograd():
    train, valid = (
        network_loss(seeded(20, 4), seeded(20, 2, seed=1)),
        network_loss(seeded(15, 4, seed=2), seeded(15, 2, seed=3)),
    )
    weights = [seeded(4, 5, seed=4).requires_grad_(), seeded(5, 2, seed=5).requires_grad_()]
    momenta = [0.1 * seeded(4, 5, seed=6), 0.1 * seeded(5, 2, seed=7)]
    alphas = seeded(5, seed=8).requires_grad_()
    rate, decay = 0.05, 3e-3
    gradients = torch.autograd.grad(train(weights, alphas), weights, create_graph=True)
    stepped = [
        weight - rate * (gradient + momentum + decay * weight)
        for weight, gradient, momentum in zip(weights, gradients, momenta, strict=True)
    ]
    (exact,) = torch.autograd.grad(valid(stepped, alphas), alphas)
    found = unrolled(train, valid, weights, alphas, rate=rate, weight_decay=decay, momenta=momenta)
    assert torch.allclose(found, exact, rtol=1e-3, atol=1e-7)
    assert not torch.allclose(first_order(valid, weights, alphas), exact, rtol=1e-2)


def test_the_implicit_gradient_tends_to_the_closed_form_of_a_bilevel_problem():
    """Inner problem 1/2 w'Hw - w'Ba, so that w* = H^-1 B a; outer loss 1/2 |w - c|^2: gradient B' H^-1 (w* - c)."""
    root = seeded(4, 4)
    hessian = root @ root.T / 4 + torch.eye(4, dtype=torch.float64)
    mixing, target = seeded(4, 3, seed=1), seeded(4, seed=2)
    alphas = seeded(3, seed=3).requires_grad_()
    optimum = torch.linalg.solve(hessian, mixing @ alphas.detach()).requires_grad_()

    def train(weights, parameters):
        (w,) = weights
        return 0.5 * w @ hessian @ w - w @ (mixing @ parameters)

    def valid(weights, parameters):
        return 0.5 * (weights[0] - target).square().sum() + 0 * parameters.sum()

    exact = mixing.T @ torch.linalg.solve(hessian, optimum.detach() - target)
    rate = 0.5 / float(torch.linalg.eigvalsh(hessian).max())
    errors = [
        float((implicit(train, valid, [optimum], alphas, rate=rate, terms=terms) - exact).norm())
        for terms in (0, 2, 10, 200)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6 * float(exact.norm()) + 1e-8


def test_gumbel_samples_follow_the_softmax_and_pass_its_gradient():
    alphas = torch.tensor([[1.0, 0.0, -1.0, 0.5, 0.0]] * 6, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([gumbel(alphas, 1.0, generator).detach() for _ in range(1500)])
    assert torch.allclose(drawn.sum(2), torch.ones(1500, 6, dtype=torch.float64))
    np.testing.assert_allclose(drawn.mean((0, 1)), alphas[0].detach().softmax(0), atol=0.02)
    replay = torch.Generator().manual_seed(5)
    noise = -torch.empty(6, 5, dtype=torch.float64).exponential_(generator=replay).log()
    soft = ((alphas.log_softmax(1) + noise) / 2.0).softmax(1)
    weights = seeded(6, 5, seed=1)
    (expected,) = torch.autograd.grad((soft * weights).sum(), alphas)
    sample = gumbel(alphas, 2.0, torch.Generator().manual_seed(5))
    assert torch.equal(sample.detach().argmax(1), soft.argmax(1))
    (found,) = torch.autograd.grad((sample * weights).sum(), alphas)
    assert torch.allclose(found, expected)
    assert [temperature_at(share) for share in (0, 0.5, 1)] == pytest.approx([10, 5.05, 0.1])


def test_dirichlet_draws_have_their_mean_and_a_gradient():
    alphas = seeded(6, 5).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = torch.stack([dirichlet(alphas) for _ in range(3000)])
    concentration = torch.nn.functional.elu(alphas.detach()) + 1
    np.testing.assert_allclose(
        draws.detach().mean(0), concentration / concentration.sum(1, keepdim=True), atol=0.03
    )
    (gradient,) = torch.autograd.grad(draws[:, 0, 0].mean(), alphas)
    assert float(gradient[0, 0]) > 0 > float(gradient[0, 1:].max())
    assert float(gradient[1:].abs().max()) == 0


def test_a_projection_holds_the_bound_and_leaves_what_holds_it():
    alphas, costs = seeded(6, 5), torch.tensor([[0.0, 0.0, 1.7, 2.3, 0.8]] * 6, dtype=torch.float64)

    def cost(values: torch.Tensor) -> float:
        return float((values.softmax(1) * costs).sum())

    assert torch.equal(project_to_bound(alphas, costs, cost(alphas) + 0.1), alphas)
    assert cost(project_to_bound(alphas, costs, 2.0)) <= 2.0 < cost(alphas)
    assert strongest(torch.eye(5)[[3, 3, 3, 1, 3, 3]]).index == 9930


@pytest.mark.parametrize("method", METHODS)
def test_a_search_learns_resumes_and_bills_its_passes(halves, method: str):
    def start() -> DifferentiableSearch:
        supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
        return DifferentiableSearch(method, supernet, *halves, epochs=2, seed=2, batch=32, bound=6.0)

    whole = start()
    before = whole.alphas.detach().clone()
    losses = [whole.run_epoch() for _ in range(2)]
    assert losses[-1] < losses[0]
    assert (whole.alphas.detach() != before).any()
    first, second = start(), start()
    first.run_epoch()
    second.restore(first.state())
    assert second.run_epoch() == losses[1]
    assert torch.equal(second.alphas, whole.alphas)
    assert second.answer() == whole.answer()
    assert second.passes.state() == whole.passes.state()
    passes = {"darts-v1": 2, "darts-v2": 5, "drnas": 2, "rc-darts": 2}
    passes["idarts"] = (
        4 + 1 + 4 + 2
    )  # weights, validation gradient, two Hessian products, two finite differences
    if method == "gdas":
        assert 0 < whole.passes.seconds < 2 * 128 * joint_seconds_per_image(1)
    else:
        assert whole.passes.seconds == pytest.approx(passes[method] * 128 * joint_seconds_per_image(1))


@pytest.mark.parametrize(
    ("method", "order", "worked_example"),
    [
        ("darts-v1", "wa", 3146),
        ("darts-v2", "aw", 7864),
        ("gdas", "wa", None),
        ("drnas", "aw", 2 * 3146),
        ("idarts", "wwwwa", 10_400),
        ("rc-darts", "aw", 3146),
    ],
)
def test_steps_come_in_the_published_order_at_the_published_count(
    halves, monkeypatch, method: str, order: str, worked_example: float | None
):
    """The worked examples are seconds on the table's clock of the published epochs over 25,000 images."""
    search = DifferentiableSearch(
        method,
        seeded_supernet(4, seed=1, channels=4, cells_per_stage=1),
        *halves,
        epochs=2,
        seed=2,
        batch=32,
        bound=6.0,
    )
    search.passes = Passes(5)  # five cells a stage cost what is billed; one is quick
    taken = []
    for letter, name in (("w", "_step_weights"), ("a", "_step_alphas")):
        plain = getattr(search, name)

        def noted(*arguments, letter=letter, plain=plain):
            taken.append(letter)
            return plain(*arguments)

        monkeypatch.setattr(search, name, noted)
    search.step()
    assert "".join(taken) == order
    if worked_example is None:
        assert search.passes.single == 2 * 32
        assert search.passes.joint == 0
    else:
        billed = search.passes.seconds / 32 * 25_000 * searches()[method]
        assert billed == pytest.approx(worked_example, rel=3e-3)


def test_weights_learn_by_the_published_constants(halves):
    found = {}
    for method in METHODS:
        supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
        search = DifferentiableSearch(method, supernet, *halves, epochs=2, seed=2, batch=32, bound=6.0)
        (group,) = search._weights.param_groups
        search.steps = 1  # of two in an epoch
        found[method] = (round(search._set_rate(), 5), group["weight_decay"], group["nesterov"])
        assert group["lr"] == search._set_rate()
    quarter = round(0.001 + 0.024 / 2 * (1 + np.cos(np.pi / 4)), 5)
    assert found["gdas"] == found["darts-v1"] == found["darts-v2"] == (quarter, 5e-4, True)
    assert found["drnas"] == (0.025, 3e-4, False)  # its rate stays for an epoch
    assert found["idarts"] == (round(0.001 + 0.009 / 2 * (1 + np.cos(np.pi / 4)), 5), 5e-4, True)


def test_a_bound_that_binds_is_held_after_every_step(halves):
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    search = DifferentiableSearch("rc-darts", supernet, *halves, epochs=1, seed=2, batch=32, bound=3.0)

    def cost() -> float:
        return float((search.alphas.detach().softmax(1) * search._costs).sum())

    assert cost() > 5
    search.step()
    assert 2.9 < cost() <= 3.0


def test_an_unknown_method_is_named(halves):
    with pytest.raises(UnknownNameError, match="Did you mean 'darts-v"):
        DifferentiableSearch("darts-v", seeded_supernet(4, seed=1), *halves, epochs=1, seed=1)
