"""Many networks of one shape but different cells, trained in the same tensor operations.

Small networks leave an accelerator idle between its kernels; S of them side by side do not. Every activation
is (S, C, B, H, W): student, channel, image, row, column. So a convolution is one batched matrix product over
the students that have it on an edge, and batch norm is one over S x C channels. The results are those of
`engine.Engine` for each student alone, up to rounding, and nothing that one student computes reaches another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.distillation.outputs import BatchOutputs
from nasbench_kd.live.engine import live_edges
from nasbench_kd.live.network import stage_ends
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, Cell

_EPSILON = 1e-5
_MOMENTUM = 0.1
_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


class _Group(NamedTuple):
    """The students that have one operation on one live edge."""

    edge: int
    source: int
    target: int
    operation: str
    students: Tensor

    @property
    def kernel(self) -> int | None:
        """Side of the convolution; None for an operation without weights."""
        return _KERNELS.get(self.operation)


class StudentBatch:
    """S students of different cells and one initialisation seed; equal to S engines.

    Args:
        cells: one for each student.
        classes: K, the width of the logits.
        seed: of the initial weights, which are those of `network.seeded_network`.
        dtype: type of activations and convolution weights; parameters are float32 if it is narrower.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        classes: int,
        *,
        seed: int,
        channels: int = 16,
        cells_per_stage: int = 5,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self.cells = tuple(cells)
        self.dtype = dtype
        self._wide = torch.promote_types(dtype, torch.float32)
        self.device = device or torch.device("cpu")
        self._cells_per_stage = cells_per_stage
        self._groups = _group(self.cells, self.device)
        self._values: dict[str, Tensor] = {}
        self._statistics: dict[str, tuple[Tensor, Tensor]] = {}
        self._owners: dict[str, _Group] = {}
        self._initialise(classes, seed, channels)

    @property
    def parameters(self) -> list[Tensor]:
        """What an optimizer updates: each stacked over the students that have it."""
        return list(self._values.values())

    def state_dict(self, student: int) -> dict[str, Tensor]:
        """One student's parameters and running statistics in the official names.

        The weights of edges that cannot reach the output are left out: they are never run.
        """
        stacked = dict(self._values)
        for norm, (mean, variance) in self._statistics.items():
            stacked[f"{norm}.running_mean"], stacked[f"{norm}.running_var"] = mean, variance
        state = {}
        for name, value in stacked.items():
            owner, _, official = name.rpartition("@")
            row = student
            if owner:
                rows = (self._owners[owner].students == student).nonzero()
                if not len(rows):
                    continue
                row = int(rows[0, 0])
            state[official] = value[row].detach().clone()
        return state

    def forward(self, images: Tensor, training: bool) -> BatchOutputs:
        """Run all students on images (B, 3, H, W) of `dtype`.

        `training` normalises by the statistics of the batch and moves the running ones, which are used
        otherwise.
        """
        count, side = len(self.cells), images.shape[2]
        columns = _columns(images.transpose(0, 1)[None], 1)[0]
        weight = self._weight("stem.0.weight")
        x = (weight.flatten(0, 1).flatten(1) @ columns).view(count, -1, len(images), side, side)
        x = self._norm(x, "stem.1", training)
        maps = [x]
        for i in range(3 * self._cells_per_stage + 2):
            reduces = i in (self._cells_per_stage, 2 * self._cells_per_stage + 1)
            run = self._reduction if reduces else self._cell
            maps.append(run(maps[-1], f"cells.{i}", training))
        last = torch.relu(self._norm(maps[-1], "lastact.0", training))
        pooled = last.mean((3, 4), dtype=self._wide).transpose(1, 2)
        bias, weight = self._values["classifier.bias"], self._values["classifier.weight"]
        return BatchOutputs(stage_ends(maps), pooled, torch.baddbmm(bias[:, None], pooled, weight.mT))

    def _weight(self, name: str) -> Tensor:
        return self._values[name].to(self.dtype)

    def _norm(self, x: Tensor, norm: str, training: bool) -> Tensor:
        gamma, beta = self._values[f"{norm}.weight"], self._values[f"{norm}.bias"]
        return _batch_norm(x, gamma, beta, self._statistics[norm], training)[0]

    def _reduction(self, x: Tensor, prefix: str, training: bool) -> Tensor:
        main = x
        for name, stride in (("conv_a", 2), ("conv_b", 1)):
            weight = self._weight(f"{prefix}.{name}.op.1.weight")
            main = _Convolution.apply(torch.relu(main), weight, stride)
            main = self._norm(main, f"{prefix}.{name}.op.2", training)
        pooled = F.avg_pool2d(x.flatten(0, 1), 2)
        weight = self._weight(f"{prefix}.downsample.1.weight")
        shortcut = torch.bmm(weight.flatten(2), pooled.view(*x.shape[:2], -1))
        return shortcut.view_as(main) + main

    def _cell(self, x: Tensor, prefix: str, training: bool) -> Tensor:
        weights, statistics = [], []
        for group in self._groups:
            if group.kernel:
                owner = f"{prefix}/{group.edge}/{group.operation}"
                layer = f"{owner}@{prefix}.layers.{group.edge}.op"
                weights += [
                    self._weight(f"{layer}.1.weight"),
                    self._values[f"{layer}.2.weight"],
                    self._values[f"{layer}.2.bias"],
                ]
                statistics.append(self._statistics[f"{layer}.2"])
        out: Tensor = _CellPass.apply(x, self._groups, statistics, training, *weights)
        return out

    def _initialise(self, classes: int, seed: int, channels: int) -> None:
        """Take each student's weights from where its own construction would find them in the random stream."""
        codes = np.array([cell.codes for cell in self.cells]).reshape(-1, len(EDGES))
        squares = np.zeros(codes.shape, np.int64)
        for operation, kernel in _KERNELS.items():
            squares[codes == OPERATIONS.index(operation)] = kernel * kernel
        count = len(self.cells)
        everyone = torch.arange(count, device=self.device)
        largest = 27 * channels + int(squares.sum(1).max()) * self._cells_per_stage * 21 * channels**2
        largest += (18 + 36 + 2) * channels**2 * 5 + (4 * channels + 1) * classes
        generator = torch.Generator().manual_seed(seed)
        stream = torch.rand(largest, generator=generator).to(self.device)
        offsets = np.zeros(count, np.int64)

        def draw(name: str, shape: tuple[int, ...], starts: Any, bound: float) -> None:
            size = math.prod(shape)
            at = torch.from_numpy(np.ascontiguousarray(starts)).to(self.device)
            uniform = stream.unfold(0, size, 1).index_select(0, at)
            # As PyTorch draws it, to the last bit: from a float32 bound, with one rounding at the end.
            bound = float(np.float32(bound))
            value = (uniform.double() * (2 * bound) - bound).float().view(len(at), *shape)
            self._values[name] = value.to(self._wide).requires_grad_()

        def convolution(name: str, shape: tuple[int, ...]) -> None:
            draw(name, shape, offsets, _bound(math.prod(shape[1:])))
            offsets[:] += math.prod(shape)

        def norm(name: str, width: int, students: Tensor = everyone) -> None:
            ones = torch.ones(len(students), width, device=self.device, dtype=self._wide)
            self._values[f"{name}.weight"] = ones.clone().requires_grad_()
            self._values[f"{name}.bias"] = torch.zeros_like(ones).requires_grad_()
            self._statistics[name] = (torch.zeros_like(ones), ones)

        convolution("stem.0.weight", (channels, 3, 3, 3))
        norm("stem.1", channels)
        position = 0
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                prefix = f"cells.{position}"
                convolution(f"{prefix}.conv_a.op.1.weight", (width, width // 2, 3, 3))
                norm(f"{prefix}.conv_a.op.2", width)
                convolution(f"{prefix}.conv_b.op.1.weight", (width, width, 3, 3))
                norm(f"{prefix}.conv_b.op.2", width)
                convolution(f"{prefix}.downsample.1.weight", (width, width // 2, 1, 1))
                position += 1
            for _ in range(self._cells_per_stage):
                prefix = f"cells.{position}"
                starts = offsets[:, None] + (np.cumsum(squares, 1) - squares) * width**2
                for group in self._groups:
                    if group.kernel:
                        owner = f"{prefix}/{group.edge}/{group.operation}"
                        self._owners[owner] = group
                        layer = f"{owner}@{prefix}.layers.{group.edge}.op"
                        shape = (width, width, group.kernel, group.kernel)
                        rows = group.students.cpu().numpy()
                        draw(
                            f"{layer}.1.weight", shape, starts[rows, group.edge], _bound(math.prod(shape[1:]))
                        )
                        norm(f"{layer}.2", width, group.students)
                offsets += squares.sum(1) * width**2
                position += 1
        norm("lastact.0", 4 * channels)
        convolution("classifier.weight", (classes, 4 * channels))
        draw("classifier.bias", (classes,), offsets, 1 / math.sqrt(4 * channels))


def _bound(inputs: int) -> float:
    """PyTorch's default initialisation of a layer with so many inputs: uniform on [-bound, bound]."""
    gain = torch.nn.init.calculate_gain("leaky_relu", math.sqrt(5))
    return math.sqrt(3.0) * gain / math.sqrt(inputs)


def _group(cells: Sequence[Cell], device: torch.device) -> tuple[_Group, ...]:
    """The groups in the order of the edges, so that a node is complete before it is read."""
    lives = [live_edges(cell) for cell in cells]
    groups = []
    for edge, (source, target) in enumerate(EDGES):
        for operation in OPERATIONS:
            students = [
                i for i, cell in enumerate(cells) if edge in lives[i] and cell.operations[edge] == operation
            ]
            if students:
                rows = torch.tensor(students, device=device)
                groups.append(_Group(edge, source, target, operation, rows))
    return tuple(groups)


def _batch_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, statistics: tuple[Tensor, Tensor], training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm of (S, C, ...) for each student and channel; also the mean and 1 / deviation used."""
    mean, variance = (value.view(-1) for value in statistics)
    flat, means, scales = torch.native_batch_norm(
        x.reshape(1, gamma.numel(), -1),
        gamma.view(-1),
        beta.view(-1),
        mean,
        variance,
        training,
        _MOMENTUM,
        _EPSILON,
    )
    return flat.view_as(x), means, scales


def _columns(x: Tensor, stride: int) -> Tensor:
    """The 3 x 3 windows of (S, C, B, H, W), zeros around it: (S, C * 9, B * H * W / stride^2)."""
    windows = F.pad(x, (1, 1, 1, 1)).unfold(3, 3, stride).unfold(4, 3, stride)
    return windows.permute(0, 1, 5, 6, 2, 3, 4).reshape(x.shape[0], x.shape[1] * 9, -1)


def _transposed(weight: Tensor) -> Tensor:
    """The weight (S, outputs, inputs, 3, 3) of the convolution that carries gradients back."""
    return weight.flip(3, 4).transpose(1, 2).flatten(2)


class _Convolution(torch.autograd.Function):
    """A 3 x 3 convolution without bias, one weight (S, outputs, inputs, 3, 3) a student."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        columns = _columns(x, stride)
        ctx.save_for_backward(columns, weight)
        ctx.shape, ctx.stride = x.shape, stride
        students, _, images, height, width = x.shape
        out = torch.bmm(weight.flatten(2), columns)
        return out.view(students, weight.shape[1], images, height // stride, width // stride)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        columns, weight = ctx.saved_tensors
        flat = gradient.flatten(2)
        of_weight = torch.bmm(flat, columns.mT).view_as(weight)
        if ctx.stride == 1:
            return torch.bmm(_transposed(weight), _columns(gradient, 1)).view(ctx.shape), of_weight, None
        students, channels, images, height, width = ctx.shape
        parts = torch.bmm(weight.flatten(2).mT, flat)
        parts = parts.view(students, channels, 3, 3, images, height // ctx.stride, width // ctx.stride)
        padded = gradient.new_zeros(students, channels, images, height + 2, width + 2)
        for i in range(3):
            for j in range(3):
                padded[..., i : i + height : ctx.stride, j : j + width : ctx.stride] += parts[:, :, i, j]
        return padded[..., 1:-1, 1:-1], of_weight, None


class _CellPass(torch.autograd.Function):
    """One cell position of all students; written out, since autograd would fill up every group to all of S.

    The weights follow in the order of the groups that convolve: kernel, and weight and bias of the norm.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        groups: tuple[_Group, ...],
        statistics: Sequence[tuple[Tensor, Tensor]],
        training: bool,
        *weights: Tensor,
    ) -> Tensor:
        nodes = [x, *(torch.zeros_like(x) for _ in range(3))]
        rectified: list[Tensor | None] = [None] * 3
        kept: list[tuple[Tensor, ...]] = []
        for group in groups:
            if group.kernel:
                active = rectified[group.source]
                if active is None:
                    active = rectified[group.source] = torch.relu(nodes[group.source])
                taken = active.index_select(0, group.students)
                weight, gamma, beta = weights[3 * len(kept) : 3 * len(kept) + 3]
                columns = taken.flatten(2) if group.kernel == 1 else _columns(taken, 1)
                convolved = torch.bmm(weight.flatten(2), columns)
                value, mean, scale = _batch_norm(convolved, gamma, beta, statistics[len(kept)], training)
                value = value.view_as(taken)
                kept.append((columns, convolved, mean, scale) if training else ())
            else:
                value = nodes[group.source].index_select(0, group.students)
                if group.operation == "avg_pool_3x3":
                    value = _average_pool(value)
            nodes[group.target].index_add_(0, group.students, value)
        ctx.groups, ctx.kept, ctx.rectified, ctx.weights = groups, kept, rectified, weights
        return nodes[3]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        of_nodes = [*(torch.zeros_like(gradient) for _ in range(3)), gradient]
        of_active: list[Tensor | None] = [None] * 3
        of_weights: list[Tensor] = [torch.empty(0)] * len(ctx.weights)
        convolutions = len(ctx.kept)
        for target in (3, 2, 1, 0):
            # Every edge out of the node has been passed: what came through its ReLU joins the rest.
            through = of_active[target] if target < 3 else None
            if through is not None:
                active = ctx.rectified[target]
                of_nodes[target] += torch.ops.aten.threshold_backward(through, active, 0)
            for group in reversed([group for group in ctx.groups if group.target == target]):
                passed = of_nodes[target].index_select(0, group.students)
                if not group.kernel:
                    if group.operation == "avg_pool_3x3":
                        passed = _average_pool_backward(passed)
                    of_nodes[group.source].index_add_(0, group.students, passed)
                    continue
                convolutions -= 1
                columns, convolved, mean, scale = ctx.kept[convolutions]
                weight, gamma, beta = ctx.weights[3 * convolutions : 3 * convolutions + 3]
                flat = (1, gamma.numel(), -1)
                of_convolved, of_gamma, of_beta = torch.ops.aten.native_batch_norm_backward(
                    passed.view(flat), convolved.view(flat), gamma.view(-1), None, None, mean, scale, True, _EPSILON,
                    [True, True, True],
                )  # fmt: skip
                of_convolved = of_convolved.view_as(convolved)
                of_weights[3 * convolutions : 3 * convolutions + 3] = [
                    torch.bmm(of_convolved, columns.mT).view_as(weight),
                    of_gamma.view_as(gamma),
                    of_beta.view_as(beta),
                ]
                if group.kernel == 1:
                    of_taken = torch.bmm(weight.flatten(2).mT, of_convolved)
                else:
                    of_taken = torch.bmm(_transposed(weight), _columns(of_convolved.view_as(passed), 1))
                total = of_active[group.source]
                if total is None:
                    total = of_active[group.source] = torch.zeros_like(gradient)
                total.index_add_(0, group.students, of_taken.view_as(passed))
        return of_nodes[0], None, None, None, *of_weights


def _average_pool(x: Tensor) -> Tensor:
    """3 x 3 average pooling of (S, C, B, H, W), stride 1, padding left out of the average."""
    return F.avg_pool2d(x.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(x)


def _average_pool_backward(gradient: Tensor) -> Tensor:
    """The gradient shared out over each window, which is a sum over the same window."""
    ones = torch.ones(1, *gradient.shape[3:], device=gradient.device, dtype=torch.float64)
    count = F.avg_pool2d(ones, 3, 1, 1, divisor_override=1)[0]
    share = gradient * count.reciprocal().to(gradient.dtype)
    return F.avg_pool2d(share.flatten(0, 1), 3, 1, 1, divisor_override=1).view_as(gradient)
