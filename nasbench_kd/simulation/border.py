"""The border: what an optimizer hands over becomes plain values of the space, once, before anybody looks at it.

Subclasses and objects that answer differently each time they are asked are read a single time; from
there on the search knows only the space's own architectures and text.
"""

from __future__ import annotations

from typing import Any

from nasbench_kd.arguments import excerpt
from nasbench_kd.errors import NasbenchKDError, ProtocolError
from nasbench_kd.simulation.optimizer import Query
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd.tasks.task import Task


def canonical_query(asked: Any, task: Task) -> Query:
    """The query that was asked for, of exact types; raises `ProtocolError` where there is none in it.

    The fidelity stays text where it was text, so that an optimizer may compare it with what it asked;
    the word `target` becomes the task's.
    """
    if not isinstance(asked, Query):
        raise ProtocolError(f"ask returned {excerpt(asked)}, not a Query with {_wanted(task.space)}")
    try:
        if type(asked) is Query and _is_canonical(asked, task.space):
            return asked if asked[1] != TARGET else Query(asked[0], task.target, asked[2])
        cell, fidelity, signal = asked.cell, asked.fidelity, asked.signal
        if not isinstance(cell, Architecture):
            raise ProtocolError(f"ask returned {excerpt(asked)}, not a Query with {_wanted(task.space)}")
        exact = _own(cell, task.space)
        text = _text(fidelity)
        if not isinstance(signal, str):
            raise ProtocolError(f"a signal is named by text, not by {excerpt(signal)}")
        wanted: str | Fidelity = text if isinstance(fidelity, str) else Fidelity.parse(text)
        return Query(exact, task.target if text == TARGET else wanted, str.__str__(signal))
    except NasbenchKDError:
        raise
    except Exception as error:
        raise ProtocolError(f"ask returned a query that cannot be read: {explain(error)}") from error


def _is_canonical(asked: Query, space: SearchSpace) -> bool:
    """Whether a query of this exact class is of the space's own architecture and plain text."""
    cell, fidelity, signal = asked
    return (
        type(fidelity) is str
        and type(signal) is str
        and type(cell) is space.kind
        and type(cell.index) is int
        and cell.space is space
        and space[cell.index] is cell
    )


def canonical_answer(given: Any, space: SearchSpace) -> int:
    """Index of the cell that was answered, -1 for None; raises `ProtocolError` where it is neither."""
    if given is None:
        return -1
    if not isinstance(given, Architecture):
        raise ProtocolError(f"answer returned {excerpt(given)}, not {_wanted(space)} or None")
    try:
        return _own(given, space).index
    except Exception as error:
        raise ProtocolError(f"answer returned a cell that is not of the space: {explain(error)}") from error


def explain(error: BaseException) -> str:
    """Type and message of somebody else's exception, also where its message cannot be had."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__}, whose message cannot be read"


def _wanted(space: SearchSpace) -> str:
    name = space.kind.__name__
    return f"a{'n' * (name[0] in 'AEIOU')} {name}"


def _own(cell: Architecture, space: SearchSpace) -> Architecture:
    """The space's own cell of the index that this one shows; raises `ProtocolError` where they disagree."""
    index = cell.index
    if cell.space is not space and cell not in space:
        raise ProtocolError(f"{excerpt(cell)} is no architecture of {space.name}")
    if type(index) is not int:
        raise ProtocolError(f"a cell with the index {excerpt(index)}, which is no plain whole number")
    own = space[index]
    if own.index != index or type(own) is not space.kind:
        raise ProtocolError(f"the space's cell {index} has been changed")
    return own


def _text(fidelity: Any) -> str:
    """The text of a fidelity, as exact `str`: its own methods are asked once, if at all."""
    if isinstance(fidelity, str):
        return str.__str__(fidelity)
    return str.__str__(str(Fidelity.parse(fidelity)))
