"""What all figures share: one style, looks of lines, and files with stable bytes. Needs the extra `report`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasbench_kd.errors import MissingDependencyError
from nasbench_kd.files import atomic_write

_MARKERS = "osD^vPX*<>ph"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1.5, 1)))


@contextmanager
def style() -> Iterator[tuple[Any, Any]]:
    """Matplotlib's pyplot and seaborn in the style of all figures, without a display.

    Raises `MissingDependencyError` where one of them is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt
        import seaborn
    except ImportError as error:
        raise MissingDependencyError(
            f"figures need {error.name}; install the extra: pip install 'nasbench-kd[report]'"
        ) from error
    settings = {
        **seaborn.axes_style("whitegrid"),
        **seaborn.plotting_context("paper", font_scale=1.05),
        "svg.hashsalt": "nasbench-kd",
        "font.family": "DejaVu Sans",
        "grid.linewidth": 0.6,
    }
    with matplotlib.rc_context(settings):
        yield plt, seaborn


def save(figure: Any, stem: Path) -> Path:
    """Write a figure as `stem.svg` and `stem.png` atomically, without dates; returns the path of the PNG."""
    for kind, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 160})):
        data = io.BytesIO()
        figure.savefig(data, format=kind, **options)
        with atomic_write(stem.with_name(f"{stem.name}.{kind}")) as file:
            file.write(data.getvalue())
    return stem.with_name(f"{stem.name}.png")


def looks(count: int) -> list[dict[str, Any]]:
    """Colour, dash and marker for each of `count` lines: distinct without colour, too."""
    import seaborn

    colours = seaborn.color_palette("colorblind", 10)
    return [
        {
            "color": colours[i % 10],
            "linestyle": _DASHES[(i + i // 10) % len(_DASHES)],
            "marker": _MARKERS[i % len(_MARKERS)],
        }
        for i in range(count)
    ]
