"""What a network hands to the distillation losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nasbench_kd.errors import DistillationError


class Outputs(NamedTuple):
    """One forward pass of a student or teacher on a batch of B images."""

    maps: Sequence[Tensor]
    """The feature maps to match, first to last, each (B, C, H, W)."""
    pooled: Tensor
    """The globally pooled vector (B, C)."""
    logits: Tensor
    """(B, classes)."""
    normalised: bool = False
    """Whether `maps` went through `normalise_channels`, each (B, C, H * W): a cache made for `nst`."""

    def detach(self) -> Outputs:
        """The same outputs, cut from the graph that made them."""
        maps = tuple(features.detach() for features in self.maps)
        return Outputs(maps, self.pooled.detach(), self.logits.detach(), self.normalised)


class BatchOutputs(NamedTuple):
    """One forward pass of S students on the same B images."""

    maps: tuple[Tensor, ...]
    """The last map of each of the three stages, each (S, C, B, H, W)."""
    pooled: Tensor
    """(S, B, C)."""
    logits: Tensor
    """(S, B, classes)."""


def require_maps(name: str, student: Outputs, teacher: Outputs, fewest: int = 1) -> None:
    """Raise `DistillationError` unless both have `fewest` maps or more, equally many, to compare."""
    if len(student.maps) != len(teacher.maps) or len(student.maps) < fewest:
        raise DistillationError(
            f"{name} needs equally many maps of both networks, at least {fewest}, not "
            f"{len(student.maps)} of the student and {len(teacher.maps)} of the teacher"
        )
    if student.normalised or (teacher.normalised and name != "nst"):
        raise DistillationError(
            f"{name} needs the maps as they are, not normalised; only nst reads a teacher's normalised maps"
        )
