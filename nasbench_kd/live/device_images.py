"""Images on the device: normalised once, batched, flipped and cropped there."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.archives import Bytes, Labels
from nasbench_kd.live.images import Statistics


class DeviceImages:
    """Normalised images on the device, ready for batches; never copied again.

    Args:
        images: uint8 (n, H, W, 3).
        labels: (n,).
        size: side in pixels; smaller than the images' means average pooling.
        padding: black border for the random crop; 0 leaves augmentation out.
    """

    def __init__(
        self,
        images: Bytes,
        labels: Labels,
        statistics: Statistics,
        *,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
        padding: int = 0,
    ) -> None:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        mean = torch.tensor(statistics.mean, device=device)
        std = torch.tensor(statistics.std, device=device)
        parts = []
        for chunk in torch.split(pixels, 4096):
            values = chunk.float()
            if size != images.shape[1]:
                values = F.adaptive_avg_pool2d(values.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
            if padding:
                values = F.pad(values, (0, 0, padding, padding, padding, padding))
            parts.append(((values - mean) / std).to(dtype))
        self._pixels = torch.cat(parts).contiguous()
        self.labels = torch.from_numpy(np.ascontiguousarray(labels)).to(device)
        self.size = size
        self.padding = padding

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> Tensor:
        """The images of `rows` as they are: (B, 3, size, size), channels last."""
        if self.padding:
            inner = self._pixels[rows, self.padding : -self.padding, self.padding : -self.padding]
            return inner.permute(0, 3, 1, 2)
        return self._pixels.index_select(0, rows).permute(0, 3, 1, 2)

    def augmented_batch(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The images of `rows`, flipped with probability one half and cropped at random."""
        device, count = self._pixels.device, len(rows)
        draws = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator).to(device)
        flips = torch.randint(0, 2, (count, 1), generator=generator).to(device)
        steps = torch.arange(self.size, device=device)
        ys = draws[0][:, None] + steps
        xs = draws[1][:, None] + steps
        side = self._pixels.shape[2] - 1
        xs = torch.where(flips.bool(), side - xs, xs)
        crop = self._pixels[rows[:, None, None], ys[:, :, None], xs[:, None, :]]
        return crop.permute(0, 3, 1, 2)
