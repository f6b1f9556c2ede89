"""What a pass of an architecture costs on the table's clock, in closed form, for what no table holds.

A linear fit to the 200-epoch seconds of all 15,625 cells of NAS-Bench-201 on CIFAR-10 (25,000 images an epoch,
forward and backward): R2 0.993, mean error 0.16 of 9.14 s an epoch; the other data sets cost the same for an image.
It bills what is trained with shared weights: counted images times these seconds, whatever machine did it.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS

IMAGES = 25_000
"""Images of the epoch that the seconds are of."""
SKELETON = 3.55
"""Seconds of an epoch of a network whose cells do nothing: stem, reductions and head."""
OPERATION = {
    "none": 0.0,
    "skip_connect": -0.19,
    "nor_conv_1x1": 1.73,
    "nor_conv_3x3": 2.28,
    "avg_pool_3x3": 0.83,
}
"""Seconds of an epoch that one edge adds to a network of five cells a stage; the fit leaves skip below 0."""
FORWARD = 1 / 3
"""Share of a forward pass in forward and backward: multiply-accumulates, not a measurement."""
_CELLS = 5


def seconds_per_image(codes: Sequence[int], cells_per_stage: int = 5) -> float:
    """Seconds of forward and backward for one image through the network of an architecture (six operation codes)."""
    edges = sum(OPERATION[OPERATIONS[code]] for code in codes)
    return _for_image(edges, cells_per_stage)


def mean_seconds_per_image(cells_per_stage: int = 5) -> float:
    """The mean over all architectures: what a step on a uniformly drawn one costs for an image."""
    return _for_image(len(EDGES) * sum(OPERATION.values()) / len(OPERATIONS), cells_per_stage)


def joint_seconds_per_image(cells_per_stage: int = 5) -> float:
    """Seconds of one image through a supernet that computes all operations of all edges: 3.44 mean cells."""
    return _for_image(len(EDGES) * sum(OPERATION.values()), cells_per_stage)


def _for_image(edges: float, cells_per_stage: int) -> float:
    return (SKELETON + edges * cells_per_stage / _CELLS) / IMAGES
