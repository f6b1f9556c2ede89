"""Batches of held-out images, by which searches over shared weights judge: shuffled, and begun anew when used up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_kd.live.device_images import DeviceImages


class HeldOut:
    """Draws batches; resumable by its `state`.

    Args:
        images: apart from those of the weights and from those that judge answers.
        generator: of the order; its state is kept by whoever made it.
    """

    def __init__(self, images: DeviceImages, batch: int, generator: torch.Generator) -> None:
        self.images = images
        self._batch, self._generator = batch, generator
        self._left: list[Tensor] = []

    def rows(self) -> Tensor:
        """The rows (B,) of the next batch; a last batch of one image is left out."""
        if not self._left:
            order = torch.randperm(len(self.images), generator=self._generator)
            self._left = [rows for rows in torch.split(order, self._batch) if len(rows) > 1]
        return self._left.pop(0).to(self.images.labels.device)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B,) of the next batch."""
        rows = self.rows()
        return self.images.batch(rows), self.images.labels[rows]

    def state(self) -> list[Any]:
        """What is left of this round."""
        return [rows.clone() for rows in self._left]

    def restore(self, state: list[Any]) -> None:
        """Go on from a `state`."""
        self._left = list(state)
