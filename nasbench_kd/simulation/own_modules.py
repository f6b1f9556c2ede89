"""Where modules of optimizers are found that are not installed."""

from __future__ import annotations

import sys
from pathlib import Path

_INSTALLED = {"site-packages", "dist-packages"}


def look_in(folder: Path) -> None:
    """Let optimizers be found in a folder by the names of their modules.

    It comes after the installed packages, which its files cannot hide, and before the sources of editable ones.
    """
    if str(folder) not in sys.path:
        installed = [place for place, path in enumerate(sys.path) if _is_installed(path)]
        sys.path.insert(max(installed, default=len(sys.path) - 1) + 1, str(folder))


def looked_in() -> list[str]:
    """The folders that are looked through beside the installed packages, in order."""
    own = [path or "." for path in sys.path if not _is_installed(path)]
    return [path for path in own if not Path(path).is_relative_to(sys.base_prefix)]


def _is_installed(path: str) -> bool:
    return bool(_INSTALLED & set(Path(path).parts))
