"""A sample of NAS-Bench-201: one cell of each of 1,000 isomorphism classes, those that have every short training.

They are the first 1,000 classes of the fixed random order in which short trainings were made, numbered in that order:
any first part of the sample is a uniform one of the classes, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import CellError
from nasbench_kd.spaces import nasbench201
from nasbench_kd.spaces.encodings import GRAPH, PATHS, Graph
from nasbench_kd.spaces.nasbench201 import Cell, official_string
from nasbench_kd.spaces.nasbench201_drawing import draw_cell
from nasbench_kd.spaces.space import Architecture, SearchSpace, new_architecture

SIZE = 1000
FILE = Path(__file__).parent / "nasbench201_sample.csv"
"""Operation codes, one cell a line; `reports/kd-closed/build.py` writes it."""


class SampledCell(Architecture):
    """A cell of the sample: it prints as the same `Cell` of the whole space does, and has an index of its own."""

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("take cells of the sample from its space, by an index or `parse`")

    @staticmethod
    def from_index(index: int) -> SampledCell:
        """Return the cell at an index of the sample; raises `CellError` outside 0..999."""
        integer = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not integer or not 0 <= index < SIZE:
            raise CellError(
                f"no architecture of {SPACE.name} has the index {index!r}: indices run from 0 to {SIZE - 1}"
            )
        codes = tuple(SPACE.codes[index].tolist())
        found: SampledCell = new_architecture(SampledCell, SPACE, int(index), codes)
        return found

    @staticmethod
    def parse(string: str) -> Architecture:
        """Read the official string form; raises `CellError`, on a cell outside the sample with the closest in it."""
        cell = Cell.parse(string)
        found = SPACE.closest(cell.codes)
        if found.codes != cell.codes:
            raise CellError(
                f"{string} is not among the {SIZE} architectures of {SPACE.name}; the closest is {found!r}"
            )
        return found

    @property
    def cell(self) -> Cell:
        """The same cell in the whole space."""
        return Cell.from_codes(self.codes)

    def __str__(self) -> str:
        return official_string(self.choices)

    def __reduce__(self) -> tuple[object, ...]:
        return (SampledCell.from_index, (self.index,))


def _codes() -> npt.NDArray[np.int8]:
    return np.loadtxt(FILE, delimiter=",", dtype=np.int8)


def _official() -> list[int]:
    """Official indices of the sample."""
    return [Cell.from_codes(codes).index for codes in SPACE.codes.tolist()]


def _paths() -> npt.NDArray[np.bool_]:
    """The path encoding of the sample, shape (1000, 155)."""
    return nasbench201.paths()[_official()]


def _graph() -> Graph:
    """The graph of the sample."""
    whole, here = nasbench201.graph(), _official()
    return Graph(whole.arrows, whole.symbols[here], whole.kinds, whole.absent[here], whole.groups)


SPACE = SearchSpace(
    "nas-bench-201-sample",
    dict(zip(nasbench201.SPACE.coordinates, nasbench201.SPACE.choices, strict=True)),
    _codes,
    size=SIZE,
    kind=SampledCell,
    encodings={PATHS: _paths, GRAPH: _graph},
    drawing=draw_cell,
)
"""The space: a coordinate for each edge, and neighbours the nearest by Hamming distance over the six edges."""
