"""Distillation from the teacher's logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.distillation.precision import full_precision, require_batches, require_width

KD_TEMPERATURE = 4.0
"""T of MF-KD."""


@full_precision
def kd(student: Tensor, teacher: Tensor, temperature: float = KD_TEMPERATURE) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), summed over classes, averaged over the batch.

    Both are logits (B, classes). Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
    Network", 2015; T = 4 as in MF-KD. Raises `DistillationError` on unequal shapes.
    """
    require_batches("kd", student, teacher, dims=2)
    require_width("kd", student, teacher, "use a teacher trained on the same classes")
    divergence = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
