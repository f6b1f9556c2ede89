"""Distillation losses of many students at once: one value a student, each as in the module of its loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.errors import DistillationError
from nasbench_kd.live.distillation.embeddings import correlation_congruence, pkt
from nasbench_kd.live.distillation.features import (
    attention_transfer,
    normalise_channels,
    similarity_preserving,
)
from nasbench_kd.live.distillation.logits import KD_TEMPERATURE
from nasbench_kd.live.distillation.objective import WEIGHTS
from nasbench_kd.live.distillation.outputs import BatchOutputs, Outputs
from nasbench_kd.live.distillation.precision import inverse_length, widen

BATCHED = ("kd", "nst", "at", "pkt", "sp", "cc")
"""The distillations that can be computed for many students at once."""


class BatchedDistillation:
    """Cross-entropy and the named terms of S students, as `objective.Distillation` has them for one.

    Args:
        names: from `BATCHED`; raises `DistillationError` on others.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        unknown = [name for name in names if name not in BATCHED]
        if unknown:
            raise DistillationError(
                f"{', '.join(unknown)} cannot be trained side by side: train one student after the other, "
                f"or use {', '.join(BATCHED)}"
            )
        self.names = names

    def __call__(
        self, student: BatchOutputs, teacher: Outputs | None, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole objective (S,), and its parts without their weights, each (S,): `ce` and the names.

        `teacher` has the maps of the three stage ends as they are, at least as large as the students'.
        """
        students, images, classes = student.logits.shape
        logits = widen(student.logits)
        entropy = F.cross_entropy(logits.view(-1, classes), labels.repeat(students), reduction="none")
        parts = {"ce": entropy.view(students, images).mean(1)}
        total = (1 - WEIGHTS["kd"]) * parts["ce"] if "kd" in self.names else parts["ce"]
        if teacher is not None:
            for name in self.names:
                parts[name] = _LOSSES[name](student, teacher)
                total = total + WEIGHTS[name] * parts[name]
        return total, parts


def _kd(student: BatchOutputs, teacher: Outputs) -> Tensor:
    """`logits.kd` for each student."""
    ours = F.log_softmax(widen(student.logits) / KD_TEMPERATURE, dim=2)
    theirs = F.log_softmax(widen(teacher.logits) / KD_TEMPERATURE, dim=1)
    divergence = (theirs.exp() * (theirs - ours)).sum(2).mean(1)
    return KD_TEMPERATURE**2 * divergence


def _nst(student: BatchOutputs, teacher: Outputs) -> Tensor:
    """`features.nst` without its constant, summed over the maps, for each student."""
    terms = []
    for own, other in zip(student.maps, teacher.maps, strict=True):
        target = normalise_channels(_pooled(other, own))
        students, channels, images = own.shape[:3]
        features = widen(own).flatten(3)
        # The Gram matrices of the channels image by image, and the products with a teacher all share.
        alone = features.transpose(1, 2).reshape(students * images, channels, -1)
        gram = alone @ alone.mT
        scale = inverse_length(gram.diagonal(dim1=1, dim2=2))
        gram = gram * scale[:, :, None] * scale[:, None]
        itself = gram.square().mean((1, 2)).view(students, images).mean(1)
        cross = torch.bmm(features.flatten(0, 1).transpose(0, 1), target.mT)
        cross = cross.square().mean(2).view(images, students, channels)
        lengths = scale.view(students, images, channels).transpose(0, 1)
        terms.append(itself - 2 * (cross * lengths.square()).mean((0, 2)))
    return torch.stack(terms).sum(0)


def _at(student: BatchOutputs, teacher: Outputs) -> Tensor:
    pairs = zip(student.maps, teacher.maps, strict=True)
    return torch.stack([_each(attention_transfer, own, _pooled(other, own)) for own, other in pairs]).sum(0)


def _each(loss: Callable[[Tensor, Tensor], Tensor], maps: Tensor, teacher: Tensor) -> Tensor:
    """A loss of maps (B, C, H, W) for each student's of (S, C, B, H, W)."""
    out: Tensor = torch.vmap(loss, in_dims=(0, None))(maps.transpose(1, 2), teacher)
    return out


def _embedded(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[BatchOutputs, Outputs], Tensor]:
    """A loss of pooled vectors, for each student."""
    return lambda student, teacher: torch.vmap(loss, in_dims=(0, None))(student.pooled, teacher.pooled)


def _pooled(teacher: Tensor, student: Tensor) -> Tensor:
    """The teacher's map at the side of the students'."""
    return F.adaptive_avg_pool2d(widen(teacher), (student.shape[3], student.shape[4]))


_LOSSES: dict[str, Callable[[BatchOutputs, Outputs], Tensor]] = {
    "kd": _kd,
    "nst": _nst,
    "at": _at,
    "pkt": _embedded(pkt),
    "sp": lambda student, teacher: _each(similarity_preserving, student.maps[-1], teacher.maps[-1]),
    "cc": _embedded(correlation_congruence),
}
