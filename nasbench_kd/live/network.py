"""The NAS-Bench-201 network of a cell, with the parameter names and order of the official code.

Architecture: NAS-Bench-201 (Dong and Yang, ICLR 2020), AutoDL-Projects `TinyNetwork`. This is the plain
form, for reading, for teachers and for checkpoints; `engine.py` runs the same network faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.spaces.nasbench201 import EDGES, Cell


def stage_ends(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The last map of each of the three stages, of the 3N + 3 maps that a network returns."""
    per_stage = (len(maps) - 3) // 3
    return maps[per_stage], maps[2 * per_stage + 1], maps[3 * per_stage + 2]


class ReluConvBatchNorm(nn.Module):
    """ReLU, convolution without bias, batch norm: the `nor_conv` operations."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        out: Tensor = self.op(x)
        return out


class Zero(nn.Module):
    """The `none` operation."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros of the shape of `x`."""
        return x.mul(0.0)


def operation(name: str, channels: int) -> nn.Module:
    """The module of one edge."""
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return ReluConvBatchNorm(channels, channels, {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name])


class CellModule(nn.Module):
    """One cell: four nodes, each the sum of its incoming edges."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(operation(name, channels) for name in cell.operations)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        nodes = [x]
        for target in (1, 2, 3):
            nodes.append(
                sum(self.layers[i](nodes[source]) for i, (source, end) in enumerate(EDGES) if end == target)
            )
        return nodes[3]


class Reduction(nn.Module):
    """The residual block between stages: halves the side, doubles the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = ReluConvBatchNorm(inputs, outputs, 3, stride=2)
        self.conv_b = ReluConvBatchNorm(outputs, outputs, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2)."""
        out: Tensor = self.downsample(x) + self.conv_b(self.conv_a(x))
        return out


class Network(nn.Module):
    """The network of a cell: stem, three stages of N cells with reductions between, and a linear head.

    Args:
        cell: the architecture of every cell position.
        classes: K, the width of the logits.
        channels: C of the first stage (16 in NAS-Bench-201).
        cells_per_stage: N (5 in NAS-Bench-201).
    """

    def __init__(self, cell: Cell, classes: int, channels: int = 16, cells_per_stage: int = 5) -> None:
        super().__init__()
        self.cell = cell
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.cells = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                self.cells.append(Reduction(width // 2, width))
            self.cells.extend(CellModule(cell, width) for _ in range(cells_per_stage))
        self.lastact = nn.Sequential(nn.BatchNorm2d(4 * channels), nn.ReLU())
        self.classifier = nn.Linear(4 * channels, classes)

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, 3, H, W), H a multiple of 4; the maps are the stem's and those of all 3N + 2 positions."""
        maps = [self.stem(images)]
        for module in self.cells:
            maps.append(module(maps[-1]))
        pooled = self.lastact(maps[-1]).mean((2, 3))
        return Outputs(maps, pooled, self.classifier(pooled))


def seeded_network(
    cell: Cell, classes: int, *, seed: int, channels: int = 16, cells_per_stage: int = 5
) -> Network:
    """A network with PyTorch's default initialisation drawn from `seed`; global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(cell, classes, channels, cells_per_stage)
