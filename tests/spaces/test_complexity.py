"""Closed forms for parameters and multiply-accumulates against logged values of known cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_kd.spaces.complexity import multiply_accumulates, parameters
from nasbench_kd.spaces.nasbench201 import Cell, all_cells

ALL_POOL = Cell.from_operations(["avg_pool_3x3"] * 6)
ALL_CONV = Cell.from_operations(["nor_conv_3x3"] * 6)


def test_known_cells_on_cifar100():
    assert parameters(ALL_POOL, 100) == 79_156
    assert round(multiply_accumulates(ALL_POOL, 100) / 1e6, 4) == 7.7889
    assert round(parameters(ALL_CONV, 10) / 1e6, 3) == 1.532
    assert round(multiply_accumulates(ALL_CONV, 10) / 1e6, 2) == 220.12


def test_the_teacher_has_the_size_that_its_authors_log():
    teacher = Cell.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|")
    assert round(parameters(teacher, 100) / 1e6, 3) == 0.565
    assert round(multiply_accumulates(teacher, 100) / 1e6, 2) == 78.57


def test_smaller_images_cost_a_quarter_of_the_convolutions():
    small, large = multiply_accumulates(ALL_CONV, 120, 16), multiply_accumulates(ALL_CONV, 120, 32)
    assert (large - 65 * 120) == 4 * (small - 65 * 120)


def test_a_narrower_and_shallower_network_by_hand():
    """C = 8, N = 1, two 3x3 edges and one 1x1 edge: stem, two reductions, three cells, classifier."""
    cell = Cell.from_operations(["nor_conv_3x3", "nor_conv_3x3", "nor_conv_1x1", "none", "none", "none"])
    stem = 3 * 8 * 9 * 32 * 32
    reductions = sum(
        side**2 * (width * 2 * width * 9 + (2 * width) ** 2 * 9 + width * 2 * width)
        for width, side in ((8, 16), (16, 8))
    )
    cells = sum(side**2 * width**2 * (9 + 9 + 1) for width, side in ((8, 32), (16, 16), (32, 8)))
    assert (
        multiply_accumulates(cell, 10, channels=8, cells_per_stage=1) == stem + reductions + cells + 33 * 10
    )

    weights = 27 * 8 + sum(56 * width**2 for width in (8, 16)) + sum((9 + 9 + 1) * w**2 for w in (8, 16, 32))
    norms = 2 * (8 + 4 * 8 + 4 * 16 + 3 * (8 + 16 + 32) + 32)
    assert parameters(cell, 10, channels=8, cells_per_stage=1) == weights + norms + 33 * 10


def test_every_cell_has_the_reference_parameter_count(reference: Path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(reference / "nb201_reference.parquet", columns=["params_millions_cifar10"])
    found = [parameters(cell, 10) / 1e6 for cell in all_cells()]
    assert abs(frame["params_millions_cifar10"] - found).max() < 1e-6
