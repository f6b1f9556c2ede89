"""Mixtures of teachers: weights of minimal gradient by closed forms, and scores by plain passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from nasbench_kd.live.block_wise import (
    SquaredError,
    StageTraining,
    TeacherMaps,
    exact_errors,
    seeded_stages,
)
from nasbench_kd.live.several_teachers import (
    NearestMixture,
    align_channels,
    min_norm_weights,
    mixture_errors,
)
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.spaces.nasbench201 import all_cells


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_weights_of_two_are_the_closed_form():
    vectors = seeded(200, 2, 3) + torch.tensor([1.0, 0.0, 0.5])
    first, second = vectors[:, 0], vectors[:, 1]
    share = ((second - first) * second).sum(1) / (first - second).square().sum(1)
    found = min_norm_weights(vectors @ vectors.mT, iterations=1)
    assert torch.allclose(found[:, 0], share.clamp(0, 1), atol=1e-12)
    assert 0 < float((share.clamp(0, 1) == share).double().mean()) < 1  # inside and at the ends


def test_the_weights_of_three_are_those_of_a_general_solver():
    for seed in range(8):
        vectors = seeded(3, 4, seed=seed) + 0.7
        gram = vectors @ vectors.T
        weights = min_norm_weights(gram)
        assert float(weights.min()) >= 0
        assert float(weights.sum()) == pytest.approx(1)
        solved = minimize(
            lambda w, gram: w @ gram @ w,
            np.full(3, 1 / 3),
            args=(gram.numpy(),),
            bounds=[(0, 1)] * 3,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        assert float(weights @ gram @ weights) == pytest.approx(solved.fun, rel=1e-6, abs=1e-9)


def test_a_teacher_that_equals_the_student_has_all_the_weight_and_singular_problems_end():
    student = seeded(2, 3, 4, 4)
    gradients = torch.stack([student - seeded(2, 3, 4, 4, seed=1), 0 * student, student]).flatten(1)
    assert min_norm_weights(gradients @ gradients.T).tolist() == [0, 1, 0]
    same = torch.ones(3, 3, dtype=torch.float64)
    assert float(min_norm_weights(same).sum()) == 1
    assert torch.isfinite(min_norm_weights(torch.zeros(3, 3))).all()


def test_the_loss_is_the_distance_to_the_nearest_mixture_and_its_gradient_too():
    targets = [seeded(5, 2, 3, 3, seed=seed) for seed in range(3)]
    rows = torch.tensor([4, 1])
    output = seeded(2, 2, 3, 3, seed=9).requires_grad_()
    objective = NearestMixture(targets).double()
    loss = objective(output, rows)
    shares = torch.cartesian_prod(*[torch.linspace(0, 1, 41, dtype=torch.float64)] * 2)
    shares = shares[shares.sum(1) <= 1]
    mixtures = sum(
        share[:, None, None, None, None] * target[rows]
        for share, target in zip((*shares.T, 1 - shares.sum(1)), targets, strict=True)
    )
    nearest = float((output.detach() - mixtures).square().mean((1, 2, 3, 4)).min())
    assert nearest >= float(loss.detach()) == pytest.approx(nearest, rel=1e-3)
    (gradient,) = torch.autograd.grad(loss, output)
    mixture = sum(w * target[rows] for w, target in zip(objective.mean_weights, targets, strict=True))
    assert torch.allclose(gradient, 2 * (output.detach() - mixture) / output.numel())
    alone = NearestMixture(targets[:1]).double()
    assert float(alone(output, rows).detach()) == float(SquaredError(targets[0])(output, rows).detach())


def test_channels_are_put_where_they_correlate():
    first = [seeded(6, channels, 4, 4, seed=channels) for channels in (3, 4, 8, 16)]
    orders = [torch.randperm(channels, generator=torch.Generator().manual_seed(1)) for channels in (4, 8, 16)]
    second = [first[0], *(level[:, order] for level, order in zip(first[1:], orders, strict=True))]
    noisy = [level + 0.2 * seeded(*level.shape, seed=7) for level in second]
    found = align_channels(TeacherMaps(tuple(first), ()), TeacherMaps(tuple(noisy), ()))
    for level, shuffled, order in zip(first[1:], second[1:], found, strict=True):
        assert torch.equal(shuffled[:, order], level)


def test_errors_to_mixtures_follow_from_errors_to_each_teacher():
    stage = seeded_stages(2, 1, seed=5)[0].double()
    inputs = seeded(3, 3, 4, 4)
    targets = [seeded(3, 2, 4, 4, seed=seed) + 0.1 * seed for seed in range(3)]
    errors = exact_errors(stage, inputs, targets)
    to_mean, to_nearest = (mixture_errors(errors, targets, nearest=nearest) for nearest in (False, True))
    mean = torch.stack(targets).mean(0)
    vectors = torch.stack(targets).flatten(1)
    weights = min_norm_weights(vectors @ vectors.T, 200)
    floor = float(torch.tensordot(weights, torch.stack(targets), 1).square().mean())
    with torch.no_grad():
        for cell in [all_cells()[index] for index in np.random.default_rng(0).integers(0, 15625, 12)]:
            if not path_edges(cell.codes):
                continue
            output = stage(inputs, cell.codes)
            plain = float((output - mean).square().mean() / mean.square().mean())
            assert to_mean[cell.index] == pytest.approx(plain, rel=1e-6)
            objective = NearestMixture(targets).double()
            nearest = float(objective(output, torch.arange(3)))
            assert to_nearest[cell.index] == pytest.approx(nearest / floor, rel=1e-6)
    dead = [cell.index for cell in all_cells() if not path_edges(cell.codes)]
    assert np.allclose(to_mean[dead], 1)
    assert np.allclose(to_nearest[dead], 1)


def test_a_training_towards_mixtures_learns_and_resumes():
    inputs = seeded(3, 3, 8, 8).float()
    with torch.no_grad():  # within reach of most paths: what another stage's stem sees
        first_target = seeded_stages(4, 1, seed=9)[0].entry(inputs)
    targets = [first_target + 0.2 * seeded(3, 4, 8, 8, seed=seed).float() for seed in (7, 8, 9)]

    def start() -> StageTraining:
        stage = seeded_stages(4, 1, seed=5)[0]
        return StageTraining(stage, inputs, NearestMixture(targets), steps=40, batch=3, seed=1)

    whole = start()
    losses = [whole.step() for _ in range(40)]
    assert np.mean(losses[-12:]) < np.mean(losses[:12])
    first, second = start(), start()
    for _ in range(36):
        first.step()
    second.restore(first.state())
    assert [second.step() for _ in range(4)] == losses[36:]
    assert torch.equal(second.objective.mean_weights, whole.objective.mean_weights)
    assert float(whole.objective.mean_weights.sum()) == pytest.approx(1, abs=1e-5)
