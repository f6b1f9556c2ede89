"""Readers of TOML values: each checks one value and raises a `SuiteError` that says what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from nasbench_kd.errors import SuiteError, nearest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KindT = TypeVar("KindT")
ItemT = TypeVar("ItemT")


def read_table(
    kind: type[KindT], values: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], origin: str
) -> KindT:
    """Build a dataclass from a TOML table whose keys are its fields; raises `SuiteError`."""
    for key in values:
        if key not in readers:
            raise SuiteError(
                f"{origin}: unknown key {key[:60]!r}; expected {', '.join(readers)}.{nearest(key, readers)}"
            )
    for known in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        if known.name not in values and known.default is MISSING and known.default_factory is MISSING:
            raise SuiteError(f"{origin}: the key {known.name!r} is missing")
    read = {}
    for key, value in values.items():
        try:
            read[key] = readers[key](value)
        except SuiteError as error:
            raise SuiteError(f"{origin}, {key}: {error}") from error
    return kind(**read)


def plain_name(value: Any) -> str:
    """Read a name of letters, digits, dots, dashes and underscores."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise SuiteError(
            f"expected a name of letters, digits, dots, dashes and underscores, not {abbreviated(value)}"
        )
    return value


def text_line(value: Any) -> str:
    """Read one line of text."""
    if not isinstance(value, str) or not value.isprintable() or not value.strip() or len(value) > 200:
        raise SuiteError(f"expected one line of text, not {abbreviated(value)}")
    return value


def boolean(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise SuiteError(f"expected true or false, not {abbreviated(value)}")
    return value


def integer(most: int) -> Callable[[Any], int]:
    """A reader of whole numbers from 1 to `most`."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise SuiteError(f"expected a whole number from 1 to {most}, not {abbreviated(value)}")
        return value

    return read


def number(least: float, most: float) -> Callable[[Any], float]:
    """A reader of finite numbers above `least` and up to `most`."""

    def read(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not least < value <= most:
            raise SuiteError(
                f"expected a number above {least:g} and up to {most:g}, not {abbreviated(value)}"
            )
        return float(value)

    return read


def one_of(known: Iterable[str]) -> Callable[[Any], str]:
    """A reader of one of some names."""
    names = tuple(known)

    def read(value: Any) -> str:
        if value not in names:
            raise SuiteError(
                f"unknown {abbreviated(value)}: expected {', '.join(names)}.{nearest(str(value), names)}"
            )
        return str(value)

    return read


def list_of(read: Callable[[Any], ItemT], what: str) -> Callable[[Any], tuple[ItemT, ...]]:
    """A reader of lists without repetition, of at least one item each."""

    def read_all(value: Any) -> tuple[ItemT, ...]:
        if not isinstance(value, list) or not value:
            raise SuiteError(f"expected a list of at least one {what}, not {abbreviated(value)}")
        items = tuple(map(read, value))
        for place, item in enumerate(items):
            if item in items[:place]:
                raise SuiteError(f"{abbreviated(value[place])} stands there twice")
        return items

    return read_all


def abbreviated(value: Any) -> str:
    """A value as messages show it."""
    return repr(value)[:60]
