"""Several teachers for the stages of block-wise distillation: their mean, or the mixture of minimal gradient.

Source of the second: Chen et al., "MNGNAS: Distilling Adaptive Combination of Multiple Searched Networks for One-Shot
Neural Architecture Search" (TPAMI 2023), of which we know the abstract alone: a supernet is distilled from several
searched networks, whose feature maps are weighted by a search for a common direction of descent. Its constants, its
losses, how its teachers are chosen and renewed, and its numbers are not known to us; what is here is a reading of it
inside DNA's stages, not a reproduction. Left out is its second half, the distillation of the best architecture together
with perturbed ones. The weights are those of Sener and Koltun (NeurIPS 2018): the point of least norm among all
mixtures of the teachers' gradients, taken with respect to the student's map.

For squared errors to maps g of teachers, that gradient is 2 (f - sum of w g), so that the mixture of least norm is the
point of the teachers' convex hull that is nearest to the student's map f.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from nasbench_kd.live.block_wise import Floats, TeacherMaps
from nasbench_kd.live.distillation.precision import widen

ITERATIONS = 20


def min_norm_weights(gram: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """The weights (..., k) of a simplex that minimise w' G w; `gram` (..., k, k) are inner products of k vectors.

    Pairwise Frank-Wolfe (Lacoste-Julien and Jaggi, NeurIPS 2015): weight moves from the worst vector that has some to
    the best one, as far as an exact line search says. For two vectors the first move is the closed form. Singular
    matrices are allowed.
    """
    count = gram.shape[-1]
    one_hot = torch.eye(count, dtype=gram.dtype, device=gram.device)
    weights = one_hot[gram.diagonal(dim1=-2, dim2=-1).argmin(-1)]
    for _ in range(iterations):
        slopes = (gram @ weights[..., None]).squeeze(-1)
        best = one_hot[slopes.argmin(-1)]
        worst = one_hot[slopes.masked_fill(weights <= 0, -torch.inf).argmax(-1)]
        move = best - worst
        gain = -(slopes * move).sum(-1)
        curvature = ((gram @ move[..., None]).squeeze(-1) * move).sum(-1)
        most = (weights * worst).sum(-1)
        # Where the curvature is 0 the vectors are equal in this direction, and so is every step.
        step = torch.where(curvature > 0, gain / curvature.clamp_min(torch.finfo(gram.dtype).tiny), 0 * gain)
        weights = (weights + torch.minimum(step.clamp_min(0), most)[..., None] * move).clamp_min(0)
    return weights


class NearestMixture(nn.Module):
    """What a stage is trained by: its squared error to the mixture of the teachers' maps of minimal gradient.

    The weights are taken anew for every batch, from all of its maps, and are constants in the gradient.

    Args:
        targets: one tensor (n, C, H, W) for each of k teachers.

    Attributes:
        mean_weights: (k,), over all batches so far.
    """

    mean_weights: Tensor
    _count: Tensor

    def __init__(self, targets: Sequence[Tensor]) -> None:
        super().__init__()
        self._targets = tuple(targets)
        self.register_buffer("mean_weights", torch.zeros(len(self._targets)))
        self.register_buffer("_count", torch.zeros(()))

    def forward(self, output: Tensor, rows: Tensor) -> Tensor:
        """The loss of a stage's map (B, C, H, W) of the images in `rows` (B,)."""
        maps = torch.stack([widen(each.index_select(0, rows)) for each in self._targets])
        with torch.no_grad():
            gradients = (output - maps).flatten(1)
            weights = min_norm_weights(gradients @ gradients.T / gradients.shape[1])
            self._count += 1
            self.mean_weights += (weights - self.mean_weights) / self._count
        loss: Tensor = (output - torch.tensordot(weights, maps, 1)).square().mean()
        return loss


def align_channels(reference: TeacherMaps, other: TeacherMaps) -> list[Tensor]:
    """For each stage end, which channel of another teacher stands where: orders (C,) of its channels.

    Channels of networks that were trained apart have no common order; mixtures need one. The assignment maximises
    the sum of the channels' correlations over the images of both, which must be the same.
    """
    orders = []
    for first, second in zip(reference.levels[1:], other.levels[1:], strict=True):
        ours, theirs = (each.transpose(0, 1).flatten(1).float() for each in (first, second))
        _, order = linear_sum_assignment(-(ours @ theirs.T / ours.shape[1]).cpu().numpy())
        orders.append(torch.from_numpy(order).to(first.device))
    return orders


def mixture_errors(errors: Floats, targets: Sequence[Tensor], *, nearest: bool) -> Floats:
    """Squared errors to a mixture of teachers over those of a map of zeros, (n,), from errors to each of them.

    The mean of the targets is the mixture, or, with `nearest`, every architecture's nearest one. Neither needs the
    architectures' maps: the squared distance to a mixture is sum w D - 1/2 sum w w' P, with D the squared distances
    to the teachers and P those between them.

    Args:
        errors: (k, n) as `exact_errors` returns them, over the targets' mean squares.
        targets: k tensors (images, C, H, W) that these errors are of.
    """
    flat = torch.stack([each.flatten().double() for each in targets])
    inner = (flat @ flat.T / flat.shape[1]).cpu().numpy()
    squares = np.diagonal(inner)
    between = squares[:, None] + squares - 2 * inner

    def distances(to_each: Floats) -> Floats:  # (k, n)
        gram = (to_each.T[:, :, None] + to_each.T[:, None] - between) / 2
        if nearest:
            weights = min_norm_weights(torch.from_numpy(gram), 10 * ITERATIONS).numpy()
        else:
            weights = np.full((gram.shape[0], len(squares)), 1 / len(squares))
        found: Floats = np.einsum("ni,nij,nj->n", weights, gram, weights)
        return found

    result: Floats = distances(errors * squares[:, None]) / distances(squares[:, None])
    return result
