"""Writes what a fill has measured as one patch file: plain JSON that can be reviewed before it is merged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from nasbench_kd.files import write_text
from nasbench_kd.live.store import Finished
from nasbench_kd.tables.patch import FORMAT


def write_patch(path: Path, entries: Iterable[Finished]) -> int:
    """Write entries, grouped by task, curve, what was read and provenance; returns their number.

    Workers that differ in nothing but the seconds that the teacher's cached outputs took them share a
    group, whose provenance lists all of these seconds.

    The file is `{"format": ..., "patches": [...]}`; a patch has `task`, `curve` (a fidelity string whose
    epochs are its schedule), `valid_images`, `provenance`, and `entries`: for each training `cell`,
    `seed`, `valid_correct` and `seconds` (training seconds as measured, times `clock.scale` of the
    provenance are table seconds) by epoch, further `readings` by the name of their signal and by epoch, and
    `status` (`ok` or `diverged`). `readings` of the patch has for each the images behind a count, or null. One
    entry to a line.
    """
    ordered = sorted(entries, key=lambda entry: (*_group(entry), entry.job.cell, entry.job.seed))
    patches = [_patch(list(members)) for _, members in groupby(ordered, key=_group)]
    text = json.dumps({"format": FORMAT, "patches": patches}, indent=1)
    write_text(path, _one_entry_a_line(text) + "\n")
    return len(ordered)


def _group(entry: Finished) -> tuple[str, str, int, str, str]:
    alike = json.dumps(_with_forward_seconds(entry.provenance, []), sort_keys=True)
    return entry.job.task, entry.job.curve, entry.valid_images, json.dumps(_images(entry)), alike


def _images(entry: Finished) -> dict[str, int | None]:
    return {signal: reading.images for signal, reading in sorted(entry.readings.items())}


def _with_forward_seconds(provenance: Mapping[str, Any], seconds: list[float]) -> dict[str, Any]:
    """The provenance with these seconds in the place of one worker's, where it has a teacher."""
    if "forward_seconds" not in provenance.get("teacher", {}):
        return dict(provenance)
    return {**provenance, "teacher": {**provenance["teacher"], "forward_seconds": seconds}}


def _patch(members: list[Finished]) -> dict[str, Any]:
    first = members[0]
    seconds = {entry.provenance.get("teacher", {}).get("forward_seconds") for entry in members}
    return {
        "task": first.job.task,
        "curve": first.job.curve,
        "valid_images": first.valid_images,
        "readings": _images(first),
        "provenance": _with_forward_seconds(first.provenance, sorted(seconds)),
        "entries": [
            json.dumps(
                {
                    "cell": entry.job.cell,
                    "seed": entry.job.seed,
                    "valid_correct": entry.valid_correct,
                    "readings": {
                        signal: reading.values for signal, reading in sorted(entry.readings.items())
                    },
                    "seconds": entry.seconds,
                    "status": entry.status,
                }
            )
            for entry in members
        ],
    }


def _one_entry_a_line(text: str) -> str:
    """Turn the entries, written as JSON in JSON strings, back into objects, each on its line."""
    lines = []
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped.startswith('"{'):
            comma = "," if stripped.endswith(",") else ""
            line = line[: len(line) - len(stripped)] + json.loads(stripped.rstrip(",")) + comma
        lines.append(line)
    return "\n".join(lines)
