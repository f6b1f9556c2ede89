"""Residual networks for 32-pixel images with 1, 3, 5 or 7 blocks in each of three stages (DisWOT's space S1)."""

from __future__ import annotations

from nasbench_kd.spaces.space import Architecture, SearchSpace

WIDTHS = (16, 32, 64)
SPACE = SearchSpace("kd-resnet", {f"blocks{stage}": ("1", "3", "5", "7") for stage in (1, 2, 3)})
"""64 networks of 16, 32 and 64 channels (Dong, Li and Wei, CVPR 2023, section 4.1); every combination is there."""


def parameters(network: Architecture, classes: int) -> int:
    """Trainable parameters, two for each channel of a batch norm among them."""
    total, before = 27 * WIDTHS[0] + 2 * WIDTHS[0], WIDTHS[0]
    for blocks, width in zip(map(int, network.choices), WIDTHS, strict=True):
        total += 9 * before * width + (2 * blocks - 1) * 9 * width**2 + 4 * width * blocks
        total += (before * width + 2 * width) * (before != width)
        before = width
    return total + (before + 1) * classes


def depth(network: Architecture) -> int:
    """Residual blocks of all stages."""
    return sum(map(int, network.choices))
