"""Patch files: measured entries of a live run, reviewed as text and merged into a table.

A patch is JSON, `{"format": ..., "patches": [...]}`, as `nasbench_kd.live.export.write_patch` leaves it,
one entry to a line. Merging keeps the provenance of every patch: its entries become columns of their own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from nasbench_kd.errors import DataError, NasbenchKDError
from nasbench_kd.files import is_special
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import Table, holds_table, replaced_table, write_table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task

FORMAT: Final = "nasbench-kd patch 2"
FORMAT_1: Final = "nasbench-kd patch 1"
"""Patches of validation accuracies alone; still read."""
_Key = tuple[str, str, int, int | None]
_FAILED = float("inf")
_CARD = {
    "title": "Low-fidelity trainings, with and without distillation, measured by nasbench-kd's live mode",
    "source": "patches of `nasbench-kd fill`, each named in the provenance of its columns",
    "licence": "Apache-2.0",
    "rebuild": "nasbench-kd fill --export PATCH, then nasbench-kd data merge PATCH --into FOLDER",
}


def read_patch(path: Path) -> list[Column]:
    """Read a patch as columns, one for each training curve and epoch, times on the table's clock.

    Raises `DataError` where the file is not a whole and sound patch.
    """
    if is_special(path):
        raise DataError(f"the patch {path} is a pipe or a device; save what it gives as a file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the patch {path} cannot be read: {error}") from error
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or document.get("format") not in (FORMAT, FORMAT_1):
            raise DataError(f"its format is neither {FORMAT!r} nor {FORMAT_1!r}")
        digest = hashlib.sha256(content).hexdigest()
        return [column for patch in document["patches"] for column in _columns(patch, digest)]
    except (
        NasbenchKDError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise DataError(
            f"{path} is not a patch that can be merged: {type(error).__name__}: {error}"
        ) from error


def merge(paths: Sequence[Path], folder: Path) -> tuple[Table, int]:
    """Merge patches into the table at `folder`, made where it is absent; return it and the new entries.

    Entries that the table has already are left out where their readings agree (the times of the first
    stand) and raise `DataError` where they do not; then nothing is changed. Two merges at once follow each other.
    """
    with replaced_table(folder) as fresh:
        columns, added = _merged(paths, folder)
        space = _space(columns)
        card = {**_CARD, "classes": len(space.representatives), "coverage": coverage(columns, space)}
        write_table(fresh, folder.name, columns, card)
    return Table.open(folder), added


def _merged(paths: Sequence[Path], folder: Path) -> tuple[list[Column], int]:
    """The columns of a table with those of patches, and the number of new entries."""
    columns = list(Table.open(folder).columns) if holds_table(folder) else []
    known: dict[_Key, dict[str, float]] = {}
    for column in columns:
        for key, values in _entries(column):
            known.setdefault(key, {}).update(values)
    added = 0
    for path in paths:
        for column in read_patch(path):
            fresh = []
            for row, (key, values) in enumerate(_entries(column)):
                present = known.setdefault(key, {})
                for signal in present.keys() & values.keys():
                    if present[signal] != values[signal]:
                        task, fidelity, cell, seed = key
                        raise DataError(
                            f"{path}: cell {cell} at {fidelity} on {task}, seed {seed}, has the {signal} "
                            f"{_shown(values[signal])}, and {_shown(present[signal])} in the table at {folder}; one "
                            "query has one answer, so that nothing was merged"
                        )
                if values.keys() - present.keys():
                    fresh.append(row)
                    present.update(values)
            if fresh:
                columns.append(replace(column, rows=column.rows[fresh]))
                added += len(fresh)
    return columns, added


def _space(columns: Sequence[Column]) -> SearchSpace:
    """The space of the tasks of a table's columns; raises `DataError` where there is none, or there are several."""
    spaces = {find_task(column.task).space for column in columns}
    if len(spaces) != 1:
        names = ", ".join(sorted(space.name for space in spaces)) or "none"
        raise DataError(f"patches of one search space make a table, not of {names}")
    return spaces.pop()


def coverage(columns: Sequence[Column], space: SearchSpace) -> list[dict[str, Any]]:
    """For the end of each training: how many isomorphism classes are measured, how many with several seeds."""
    classes = space.classes
    ends: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        if column.fidelity == column.fidelity.curve:
            ends.setdefault((column.task, str(column.fidelity)), []).append(column)
    listing = []
    for (task, fidelity), members in sorted(ends.items()):
        pairs = {
            (int(classes[cell]), int(seed))
            for column in members
            for cell, seed in zip(column.rows["cell"], column.rows["seed"], strict=True)
        }
        seeds = Counter(number for number, _ in pairs)
        listing.append(
            {
                "task": task,
                "fidelity": fidelity,
                "classes": len(seeds),
                "classes_with_several_seeds": sum(count > 1 for count in seeds.values()),
                "diverged": sum(int(column.diverged.sum()) for column in members),
                "readings": sorted({signal for column in members for signal in column.signals}),
            }
        )
    return listing


def _entries(column: Column) -> Iterator[tuple[_Key, dict[str, float]]]:
    """Key and readings of every row; a training that diverged has read `_FAILED` throughout."""
    fidelity = str(column.fidelity)
    read = {signal: np.nan_to_num(column.values(signal), nan=_FAILED).tolist() for signal in column.signals}
    for row, (cell, seed) in enumerate(
        zip(column.rows["cell"].tolist(), column.rows["seed"].tolist(), strict=True)
    ):
        yield (
            (column.task, fidelity, cell, None if column.means else seed),
            {signal: values[row] for signal, values in read.items()},
        )


def _shown(value: float) -> str:
    return "diverged" if value == _FAILED else f"{value:.6g}"


def _columns(patch: Mapping[str, Any], digest: str) -> Iterator[Column]:
    task, curve, images = patch["task"], Fidelity.parse(patch["curve"]), patch["valid_images"]
    size = len(find_task(task).space)
    if curve != curve.curve:
        raise DataError(f"{curve} is an epoch of a training, not its whole curve")
    if curve.trained_on is not None:
        raise DataError(
            f"{curve} was trained on {curve.trained_on}: its entries belong to that task, without on="
        )
    if type(images) is not int or not 0 <= images < 2**31:
        raise DataError(f"{images!r} is no number of validation images")
    readings = patch.get("readings", {})
    if not isinstance(readings, dict) or not all(_is_reading(*each) for each in readings.items()):
        raise DataError(f"{readings!r:.200} are no readings: a name for each, and its images or null")
    if not images and not readings:
        raise DataError("it holds no readings, and no validation accuracy")
    clock = patch["provenance"]["clock"]
    if clock is None:
        raise DataError("it was measured without a clock, so its seconds are none of the table's")
    scale = float(clock["scale"])
    if not 0 < scale < 1e9:
        raise DataError(f"the scale of the clock is {scale}")
    origin = {"source": "measured", "origin": "live mode", "patch_sha256": digest}
    provenance = {**patch["provenance"], **origin}
    # A score is read once, as if after one epoch.
    epochs = 1 if curve.score else curve.epochs
    entries = [_entry(entry, size, epochs, images, readings) for entry in patch["entries"]]
    for epoch in range(1, epochs + 1):
        rows = make_rows(
            [entry.cell for entry in entries],
            [entry.seed for entry in entries],
            [0 if entry.diverged(epoch) or not images else entry.correct[epoch - 1] for entry in entries],
            [round(sum(entry.seconds[:epoch]) * scale * 1e6) for entry in entries],
            {
                name: np.array(
                    [0 if entry.diverged(epoch) else entry.readings[name][epoch - 1] for entry in entries],
                    dtype=np.float32 if count is None else np.uint32,
                )
                for name, count in readings.items()
            },
            diverged=[entry.diverged(epoch) for entry in entries],
        )
        fidelity = curve if curve.score else curve.at_epoch(epoch)
        yield Column(task, fidelity, "valid", images, rows, provenance, readings)


def _is_reading(name: Any, images: Any) -> bool:
    known = (
        re.fullmatch(r"score|(train|valid)_[a-z0-9_]+", name) and name != "valid_accuracy"
    )  # that is `valid_correct`
    return bool(known) and (images is None or (type(images) is int and 0 < images < 2**31))


class _Entry(NamedTuple):
    """One training of a patch; lists have an item for each epoch before the one that diverged."""

    cell: int
    seed: int
    correct: list[int]
    readings: Mapping[str, list[Any]]
    seconds: list[float]
    learned: int
    """Epochs until it diverged, or all."""

    def diverged(self, epoch: int) -> bool:
        """Whether it had diverged by the end of an epoch (1, 2, ...)."""
        return epoch > self.learned


def _entry(
    entry: Mapping[str, Any], size: int, epochs: int, images: int, readings: Mapping[str, int | None]
) -> _Entry:
    """Read and check one training of a space of some size; raises `DataError`."""
    cell, seed, status = entry["cell"], entry["seed"], entry["status"]
    correct, seconds = list(entry.get("valid_correct", ())), [float(value) for value in entry["seconds"]]
    if type(cell) is not int or not 0 <= cell < size or type(seed) is not int or not 0 <= seed < 2**32 - 1:
        raise DataError(f"cell {cell!r} with seed {seed!r} names no training")
    _check_counts(cell, "valid_correct", correct, images)
    if any(not 0 <= value < 1e9 for value in seconds):
        raise DataError(f"cell {cell}: {seconds} are no times in seconds")
    # The last epoch of a training that diverged is the one that did, and nothing was learned after it.
    learned = len(seconds) - (status == "diverged")
    if status not in ("ok", "diverged") or not 0 <= learned <= len(seconds) <= epochs:
        raise DataError(f"cell {cell}: {len(seconds)} of {epochs} epochs with the status {status!r}")
    if status == "ok" and len(seconds) != epochs:
        raise DataError(f"cell {cell}: {len(seconds)} of {epochs} epochs with the status {status!r}")
    read = {name: list(entry["readings"][name]) for name in readings}
    if set(entry.get("readings", {})) != set(readings):
        raise DataError(
            f"cell {cell} has the readings {sorted(entry['readings'])}, its patch {sorted(readings)}"
        )
    for name, values in {"valid_correct": correct, **read}.items():
        if len(values) < learned and (images or name != "valid_correct"):
            raise DataError(f"cell {cell}: {name} has {len(values)} of {learned} epochs")
    for name, count in readings.items():
        if count is not None:
            _check_counts(cell, name, read[name], count)
        elif any(type(value) not in (int, float) or not abs(value) < 1e30 for value in read[name][:learned]):
            raise DataError(f"cell {cell}: {name} {read[name]} are no finite numbers")
    return _Entry(cell, seed, correct, read, seconds, learned)


def _check_counts(cell: int, name: str, counts: Sequence[Any], images: int) -> None:
    if any(type(count) is not int or not 0 <= count <= images for count in counts):
        raise DataError(f"cell {cell}: {name} {counts} are no counts of {images} images")
