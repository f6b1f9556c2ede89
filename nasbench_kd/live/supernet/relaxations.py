"""How a supernet's operations are weighed while architecture parameters (6, 5) learn, and what the answer is."""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, Cell


def seeded_parameters(generator: torch.Generator) -> Tensor:
    """Architecture parameters (6, 5) to begin with: 1e-3 N(0, 1)."""
    return 1e-3 * torch.randn(len(EDGES), len(OPERATIONS), generator=generator)


def parameter_optimizer(alphas: Tensor) -> torch.optim.Adam:
    """The optimizer of architecture parameters in NAS-Bench-201's configurations."""
    return torch.optim.Adam([alphas], lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)


def softmax(alphas: Tensor) -> Tensor:
    """DARTS (Liu et al., ICLR 2019): the softmax over the operations of every edge."""
    return alphas.softmax(1)


def gumbel(alphas: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """GDAS (Dong and Yang, CVPR 2019): a hard sample (6, 5) of ones and zeros with a soft gradient.

    The largest of log softmax(alphas) + Gumbel noise is 1; the gradient is that of the softmax of these sums over
    the temperature. Drawn anew where noise is not finite.
    """
    while True:
        noise = -torch.empty(alphas.shape, dtype=alphas.dtype).exponential_(generator=generator).log()
        soft = ((alphas.log_softmax(1) + noise.to(alphas.device)) / temperature).softmax(1)
        if bool(torch.isfinite(noise).all()) and bool(torch.isfinite(soft).all()):
            break
    hard = torch.nn.functional.one_hot(soft.argmax(1), alphas.shape[1]).to(alphas.dtype)
    return hard - soft.detach() + soft


def dirichlet(alphas: Tensor) -> Tensor:
    """DrNAS (Chen et al., ICLR 2021): a draw from Dirichlet(elu(alphas) + 1) on every edge, with its gradient.

    PyTorch draws it from its global state, which the caller seeds (`torch.random.fork_rng`).
    """
    concentration = torch.nn.functional.elu(alphas) + 1
    drawn: Tensor = torch.distributions.Dirichlet(concentration).rsample()
    return drawn


def temperature_at(progress: float, first: float = 10.0, last: float = 0.1) -> float:
    """GDAS's temperature, linear over the epochs; `progress` runs from 0 to 1."""
    return first + (last - first) * progress


def project_to_bound(alphas: Tensor, costs: Tensor, bound: float, *, steps: int = 20) -> Tensor:
    """RC-DARTS (Jin et al., arXiv 1912.12814): move alphas until their expected cost holds a bound.

    The expected cost is the sum over edges of softmax(alphas) . costs, both (6, 5). Gradient steps whose length would
    meet the bound if the cost were linear, at most `steps`; what the paper projects by beyond its abstract is not
    known to us. Raises nothing where the bound cannot be met: the result is as close as the steps came.
    """
    moved = alphas.detach().clone()
    for _ in range(steps):
        moved.requires_grad_()
        cost = (moved.softmax(1) * costs).sum()
        excess = float(cost.detach()) - bound
        if excess <= 0:
            break
        (gradient,) = torch.autograd.grad(cost, moved)
        square = float(gradient.square().sum())
        if square == 0.0:
            break
        moved = (moved - (1.001 * excess / square) * gradient).detach()
    return moved.detach()


def strongest(alphas: Tensor) -> Cell:
    """The answer of all of them: on every edge the operation of the largest alpha, `none` among them."""
    return Cell.from_codes(alphas.detach().argmax(1).tolist())
