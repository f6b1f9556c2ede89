"""Counts what tests do to the code, for `reports/trust/count.py`: one line a time in the file that is named."""

from __future__ import annotations

import os

_FILE = os.environ.get("NASBENCH_KD_COUNTS")


def counted(what: str, times: int = 1) -> None:
    """Note that something was done; nothing where nobody counts. Processes may do so at once."""
    if _FILE:
        descriptor = os.open(_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{what}\n".encode() * times)
        os.close(descriptor)
