"""Teachers: read their weights, and compute the outputs that a student is to match."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nasbench_kd.errors import DataError
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.network import Network
from nasbench_kd.live.proxies import TeacherCache, normalised_maps
from nasbench_kd.space import Cell

RESNET_CELL = Cell.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|")
"""The cell of MF-KD's teachers: a residual block."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Weights in an .npz file, without pickles; raises `DataError`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not an .npz file of teacher weights: {error}") from error


def load_teacher(path: Path, classes: int, cell: Cell = RESNET_CELL) -> Network:
    """A full-size network with the weights in `path`, in evaluation mode; raises `DataError`."""
    network = Network(cell, classes)
    try:
        network.load_state_dict(read_state(path), strict=True)
    except RuntimeError as error:
        raise DataError(f"the weights in {path} do not fit the network of {cell}: {error}") from error
    return network.eval()


def make_cache(
    teacher: Network, images: DeviceImages, sides: list[int], dtype: torch.dtype, device: torch.device
) -> TeacherCache:
    """Run the teacher over `images` as they are and keep what `nst` and `kd` read."""
    infer = Engine(teacher, torch.float32, device).compile_inference()
    logits, maps = [], []
    for rows in torch.arange(len(images), device=device).split(250):
        outputs = infer(images.batch(rows).float())
        logits.append(outputs.logits)
        maps.append(normalised_maps(outputs.stage_ends(), sides, dtype))
    stacked = tuple(torch.cat(stage) for stage in zip(*maps, strict=True))
    return TeacherCache(torch.cat(logits), stacked)
