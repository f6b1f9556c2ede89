"""Teacher outputs kept for images without augmentation, and the losses that read them fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.network import Outputs

_TINY = 1e-12
TEMPERATURE = 4.0
KD_WEIGHT = 0.9
NST_WEIGHT = 25.0


@dataclass(frozen=True)
class TeacherCache:
    """Outputs of a teacher for n images, in their order.

    `logits` is (n, K) in float32; `maps` holds, for each of the three stages, (n, H W, C) in the computing
    type: the teacher's last map of the stage, average-pooled to the student's side, every channel of
    length one over space.
    """

    logits: Tensor
    maps: tuple[Tensor, ...]


@torch.no_grad()
def normalised_maps(maps: list[Tensor], sides: list[int], dtype: torch.dtype) -> list[Tensor]:
    """Pool (B, C, H, W) maps to `sides` and scale every channel to length one: (B, H W, C)."""
    result = []
    for features, side in zip(maps, sides, strict=True):
        pooled = (
            F.adaptive_avg_pool2d(features.float(), side) if features.shape[2] != side else features.float()
        )
        flat = pooled.permute(0, 2, 3, 1).flatten(1, 2)
        length = flat.norm(dim=1, keepdim=True)
        result.append(torch.where(length > _TINY, flat / length.clamp_min(_TINY), 0).to(dtype))
    return result


def cached_loss(
    names: tuple[str, ...], outputs: Outputs, labels: Tensor, cache: TeacherCache | None, rows: Tensor
) -> Tensor:
    """Cross-entropy with `kd` and `nst` against cached outputs; equals `Distillation` up to rounding."""
    loss = F.cross_entropy(outputs.logits, labels)
    if cache is None:
        return loss
    if "kd" in names:
        teacher = cache.logits.index_select(0, rows) / TEMPERATURE
        divergence = F.kl_div(
            F.log_softmax(outputs.logits / TEMPERATURE, 1),
            F.log_softmax(teacher, 1),
            reduction="batchmean",
            log_target=True,
        )
        loss = (1 - KD_WEIGHT) * loss + KD_WEIGHT * TEMPERATURE**2 * divergence
    if "nst" in names:
        terms = [
            _nst(own, stored.index_select(0, rows))
            for own, stored in zip(outputs.stage_ends(), cache.maps, strict=True)
        ]
        loss = loss + NST_WEIGHT * torch.stack(terms).sum()
    return loss


def _nst(student: Tensor, teacher: Tensor) -> Tensor:
    """NST without its constant, of a map (B, C, H, W) and normalised maps (B, H W, C')."""
    loss: Tensor = _CachedNST.apply(student, teacher)
    return loss


class _CachedNST(torch.autograd.Function):
    """k(s, s) - 2 k(s, t), its gradient worked out by hand.

    With x the student's channels, S = X'X, T = X'Y and p_i = 1 / S_ii, the loss is
    mean(S_ij^2 p_i p_j) - 2 mean(T_ij^2 p_i): the channels are normalised on the small Gram matrices,
    never on the maps, and the gradient 2 X dL/dS + Y (dL/dT)' keeps the channels-last layout.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        batch, channels, height, width = student.shape
        own = student.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        gram = torch.bmm(own.mT, own).float()
        cross = torch.bmm(own.mT, teacher).float()
        power = gram.diagonal(dim1=1, dim2=2)
        inverse = torch.where(power > _TINY, power.clamp_min(_TINY).reciprocal(), 0)
        scaled = gram * inverse[:, None, :]
        row_sums = (scaled * gram).sum(2)
        cross_sums = cross.square().sum(2)
        own_pairs, cross_pairs = batch * channels**2, batch * channels * teacher.shape[2]
        loss = (row_sums * inverse).sum() / own_pairs - 2 * (cross_sums * inverse).sum() / cross_pairs
        to_gram = scaled * (inverse[:, :, None] * (4 / own_pairs))
        to_inverse = row_sums / own_pairs - cross_sums / cross_pairs
        to_gram.diagonal(dim1=1, dim2=2).sub_(4 * to_inverse * inverse.square())
        to_cross = cross * (inverse[:, :, None] * (-4 / cross_pairs))
        dtype = student.dtype
        gradient = torch.bmm(own, to_gram.to(dtype)).add_(torch.bmm(teacher, to_cross.to(dtype).mT))
        ctx.save_for_backward(gradient.view(batch, height, width, channels).permute(0, 3, 1, 2))
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * scale.to(gradient.dtype), None
