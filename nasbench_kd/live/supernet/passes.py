"""Counts the passes of a search over shared weights, and what they cost on the table's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasbench_kd.spaces.training_seconds import FORWARD, joint_seconds_per_image, seconds_per_image


class Passes:
    """Images by what is computed of them; the price is counts times `nasbench_kd.spaces.training_seconds`.

    Attributes:
        joint, single: images forward and backward, through all operations and through one architecture.
        forward: images forward through one architecture.
        seconds: price of all of them, in seconds of the table's clock.
    """

    def __init__(self, cells_per_stage: int) -> None:
        self._cells = cells_per_stage
        self.joint = self.single = self.forward = 0
        self.seconds = 0.0

    def count_joint(self, images: int, times: int = 1) -> None:
        """Forward and backward through all operations."""
        self.joint += times * images
        self.seconds += times * images * joint_seconds_per_image(self._cells)

    def count_single(self, codes: Sequence[int], images: int) -> None:
        """Forward and backward through the architecture of six operation codes."""
        self.single += images
        self.seconds += images * seconds_per_image(codes, self._cells)

    def count_forward(self, codes: Sequence[int], images: int) -> None:
        """Forward through an architecture."""
        self.forward += images
        self.seconds += images * seconds_per_image(codes, self._cells) * FORWARD

    def record(self) -> dict[str, int]:
        """The counts, as JSON values."""
        return {
            "images_forward_and_backward_through_all_operations": self.joint,
            "images_forward_and_backward_through_one_architecture": self.single,
            "images_forward_through_one_architecture": self.forward,
        }

    def state(self) -> dict[str, Any]:
        """All counts; `torch.save` keeps them."""
        return {"joint": self.joint, "single": self.single, "forward": self.forward, "seconds": self.seconds}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.joint, self.single, self.forward = state["joint"], state["single"], state["forward"]
        self.seconds = state["seconds"]
