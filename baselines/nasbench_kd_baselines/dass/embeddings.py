"""What DaSS knows of a student before training it: its response to noise after inheriting the teacher's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, MissingDependencyError
from nasbench_kd.files import atomic_write
from nasbench_kd.spaces.nasbench201 import SPACE, Cell

NOISE_SEED = 0
SIDE = 32
"""Side of the noise image for every task, so that maps have one shape: 64 x 8 x 8."""
LEVELS = 16
"""Quantiles by which a description gives the distribution over the channels of a map."""


@dataclass(frozen=True)
class Embeddings:
    """Functional embeddings of students of one teacher, as descriptions of their maps (see `describe`).

    Attributes:
        task: name of the task that the teacher was trained on.
        cells: indices of the students, shape (n,).
        students: descriptions of the students that inherited the teacher's weights, float32, shape (n, 32).
        fresh: the same where nothing was inherited, which is the control.
        teacher: index of the teacher's cell.
        teacher_description: of the teacher itself, shape (32,).
        teacher_accuracy: its validation accuracy in percent.
        classes: how many classes the task has.
    """

    task: str
    cells: npt.NDArray[np.int64]
    students: npt.NDArray[np.float32]
    fresh: npt.NDArray[np.float32]
    teacher: int
    teacher_description: npt.NDArray[np.float32]
    teacher_accuracy: float
    classes: int

    def rows(self, rows: npt.NDArray[np.intp]) -> Embeddings:
        """Some of the students."""
        return replace(self, cells=self.cells[rows], students=self.students[rows], fresh=self.fresh[rows])

    def save(self, path: Path) -> None:
        """Write one .npz file, atomically."""
        with atomic_write(path) as file:
            np.savez_compressed(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: str | Path) -> Embeddings:
        """Read such a file; raises `DataError` where it is absent or something else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return Embeddings(
                    task=str(arrays["task"]),
                    cells=arrays["cells"],
                    students=arrays["students"],
                    fresh=arrays["fresh"],
                    teacher=int(arrays["teacher"]),
                    teacher_description=arrays["teacher_description"],
                    teacher_accuracy=float(arrays["teacher_accuracy"]),
                    classes=int(arrays["classes"]),
                )
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{path} is not a readable file of DaSS embeddings ({error}); make one with "
                "`python -m nasbench_kd_baselines.dass.training embed`"
            ) from error


def embed(
    teacher: Any, cells: Sequence[Cell], *, task: str, teacher_accuracy: float, seed: int = 777
) -> Embeddings:
    """Embed students of a teacher, a `nasbench_kd.live.network.Network` in single precision.

    Lee et al., ICLR 2023: the last stage's map on one fixed noise image, batch norm as when
    predicting. About 60 ms a student on one core. `seed` draws the weights that are not inherited.
    """
    import torch

    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = torch.randn(1, 3, SIDE, SIDE, generator=generator)
    return Embeddings(
        task=task,
        cells=np.array([cell.index for cell in cells]),
        students=np.array([describe(response(remapped(teacher, cell, seed), noise)) for cell in cells]),
        fresh=np.array([describe(response(_fresh(teacher, cell, seed), noise)) for cell in cells]),
        teacher=teacher.cell.index,
        teacher_description=describe(response(teacher, noise)),
        teacher_accuracy=teacher_accuracy,
        classes=teacher.classifier.out_features,
    )


def one_hot(cells: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """One-hot codes of cells by index, shape (n, 30)."""
    return np.asarray(SPACE.one_hot[cells], dtype=np.float32)


def response(network: Any, noise: Any) -> npt.NDArray[np.float32]:
    """The map of the last stage on a noise image (1, 3, H, H), shape (64, H / 4, H / 4)."""
    import torch

    with torch.no_grad():
        return np.asarray(network.eval()(noise).maps[-1][0].numpy(), dtype=np.float32)


def describe(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Describe a map (64, H, W) by what does not depend on the order of its channels, shape (32,).

    Quantiles over the channels of their mean and of their standard deviation over space, after
    sign(x) log(1 + |x|): where few weights are inherited, values range over many orders of
    magnitude. Both are ours. The paper gives the map to convolutions, which learn what each channel
    says; channels of teachers that were trained apart have no common order, and what was learned
    for one teacher misleads for the next.
    """
    compressed = np.sign(features) * np.log1p(np.abs(features))
    levels = np.linspace(0, 1, LEVELS)
    parts = [np.quantile(compressed.mean((1, 2)), levels), np.quantile(compressed.std((1, 2)), levels)]
    return np.concatenate(parts).astype(np.float32)


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
