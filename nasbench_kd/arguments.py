"""What public functions hold their plain arguments to, and the wording of the errors."""

from __future__ import annotations

import operator
from typing import Any

from nasbench_kd.errors import ArgumentError

MOST = 2**63 - 1
_SHOWN = 200


def whole_number(name: str, value: Any, least: int = 0, most: int = MOST) -> int:
    """An argument that is a whole number, as a plain one; raises `ArgumentError` naming it. No truth value is one."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise ArgumentError(f"{name} is a whole number of at least {least}, not {excerpt(value)}")
    return int(number)


def truth(name: str, value: Any) -> bool:
    """An argument that is True or False; raises `ArgumentError` naming it: the text "no" would count as true."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{name} is True or False, not {excerpt(value)}")
    return value


def excerpt(value: Any) -> str:
    """The beginning of what a value looks like, also where it cannot be had."""
    try:
        return f"{value!r:.{_SHOWN}}"
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"
