"""What fuzzing feeds to parsers: valid inputs with a few edits, and what must hold of the outcome.

`NASBENCH_KD_FUZZ` sets the number of inputs for each parser; 100000 is for a long run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from nasbench_kd.errors import NasbenchKDError
from tests.counts import counted

EXAMPLES = int(os.environ.get("NASBENCH_KD_FUZZ", "150"))
ResultT = TypeVar("ResultT")

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
"""Decorates a fuzz test."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def only_typed(function: Callable[..., ResultT], *arguments: Any, **options: Any) -> ResultT | None:
    """What a parser returns, or None where it refuses with an error of the project; others fail the test."""
    counted("mutated input")
    try:
        return function(*arguments, **options)
    except NasbenchKDError as error:
        assert str(error).strip(), "an error that says nothing"
        return None


@st.composite
def edited_text(draw: st.DrawFn, valid: st.SearchStrategy[str]) -> str:
    """A valid text after up to four insertions, deletions, replacements or repetitions."""
    text = draw(valid)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 6)))
        kept = draw(st.sampled_from(["", text[start:stop] * 2, text[stop:][:4]]))
        text = text[:start] + draw(st.text(max_size=3) | st.just(kept)) + text[stop:]
    return text


@st.composite
def damaged_bytes(draw: st.DrawFn, valid: bytes) -> bytes:
    """Valid bytes with flipped bits, an overwritten or removed stretch, or cut short."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data) - 1) | st.integers(max(0, len(data) - 600), len(data) - 1))
        kind = draw(st.sampled_from(["flip", "overwrite", "remove", "insert", "cut"]))
        if kind == "flip":
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "overwrite":
            data[place : place + 8] = draw(st.binary(min_size=8, max_size=8))
        elif kind == "remove":
            del data[place : place + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        else:
            del data[place:]
        if not data:
            break
    return bytes(data)


def replaced_anywhere(valid: Any) -> st.SearchStrategy[Any]:
    """A JSON value in which one part, chosen anywhere, is another value or is gone."""

    @st.composite
    def replace(draw: st.DrawFn, value: Any) -> Any:
        if isinstance(value, dict) and value and draw(st.integers(0, 3)):
            key = draw(st.sampled_from(sorted(value)))
            if not draw(st.integers(0, 4)):
                return {name: part for name, part in value.items() if name != key}
            return {**value, key: draw(replace(value[key]))}
        if isinstance(value, list) and value and draw(st.integers(0, 3)):
            place = draw(st.integers(0, len(value) - 1))
            return [*value[:place], draw(replace(value[place])), *value[place + 1 :]]
        return draw(JSON)

    return replace(valid)
