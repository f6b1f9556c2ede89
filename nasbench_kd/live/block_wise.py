"""Block-wise distillation: every stage of a supernet learns a teacher's stage, and scores the whole space exactly.

Source: Li et al., "Block-wisely Supervised Neural Architecture Search with Knowledge Distillation" (DNA, CVPR 2020).
A stage is a supernet of its own: its input is the teacher's map before, its target the teacher's map after. It is
trained by uniform paths and the squared error; an architecture's score is the sum of its errors over the stages.
Three things differ from the paper, since cells sum several paths without a norm: teacher maps are normalised for
each channel, the student's map goes through a batch norm without an affine part, and an error is divided by the
target's mean square. So it is a share of what there is to explain, and a dead cell has exactly 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasbench_kd.errors import FidelityError
from nasbench_kd.live.distillation.precision import widen
from nasbench_kd.live.network import Reduction, stage_ends
from nasbench_kd.live.supernet.choice_cell import (
    NONE,
    ChoiceCell,
    normalise_batch,
    path_edges,
    use_batch_statistics,
)
from nasbench_kd.live.supernet.paths import draw_path
from nasbench_kd.live.teacher import Teacher
from nasbench_kd.spaces.nasbench201 import OPERATIONS, SPACE_SIZE, code_matrix
from nasbench_kd.tasks.block_wise import STAGES

LEARNING_RATE = 2e-3
"""Of Adam, falling to 0 by a cosine over the steps; DNA has 2e-3 to 5e-3, times 0.9 after every epoch."""
CLIP = 5.0
"""The longest gradient: sums of unnormalised paths differ up to 16-fold in variance."""
_EPSILON = 1e-5
_OPERATIONS = range(len(OPERATIONS))
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TeacherMaps:
    """Inputs and targets of the three stages for a set of images: the images, then the teacher's stage ends.

    The teacher's maps are normalised for each channel by the mean and deviation of `moments`.
    """

    levels: tuple[Tensor, ...]
    """Four tensors (n, C, H, W), channels last: images, and the ends of the stages."""
    moments: tuple[tuple[Tensor, Tensor], ...]
    """Mean and standard deviation (C,) of every stage end over the training images."""


@torch.no_grad()
def teacher_maps(
    teacher: Teacher,
    batches: Iterator[Tensor],
    dtype: torch.dtype,
    moments: tuple[tuple[Tensor, Tensor], ...] | None = None,
) -> TeacherMaps:
    """Run the teacher over batches of normalised images (B, 3, H, W).

    Args:
        dtype: in which the maps are kept.
        moments: those of the training images; taken over these images when left out.
    """
    levels: list[list[Tensor]] = [[] for _ in range(STAGES + 1)]
    for images in batches:
        maps = teacher(images).maps
        ends = maps if len(maps) == STAGES else stage_ends(maps)
        for level, features in zip(levels, (images, *ends), strict=True):
            level.append(features.to(dtype))
    joined = [torch.cat(level).contiguous(memory_format=torch.channels_last) for level in levels]
    if moments is None:
        moments = tuple(_moments(features) for features in joined[1:])
    for features, (mean, deviation) in zip(joined[1:], moments, strict=True):
        shape = (1, -1, 1, 1)
        features.sub_(mean.view(shape).to(dtype)).div_(deviation.view(shape).to(dtype))
    return TeacherMaps(tuple(joined), moments)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, summed in float64 over pieces."""
    total = torch.zeros(2, features.shape[1], dtype=torch.float64, device=features.device)
    for piece in torch.split(features, 250):
        wide = piece.double()
        total += torch.stack([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3))])
    mean, square = total / (features.numel() / features.shape[1])
    return mean.float(), (square - mean.square()).clamp_min(1e-12).sqrt().float()


class Stage(nn.Module):
    """The supernet of one stage: what enters it (a stem, or a reduction), N cells of shared weights, and a norm.

    Args:
        index: 0, 1 or 2.
        channels: of the first stage; the teacher's.
        cells: N; exact scores of the whole space need 1.
    """

    def __init__(self, index: int, channels: int = 16, cells: int = 1) -> None:
        super().__init__()
        width = channels * 2**index
        self.entry: nn.Module
        if index:
            self.entry = Reduction(width // 2, width)
        else:
            self.entry = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        use_batch_statistics(self.entry)
        self.cells = nn.ModuleList(ChoiceCell(width) for _ in range(cells))

    def forward(self, x: Tensor, codes: tuple[int, ...]) -> Tensor:
        """The normalised map (B, C, H, W) of an architecture for the map (or images) before the stage."""
        with torch.autocast(x.device.type, x.dtype, enabled=x.dtype in (torch.bfloat16, torch.float16)):
            x = self.entry(x)
        for cell in self.cells:
            x = cell(x, codes)
        return normalise_batch(widen(x))


class SquaredError(nn.Module):
    """What a stage is trained by: the squared error of its map to the teacher's; targets (n, C, H, W)."""

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        self._targets = targets

    def forward(self, output: Tensor, rows: Tensor) -> Tensor:
        """The loss of a stage's map (B, C, H, W) of the images in `rows` (B,)."""
        return (output - widen(self._targets.index_select(0, rows))).square().mean()


class StageTraining:
    """Trains one stage: a uniform live architecture and a batch of images at every step; resumable.

    Args:
        stage: with its initial weights.
        inputs: (n, C, H, W), of all training images, unaugmented.
        objective: the loss of the stage's map (B, C, H, W) and the rows (B,) of its images; what it learns is
            trained along.
        steps: all that will be taken; they decide the learning rate.
        seed: of the images and architectures drawn.
    """

    def __init__(
        self, stage: Stage, inputs: Tensor, objective: nn.Module, *, steps: int, batch: int, seed: int
    ) -> None:
        self.stage = stage
        self.inputs, self.objective = inputs, objective
        self.steps, self.batch = steps, batch
        self.done = 0
        self._learned = [*stage.parameters(), *objective.parameters()]
        self.optimizer = torch.optim.Adam(self._learned, lr=LEARNING_RATE)
        self.generator = torch.Generator().manual_seed(seed)

    def step(self) -> float:
        """Take one step; returns the loss of the drawn architecture on its batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE / 2 * (1 + math.cos(math.pi * self.done / self.steps))
        rows = torch.randint(len(self.inputs), (self.batch,), generator=self.generator)
        codes = draw_path(self.generator)
        rows = rows.to(self.inputs.device)
        loss = self.objective(self.stage(self.inputs.index_select(0, rows), codes), rows)
        self.optimizer.zero_grad(set_to_none=True)  # what is not on the path is left as it is
        loss.backward()
        nn.utils.clip_grad_norm_(self._learned, CLIP)
        self.optimizer.step()
        self.done += 1
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """All that is needed to go on; `torch.save` keeps it."""
        return {
            "stage": self.stage.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "done": self.done,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` as if never paused."""
        self.stage.load_state_dict(state["stage"])
        self.objective.load_state_dict(state.get("objective", {}))  # earlier versions kept none
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.done = state["done"]


def plain_error(stage: Stage, inputs: Tensor, targets: Tensor, codes: tuple[int, ...]) -> float:
    """The error of one architecture by a pass of its own: squared error over the target's mean square.

    All images (n, C, H, W) are one batch, so that batch norm sees them all.
    """
    with torch.no_grad():
        if not path_edges(codes):
            return 1.0
        target = targets.double()
        output = stage(inputs, codes).double()
        return float((output - target).square().mean() / target.square().mean())


@torch.no_grad()
def exact_errors(
    stage: Stage,
    inputs: Tensor,
    targets: Sequence[Tensor],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Floats:
    """The errors of all 15,625 architectures in a stage of one cell to each target, (k, 15625) in index order.

    A cell's output is the sum a + b + c of what its three last edges bring: 5, 25 and 625 different maps. The error
    after a batch norm without an affine part follows from the mean of the sum, its variance and its covariance with
    the target, and these from inner products of the maps for each channel. So 690 maps are computed where plain
    passes (`plain_error`) compute some 40,000.

    Args:
        inputs: (n, C, H, W) in the type to compute in; all images are one batch.
        targets: k of them, (n, C, H, W); one for a single teacher.
        progress: called with the number of prefixes (of 25) that are done.

    Raises `FidelityError` where the stage has several cells.
    """
    if len(stage.cells) != 1:
        raise FidelityError(
            f"exact scores of the whole space need stages of one cell (cells=1), not of {len(stage.cells)}"
        )
    cell = stage.cells[0]
    assert isinstance(cell, ChoiceCell)
    x = stage.entry(inputs)
    count = x.numel() // x.shape[1]
    maps = [_by_channel(target) for target in targets]
    basis = _Basis([*maps, torch.ones_like(maps[0])], len(maps), count)
    third = _outputs(cell, 3, x)  # edge 0-3
    errors = np.empty((len(maps), *(5,) * 6))
    for first in _OPERATIONS:
        node1 = None if first == NONE else cell.operate(0, first, x)
        fifth = _outputs(cell, 4, node1)  # edge 1-3
        ends = basis.extended([*third, *fifth])
        for second in _OPERATIONS:  # edge 0-2
            direct = None if second == NONE else cell.operate(1, second, x)
            for middle in _OPERATIONS:  # edge 1-2
                through = None if middle == NONE or node1 is None else cell.operate(2, middle, node1)
                node2 = _sum(direct, through)
                errors[:, first, second, middle] = ends.errors(_outputs(cell, 5, node2))
            progress(5 * first + second + 1)
    return np.asarray(errors[:, *code_matrix().T], dtype=np.float64)


def _outputs(cell: ChoiceCell, edge: int, x: Tensor | None) -> list[Tensor | None]:
    """The five outputs of an edge, (C, n H W) each, by code; None for zeros."""
    return [
        None if x is None or code == NONE else _by_channel(cell.operate(edge, code, x))
        for code in _OPERATIONS
    ]


def _by_channel(x: Tensor) -> Tensor:
    """(n, C, H, W) as (C, n H W)."""
    return x.permute(1, 0, 2, 3).flatten(1)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return first if second is None else second
    return first + second


class _Basis:
    """Maps of which inner products with further maps are taken, channel by channel, as means over positions.

    The first are the targets and the constant 1; then come, by code, the outputs of edges 0-3 and 1-3.
    """

    def __init__(self, maps: Sequence[Tensor | None], targets: int, count: int) -> None:
        self._maps = maps
        self._targets = targets
        self._count = count
        present = [features for features in maps if features is not None]
        self._stack = torch.stack(present, 1)  # (C, K, positions)
        self._places = [index for index, features in enumerate(maps) if features is not None]
        self._own = self._products(maps)

    def extended(self, maps: Sequence[Tensor | None]) -> _Basis:
        """This basis with further maps behind its own."""
        return _Basis([*self._maps, *maps], self._targets, self._count)

    def _products(self, maps: Sequence[Tensor | None]) -> Tensor:
        """Mean products (C, all of the basis, maps) in float64; 0 with what is None."""
        channels = self._stack.shape[0]
        found = torch.zeros(channels, len(self._maps), len(maps), dtype=torch.float64)
        for column, features in enumerate(maps):
            if features is not None:
                products = _inner(self._stack, features[:, None]).squeeze(2) / self._count
                found[:, self._places, column] = products
        return found

    def errors(self, last: Sequence[Tensor | None]) -> Floats:
        """Errors (k, 5, 5, 5) for the operations on edges 0-3, 1-3 and 2-3, where the last has these outputs."""
        one = self._targets
        third, fifth = slice(one + 1, one + 6), slice(one + 6, one + 11)
        cross = self._products(last)  # (C, k + 11, 5)
        squares = torch.stack(
            [
                torch.zeros(len(cross), dtype=torch.float64)
                if features is None
                else _inner(features[:, None], features[:, None]).flatten() / self._count
                for features in last
            ],
            1,
        )
        own = self._own

        def sums(of_third: Tensor, of_fifth: Tensor, of_last: Tensor) -> Tensor:
            return of_third[:, :, None, None] + of_fifth[:, None, :, None] + of_last[:, None, None, :]

        diagonal = own.diagonal(dim1=1, dim2=2)
        mean = sums(own[:, third, one], own[:, fifth, one], cross[:, one])
        square = sums(diagonal[:, third], diagonal[:, fifth], squares)
        square = square + 2 * (
            own[:, third, fifth][:, :, :, None]
            + cross[:, third][:, :, None, :]
            + cross[:, fifth][:, None, :, :]
        )
        variance = (square - mean.square()).clamp_min(0)
        scale = torch.rsqrt(variance + _EPSILON)
        found = []
        for target in range(self._targets):
            with_target = sums(own[:, third, target], own[:, fifth, target], cross[:, target])
            covariance = with_target - mean * own[:, target, one][:, None, None, None]
            of_target = own[:, target, target][:, None, None, None]
            error = variance * scale.square() - 2 * covariance * scale + of_target
            found.append(error.mean(0) / of_target.mean())
        return torch.stack(found).numpy()


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Inner products (C, K, L) of (C, K, P) with (C, L, P) over P, summed in float64 over pieces."""
    total = torch.zeros(left.shape[0], left.shape[1], right.shape[1], dtype=torch.float64)
    for start in range(0, left.shape[2], 1 << 15):
        piece = slice(start, start + (1 << 15))
        total += (left[:, :, piece] @ right[:, :, piece].mT).double().cpu()
    return total


def seeded_stages(channels: int, cells: int, seed: int) -> list[Stage]:
    """The three stages with PyTorch's default initialisation drawn from `seed`; global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [Stage(index, channels, cells) for index in range(STAGES)]


def scores(errors: Sequence[Floats]) -> Floats:
    """The score of every architecture, (15625,): its mean error over the stages; less is better, 1 for a dead one."""
    found: Floats = np.mean(errors, axis=0)
    assert found.shape == (SPACE_SIZE,)
    return found
