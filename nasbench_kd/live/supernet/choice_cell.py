"""A cell that holds every operation of every edge, and the paths that an architecture takes through it.

The building block of weight sharing on NAS-Bench-201 (Dong and Yang, ICLR 2020, section 4; AutoDL-Projects,
`search_cells.py`): batch norm inside the operations has no affine part and normalises by the batch, in training and
in scoring, so that no running averages of different architectures are mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.live.engine import average_pool
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS

NONE, SKIP, POINTWISE, THREE, POOL = range(len(OPERATIONS))
"""Codes of the operations, in the order of `OPERATIONS`."""


@cache
def path_edges(codes: tuple[int, ...]) -> tuple[int, ...]:
    """The edges (0..5) that lie on a path from the cell's input to its output; empty where the cell is dead.

    The others change nothing: what a convolution without affine batch norm makes of zeros is zero.
    """
    reached, reaches = {0}, {3}
    for edge, (source, target) in enumerate(EDGES):
        if source in reached and codes[edge] != NONE:
            reached.add(target)
    for edge in reversed(range(len(EDGES))):
        source, target = EDGES[edge]
        if target in reaches and codes[edge] != NONE:
            reaches.add(source)
    return tuple(
        edge
        for edge, (source, target) in enumerate(EDGES)
        if codes[edge] != NONE and source in reached and target in reaches
    )


def normalise_batch(x: Tensor) -> Tensor:
    """Batch norm without an affine part and by the statistics of this batch; (B, C, H, W) to the same."""
    return F.batch_norm(x, None, None, None, None, True)


def use_batch_statistics(module: nn.Module) -> nn.Module:
    """Let the batch norms of a module normalise by the batch in training and scoring alike; returns the module."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.track_running_stats = False
            each.running_mean = each.running_var = each.num_batches_tracked = None
    return module


class ChoiceCell(nn.Module):
    """All five operations on all six edges; what is computed is chosen at every call.

    Args:
        channels: C, of the input and the output (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.ModuleDict(
                {
                    OPERATIONS[code]: nn.Conv2d(channels, channels, side, padding=side // 2, bias=False)
                    for code, side in ((POINTWISE, 1), (THREE, 3))
                }
            )
            for _ in EDGES
        )

    def operate(self, edge: int, code: int, x: Tensor) -> Tensor:
        """The output of one operation (not `none`) on one edge, with the weights cast to the type of `x`."""
        if code == SKIP:
            return x
        if code == POOL:
            return average_pool(x)
        return self.convolve(edge, code, torch.relu(x))

    def convolve(self, edge: int, code: int, rectified: Tensor) -> Tensor:
        """Convolution and batch norm of a map that went through ReLU."""
        layer = self.convolutions[edge][OPERATIONS[code]]  # type: ignore[index]
        weight = layer.weight.to(rectified.dtype)
        return normalise_batch(F.conv2d(rectified, weight, padding=layer.padding))

    def forward(self, x: Tensor, codes: tuple[int, ...]) -> Tensor:
        """The output of the architecture with these operation codes; zeros where it is dead."""
        nodes: list[Tensor | None] = [x, None, None, None]
        rectified: list[Tensor | None] = [None] * 4
        for edge in path_edges(codes):
            source, target = EDGES[edge]
            features = nodes[source]
            assert features is not None  # the edge is on a path, and edges are in the order of their targets
            if codes[edge] in (POINTWISE, THREE):
                active = rectified[source]
                if active is None:
                    active = rectified[source] = torch.relu(features)
                value = self.convolve(edge, codes[edge], active)
            else:
                value = self.operate(edge, codes[edge], features)
            total = nodes[target]
            nodes[target] = value if total is None else total + value
        return torch.zeros_like(x) if nodes[3] is None else nodes[3]

    def joint(self, x: Tensor, weights: Tensor) -> Tensor:
        """The output where every edge is the weighted sum of its five operations (DARTS); weights are (6, 5).

        An operation whose weight is exactly 0 is not computed.
        """
        computed = (weights.detach() != 0).tolist()

        def mixed(edge: int, features: Tensor) -> Tensor | None:
            return _total(
                weights[edge, code].to(features.dtype) * self.operate(edge, code, features)
                for code in range(1, len(OPERATIONS))
                if computed[edge][code]
            )

        return self._walk(x, mixed)

    def sampled(self, x: Tensor, weights: Tensor) -> Tensor:
        """The output where every edge runs the operation of its largest weight; weights (6, 5) are 1 and 0 (GDAS).

        The others enter by their weights alone, which are 0 and carry the straight-through gradient, as in the
        published code: nothing of them is computed.
        """
        chosen = weights.detach().argmax(1).tolist()

        def hard(edge: int, features: Tensor) -> Tensor:
            weight = weights[edge].to(features.dtype)
            others = weight.sum() - weight[chosen[edge]]
            if chosen[edge] == NONE:
                return torch.zeros_like(features) * weight[NONE] + others
            return weight[chosen[edge]] * self.operate(edge, chosen[edge], features) + others

        return self._walk(x, hard)

    def _walk(self, x: Tensor, of_edge: Callable[[int, Tensor], Tensor | None]) -> Tensor:
        nodes: list[Tensor | None] = [x, None, None, None]
        for edge, (source, target) in enumerate(EDGES):
            features = nodes[source]
            if features is not None:
                nodes[target] = _total(
                    each for each in (nodes[target], of_edge(edge, features)) if each is not None
                )
        return torch.zeros_like(x) if nodes[3] is None else nodes[3]


def _total(values: Iterable[Tensor]) -> Tensor | None:
    """The sum of maps; None of none."""
    found: Tensor | None = None
    for value in values:
        found = value if found is None else found + value
    return found
