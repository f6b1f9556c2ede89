"""Checkpoints of trainings: read as what they are, or refused, and written whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nasbench_kd.errors import DataError
from nasbench_kd.files import atomic_write
from nasbench_kd.live.limits import check_file


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What was kept in a file, empty where there is none; raises `DataError` where it holds something else."""
    if not path.exists():
        return {}
    check_file(path)
    try:
        state = torch.load(path, weights_only=True)
        if type(state) is not dict or not state:
            raise TypeError(f"it holds a {type(state).__name__}, or nothing")
    except Exception as error:
        raise DataError(f"{path} is no readable checkpoint; remove it to start anew: {error}") from error
    return state


def resume(path: Path, begin: Mapping[str, Any], work: str) -> dict[str, Any]:
    """What was kept of the very work that `begin` begins, told by its `identity`; `begin` where there is nothing yet.

    `work` is what it is called. Raises `DataError` where the file is of another one, and says where they differ.
    """
    state = read_checkpoint(path)
    if not state:
        return dict(begin)
    if state.get("identity") != begin["identity"]:
        different = _difference(state.get("identity"), begin["identity"])
        raise DataError(
            f"{path} is of another {work} ({different}): name another folder, or remove it to start anew"
        )
    return state


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; raises `OSError` as the file system does."""
    with atomic_write(path) as file:
        torch.save(dict(state), file)


def _difference(stored: Any, asked: Any) -> str:
    """Where a stored identity is not the one that is asked for."""
    if not isinstance(stored, dict) or not isinstance(asked, dict):
        return "another seed, recipe or teacher, or other images"
    return "; ".join(
        f"{key}: {stored.get(key)} there, {value} here"
        for key, value in asked.items()
        if stored.get(key) != value
    )
