"""What all figures share: one style, looks of lines, and files with stable bytes. Needs the extra `report`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_kd.errors import MissingDependencyError
from nasbench_kd.files import atomic_write

_KINDS: Mapping[str, Mapping[str, Any]] = {"svg": {"metadata": {"Date": None}}, "png": {"dpi": 160}}
_MARKERS = "osD^vPX*<>ph"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1.5, 1)))


@contextmanager
def style(*, files: bool = True) -> Iterator[tuple[Any, Any]]:
    """Matplotlib's pyplot and seaborn in the style of all figures, for files alone or for what the user has chosen.

    Raises `MissingDependencyError` where one of them is not installed.
    """
    try:
        import matplotlib

        if files:
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
        "pdf.fonttype": 42,  # outlines that journals accept
    }
    with matplotlib.rc_context(settings):
        yield plt, seaborn


def save(figure: Any, stem: Path, *, pdf: bool = False) -> Path:
    """Write a figure as `stem.svg` and `stem.png`, or as `stem.pdf`, atomically and without dates; returns the last."""
    kinds = {"pdf": {"metadata": {"CreationDate": None}}} if pdf else _KINDS
    path = stem
    for kind, options in kinds.items():
        data = io.BytesIO()
        figure.savefig(data, format=kind, **options)
        path = stem.with_name(f"{stem.name}.{kind}")
        with atomic_write(path) as file:
            file.write(data.getvalue())
    return path


def look(colour: int, variant: int = 0) -> dict[str, Any]:
    """Colour, dash and marker of one of 20 families of lines; variants share its hue."""
    import seaborn

    palette = [*seaborn.color_palette("colorblind", 10), *seaborn.color_palette("dark", 10)]
    base = np.array(palette[colour % len(palette)])
    towards = np.ones(3) if variant % 2 else np.zeros(3)
    shade = base + (towards - base) * min(0.5, 0.3 * ((variant + 1) // 2))
    return {
        "color": tuple(shade.tolist()),
        "linestyle": _DASHES[variant % len(_DASHES)],
        "marker": _MARKERS[(colour + variant) % len(_MARKERS)],
    }
