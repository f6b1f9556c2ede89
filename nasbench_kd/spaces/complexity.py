"""Parameters and multiply-accumulates of the NAS-Bench-201 network, in closed form.

Derived from the macro skeleton (NAS-Bench-201, section 2): C channels in the first of three stages that
double them, N cells a stage, 16 and 5 in the full network. Pooling, skip and none cost nothing; batch
norm and activation are not counted as operations. An architecture is a cell of the space or of its sample.
"""

from __future__ import annotations

from nasbench_kd.spaces.nasbench201 import OPERATIONS
from nasbench_kd.spaces.space import Architecture

_CONV_1X1, _CONV_3X3 = OPERATIONS.index("nor_conv_1x1"), OPERATIONS.index("nor_conv_3x3")


def parameters(cell: Architecture, classes: int, *, channels: int = 16, cells_per_stage: int = 5) -> int:
    """Return the number of trainable parameters, two for each channel of a batch norm among them."""
    weights, norms = 21 * channels**2, 14 * channels
    in_cells = cell.codes.count(_CONV_3X3) * (9 * weights + norms)
    in_cells += cell.codes.count(_CONV_1X1) * (weights + norms)
    stem_reductions_and_last_norm = 280 * channels**2 + 61 * channels
    return cells_per_stage * in_cells + stem_reductions_and_last_norm + (4 * channels + 1) * classes


def multiply_accumulates(
    cell: Architecture, classes: int, image_size: int = 32, *, channels: int = 16, cells_per_stage: int = 5
) -> int:
    """Return the multiply-accumulates of one forward pass on one square image of `image_size` pixels.

    Stages halve the side and double the width, so that a convolution costs the same in each.
    """
    pointwise = channels**2 * image_size**2
    in_cells = 3 * cells_per_stage * (9 * cell.codes.count(_CONV_3X3) + cell.codes.count(_CONV_1X1))
    stem = 27 * channels * image_size**2
    reductions = 28 * pointwise
    return stem + reductions + in_cells * pointwise + (4 * channels + 1) * classes
