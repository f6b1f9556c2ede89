"""Batches of images in shuffled rounds, begun anew when they are used up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_kd.live.device_images import DeviceImages


class ShuffledBatches:
    """Draws batches; resumable by its `state`.

    Args:
        images: of weights, or held out: apart from those of the weights and from those that judge answers.
        generator: of order and augmentation; its state is kept by whoever made it.
    """

    def __init__(self, images: DeviceImages, batch: int, generator: torch.Generator) -> None:
        self.images = images
        self._batch, self._generator = batch, generator
        self._left: list[Tensor] = []

    def __len__(self) -> int:
        """Batches of a round."""
        whole, rest = divmod(len(self.images), self._batch)
        return whole + (rest > 1)

    def rows(self) -> Tensor:
        """The rows (B,) of the next batch; a last batch of one image is left out."""
        if not self._left:
            order = torch.randperm(len(self.images), generator=self._generator)
            self._left = [rows for rows in torch.split(order, self._batch) if len(rows) > 1]
        return self._left.pop(0).to(self.images.labels.device)

    def batch(self, *, augmented: bool) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B,) of the next batch, augmented where the images have a border for it."""
        rows = self.rows()
        if augmented and self.images.padding:
            return self.images.augmented_batch(rows, self._generator), self.images.labels[rows]
        return self.images.batch(rows), self.images.labels[rows]

    def state(self) -> list[Any]:
        """What is left of this round."""
        return [rows.clone() for rows in self._left]

    def restore(self, state: list[Any]) -> None:
        """Go on from a `state`."""
        self._left = list(state)
