"""Gradients of a validation loss with respect to architecture parameters, through the weights that depend on them.

Pure functions of losses: `train(weights, alphas)` and `valid(weights, alphas)` return scalars, `weights` is a list of
tensors, `alphas` one tensor. Nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Loss = Callable[[Sequence[Tensor], Tensor], Tensor]


def first_order(valid: Loss, weights: Sequence[Tensor], alphas: Tensor) -> Tensor:
    """The direct gradient at the present weights: DARTS, first order."""
    (found,) = torch.autograd.grad(valid(weights, alphas), alphas)
    return found


def unrolled(
    train: Loss,
    valid: Loss,
    weights: Sequence[Tensor],
    alphas: Tensor,
    *,
    rate: float,
    weight_decay: float = 0.0,
    momenta: Sequence[Tensor] | None = None,
) -> Tensor:
    """The gradient through one step of the weights: DARTS, second order (Liu et al., ICLR 2019, equations 6 to 8).

    w' = w - rate (gradient + momentum + weight_decay w); the product with the mixed second derivative is a finite
    difference of gradients at w +- e v, where v is the validation gradient at w' and e = 0.01 / |v|, as in the
    authors' code.

    Args:
        momenta: what the optimizer's momentum adds to each gradient (its buffer times the momentum); None is nothing.
    """
    gradients = torch.autograd.grad(
        train(weights, alphas), weights, allow_unused=True, materialize_grads=True
    )
    pushed = momenta or [torch.zeros_like(each) for each in weights]
    stepped = [
        (weight - rate * (gradient + momentum + weight_decay * weight)).detach().requires_grad_()
        for weight, gradient, momentum in zip(weights, gradients, pushed, strict=True)
    ]
    direct, *vector = torch.autograd.grad(
        valid(stepped, alphas), [alphas, *stepped], allow_unused=True, materialize_grads=True
    )
    return direct - rate * _mixed(train, weights, alphas, vector)


def implicit(
    train: Loss,
    valid: Loss,
    weights: Sequence[Tensor],
    alphas: Tensor,
    *,
    rate: float,
    terms: int = 2,
) -> Tensor:
    """The gradient at a minimum of the training loss by a Neumann series: iDARTS (Zhang et al., ICML 2021).

    direct - mixed (rate sum over k = 0..terms of (I - rate H)^k) v, with exact Hessian-vector products; v is the
    validation gradient. It tends to the implicit gradient - mixed H^-1 v where rate times the largest eigenvalue of
    H is below 1 (below 2 in absolute terms, else it diverges). The authors' notebook departs from their paper in two
    ways that are not followed: its inner steps move copies of the optimizer, and its finite difference displaces
    the weights.
    """
    direct, *vector = torch.autograd.grad(
        valid(weights, alphas), [alphas, *weights], allow_unused=True, materialize_grads=True
    )
    gradients = torch.autograd.grad(
        train(weights, alphas), weights, create_graph=True, allow_unused=True, materialize_grads=True
    )
    power, total = list(vector), list(vector)
    for _ in range(terms):
        products = torch.autograd.grad(
            gradients, weights, power, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        power = [each - rate * product for each, product in zip(power, products, strict=True)]
        total = [sum_ + each for sum_, each in zip(total, power, strict=True)]
    return direct - rate * _mixed(train, weights, alphas, total)


def _mixed(train: Loss, weights: Sequence[Tensor], alphas: Tensor, vector: Sequence[Tensor]) -> Tensor:
    """The mixed second derivative of the training loss times a vector, by central differences of gradients."""
    length = torch.sqrt(torch.stack([each.square().sum() for each in vector]).sum())
    if float(length) == 0.0:
        return torch.zeros_like(alphas)
    small = 0.01 / length
    ends = []
    for sign in (1, -1):
        moved = [
            (weight + sign * small * each).detach() for weight, each in zip(weights, vector, strict=True)
        ]
        (found,) = torch.autograd.grad(train(moved, alphas), alphas)
        ends.append(found)
    return (ends[0] - ends[1]) / (2 * small)
