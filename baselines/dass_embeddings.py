"""What DaSS knows of a student before training it: its response to noise after inheriting the teacher's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, MissingDependencyError
from nasbench_kd.files import atomic_write
from nasbench_kd.space import Cell

NOISE_SEED = 0
SIDE = 32
"""Side of the noise image for every task, so that maps have one shape: 64 x 8 x 8."""


@dataclass(frozen=True)
class Embeddings:
    """Functional embeddings of students of one teacher.

    Attributes:
        task: name of the task that the teacher was trained on.
        cells: indices of the students, shape (n,).
        maps: what they make of the noise, sign(x) log(1 + |x|), float16, shape (n, 64, 8, 8).
        teacher: index of the teacher's cell.
        teacher_map: what the teacher makes of it, shape (64, 8, 8).
        teacher_accuracy: its validation accuracy in percent.
    """

    task: str
    cells: npt.NDArray[np.int64]
    maps: npt.NDArray[np.float16]
    teacher: int
    teacher_map: npt.NDArray[np.float16]
    teacher_accuracy: float

    def save(self, path: Path) -> None:
        """Write one .npz file, atomically."""
        with atomic_write(path) as file:
            np.savez_compressed(
                file,
                task=self.task,
                cells=self.cells,
                maps=self.maps,
                teacher=self.teacher,
                teacher_map=self.teacher_map,
                teacher_accuracy=self.teacher_accuracy,
            )

    @staticmethod
    def load(path: str | Path) -> Embeddings:
        """Read such a file; raises `DataError` where it is absent or something else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return Embeddings(
                    task=str(arrays["task"]),
                    cells=arrays["cells"],
                    maps=arrays["maps"],
                    teacher=int(arrays["teacher"]),
                    teacher_map=arrays["teacher_map"],
                    teacher_accuracy=float(arrays["teacher_accuracy"]),
                )
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{path} is not a readable file of DaSS embeddings ({error}); make one with "
                "`python -m baselines.dass_training embed`"
            ) from error


def embed(
    teacher: Any,
    cells: Sequence[Cell],
    *,
    task: str,
    teacher_accuracy: float,
    seed: int = 777,
    remapping: bool = True,
) -> Embeddings:
    """Embed students of a teacher, a `nasbench_kd.live.network.Network` in single precision.

    Lee et al., ICLR 2023: the last stage's map on one fixed noise image, batch norm as when
    predicting. Values are compressed by sign(x) log(1 + |x|), which is ours: where few weights are
    inherited they range over many orders of magnitude. About 30 ms a student on one core. `seed`
    draws the weights that are not inherited; with `remapping=False` none are, which is the control.
    """
    import torch

    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = torch.randn(1, 3, SIDE, SIDE, generator=generator)
    maps = [
        _response(remapped(teacher, cell, seed) if remapping else _fresh(teacher, cell, seed), noise)
        for cell in cells
    ]
    return Embeddings(
        task=task,
        cells=np.array([cell.index for cell in cells]),
        maps=np.array(maps, dtype=np.float16),
        teacher=teacher.cell.index,
        teacher_map=_response(teacher, noise),
        teacher_accuracy=teacher_accuracy,
    )


def remapped(teacher: Any, cell: Cell, seed: int) -> Any:
    """A student that inherits the teacher's weights wherever both have the same module.

    All widths of this space are equal, so the remapping needs no slicing: stem, reductions, last
    batch norm and classifier are copied, and in every cell position those edges whose operation is
    the teacher's. The other edges keep PyTorch's default initialisation drawn from `seed`.
    """
    student = _fresh(teacher, cell, seed)
    same = {
        edge
        for edge, (own, its) in enumerate(zip(cell.operations, teacher.cell.operations, strict=True))
        if own == its
    }
    inherited = {}
    for name, value in teacher.state_dict().items():
        parts = name.split(".")
        on_edge = parts[0] == "cells" and parts[2] == "layers"
        if not on_edge or int(parts[3]) in same:
            inherited[name] = value
    student.load_state_dict(inherited, strict=False)
    return student


def open_teacher(path: Path, classes: int, cell: Cell | None = None) -> Any:
    """Open teacher weights of a network of the space as a `Network`; raises `DataError`."""
    try:
        from nasbench_kd.live.network import Network
        from nasbench_kd.live.teacher import RESNET_CELL, read_weights
    except ImportError as error:
        raise MissingDependencyError("DaSS needs PyTorch: pip install 'nasbench-kd[live]'") from error
    network = Network(cell or RESNET_CELL, classes)
    known = network.state_dict()
    state = {name: value for name, value in read_weights(path).items() if name in known}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"the weights in {path} are not those of {network.cell}: {error}") from error
    return network.float()


def _fresh(teacher: Any, cell: Cell, seed: int) -> Any:
    from nasbench_kd.live.network import seeded_network

    return seeded_network(cell, teacher.classifier.out_features, seed=seed)


def _response(network: Any, noise: Any) -> npt.NDArray[np.float16]:
    import torch

    with torch.no_grad():
        response = network.eval()(noise).maps[-1][0].numpy()
    # Fresh operations answer without trained statistics, and what they add up to exceeds half precision.
    return np.asarray(np.sign(response) * np.log1p(np.abs(response)), dtype=np.float16)
