"""What all losses share: float32 arithmetic whatever the network runs in, and shape checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.errors import DistillationError

Loss = TypeVar("Loss", bound=Callable[..., Tensor])
_VANISHING = 1e-24
_FORMS = {
    2: "(batch, features)",
    3: "(batch, channels, space)",
    4: "(batch, channels, height, width)",
}


def full_precision(loss: Loss) -> Loss:
    """Run a loss of tensors outside autocast and in at least float32.

    bfloat16 keeps 8 bits: a sum over 65,536 pairs of samples would lose all but the largest.
    """

    @wraps(loss)
    def wrapper(first: Tensor, *others: Any, **options: Any) -> Tensor:
        with torch.autocast(first.device.type, enabled=False):
            widened = [widen(other) if isinstance(other, Tensor) else other for other in others]
            return loss(widen(first), *widened, **options)

    return cast("Loss", wrapper)


def widen(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, else the tensor itself."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def unit(vectors: Tensor) -> Tensor:
    """The vectors along the last dimension scaled to length 1; a vanishing one (length <= 1e-12) to zero.

    Its gradient is then zero too, where `torch.nn.functional.normalize` would multiply it by 1e12.
    """
    return vectors * inverse_length(vectors.square().sum(-1, keepdim=True))


def inverse_length(squared: Tensor) -> Tensor:
    """1 / length from squared lengths, and 0 for those that vanish (<= 1e-24)."""
    return torch.where(squared > _VANISHING, squared.clamp_min(_VANISHING).rsqrt(), 0)


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two maps (B, C, H, W) to the size of the smaller."""
    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return _pool(student, height, width), _pool(teacher, height, width)


def _pool(features: Tensor, height: int, width: int) -> Tensor:
    if features.shape[2:] == (height, width):
        return features
    return F.adaptive_avg_pool2d(features, (height, width))


def require_batches(name: str, student: Tensor, teacher: Tensor, dims: int) -> None:
    """Raise `DistillationError` unless both tensors have `dims` dimensions and one batch size."""
    if student.dim() != dims or teacher.dim() != dims or student.shape[0] != teacher.shape[0]:
        raise DistillationError(
            f"{name} compares tensors {_FORMS[dims]} of one batch, not {tuple(student.shape)} of the "
            f"student with {tuple(teacher.shape)} of the teacher; give it both outputs for the same images"
        )


def require_width(name: str, student: Tensor, teacher: Tensor, instead: str) -> None:
    """Raise `DistillationError` unless both have the same number of channels (dimension 1)."""
    if student.shape[1] != teacher.shape[1]:
        raise DistillationError(
            f"{name} needs as many channels in the student as in the teacher, not "
            f"{tuple(student.shape)} with {tuple(teacher.shape)}; {instead}"
        )
