"""The NAS-Bench-201 search space: every form of a cell, its neighbours and its isomorphism class.

A cell has four nodes (0 is the input, 3 the output) and one operation on each of the six edges.
Indices follow the official benchmark order: all cells in lexicographic order of their operations,
shuffled by `random.Random(88)` (AutoDL-Projects, `exps/NAS-Bench-201/main.py`).
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import CellError, nearest
from nasbench_kd.spaces.encodings import Graph, path_encoding
from nasbench_kd.spaces.nasbench201_drawing import draw_cell
from nasbench_kd.spaces.space import Architecture, SearchSpace, drawn_below, new_architecture, whole_codes

OPERATIONS: tuple[str, ...] = (
    "none",
    "skip_connect",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "avg_pool_3x3",
)
EDGES: tuple[tuple[int, int], ...] = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
PATHS: tuple[tuple[int, ...], ...] = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""Edges (positions in `EDGES`) of the four paths from the input to the output."""
SPACE_SIZE: int = len(OPERATIONS) ** len(EDGES)

_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
_CODE = {operation: code for code, operation in enumerate(OPERATIONS)}
_TOKEN = re.compile(r"[^|~+]+")


class Cell(Architecture):
    """One of the 15,625 architectures. Instances are interned, immutable, hashable and picklable.

    Attributes:
        index: position in the official NAS-Bench-201 order, 0..15624.
        codes: six operation codes (positions in `OPERATIONS`) over `EDGES`.

    >>> cell = Cell.from_index(0)
    >>> str(cell)
    '|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|'
    >>> Cell.parse(str(cell)) is cell
    True
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("use Cell.from_index, Cell.parse, Cell.from_operations or Cell.sample")

    @staticmethod
    def from_index(index: int) -> Cell:
        """Return the cell at an official index; raises `CellError` outside 0..15624."""
        integer = type(index) is int or (isinstance(index, int | np.integer) and not isinstance(index, bool))
        if not integer or not 0 <= index < SPACE_SIZE:
            raise CellError(f"no cell has the index {index!r}: indices run from 0 to {SPACE_SIZE - 1}")
        return all_cells()[index]

    @staticmethod
    def from_codes(codes: Sequence[int]) -> Cell:
        """Return the cell with these six operation codes over `EDGES`; raises `CellError`."""
        cell = _by_codes().get(whole_codes(codes))
        if cell is None:
            raise CellError(
                f"a cell has {len(EDGES)} operation codes from 0 to {len(OPERATIONS) - 1}, not {codes!r:.200}"
            )
        return cell

    @staticmethod
    def from_operations(operations: Sequence[str]) -> Cell:
        """Return the cell with these six operation names over `EDGES`; raises `CellError`."""
        if (
            isinstance(operations, str)
            or not isinstance(operations, Sequence)
            or len(operations) != len(EDGES)
        ):
            raise CellError(f"a cell has {len(EDGES)} operations, not {operations!r:.200}")
        return Cell.from_codes([_code(name, f"edge {i}") for i, name in enumerate(operations)])

    @staticmethod
    def parse(string: str) -> Cell:
        """Read the official string form; raises `CellError` that shows the place and the form."""
        cell = _by_string().get(string) if isinstance(string, str) else None
        if cell is None:
            raise CellError(_explain(string))
        return cell

    @staticmethod
    def sample(rng: np.random.Generator) -> Cell:
        """Draw a cell uniformly from the space."""
        return all_cells()[drawn_below(SPACE_SIZE, rng)]

    @property
    def operations(self) -> tuple[str, ...]:
        """Six operation names over `EDGES`."""
        return tuple(OPERATIONS[code] for code in self.codes)

    @property
    def isomorphism_class(self) -> int:
        """The smallest index among the cells that compute the same function (6,466 classes).

        Same function means equal after removing `none` and contracting `skip_connect`, as the
        benchmark's own unique string does (NAS-Bench-201, section 2.1). A convolution of a node
        that nothing reaches counts as zero there: true until training moves its batch-norm bias.
        """
        return int(isomorphism_classes()[self.index])

    @property
    def representative(self) -> Cell:
        """The cell that stands for the isomorphism class."""
        return Cell.from_index(self.isomorphism_class)

    def one_hot(self) -> npt.NDArray[np.float64]:
        """Return the (6, 5) one-hot array, rows in `EDGES` order, columns in `OPERATIONS` order."""
        return np.eye(len(OPERATIONS))[list(self.codes)]

    def replace(self, edge: int, operation: str) -> Cell:
        """Return the cell with another operation on one edge (0..5); raises `CellError`."""
        if isinstance(edge, bool) or not isinstance(edge, (int, np.integer)) or not 0 <= edge < len(EDGES):
            raise CellError(f"edges are numbered from 0 to {len(EDGES) - 1}; there is no {edge!r}")
        codes = list(self.codes)
        codes[edge] = _code(operation, f"edge {edge}")
        return Cell.from_codes(codes)

    def __str__(self) -> str:
        return official_string(self.operations)

    def __reduce__(self) -> tuple[object, ...]:
        return (Cell.from_index, (self.index,))


def official_string(operations: Sequence[str]) -> str:
    """The official string of a cell with these six operation names over `EDGES`."""
    tokens = [f"{name}~{source}" for name, (source, _) in zip(operations, EDGES, strict=True)]
    return f"|{tokens[0]}|+|{'|'.join(tokens[1:3])}|+|{'|'.join(tokens[3:])}|"


@cache
def all_cells() -> tuple[Cell, ...]:
    """All 15,625 cells in index order."""
    in_order = list(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES)))
    random.Random(88).shuffle(in_order)
    return tuple(new_architecture(Cell, SPACE, index, codes) for index, codes in enumerate(in_order))


@cache
def code_matrix() -> npt.NDArray[np.int8]:
    """Operation codes of the whole space, shape (15625, 6), rows in index order, read-only."""
    matrix = np.array([cell.codes for cell in all_cells()], dtype=np.int8)
    matrix.setflags(write=False)
    return matrix


@cache
def one_hot_matrix() -> npt.NDArray[np.float64]:
    """One-hot codes of the whole space, shape (15625, 30), rows in index order, read-only."""
    matrix = np.eye(len(OPERATIONS))[code_matrix()].reshape(SPACE_SIZE, -1)
    matrix.setflags(write=False)
    return matrix


@cache
def isomorphism_classes() -> npt.NDArray[np.int16]:
    """Index of the class representative of every cell, shape (15625,), read-only."""
    first: dict[str, int] = {}
    classes = np.array(
        [first.setdefault(_unique_string(cell.codes), cell.index) for cell in all_cells()],
        dtype=np.int16,
    )
    classes.setflags(write=False)
    return classes


def paths() -> npt.NDArray[np.bool_]:
    """The path encoding of BANANAS: which of 5 + 25 + 125 sequences of operations lie on a path, shape (15625, 155).

    `none` counts as an operation, as in the authors' code (naszilla).
    """
    return path_encoding(code_matrix(), PATHS, len(OPERATIONS))


def graph() -> Graph:
    """Operations on the nodes input, the six edges, output (NPENAS's graph); a `none` is an isolated node.

    A mutation draws a node of the cell, then an edge that ends there.
    """
    arrows = np.zeros((len(EDGES) + 2, len(EDGES) + 2), dtype=bool)
    for number, (source, target) in enumerate(EDGES, start=1):
        arrows[0, number] = source == 0
        arrows[number, -1] = target == 3
        arrows[number, 1:-1] = [begins == target for begins, _ in EDGES]
    symbols = np.empty((SPACE_SIZE, len(EDGES) + 2), dtype=np.int64)
    symbols[:, 0], symbols[:, -1] = len(OPERATIONS), len(OPERATIONS) + 1
    symbols[:, 1:-1] = code_matrix()
    ending = [tuple(place for place, edge in enumerate(EDGES) if edge[1] == node) for node in (1, 2, 3)]
    return Graph(arrows, symbols, len(OPERATIONS) + 2, symbols == OPERATIONS.index("none"), tuple(ending))


SPACE = SearchSpace(
    "nas-bench-201",
    {f"edge_{source}_{target}": OPERATIONS for source, target in EDGES},
    code_matrix,
    classes=isomorphism_classes,
    kind=Cell,
    encodings={"paths": paths, "graph": graph},
    drawing=draw_cell,
)
"""The space: a coordinate for each edge, cells in the official order, isomorphic cells as twins."""


def representatives() -> tuple[Cell, ...]:
    """One cell for each of the 6,466 isomorphism classes, in index order."""
    return tuple(Cell.from_index(int(index)) for index in np.unique(isomorphism_classes()))


@cache
def _by_codes() -> dict[tuple[int, ...], Cell]:
    return {cell.codes: cell for cell in all_cells()}


@cache
def _by_string() -> dict[str, Cell]:
    return {str(cell): cell for cell in all_cells()}


def _unique_string(codes: Sequence[int]) -> str:
    """Name the function that a cell computes; `0` is the input node and `#` is zero."""
    nodes = ["0"]
    remaining: Iterator[int] = iter(codes)
    for target in range(1, 4):
        terms = []
        for source in range(target):
            name = OPERATIONS[next(remaining)]
            if name == "none" or nodes[source] == "#":
                terms.append("#")
            elif name == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]}){name}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def _code(name: str, place: str) -> int:
    if not isinstance(name, str) or name not in _CODE:
        raise CellError(
            f"unknown operation {name!r} on {place}: expected one of {', '.join(OPERATIONS)}."
            f"{nearest(str(name), OPERATIONS)}"
        )
    return _CODE[name]


def _explain(string: object) -> str:
    """Say where a string stops being a cell."""
    if not isinstance(string, str):
        return f"a cell string is text of the form {_FORM}, not {type(string).__name__}"
    position = 0
    expected = re.findall(r"op|~\d|[|+]+", _FORM)
    hint = ""
    for part in expected:
        if part == "op":
            token = _TOKEN.match(string, position)
            if token is None or token.group() not in _CODE:
                found = token.group() if token else string[position : position + 1]
                hint = f"expected an operation ({', '.join(OPERATIONS)}), found {found[:40]!r}."
                hint += nearest(found[:40], OPERATIONS)
                break
            position = token.end()
        elif string.startswith(part, position):
            position += len(part)
        else:
            hint = f"expected {part!r}, found {string[position : position + 12]!r}."
            break
    else:
        hint = f"expected the end, found {string[position : position + 12]!r}."
    start = max(0, position - 60)
    excerpt = string[start : position + 40].replace("\n", " ")
    return (
        f"not a cell string: at character {position} {hint}\n"
        f"  {excerpt}\n  {' ' * (position - start)}^\n  form: {_FORM}"
    )
