"""Checkpoints of trainings: read as what they are, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nasbench_kd.errors import DataError
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
