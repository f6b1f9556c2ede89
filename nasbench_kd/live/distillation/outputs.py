"""What a network hands to the distillation losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


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
