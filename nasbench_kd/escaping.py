"""Text of others (names, reasons, messages), written so that it is read as text: in a terminal, Markdown, CSV, HTML."""

from __future__ import annotations

import re
from html import escape

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters (terminals obey them), turns of the writing direction, halves of characters."""
_FORMULA = tuple("=+-@\t\r'")


def printable(text: str) -> str:
    """Text with control characters spelled out (`\\x1b`); lines and tabs stay."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def markdown(text: str) -> str:
    """Text on one line that Markdown neither formats nor takes for HTML, a link or the end of a cell."""
    line = " ".join(printable(text).split())
    line = re.sub(r"[\\`*<>|\[\]~&]", r"\\\g<0>", line)
    return _without_underscores(line)


class Formatted(str):
    """A cell of a Markdown table whose maker has escaped the names in it, so that its emphasis stays."""

    __slots__ = ()


def table_cell(text: str) -> str:
    """A cell of a Markdown table that may hold intervals, but no emphasis, HTML, code, link or border."""
    if isinstance(text, Formatted):
        return text
    line = " ".join(printable(text).split())
    line = re.sub(r"[\\`*<|~&]", r"\\\g<0>", line).replace("](", "]\\(")
    return _without_underscores(line)


def _without_underscores(line: str) -> str:
    """Markdown with no underscore that begins or ends an emphasis."""
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", line)


def code(text: str) -> str:
    """Text as a code span of Markdown."""
    line = " ".join(printable(text).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def csv_text(text: str) -> str:
    """A field of CSV that spreadsheets take for no formula; `from_csv` gives the text back."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def from_csv(field: str) -> str:
    """The text that `csv_text` has made a field of."""
    return field[1:] if field.startswith("'") else field


def html(text: str) -> str:
    """Text in the content or a quoted attribute of HTML."""
    return escape(printable(text))
