"""Builds columns from what a source says of many trainings: counts, seconds, and further readings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.tables.column import Column, Split, make_rows
from nasbench_kd.tasks.fidelity import Fidelity

Floats = npt.NDArray[np.float64]


class Place(NamedTuple):
    """Which column of a table entries belong to."""

    task: str
    fidelity: Fidelity
    split: Split
    images: int
    """Behind each count of correct answers."""


def measured_columns(
    place: Place,
    cells: npt.ArrayLike,
    seeds: npt.ArrayLike,
    correct: npt.ArrayLike,
    microseconds: npt.ArrayLike,
    readings: Mapping[str, tuple[Floats, int | None]],
    provenance: Mapping[str, Any],
) -> list[Column]:
    """Return the column of some trainings, and one without readings for those whose readings are no numbers.

    Args:
        correct: images answered correctly, shape (n,); below 0 for a training that diverged.
        readings: by the name of their signal, values (n,) with the images behind an accuracy in percent, which
            is kept as a count where all of its values are whole numbers of images, or None for a loss.
    """
    index, seed, counts, times = (np.asarray(each) for each in (cells, seeds, correct, microseconds))
    diverged = counts < 0
    numbers = np.ones(len(diverged), dtype=bool)
    for values, _ in readings.values():
        numbers &= np.isfinite(values)
    kept, behind = {}, {}
    for name, (values, images) in readings.items():
        kept[name], behind[name] = _counts(values, images)
    result = []
    for chosen, names in ((numbers | diverged, list(readings)), (~(numbers | diverged), [])):
        if chosen.any():
            rows = make_rows(
                index[chosen],
                seed[chosen],
                counts[chosen],
                times[chosen],
                {name: kept[name][chosen] for name in names},
                diverged=diverged[chosen],
            )
            result.append(
                Column(
                    place.task,
                    place.fidelity,
                    place.split,
                    place.images,
                    rows,
                    provenance,
                    {name: behind[name] for name in names},
                )
            )
    return result


def _counts(values: Floats, images: int | None) -> tuple[npt.NDArray[Any], int | None]:
    """Accuracies in percent as counts of images, where they are; losses, and other accuracies, as they are."""
    if images is None:
        return values, None
    exact = np.where(np.isfinite(values), values, 0.0) * images / 100
    counts = np.rint(exact)
    if np.abs(exact - counts).max(initial=0.0) > 0.05 or counts.max(initial=0.0) > images:
        return values, None
    return counts.astype(np.int64), images
