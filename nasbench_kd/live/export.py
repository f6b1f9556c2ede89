"""Writes what a fill has measured as one patch file: plain JSON that can be reviewed before it is merged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from nasbench_kd.files import write_text
from nasbench_kd.live.store import Finished

FORMAT = "nasbench-kd patch 1"


def write_patch(path: Path, entries: Iterable[Finished]) -> int:
    """Write entries, grouped by task, curve, validation images and provenance; returns their number.

    The file is `{"format": ..., "patches": [...]}`; a patch has `task`, `curve` (a fidelity string whose
    epochs are its schedule), `valid_images`, `provenance`, and `entries`: for each training `cell`,
    `seed`, `valid_correct` and `seconds` (training seconds as measured, times `clock.scale` of the
    provenance are table seconds) by epoch, and `status` (`ok` or `diverged`). One entry to a line.
    """
    ordered = sorted(entries, key=lambda entry: (*_group(entry), entry.job.cell, entry.job.seed))
    patches = [_patch(list(members)) for _, members in groupby(ordered, key=_group)]
    text = json.dumps({"format": FORMAT, "patches": patches}, indent=1)
    write_text(path, _one_entry_a_line(text) + "\n")
    return len(ordered)


def _group(entry: Finished) -> tuple[str, str, int, str]:
    return entry.job.task, entry.job.curve, entry.valid_images, json.dumps(entry.provenance, sort_keys=True)


def _patch(members: list[Finished]) -> dict[str, Any]:
    first = members[0]
    return {
        "task": first.job.task,
        "curve": first.job.curve,
        "valid_images": first.valid_images,
        "provenance": first.provenance,
        "entries": [
            json.dumps(
                {
                    "cell": entry.job.cell,
                    "seed": entry.job.seed,
                    "valid_correct": entry.valid_correct,
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
