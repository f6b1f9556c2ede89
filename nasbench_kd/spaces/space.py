"""A finite search space as data: coordinates and their choices, architectures by index, neighbours and twins."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import ArgumentError, CellError, nearest
from nasbench_kd.spaces.encodings import CODES, GRAPH, ONE_HOT, Graph, parallel_graph

Array = npt.NDArray[Any]
Rows = npt.ArrayLike | Callable[[], npt.ArrayLike]
"""An array, or a function without arguments that makes it when it is first needed."""
_SHOWN = 12


class Architecture:
    """One architecture of a finite space: immutable, hashable and picklable.

    Two are equal where they have one index in one space. Spaces may have a class of their own, as
    NAS-Bench-201 has `Cell`.

    Attributes:
        space: the space that it belongs to.
        index: its position there, from 0.
        codes: position of its choice at every coordinate.
    """

    __slots__ = ("codes", "index", "space")
    space: SearchSpace
    index: int
    codes: tuple[int, ...]

    @property
    def choices(self) -> tuple[str, ...]:
        """Its choice at every coordinate, by name."""
        return tuple(names[code] for names, code in zip(self.space.choices, self.codes, strict=True))

    def neighbours(self) -> tuple[Self, ...]:
        """The architectures next to it, never none, see `SearchSpace.neighbours`."""
        return cast("tuple[Self, ...]", self.space.neighbours(self.index))

    def mutate(self, rng: np.random.Generator) -> Self:
        """Draw one of the neighbours uniformly."""
        neighbours = self.neighbours()
        return neighbours[drawn_below(len(neighbours), rng)]

    def __str__(self) -> str:
        return " ".join(map("=".join, zip(self.space.coordinates, self.choices, strict=True)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index}: {self})"

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Architecture) and self.index == other.index and self.space == other.space
        )

    def __hash__(self) -> int:
        return hash(self.index)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("architectures are immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("architectures are immutable")

    def __reduce__(self) -> tuple[object, ...]:
        return (SearchSpace.__getitem__, (self.space, self.index))


def new_architecture(kind: type[Any], space: SearchSpace, index: int, codes: tuple[int, ...]) -> Any:
    """Make an instance of `Architecture` or a class of it; only a space does."""
    architecture = object.__new__(kind)
    for name, value in (("space", space), ("index", index), ("codes", codes)):
        object.__setattr__(architecture, name, value)
    return architecture


def drawn_below(count: int, rng: np.random.Generator) -> int:
    """Draw a whole number from 0 to `count` - 1; raises `ArgumentError` where `rng` is no generator."""
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(
            f"rng is a numpy.random.Generator, such as numpy.random.default_rng(0), not {type(rng).__name__}"
        )
    return int(rng.integers(count))


def whole_codes(codes: Sequence[int]) -> tuple[int, ...]:
    """Codes as plain whole numbers; raises `CellError` where they are none."""
    try:
        if not any(isinstance(code, bool) for code in codes):
            return tuple(map(operator.index, codes))
    except TypeError:
        pass
    raise CellError(f"codes are a sequence of whole numbers, not {codes!r:.200}")


class Kind(Protocol):
    """The class of a space's architectures, where they have a form of their own."""

    @staticmethod
    def from_index(index: int) -> Architecture:
        """Return the architecture at an index; raises `CellError`."""

    @staticmethod
    def parse(string: str) -> Architecture:
        """Read an architecture's string; raises `CellError`."""


class SearchSpace:
    """A finite space of architectures. It is a value: spaces of one name and size are equal.

    >>> space = SearchSpace("toy", {"depth": ("1", "2", "3"), "width": ("8", "16")})
    >>> len(space), str(space[1]), [cell.index for cell in space[1].neighbours()]
    (6, 'depth=1 width=16', [3, 5, 0])

    Args:
        name: by which messages, listings and reports call it.
        choices: names of the coordinates and, for each, the names of its choices, two or more.
        codes: position of the choice of every architecture at every coordinate, shape (n, coordinates), no
            row twice; by default every combination, the last coordinate changing fastest.
        size: n, where `codes` is a function; by default the number of combinations.
        classes: for every architecture the smallest index among those that are the same network, shape (n,);
            by default each is alone. Twins share their measured results.
        kind: the class of its architectures, where they have a form of their own.
        encodings: further forms of the architectures by name, as functions without arguments: an array whose rows
            are in index order, a `Graph`; `codes` and `one-hot` are there anyway. An optimizer may need one
            (`Optimizer.needs`).
        drawing: draws an architecture, given axes of matplotlib and it; by default its choices are told in words.

    Raises `ArgumentError` where these do not describe a space; what functions return is checked when it is made.
    """

    def __init__(
        self,
        name: str,
        choices: Mapping[str, Sequence[str]],
        codes: Rows | None = None,
        *,
        size: int | None = None,
        classes: Rows | None = None,
        kind: Kind | None = None,
        encodings: Mapping[str, Callable[[], Any]] = MappingProxyType({}),
        drawing: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self.name = name
        self.coordinates: tuple[str, ...] = tuple(choices)
        self.choices: tuple[tuple[str, ...], ...] = tuple(map(tuple, choices.values()))
        self._declared = dict(encodings)
        self.drawing = drawing
        self._made_of = (codes, classes, kind)
        self.kind: type[Any] = Architecture if kind is None else cast("type[Any]", kind)
        """The class of its architectures."""
        if not self.choices or any(len(set(names)) != len(names) or len(names) < 2 for names in self.choices):
            raise ArgumentError(
                f"the space {name} needs coordinates with two or more different choices, not {dict(choices)!r:.200}"
            )
        every = math.prod(map(len, self.choices))
        if size is None:
            size = every if codes is None or callable(codes) else len(np.asarray(codes))
        if not 2 <= size <= every or (codes is None and size != every):
            raise ArgumentError(
                f"the space {name} has {every} combinations of choices; it cannot have {size} architectures"
            )
        self._size = size
        if codes is not None and not callable(codes):
            self.codes  # noqa: B018  # checked at once

    @property
    def grid(self) -> bool:
        """Whether every combination of choices is there."""
        return self._size == math.prod(map(len, self.choices))

    @cached_property
    def codes(self) -> Array:
        """Position of the choice of every architecture at every coordinate, shape (n, coordinates), read-only."""
        given = self._made_of[0]
        if given is None:
            return self._every_combination()
        rows = np.asarray(given() if callable(given) else given)
        shape, counts = (self._size, len(self.choices)), np.array(list(map(len, self.choices)))
        if rows.shape != shape or rows.dtype.kind not in "iu" or (rows < 0).any() or (rows >= counts).any():
            raise ArgumentError(
                f"the codes of the space {self.name} are positions of choices, of the shape {shape}"
            )
        rows = rows.astype(np.min_scalar_type(-int(counts.max())))
        if len(np.unique(rows, axis=0)) < len(rows):
            raise ArgumentError(f"two architectures of the space {self.name} have the same codes")
        rows.setflags(write=False)
        return rows

    def _every_combination(self) -> Array:
        counts = list(map(len, self.choices))
        kind = np.min_scalar_type(-max(counts))
        rows = np.ascontiguousarray(np.indices(counts, dtype=kind).reshape(len(counts), -1).T)
        rows.setflags(write=False)
        return rows

    @cached_property
    def classes(self) -> Array:
        """Index of the class representative of every architecture, shape (n,), read-only."""
        given = self._made_of[1]
        if given is None:
            given = np.arange(self._size)
        rows = np.asarray(given() if callable(given) else given)
        valid = (
            rows.shape == (self._size,)
            and rows.dtype.kind in "iu"
            and ((rows >= 0) & (rows < self._size)).all()
        )
        if not valid or not (rows[rows] == rows).all() or (rows > np.arange(self._size)).any():
            raise ArgumentError(
                f"the classes of the space {self.name} are the smallest index of each, of the shape ({self._size},)"
            )
        rows = rows.copy()
        rows.setflags(write=False)
        return rows

    @cached_property
    def representatives(self) -> Array:
        """Index of one architecture of each class, ascending, shape (classes,), read-only."""
        found = np.unique(self.classes).astype(np.int64)
        found.setflags(write=False)
        return found

    @cached_property
    def one_hot(self) -> npt.NDArray[np.float64]:
        """One-hot codes of every architecture, shape (n, choices of all coordinates), read-only."""
        blocks = [np.eye(len(names))[self.codes[:, place]] for place, names in enumerate(self.choices)]
        matrix = np.concatenate(blocks, axis=1)
        matrix.setflags(write=False)
        return matrix

    @property
    def encodings(self) -> tuple[str, ...]:
        """Names of the encodings that there are, those of every space first."""
        return tuple(dict.fromkeys((CODES, ONE_HOT, *self._declared)))

    def encoding(self, name: str) -> Any:
        """Return an encoding of all architectures, made once; raises `ArgumentError` where the space has none such."""
        if name not in self.encodings:
            raise ArgumentError(
                f"the space {self.name} has no encoding {name!r}; it has {', '.join(self.encodings)}."
                f"{nearest(name, self.encodings)}"
            )
        if name not in self._encoded:
            general = {CODES: lambda: self.codes, ONE_HOT: lambda: self.one_hot}
            self._encoded[name] = {**general, **self._declared}[name]()
        return self._encoded[name]

    @cached_property
    def graph(self) -> Graph:
        """The declared graph of the architectures, else `parallel_graph`."""
        if GRAPH in self.encodings:
            return cast("Graph", self.encoding(GRAPH))
        return parallel_graph(self.codes, tuple(map(len, self.choices)))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Architecture:
        known = self._architectures.get(index) if type(index) is int else None
        if known is not None:
            return known
        kind = self._made_of[2]
        if kind is not None:
            found = kind.from_index(index)
            return self._architectures.setdefault(found.index, found)
        integer = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not integer or not 0 <= index < self._size:
            raise CellError(
                f"no architecture of {self.name} has the index {index!r}: indices run from 0 to {self._size - 1}"
            )
        return self._made(int(index))

    def __iter__(self) -> Iterator[Architecture]:
        return map(self.__getitem__, range(self._size))

    def __contains__(self, item: object) -> bool:
        return isinstance(item, Architecture) and (item.space is self or item.space == self)

    def from_codes(self, codes: Sequence[int]) -> Architecture:
        """Return the architecture with these codes; raises `CellError` where the space has none."""
        found = whole_codes(codes)
        index = self._by_codes.get(found)
        if index is None:
            raise CellError(f"no architecture of {self.name} has the codes {found!r:.200}")
        return self[index]

    def closest(self, codes: Sequence[int]) -> Architecture:
        """Return the architecture that differs from codes at the fewest coordinates, the first of several.

        Raises `CellError` where these are no codes of the space's choices.
        """
        wanted = whole_codes(codes)
        index = self._by_codes.get(wanted)
        if index is not None:
            return self[index]
        counts = tuple(map(len, self.choices))
        if len(wanted) != len(counts) or not all(
            0 <= code < count for code, count in zip(wanted, counts, strict=True)
        ):
            raise CellError(
                f"codes of {self.name} are positions of choices at {len(counts)} coordinates, not {wanted!r:.200}"
            )
        return self[int(np.argmin((self.codes != np.asarray(wanted)).sum(axis=1)))]

    def parse(self, text: str) -> Architecture:
        """Read an architecture's string; raises `CellError` that says which word names nothing."""
        kind = self._made_of[2]
        if kind is not None:
            return kind.parse(text)
        if not isinstance(text, str):
            raise CellError(
                f"an architecture of {self.name} is text such as '{self[0]}', not {type(text).__name__}"
            )
        chosen = dict(map(self._choice, text.split()))
        lacking = [name for place, name in enumerate(self.coordinates) if place not in chosen]
        if lacking or len(chosen) != len(text.split()):
            problem = f"it lacks {', '.join(lacking[:_SHOWN])}" if lacking else "it names a coordinate twice"
            raise CellError(f"not an architecture of {self.name}: {problem}; the form is '{self[0]}'")
        codes = [chosen[place] for place in range(len(self.coordinates))]
        if tuple(codes) not in self._by_codes:
            raise CellError(
                f"{text!r:.200} is not among the {self._size} architectures of {self.name}; the closest is "
                f"{self.closest(codes)!r}"
            )
        return self.from_codes(codes)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture uniformly."""
        return self[drawn_below(self._size, rng)]

    def neighbours(self, index: int) -> tuple[Architecture, ...]:
        """The architectures next to one, in a fixed order, never none.

        Where every combination is there, those that differ at exactly one coordinate; else the nearest by
        Hamming distance, as many as there are coordinates and all others that are as near: with fewer, walks would
        be caught among a few architectures that are nearest to each other.
        """
        codes = self[index].codes
        if self.grid:
            return tuple(
                self[self._by_codes[(*codes[:place], code, *codes[place + 1 :])]]
                for place, names in enumerate(self.choices)
                for code in range(len(names))
                if code != codes[place]
            )
        distances = (self.codes != np.asarray(codes)).sum(axis=1)
        distances[index] = len(self.choices) + 1
        most = np.sort(distances)[min(len(self.choices), self._size - 1) - 1]
        return tuple(self[place] for place in np.flatnonzero(distances <= most).tolist())

    @cached_property
    def _encoded(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _by_codes(self) -> dict[tuple[int, ...], int]:
        return {tuple(row): index for index, row in enumerate(self.codes.tolist())}

    @cached_property
    def _architectures(self) -> dict[int, Architecture]:
        return {}

    def _made(self, index: int) -> Architecture:
        if index not in self._architectures:
            codes = tuple(self.codes[index].tolist())
            self._architectures[index] = new_architecture(Architecture, self, index, codes)
        return self._architectures[index]

    def _choice(self, word: str) -> tuple[int, int]:
        """Positions of the coordinate and the choice in a word of an architecture's string."""
        name, _, choice = word.partition("=")
        if name not in self.coordinates:
            raise CellError(
                f"{self.name} has no coordinate {name!r:.60}; it has {', '.join(self.coordinates)}."
                f"{nearest(name, self.coordinates)}"
            )
        place = self.coordinates.index(name)
        if choice not in self.choices[place]:
            raise CellError(
                f"{name} of {self.name} is one of {', '.join(self.choices[place])}, not {choice!r:.60}."
                f"{nearest(choice, self.choices[place])}"
            )
        return place, self.choices[place].index(choice)

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {self._size} architectures, {len(self.coordinates)} coordinates)"

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, SearchSpace)
            and (self.name, self._size, self.coordinates, self.choices)
            == (other.name, other._size, other.coordinates, other.choices)
        )

    def __hash__(self) -> int:
        return hash((self.name, self._size))

    def __getstate__(self) -> dict[str, Any]:
        # What is made on demand is made again on the other side.
        return {
            name: vars(self)[name]
            for name in (
                "name",
                "coordinates",
                "choices",
                "kind",
                "drawing",
                "_declared",
                "_made_of",
                "_size",
            )
        }
