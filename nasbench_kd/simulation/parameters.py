"""Constructor arguments of optimizers: named, with their constraints beside them, checked in one place.

    @with_parameters
    class Hillclimb(Optimizer):
        fidelity: str = parameter("none@200", a_fidelity)
        restarts: int = parameter(10, integer(1))

The constructor only stores the arguments; what a run learns is made in `setup`, so that one instance may
search again.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from numbers import Real
from typing import Any, TypeVar, cast, dataclass_transform

from nasbench_kd.errors import ArgumentError, nearest
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd.tasks.signals import find_signal

Constraint = Callable[[str, Any], None]
"""Takes an argument's name and value, and raises a typed error naming both where the value cannot be used."""

_CONSTRAINT = "constraint"
T = TypeVar("T")
K = TypeVar("K", bound=type)


def parameter(default: T, constraint: Constraint) -> T:
    """A constructor argument with its default; None passes every constraint where None is the default.

    A subclass that changes only the default keeps the constraint.
    """
    return field(default=default, metadata={_CONSTRAINT: constraint})


@dataclass_transform(kw_only_default=True, eq_default=False)
def with_parameters(kind: K) -> K:
    """Make a dataclass of an optimizer whose arguments are given by name alone.

    Positional arguments raise `ArgumentError`, which says how to write them.
    """
    declared: Any = dataclass(kw_only=True, eq=False)(kind)
    generated = declared.__init__

    @wraps(generated)
    def __init__(self: Any, *values: Any, **named: Any) -> None:
        if values:
            names = [each.name for each in fields(declared)]
            raise ArgumentError(
                f"{declared.__name__} takes its arguments by name: write {declared.__name__}({names[0]}={values[0]!r}) "
                f"and name the others likewise ({', '.join(names)})"
            )
        generated(self, **named)

    declared.__init__ = __init__
    return cast(K, declared)


def check_parameters(optimizer: object) -> None:
    """Hold the arguments of a dataclass to their declared constraints; of other objects, check nothing."""
    if not is_dataclass(optimizer):
        return
    for each in fields(optimizer):
        value = getattr(optimizer, each.name)
        constraint = _constraint(type(optimizer), each.name)
        if constraint is not None and not (value is None and each.default is None):
            constraint(each.name, value)


def _constraint(kind: type, name: str) -> Constraint | None:
    """The constraint of the nearest class that declares one for an argument."""
    for base in kind.__mro__:
        declared = base.__dict__.get("__dataclass_fields__", {}).get(name)
        if declared is not None and _CONSTRAINT in declared.metadata:
            return cast(Constraint, declared.metadata[_CONSTRAINT])
    return None


def integer(least: int) -> Constraint:
    """A whole number from `least` on."""

    def check(name: str, value: Any) -> None:
        try:
            fits = not isinstance(value, bool) and operator.index(value) >= least
        except TypeError:
            fits = False
        if not fits:
            raise ArgumentError(f"{name} is a whole number of at least {least}, not {value!r}")

    return check


def real(
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
) -> Constraint:
    """A number within bounds: `least` and `most` belong to the range, `above` and `below` do not."""
    tests = [
        (words, bound, compare)
        for words, bound, compare in (
            ("of at least", least, operator.ge),
            ("above", above, operator.gt),
            ("of at most", most, operator.le),
            ("below", below, operator.lt),
        )
        if bound is not None
    ]
    described = " ".join(
        ["a number", " and ".join(f"{words} {bound:g}" for words, bound, _ in tests)]
    ).strip()

    def check(name: str, value: Any) -> None:
        number = isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)
        if not (number and all(compare(value, bound) for _, bound, compare in tests)):
            raise ArgumentError(f"{name} is {described}, not {value!r}")

    return check


def boolean(name: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{name} is true or false, not {value!r}")


def one_of(choices: Sequence[str]) -> Constraint:
    """One of several words."""

    def check(name: str, value: Any) -> None:
        if value not in choices:
            raise ArgumentError(
                f"{name} is one of {', '.join(choices)}, not {value!r}.{nearest(str(value), choices)}"
            )

    return check


def a_fidelity(name: str, value: Any) -> None:
    """Text of a fidelity, or the word `target`; raises `FidelityError` where it is neither."""
    if not isinstance(value, str | Fidelity):
        raise ArgumentError(f"{name} is a fidelity such as 'none@200', not {value!r}")
    if value != TARGET:
        Fidelity.parse(value)


def different_fidelities(least: int) -> Constraint:
    """At least so many fidelities, cheapest first, none of them twice."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ArgumentError(f"{name} is a list of fidelities, cheapest first, not {value!r}")
        if (
            not least
            <= len({each if each == TARGET else Fidelity.parse(each) for each in value})
            == len(value)
        ):
            count = "one" if least == 1 else "two" if least == 2 else str(least)
            raise ArgumentError(f"{name} are different fidelities, at least {count}, not {value!r}")

    return check


def a_signal(name: str, value: Any) -> None:  # noqa: ARG001  # constraints are called alike
    """Name of a signal; raises `UnknownNameError` where nothing records it."""
    find_signal(value)
