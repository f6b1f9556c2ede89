"""Runs a network fast: flat parameters, only the edges that matter, pooling by convolution.

The results are those of `network.Network` up to rounding. What is saved, on a CPU above all:
- all convolution weights live in one flat tensor, cast to the computing type once a step, and the
  optimizer updates two tensors instead of hundreds;
- edges that cannot reach the cell's output are skipped (their weights then only decay, as they do in the
  plain network, where their gradient is zero), ReLU is applied once to a node, not once to an edge;
- activations are channels-last, average pooling is a depthwise convolution,
  which is several times faster than the pooling kernels;
- for inference every batch norm is folded into its convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.network import Network
from nasbench_kd.spaces.nasbench201 import EDGES, Cell

_CHANNELS_LAST = torch.channels_last
_EPSILON = 1e-5
_MOMENTUM = 0.1
_SMALL_SIDE = 4
"""Side in pixels up to which the pooling kernel is faster than a convolution."""


@dataclass(frozen=True)
class _Edge:
    layer: int
    source: int
    target: int
    operation: str

    @property
    def is_convolution(self) -> bool:
        return self.operation.startswith("nor_conv")


def live_edges(cell: Cell) -> list[int]:
    """The edges (0..5) that are not `none` and whose target reaches the cell's output."""
    operations = cell.operations
    reaches = {3}
    for edge in reversed(range(len(EDGES))):
        source, target = EDGES[edge]
        if target in reaches and operations[edge] != "none":
            reaches.add(source)
    return [
        edge for edge, (_, target) in enumerate(EDGES) if target in reaches and operations[edge] != "none"
    ]


class Engine:
    """Trains and evaluates one network; takes its weights over when made, gives them back on demand.

    Args:
        network: initial weights; it is left untouched.
        dtype: type of activations and convolution weights; parameters stay float32.
        device: where everything lives.
    """

    def __init__(self, network: Network, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self._edges = [_Edge(i, *EDGES[i], network.cell.operations[i]) for i in live_edges(network.cell)]
        named = dict(network.named_parameters())
        self._convolutions = [name for name, value in named.items() if value.dim() == 4]
        self._others = [name for name, value in named.items() if value.dim() != 4]
        self._shapes = {name: value.shape for name, value in named.items()}
        self._groups = (self._convolutions, self._others)
        self.parameters: list[Tensor] = [
            torch.cat([_channels_last_order(named[name].detach()) for name in group])
            .to(device)
            .requires_grad_()
            for group in self._groups
        ]
        self._sizes = [[named[name].numel() for name in group] for group in self._groups]
        self._statistics = {
            name: buffer.detach().clone().to(device)
            for name, buffer in network.named_buffers()
            if buffer.dim() == 1
        }
        self._modules = ["cell" if hasattr(module, "layers") else "reduction" for module in network.cells]
        self.steps = 0

    def state_dict(self) -> dict[str, Tensor]:
        """The weights in the official names; loads strictly into `Network`.

        Running statistics of edges that are not run, or that only see zeros, stay as they began: no
        output depends on them.
        """
        state = dict(self._statistics)
        for group, flat, sizes in zip(self._groups, self.parameters, self._sizes, strict=True):
            for name, part in zip(group, torch.split(flat.detach(), sizes), strict=True):
                state[name] = _shaped(part, self._shapes[name])
        for name in self._statistics:
            if name.endswith("running_mean"):
                state[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(self.steps)
        return {name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}

    def state(self) -> dict[str, Any]:
        """Weights and statistics as the engine holds them, for `restore`; tensors are copies."""
        return {
            "parameters": [flat.detach().clone() for flat in self.parameters],
            "statistics": {name: value.clone() for name, value in self._statistics.items()},
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave for a network of the same shape."""
        with torch.no_grad():
            for flat, saved in zip(self.parameters, state["parameters"], strict=True):
                flat.copy_(saved)
            for name, saved in state["statistics"].items():
                self._statistics[name].copy_(saved)
        self.steps = state["steps"]

    def train_forward(self, images: Tensor) -> Outputs:
        """A forward pass with batch statistics, for images (B, 3, H, W), channels last, of `dtype`."""
        self.steps += 1
        return _Training(self, self._views()).run(images)

    def compile_inference(self) -> _Inference:
        """A callable for inference with the weights as they are now, batch norms folded in."""
        with torch.no_grad():
            return _Inference(self, self._views(cast=False))

    def _views(self, cast: bool = True) -> dict[str, Tensor]:
        views: dict[str, Tensor] = {}
        for group, flat, sizes in zip(self._groups, self.parameters, self._sizes, strict=True):
            if cast and group is self._convolutions:
                flat = flat.to(self.dtype)
            views.update(zip(group, torch.split(flat, sizes), strict=True))
        return views


class _Pass:
    """The walk through the network that training and inference share."""

    def __init__(self, engine: Engine, values: dict[str, Tensor]) -> None:
        self.engine = engine
        self.values = values

    def convolve(self, x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        raise NotImplementedError

    def constant(self, like: Tensor, norm: str) -> Tensor:
        """What a convolution and batch norm make of a map of zeros: the norm's bias."""
        bias = self.values[f"{norm}.bias"].to(like.dtype).view(1, -1, 1, 1)
        return torch.zeros_like(like) + bias

    def weight(self, name: str) -> Tensor:
        return _shaped(self.values[name], self.engine._shapes[name])

    def shortcut(self, x: Tensor, name: str) -> Tensor:
        return F.conv2d(F.avg_pool2d(x, 2), self.weight(name))

    def head(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def run(self, images: Tensor) -> Outputs:
        maps = [self.convolve(images, "stem.0", "stem.1")]
        for i, kind in enumerate(self.engine._modules):
            x, prefix = maps[-1], f"cells.{i}"
            maps.append(self.cell(x, prefix) if kind == "cell" else self.reduction(x, prefix))
        bias = self.values["classifier.bias"]
        pooled = self.head(maps[-1]).mean((2, 3), dtype=bias.dtype)
        logits = F.linear(pooled, self.weight("classifier.weight"), bias)
        return Outputs(maps, pooled, logits)

    def reduction(self, x: Tensor, prefix: str) -> Tensor:
        main = self.convolve(torch.relu(x), f"{prefix}.conv_a.op.1", f"{prefix}.conv_a.op.2", 2)
        main = self.convolve(torch.relu(main), f"{prefix}.conv_b.op.1", f"{prefix}.conv_b.op.2")
        return self.shortcut(x, f"{prefix}.downsample.1.weight") + main

    def cell(self, x: Tensor, prefix: str) -> Tensor:
        nodes: list[Tensor | None] = [x, None, None, None]
        active: list[Tensor | None] = [None] * 4
        for edge in self.engine._edges:
            source = nodes[edge.source]
            if edge.is_convolution:
                layer = f"{prefix}.layers.{edge.layer}.op"
                if source is None:
                    value = self.constant(x, f"{layer}.2")
                else:
                    rectified = active[edge.source]
                    if rectified is None:
                        rectified = active[edge.source] = torch.relu(source)
                    value = self.convolve(rectified, f"{layer}.1", f"{layer}.2")
            elif source is None:
                continue
            else:
                value = source if edge.operation == "skip_connect" else average_pool(source)
            total = nodes[edge.target]
            nodes[edge.target] = value if total is None else total + value
        # Zero by a product, so that the layers before get gradients of zero and their weights decay.
        return x * 0.0 if nodes[3] is None else nodes[3]


class _Training(_Pass):
    def convolve(self, x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        weight = self.weight(f"{convolution}.weight")
        return self.norm(F.conv2d(x, weight, None, stride, weight.shape[2] // 2), norm)

    def norm(self, x: Tensor, norm: str) -> Tensor:
        statistics = self.engine._statistics
        return F.batch_norm(
            x,
            statistics[f"{norm}.running_mean"],
            statistics[f"{norm}.running_var"],
            self.values[f"{norm}.weight"],
            self.values[f"{norm}.bias"],
            True,
            _MOMENTUM,
            _EPSILON,
        )

    def head(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(x, "lastact.0"))


class _Inference(_Pass):
    """Inference with folded batch norms; call it with images to get the outputs."""

    def __init__(self, engine: Engine, values: dict[str, Tensor]) -> None:
        super().__init__(engine, dict(values))
        self._folded: dict[str, tuple[Tensor, Tensor]] = {}
        self._scale, self._shift = self._fold("lastact.0")

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Outputs:
        """Images (B, 3, H, W), channels last, of the engine's `dtype`."""
        return self.run(images)

    def _fold(self, norm: str) -> tuple[Tensor, Tensor]:
        statistics = self.engine._statistics
        scale = self.values[f"{norm}.weight"] * torch.rsqrt(statistics[f"{norm}.running_var"] + _EPSILON)
        return scale, self.values[f"{norm}.bias"] - statistics[f"{norm}.running_mean"] * scale

    def convolve(self, x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        if convolution not in self._folded:
            scale, shift = self._fold(norm)
            weight = self.weight(f"{convolution}.weight") * scale.view(-1, 1, 1, 1)
            self._folded[convolution] = (weight.to(x.dtype), shift.to(x.dtype))
        weight, bias = self._folded[convolution]
        return F.conv2d(x, weight, bias, stride, weight.shape[2] // 2)

    def shortcut(self, x: Tensor, name: str) -> Tensor:
        return F.conv2d(F.avg_pool2d(x, 2), self.weight(name).to(x.dtype))

    def head(self, x: Tensor) -> Tensor:
        return torch.relu(
            x * self._scale.to(x.dtype).view(1, -1, 1, 1) + self._shift.to(x.dtype).view(1, -1, 1, 1)
        )


def _channels_last_order(value: Tensor) -> Tensor:
    """A parameter laid out flat; a convolution's as (outputs, H, W, inputs), as its gradient comes."""
    return (value.permute(0, 2, 3, 1) if value.dim() == 4 else value).flatten()


def _shaped(flat: Tensor, shape: torch.Size) -> Tensor:
    """The parameter of this shape in a piece of a flat tensor; the inverse of `_channels_last_order`."""
    if len(shape) == 4:
        outputs, inputs, height, width = shape
        return flat.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
    return flat.view(shape)


def average_pool(x: Tensor) -> Tensor:
    """3 x 3 average pooling, stride 1, padding left out of the average; (B, C, H, W) to the same."""
    if x.shape[2] <= _SMALL_SIDE or x.device.type != "cpu":
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    out: Tensor = _AveragePool.apply(x)
    return out


class _AveragePool(torch.autograd.Function):
    """Sum over the window by a depthwise convolution of ones, which is its own transpose, over the count."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        ones, share = _window(x.shape[1:], x.dtype, x.device)
        return F.conv2d(x, ones, padding=1, groups=x.shape[1]).mul_(share)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        ones, share = _window(gradient.shape[1:], gradient.dtype, gradient.device)
        return F.conv2d(gradient * share, ones, padding=1, groups=gradient.shape[1])


@lru_cache(maxsize=64)
def _window(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The kernel of ones (C, 1, 3, 3), and one over the pixels of each window that exist, (1, C, H, W).

    The second repeats itself over C, since the product with a channels-last map is then vectorised.
    """
    channels, height, width = shape
    count = F.avg_pool2d(
        torch.ones(1, channels, height, width, dtype=torch.float64), 3, 1, 1, divisor_override=1
    )
    return (
        torch.ones(channels, 1, 3, 3, dtype=dtype, device=device),
        count.reciprocal().to(device, dtype).contiguous(memory_format=_CHANNELS_LAST),
    )
