"""Patch files: measured entries of a live run, reviewed as text and merged into a table.

A patch is JSON, `{"format": ..., "patches": [...]}`, as `nasbench_kd.live.export.write_patch` leaves it,
one entry to a line. Merging keeps the provenance of every patch: its entries become columns of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from nasbench_kd.errors import DataError, NasbenchKDError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, isomorphism_classes, representatives
from nasbench_kd.tables.table import DIVERGED, Column, Table, make_rows, write_table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.task import TASKS

FORMAT: Final = "nasbench-kd patch 1"
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
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the patch {path} cannot be read: {error}") from error
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise DataError(f"its format is not {FORMAT!r}")
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

    Entries that the table has already are left out where their correct answers agree (the times of the
    first stand) and raise `DataError` where they do not; then nothing is changed.
    """
    columns = list(Table.open(folder).columns) if (folder / "card.json").exists() else []
    known = {key: value for column in columns for key, value in _entries(column)}
    added = 0
    for path in paths:
        for column in read_patch(path):
            fresh = []
            for row, (key, value) in enumerate(_entries(column)):
                if key not in known:
                    fresh.append(row)
                    known[key] = value
                elif known[key] != value:
                    task, fidelity, cell, seed = key
                    raise DataError(
                        f"{path}: cell {cell} at {fidelity} on {task}, seed {seed}, has {value} correct answers, "
                        f"and {known[key]} in the table at {folder}; one query has one answer, so that "
                        "nothing was merged"
                    )
            if fresh:
                columns.append(_select(column, fresh))
                added += len(fresh)
    card = {**_CARD, "classes": len(representatives()), "coverage": _coverage(columns)}
    return write_table(folder, folder.name, columns, card), added


def _coverage(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """For the end of each training: how many isomorphism classes are measured, how many with several seeds."""
    classes = isomorphism_classes()
    ends: dict[tuple[str, str], list[Any]] = {}
    for column in columns:
        if column.fidelity == column.fidelity.curve:
            ends.setdefault((column.task, str(column.fidelity)), []).append(column.rows)
    listing = []
    for (task, fidelity), blocks in sorted(ends.items()):
        rows = np.concatenate(blocks)
        pairs = {
            (int(classes[cell]), int(seed)) for cell, seed in zip(rows["cell"], rows["seed"], strict=True)
        }
        seeds = Counter(number for number, _ in pairs)
        listing.append(
            {
                "task": task,
                "fidelity": fidelity,
                "classes": len(seeds),
                "classes_with_several_seeds": sum(count > 1 for count in seeds.values()),
                "diverged": int((rows["correct"] == DIVERGED).sum()),
            }
        )
    return listing


def _entries(column: Column) -> Iterator[tuple[tuple[str, str, int, int], int]]:
    for cell, seed, correct, _ in column.rows.tolist():
        yield (column.task, str(column.fidelity), cell, seed), correct


def _select(column: Column, rows: Sequence[int]) -> Column:
    return Column(
        column.task, column.fidelity, column.split, column.images, column.rows[list(rows)], column.provenance
    )


def _columns(patch: Mapping[str, Any], digest: str) -> Iterator[Column]:
    task, curve, images = patch["task"], Fidelity.parse(patch["curve"]), patch["valid_images"]
    if task not in TASKS:
        raise DataError(f"unknown task {task!r}: expected {', '.join(TASKS)}")
    if curve != curve.curve:
        raise DataError(f"{curve} is an epoch of a training, not its whole curve")
    if type(images) is not int or not 0 < images < DIVERGED:
        raise DataError(f"{images!r} is no number of validation images from 1 to {DIVERGED - 1}")
    clock = patch["provenance"]["clock"]
    if clock is None:
        raise DataError("it was measured without a clock, so its seconds are none of the table's")
    scale = float(clock["scale"])
    if not 0 < scale < 1e9:
        raise DataError(f"the scale of the clock is {scale}")
    origin = {"source": "measured", "origin": "live mode", "patch_sha256": digest}
    provenance = {**patch["provenance"], **origin}
    entries = [_entry(entry, curve.epochs, images) for entry in patch["entries"]]
    for epoch in range(1, curve.epochs + 1):
        rows = make_rows(
            [cell for cell, *_ in entries],
            [seed for _, seed, *_ in entries],
            [correct[epoch - 1] for *_, correct, _ in entries],
            [round(sum(seconds[:epoch]) * scale * 1e6) for *_, seconds in entries],
        )
        yield Column(task, curve.at_epoch(epoch), "valid", images, rows, provenance)


def _entry(entry: Mapping[str, Any], epochs: int, images: int) -> tuple[int, int, list[int], list[float]]:
    """Cell, seed, correct answers and seconds for each epoch; a diverged training is so to its end."""
    cell, seed, status = entry["cell"], entry["seed"], entry["status"]
    correct, seconds = list(entry["valid_correct"]), [float(value) for value in entry["seconds"]]
    if type(cell) is not int or not 0 <= cell < SPACE_SIZE or type(seed) is not int or not 0 < seed < 2**16:
        raise DataError(f"cell {cell!r} with seed {seed!r} names no training")
    if any(type(count) is not int or not 0 <= count <= images for count in correct):
        raise DataError(f"cell {cell}: {correct} are no counts of {images} images")
    if any(not 0 <= value < 1e9 for value in seconds):
        raise DataError(f"cell {cell}: {seconds} are no times in seconds")
    if status == "diverged":
        # The last epoch is the one that diverged, and nothing was learned after it.
        correct = correct[: max(0, len(seconds) - 1)]
    elif status != "ok" or not len(correct) == len(seconds) == epochs:
        raise DataError(f"cell {cell}: {len(correct)} of {epochs} epochs with the status {status!r}")
    missing = epochs - len(correct)
    return cell, seed, correct + [DIVERGED] * missing, seconds + [0.0] * (epochs - len(seconds))
