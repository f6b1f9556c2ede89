"""Forms of a space's architectures that models learn from: general ones, and those that a space declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

CODES, ONE_HOT = "codes", "one-hot"
"""Encodings that every space has: positions of choices, (n, coordinates), and their one-hot form, (n, choices)."""
PATHS, GRAPH = "paths", "graph"
"""Encodings that a space may declare: a matrix by `path_encoding`, (n, sequences), and a `Graph`."""


@dataclass(frozen=True)
class Graph:
    """Every architecture as operations on the nodes of one graph.

    Attributes:
        arrows: whether one node feeds another, shape (nodes, nodes), rows are sources; no node feeds an earlier one.
            The first node is the input and the last the output.
        symbols: what stands on each node, shape (n, nodes), numbers below `kinds`.
        kinds: how many symbols there are.
        absent: nodes that nothing reaches or leaves, since their operation is none, shape (n, nodes).
        groups: coordinates of the space in groups, of which a mutation draws one first, then one of its members.
    """

    arrows: npt.NDArray[np.bool_]
    symbols: npt.NDArray[np.integer]
    kinds: int
    absent: npt.NDArray[np.bool_]
    groups: tuple[tuple[int, ...], ...]

    @cached_property
    def ways(self) -> tuple[tuple[int, ...], ...]:
        """Nodes along every way from the input to the output, both left out."""
        found: list[tuple[int, ...]] = []
        begun: list[tuple[int, ...]] = [(0,)]
        while begun:
            way = begun.pop()
            if way[-1] == len(self.arrows) - 1:
                found.append(way[1:-1])
            else:
                begun += [(*way, int(node)) for node in np.flatnonzero(self.arrows[way[-1]])[::-1]]
        return tuple(found)

    def paths(self, index: int) -> tuple[tuple[int, ...], ...]:
        """Symbols along every way of an architecture that no absent node interrupts, in the order of `ways`."""
        symbols, absent = self.symbols[index].tolist(), self.absent[index].tolist()
        return tuple(
            tuple(symbols[node] for node in way) for way in self.ways if not any(absent[node] for node in way)
        )


def parallel_graph(codes: npt.NDArray[np.integer], sizes: Sequence[int]) -> Graph:
    """The graph of a space that declares none: a node for each coordinate, all between input and output.

    Args:
        codes: of the architectures, shape (n, coordinates).
        sizes: number of choices of each coordinate; a choice of one is no symbol of another.
    """
    count, coordinates = codes.shape
    arrows = np.zeros((coordinates + 2, coordinates + 2), dtype=bool)
    arrows[0, 1:-1] = arrows[1:-1, -1] = True
    kinds = sum(sizes) + 2
    symbols = np.empty((count, coordinates + 2), dtype=np.int64)
    symbols[:, 0], symbols[:, -1] = kinds - 2, kinds - 1
    symbols[:, 1:-1] = codes + np.cumsum([0, *sizes[:-1]])
    absent = np.zeros(symbols.shape, dtype=bool)
    return Graph(arrows, symbols, kinds, absent, tuple((place,) for place in range(coordinates)))


def path_encoding(
    codes: npt.NDArray[np.integer], paths: Sequence[Sequence[int]], operations: int
) -> npt.NDArray[np.bool_]:
    """Which sequences of operations lie on a path of each architecture, the shortest first, shape (n, sequences).

    Args:
        codes: operations, shape (n, edges), below `operations`.
        paths: the edges of every path, in order; sequences of each of their lengths have a column.
        operations: how many there are.
    """
    lengths = range(1, max(map(len, paths)) + 1)
    starts = {length: sum(operations**shorter for shorter in range(1, length)) for length in lengths}
    encoding = np.zeros((len(codes), sum(operations**length for length in lengths)), dtype=bool)
    for path in paths:
        places = np.full(len(codes), starts[len(path)])
        for position, edge in enumerate(path):
            places = places + codes[:, edge].astype(np.int64) * operations**position
        encoding[np.arange(len(codes)), places] = True
    return encoding
