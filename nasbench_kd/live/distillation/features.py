"""Distillation from the teacher's feature maps (B, C, H, W)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.distillation.precision import full_precision, require_batches, same_size, widen


@full_precision
def nst(student: Tensor, teacher: Tensor, constant: bool = True) -> Tensor:
    """Neuron selectivity transfer: the squared MMD of the two sets of channel activations.

    k(s, s) - 2 k(s, t) + k(t, t), where k(x, y) is the mean over the batch and over pairs of
    channels of <x_i, y_j>^2, each channel L2-normalised over space (Huang and Wang, "Like What You
    Like", 2017, polynomial kernel of degree 2). The term k(t, t) has no gradient; MF-KD drops it,
    as `constant=False` does, so that its losses go below zero. Channels may differ in number; the
    larger map is pooled to the smaller. Raises `DistillationError` on unequal batches.
    """
    require_batches("nst", student, teacher, dims=4)
    student, teacher = same_size(student, teacher)
    return nst_normalised(normalise_channels(student), normalise_channels(teacher), constant)


@full_precision
def nst_normalised(student: Tensor, teacher: Tensor, constant: bool = True) -> Tensor:
    """`nst` of maps that went through `normalise_channels`, as a cache of teacher outputs holds them.

    Both (B, C, H * W) of one H * W; raises `DistillationError` otherwise.
    """
    require_batches("nst_normalised", student, teacher, dims=3)
    loss = _polynomial_kernel(student, student) - 2 * _polynomial_kernel(student, teacher)
    return loss + _polynomial_kernel(teacher, teacher) if constant else loss


def normalise_channels(features: Tensor) -> Tensor:
    """Flatten a map (B, C, H, W) to (B, C, H * W), every channel of unit length (or zero), in float32."""
    return F.normalize(widen(features).flatten(2), dim=2)


def _polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Mean over batch and pairs (i, j) of <x_i, y_j>^2, through the smaller of two Gram matrices.

    The sum over pairs is |X Y'|^2 = <X'X, Y'Y>: C x C products over H * W, or H * W x H * W over C.
    """
    batch, channels, space = x.shape
    others = y.shape[1]
    if channels * others <= space * (channels + others):
        return (x @ y.mT).square().mean()
    return ((x.mT @ x) * (y.mT @ y)).sum() / (batch * channels * others)
