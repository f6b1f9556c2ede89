"""Teachers: a network of the search space or a torchvision model, and their outputs for a batch."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.confinement import Limits, run_confined
from nasbench_kd.errors import DataError, UnknownNameError, nearest
from nasbench_kd.files import atomic_write
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.distillation.features import normalise_channels
from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.distillation.precision import widen
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.limits import MOST_BYTES, check_file, read_array
from nasbench_kd.live.network import Network, seeded_network, stage_ends
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, Cell
from nasbench_kd.tasks.nasbench201 import TEACHER_CELL

RESNET_CELL = Cell.parse(TEACHER_CELL)
"""The cell of MF-KD's teachers: a residual block."""
TORCHVISION = ("resnet18", "resnet34", "resnet50")
"""Torchvision models that can teach, adapted to small images."""
CHECKED_IMAGES = 500
"""How many validation images a teacher is tried on before it teaches."""
_PYTORCH_BYTES = 12 << 30
"""Address space that PyTorch with its CUDA libraries takes, little of which is memory."""
_CELL_KEY = "nasbench_kd.cell"
_SECONDS_KEY = "nasbench_kd.training_seconds"


@dataclass(frozen=True)
class TeacherFile:
    """Where a teacher's weights are, and what they are weights of.

    Attributes:
        path: an .npz of a network of the space (module names of NAS-Bench-201), or a .pt/.pth state dict.
        architecture: `cell`, or one of `TORCHVISION`.
        control: whether the teacher is meant to know nothing (random weights), as a control; then its
            accuracy is not asked for.
    """

    path: Path
    architecture: str = "cell"
    control: bool = False

    def sha256(self) -> str:
        """Checksum of the weights, for the provenance."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


class Teacher(Protocol):
    """Anything that maps images to outputs, in evaluation mode and without gradients."""

    def __call__(self, images: Tensor) -> Outputs:
        """Images (B, 3, H, W), normalised as the task's training images are."""


def load_teacher(file: TeacherFile, classes: int, device: torch.device, dtype: torch.dtype) -> Teacher:
    """Open a teacher; raises `DataError` on weights that do not fit, `UnknownNameError` on the architecture."""
    state = read_weights(file.path)
    if file.architecture == "cell":
        state.pop(_SECONDS_KEY, None)
        cell = _cell(state.pop(_CELL_KEY, None), file.path)
        network = Network(cell, classes)
        _load(network, state, file.path)
        return Engine(network, dtype, device).compile_inference()
    if file.architecture not in TORCHVISION:
        raise UnknownNameError(
            f"no teacher architecture {file.architecture!r}: there are cell, {', '.join(TORCHVISION)}."
            f"{nearest(file.architecture, TORCHVISION)}"
        )
    model = SmallResNet(file.architecture, classes)
    _load(model.model, state, file.path)
    return model.to(device, dtype).eval()


def check_teacher(teacher: Teacher, images: DeviceImages, classes: int, path: Path) -> None:
    """Raise `DataError` where a teacher classifies validation images no better than by chance.

    "Better" is three standard deviations of guessing above it: a swapped data set, an untrained network
    or weights of another normalisation do not get there.
    """
    correct = 0
    for rows in torch.split(torch.arange(len(images), device=images.labels.device), 250):
        logits = teacher(images.batch(rows)).logits
        correct += int((logits.argmax(1) == images.labels[rows]).sum()) if logits.isfinite().all() else 0
    guessed = len(images) / classes
    if correct <= guessed + 3 * math.sqrt(guessed * (1 - 1 / classes)):
        raise DataError(
            f"the teacher in {path} classifies {correct} of {len(images)} validation images correctly, where "
            f"guessing gets {guessed:.0f}: it was trained on something else, or not at all"
        )


def training_seconds(path: Path) -> float | None:
    """Seconds that the training of a teacher made by `train_teacher` took; None if the file does not say."""
    seconds = read_weights(path).get(_SECONDS_KEY)
    if seconds is None:
        return None
    if seconds.numel() != 1 or not 0 <= float(seconds) < math.inf:
        raise DataError(f"{path} says that the training of the teacher took {seconds.tolist()!r:.60} s")
    return float(seconds)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from an .npz, or from a .pt/.pth by PyTorch's weights-only loader; raises `DataError`.

    That loader, which a file can ask for any amount of memory, runs in a process of its own.
    """
    check_file(path)
    try:
        if path.suffix == ".npz":
            return _from_npz(path)
        with TemporaryDirectory(prefix="nasbench-kd-") as folder:
            copy = Path(folder) / "weights.npz"
            limits = Limits.of(path)
            limits = limits._replace(memory_bytes=limits.memory_bytes + _PYTORCH_BYTES)
            run_confined(convert_weights, str(path.resolve()), str(copy), place=str(path), limits=limits)
            return _from_npz(copy)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{path} is not a readable file of teacher weights (.npz, .pt, .pth): {error}"
        ) from error


def _from_npz(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        arrays = {name.removesuffix(".npy"): read_array(archive, name) for name in archive.namelist()}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def convert_weights(path: str, output: str) -> None:
    """Write the tensors of a .pt/.pth state dict as an .npz; raises `DataError` where it holds something else."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(loaded.get("state_dict", loaded))
        if others := [name for name, value in state.items() if not isinstance(value, Tensor)]:
            raise TypeError(f"{others[0]!r:.60} is no tensor")
        if sum(value.numel() * value.element_size() for value in state.values()) > MOST_BYTES:
            raise ValueError(f"its weights take more than {MOST_BYTES:,} bytes")
        arrays = {
            # NumPy has no bfloat16; float32 holds its numbers.
            str(name): (value.float() if value.dtype == torch.bfloat16 else value).numpy()
            for name, value in state.items()
        }
    except Exception as error:
        raise DataError(
            f"{path} is not a readable file of teacher weights (.npz, .pt, .pth): {error}"
        ) from error
    np.savez(output, **arrays)


def write_weights(path: Path, cell: Cell, state: Mapping[str, Tensor], seconds: float) -> None:
    """Keep a trained teacher: its weights, its cell, and the seconds that its training took."""
    arrays: dict[str, Any] = {name: value.cpu().numpy() for name, value in state.items()}
    arrays[_CELL_KEY] = np.array(cell.index)
    arrays[_SECONDS_KEY] = np.array(seconds)
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def write_random_teacher(path: Path, classes: int, seed: int = 1) -> TeacherFile:
    """Write a teacher that was never trained, as a control: MF-KD's network at its initialisation of `seed`."""
    write_weights(path, RESNET_CELL, seeded_network(RESNET_CELL, classes, seed=seed).state_dict(), 0.0)
    return TeacherFile(path, control=True)


class SmallResNet(nn.Module):
    """A torchvision ResNet for small images: a 3x3 stem of stride 1 and no max-pooling, as is usual on CIFAR.

    Its three maps are the ends of the layers at full, half and quarter side, which the stage ends of a
    student of the space match in size.
    """

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        import torchvision

        self.model = getattr(torchvision.models, name)(num_classes=classes)
        self.model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.model.maxpool = nn.Identity()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Outputs:
        """Outputs with three maps."""
        model = self.model
        x = model.relu(model.bn1(model.conv1(images.to(model.conv1.weight.dtype))))
        maps = []
        for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
            x = layer(x)
            maps.append(x)
        pooled = x.mean((2, 3))
        return Outputs(maps[:3], pooled.float(), model.fc(pooled).float())


MFKD_POSITIONS = (2, 3, 5, 8, 9)
"""The maps, of the 17 after the stem, that MF-KD compares.

They follow from the mask in its authors' CIFAR-10 job. Which maps their CIFAR-100 logs were made with is not
recorded: training accuracy after the first epoch is a fifth lower with these, and far lower with all 17
(`reports/mfkd-curves`).
"""


def compared_positions(positions: int) -> tuple[int, ...]:
    """Which of a network's maps after the stem losses compare: MF-KD's five of 17, else all."""
    return MFKD_POSITIONS if positions == 17 else tuple(range(positions))


def matched_maps(outputs: Outputs, positions: bool) -> Outputs:
    """Keep the maps that losses compare: those of `compared_positions`, or the three stage ends."""
    if positions:
        after = outputs.maps[1:]
        return outputs._replace(maps=[after[position] for position in compared_positions(len(after))])
    return outputs._replace(maps=outputs.maps if len(outputs.maps) == 3 else stage_ends(outputs.maps))


class TeacherCache:
    """Outputs of a teacher for all images of a set, in their order, for distillation by `kd` and `nst`.

    Args:
        teacher: run once over `images` as they are.
        sides: side of the student's map at each stage end, to which the teacher's are average-pooled.
    """

    def __init__(self, teacher: Teacher, images: DeviceImages, sides: list[int]) -> None:
        logits, pooled, maps = [], [], []
        for rows in torch.split(torch.arange(len(images), device=images.labels.device), 250):
            outputs = matched_maps(teacher(images.batch(rows)), positions=False)
            logits.append(widen(outputs.logits))
            pooled.append(widen(outputs.pooled))
            fitted = [
                _pool(widen(features), side) for features, side in zip(outputs.maps, sides, strict=True)
            ]
            maps.append([normalise_channels(features) for features in fitted])
        self._logits, self._pooled = torch.cat(logits), torch.cat(pooled)
        self._maps = [torch.cat(stage) for stage in zip(*maps, strict=True)]

    def __call__(self, rows: Tensor) -> Outputs:
        """The outputs for some rows, their maps normalised."""
        return Outputs(
            [stage.index_select(0, rows) for stage in self._maps],
            self._pooled.index_select(0, rows),
            self._logits.index_select(0, rows),
            normalised=True,
        )


def _pool(features: Tensor, side: int) -> Tensor:
    return features if features.shape[2] == side else F.adaptive_avg_pool2d(features, side)


def _cell(index: Tensor | None, path: Path) -> Cell:
    """The cell that a file names by its index; MF-KD's where it names none."""
    if index is None:
        return RESNET_CELL
    if index.numel() != 1 or index.is_floating_point() or not 0 <= int(index) < SPACE_SIZE:
        raise DataError(f"{path} names the cell {index.tolist()!r:.60}, not one from 0 to {SPACE_SIZE - 1}")
    return Cell.from_index(int(index))


def _load(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    for name, target in module.state_dict().items():
        value = state.get(name)
        if not isinstance(value, Tensor) or not target.is_floating_point():
            continue
        if not value.is_floating_point():
            raise DataError(f"the weights {name} in {path} are of {value.dtype}, not floating-point numbers")
        if not value.isfinite().all():
            raise DataError(f"the weights {name} in {path} are not finite: the training diverged")
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise DataError(f"the weights in {path} do not fit: {error}") from error
