"""Distillation from the teacher's pooled vectors (B, C)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.distillation.precision import full_precision, require_batches, require_width, unit

PKT_EPSILON = 1e-7
"""Added to the probabilities of PKT before the logarithm, as its authors do."""

RKD_DISTANCE_WEIGHT = 25.0
RKD_ANGLE_WEIGHT = 50.0


@full_precision
def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Probabilistic knowledge transfer: the mean over pairs of samples of p_t log(p_t / p_s).

    p are the cosines between all samples of the batch, mapped to [0, 1] by (x + 1) / 2 and divided
    by their sum over each row (Passalis and Tefas, 2018). Widths may differ. Raises
    `DistillationError` on unequal batches.
    """
    require_batches("pkt", student, teacher, dims=2)
    of_student, of_teacher = _affinity(student), _affinity(teacher)
    return (of_teacher * ((of_teacher + PKT_EPSILON) / (of_student + PKT_EPSILON)).log()).mean()


def _affinity(vectors: Tensor) -> Tensor:
    directions = unit(vectors)
    # Rounding can push the cosine of opposite vectors below -1, and the logarithm's argument below 0.
    affinity = ((directions @ directions.mT + 1) / 2).clamp_min(0)
    return affinity / affinity.sum(1, keepdim=True)


@full_precision
def rkd(student: Tensor, teacher: Tensor) -> Tensor:
    """Relational knowledge distillation: 25 `rkd_distance` + 50 `rkd_angle`.

    Park et al., "Relational Knowledge Distillation", 2019. Widths may differ. Raises
    `DistillationError` on unequal batches.
    """
    distance, angle = rkd_distance(student, teacher), rkd_angle(student, teacher)
    return RKD_DISTANCE_WEIGHT * distance + RKD_ANGLE_WEIGHT * angle


@full_precision
def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Huber loss between the distances of all pairs, each in units of its network's mean.

    The mean is over the pairs that lie apart. Source and errors as for `rkd`.
    """
    require_batches("rkd_distance", student, teacher, dims=2)
    return F.smooth_l1_loss(_distances(student), _distances(teacher))


def _distances(vectors: Tensor) -> Tensor:
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / mean.clamp_min(torch.finfo(mean.dtype).tiny)


@full_precision
def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Huber loss between the cosines of the angles in all triplets of samples.

    Takes memory for B^3 values, 67 MB for a batch of 256. Source and errors as for `rkd`.
    """
    require_batches("rkd_angle", student, teacher, dims=2)
    return F.smooth_l1_loss(_angles(student), _angles(teacher))


def _angles(vectors: Tensor) -> Tensor:
    directions = unit(vectors[None] - vectors[:, None])
    return directions @ directions.mT


@full_precision
def correlation_congruence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over neighbours in the batch of <|d_i|, |d_i+1|>, with d the student's vector less the teacher's.

    This is the code that the authors of "Correlation Congruence" (Peng et al., 2019) gave to
    RepDistiller, and what its weight of 0.02 belongs to; the paper itself compares kernel matrices.
    A batch of one gives 0. Raises `DistillationError` on unequal batches or widths.
    """
    require_batches("correlation_congruence", student, teacher, dims=2)
    require_width(
        "correlation_congruence", student, teacher, "use pkt or rkd, or a teacher of the student's width"
    )
    gap = (student - teacher).abs()
    return (gap[:-1] * gap[1:]).sum() / max(len(gap) - 1, 1)
