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
PALETTE = (
    "#0072b2", "#c24e00", "#007a5e", "#aa3e98", "#7d6200", "#5e3fbe", "#b3123c", "#3e6b00", "#00728a", "#7b3f00",
    "#d6157f", "#2b8a1d", "#5c7f00", "#332288", "#882255", "#d62728", "#966f00", "#44707d", "#9a5bd0", "#1d4ed8",
)  # fmt: skip
"""Dark enough to be read on white, and none of it grey; the page has the same."""
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
    base = np.array([int(PALETTE[colour % len(PALETTE)][i : i + 2], 16) / 255 for i in (1, 3, 5)])
    towards = np.ones(3) if variant % 2 else np.zeros(3)
    shade = base + (towards - base) * min(0.45, 0.25 * ((variant + 1) // 2))
    return {
        "color": tuple(shade.tolist()),
        "linestyle": _DASHES[variant % len(_DASHES)],
        "marker": _MARKERS[(colour + variant) % len(_MARKERS)],
    }
