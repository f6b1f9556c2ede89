"""Gathers the pages of the documentation site under build/pages, each at its place in the repository.

Links between pages then mean the same in the repository and on the site.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
PATTERNS = (
    "*.md",
    "CITATION.cff",
    "LICENSE",
    "Makefile",
    "docs/**/*.md",
    "docs/**/*.ipynb",
    "docs/examples/*",
    "docs/figures/*",
    "reports/**/*.md",
    "reports/**/*.png",
    "reports/**/*.toml",
    "reports/**/*.csv",
    "suites/*.toml",
)


def gather() -> list[Path]:
    """Copy all that the site shows or links to; returns what was copied."""
    shutil.rmtree(PAGES, ignore_errors=True)
    copied = []
    for source in sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()}):
        target = PAGES / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        copied.append(target)
    return copied


if __name__ == "__main__":
    print(f"{len(gather())} files in {PAGES.relative_to(ROOT)}")
