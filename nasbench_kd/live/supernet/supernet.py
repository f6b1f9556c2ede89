"""The supernet of NAS-Bench-201: the benchmark's network with every operation on every edge of every cell.

Source: Dong and Yang, ICLR 2020, section 4, and AutoDL-Projects (`search_model_*.py`). Stem, three stages of N cells
with residual reductions between them, batch norm, ReLU, pooling and a linear head; every cell has weights of its own,
the choice of operations is shared by all. All batch norms normalise by the batch, in training and in scoring.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nasbench_kd.live.distillation.precision import widen
from nasbench_kd.live.network import Reduction
from nasbench_kd.live.supernet.choice_cell import ChoiceCell, use_batch_statistics


class Supernet(nn.Module):
    """All architectures of the space in one network; how it is used is chosen at every call.

    Args:
        classes: K of the logits.
        channels: C of the first stage.
        cells_per_stage: N.
    """

    def __init__(self, classes: int, channels: int = 16, cells_per_stage: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.cells = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                self.cells.append(Reduction(width // 2, width))
            self.cells.extend(ChoiceCell(width) for _ in range(cells_per_stage))
        self.lastact = nn.Sequential(nn.BatchNorm2d(4 * channels), nn.ReLU())
        self.classifier = nn.Linear(4 * channels, classes)
        self.cells_per_stage = cells_per_stage
        use_batch_statistics(self)

    def forward(self, images: Tensor, codes: tuple[int, ...]) -> Tensor:
        """Logits (B, K) of the architecture with these operation codes; only edges on a path are computed."""
        return self._run(images, lambda cell, x: cell(x, codes))

    def joint(self, images: Tensor, weights: Tensor) -> Tensor:
        """Logits where every edge is a weighted sum of its operations; weights (6, 5), shared by all cells."""
        return self._run(images, lambda cell, x: cell.joint(x, weights))

    def sampled(self, images: Tensor, weights: Tensor) -> Tensor:
        """Logits of the operations of weight 1 of hard weights (6, 5), which get straight-through gradients."""
        return self._run(images, lambda cell, x: cell.sampled(x, weights))

    def _run(self, images: Tensor, of_cell: Callable[[ChoiceCell, Tensor], Tensor]) -> Tensor:
        with torch.autocast(
            images.device.type, images.dtype, enabled=images.dtype in (torch.bfloat16, torch.float16)
        ):
            x = self.stem(images)
            for module in self.cells:
                x = of_cell(module, x) if isinstance(module, ChoiceCell) else module(x)
            pooled = self.lastact(x).mean((2, 3))
        logits: Tensor = self.classifier(widen(pooled))
        return logits


def seeded_supernet(classes: int, *, seed: int, channels: int = 16, cells_per_stage: int = 5) -> Supernet:
    """A supernet with PyTorch's default initialisation drawn from `seed`; global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Supernet(classes, channels, cells_per_stage)
