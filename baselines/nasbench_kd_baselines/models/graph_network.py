"""A graph isomorphism network with its gradient written out; trains in a second on one core."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.encodings import Graph

Array = npt.NDArray[np.floating]
Loss = Callable[[Array, npt.NDArray[np.integer]], Array]
"""Gradient of a loss by the outputs of a batch, (b,), given them and their places among those trained on, (b,)."""

_NORM_FLOOR = 1e-5
_NORM_MOMENTUM = 0.1
_SECOND_MOMENT = 0.9
"""Adam's second beta; its first is 0."""


class _Layer(NamedTuple):
    """The weights of a round of message passing, in the order in which they are drawn."""

    first: Array
    first_bias: Array
    second: Array
    second_bias: Array
    scale: Array
    shift: Array


class _Weights(NamedTuple):
    """All weights, in the same order."""

    layers: tuple[_Layer, ...]
    head: Array
    head_bias: Array
    out: Array
    out_bias: Array


class GraphNetwork:
    """GIN and multi-layer perceptron: one output for each architecture (the predictor of NPENAS, Wei et al. 2020).

    `layers` rounds of: sum of a node and its predecessors, Linear-ReLU-Linear, ReLU, batch norm;
    then the mean over nodes, Linear-ReLU-dropout and Linear. An absent node is isolated: no arrow
    reaches or leaves it. Trained by Adam with the betas 0 and 0.9, weight decay in the gradient and a
    cosine schedule; biases have twice the rate and no decay. Batch norm predicts with running
    statistics. All as in the authors' code (NPENASv1).

    Args:
        graph: of the space.
        rng: draws the first weights: uniform within 1/sqrt(inputs), in the perceptron within
            sqrt(3/inputs) and its biases zero.
        width: of the graph layers; the perceptron has half of it.
        layers: rounds of message passing.
        dropout: probability in the perceptron while training.
        dtype: of all computations.
    """

    def __init__(
        self,
        graph: Graph,
        rng: np.random.Generator,
        width: int = 32,
        layers: int = 3,
        dropout: float = 0.1,
        dtype: type[np.floating] = np.float32,
    ) -> None:
        self.graph = graph
        self.dropout = dropout
        self.dtype = dtype
        drawn: dict[str, Array] = {}
        for layer in range(layers):
            for name, inputs in (("first", width if layer else graph.kinds), ("second", width)):
                bound = 1 / np.sqrt(inputs)
                drawn[f"{layer} {name} weight"] = rng.uniform(-bound, bound, (inputs, width))
                drawn[f"{layer} {name} bias"] = rng.uniform(-bound, bound, width)
            drawn[f"{layer} scale"], drawn[f"{layer} shift"] = np.ones(width), np.zeros(width)
        for name, inputs, outputs in (("head", width, width // 2), ("out", width // 2, 1)):
            bound = np.sqrt(3 / inputs)
            drawn[f"{name} weight"] = rng.uniform(-bound, bound, (inputs, outputs))
            drawn[f"{name} bias"] = np.zeros(outputs)
        # All weights, and all gradients, are views into one vector, so that Adam is one step for all of them.
        self.flat = np.concatenate([value.ravel() for value in drawn.values()]).astype(dtype)
        self.slope = np.zeros_like(self.flat)
        self.weights, self.gradients = (_views(drawn, kept) for kept in (self.flat, self.slope))
        self.rates = np.concatenate(
            [
                np.full(value.size, 1 + name.endswith(("bias", "shift")), dtype)
                for name, value in drawn.items()
            ]
        )
        self.statistics = np.stack(
            [np.zeros((layers, width), dtype), np.ones((layers, width), dtype)], axis=1
        )
        """Running mean and variance of each layer's batch norm, (layers, 2, width)."""
        self.moments = np.empty_like(self.statistics)
        """Those of the last batch."""

    def fit(
        self,
        architectures: Sequence[int],
        loss: Loss,
        rng: np.random.Generator,
        epochs: int = 300,
        learning_rate: float = 5e-3,
        weight_decay: float = 1e-4,
        batch: int | None = None,
    ) -> None:
        """Train on architectures, by index, in shuffled batches of so many, or all at once."""
        heard, passing = self._inputs(architectures)
        count = len(architectures)
        size = count if batch is None else min(batch, count)
        half = len(self.weights.head_bias)
        decay = (weight_decay * (self.rates == 1)).astype(self.dtype)
        second, step, steps = np.zeros_like(self.flat), 0, epochs * -(-count // size)
        for _ in range(epochs):
            order = rng.permutation(count)
            masks = ((rng.random((count, half)) >= self.dropout) / (1 - self.dropout)).astype(self.dtype)
            first, joined = heard[order], passing[order]
            for start in range(0, count, size):
                part = slice(start, start + size)
                outputs, kept = self._forward(first[part], joined[part], masks[part])
                self._backward(kept, loss(outputs, order[part]))
                self.slope += decay * self.flat
                second *= _SECOND_MOMENT
                second += (1 - _SECOND_MOMENT) * (self.slope * self.slope)
                rate = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
                step += 1
                self.slope *= rate * self.rates
                self.slope /= np.sqrt(second / (1 - _SECOND_MOMENT**step)) + 1e-8
                self.flat -= self.slope

    def predict(self, architectures: Sequence[int]) -> npt.NDArray[np.float64]:
        """Outputs for architectures, by index, shape (n,)."""
        return self._forward(*self._inputs(architectures), None)[0].astype(float)

    def _inputs(self, architectures: Sequence[int]) -> tuple[Array, Array]:
        """Symbols that every node hears, (n, nodes, kinds), and from whom, itself included, (n, nodes, nodes)."""
        rows = list(architectures)
        symbols = np.eye(self.graph.kinds, dtype=self.dtype)[self.graph.symbols[rows]]
        joined = (~self.graph.absent[rows]).astype(self.dtype)
        passing = (
            np.eye(len(self.graph.arrows)) + self.graph.arrows.T * joined[:, :, None] * joined[:, None, :]
        ).astype(self.dtype)
        return passing @ symbols, passing

    def _forward(
        self, heard: Array, passing: Array, mask: Array | None
    ) -> tuple[Array, list[tuple[Any, ...]]]:
        """Outputs (n,), and what the gradient needs; `mask` is the dropout's while training.

        The nodes of all cells stand below each other, (n * nodes, width), so that a layer is one product, and sums
        over them are products with ones: NumPy's own reductions take longer than all the rest.
        """
        cells, nodes, _ = heard.shape
        count, hidden = cells * nodes, heard
        ones, kept_values = np.ones(count, self.dtype), []
        for number, layer in enumerate(self.weights.layers):
            # The first layer's nodes have heard their neighbours already.
            gathered = passing @ hidden.reshape(cells, nodes, -1) if number else heard
            rows = gathered.reshape(count, -1)
            inner = _linear(rows, layer.first, layer.first_bias)
            raw = _linear(inner, layer.second, layer.second_bias)
            mean, variance = (self.statistics if mask is None else self.moments)[number]
            if mask is not None:
                np.matmul(ones, raw, out=mean)
                mean /= count
            normal = raw - mean
            if mask is not None:
                np.matmul(ones, normal * normal, out=variance)
                variance /= count
            spread = 1 / np.sqrt(variance + _NORM_FLOOR)
            normal *= spread
            hidden = normal * layer.scale
            hidden += layer.shift
            kept_values.append((rows, inner, raw, normal, spread * layer.scale))
        if mask is not None:
            self.moments[:, 1] *= count / (count - 1)
            self.statistics += _NORM_MOMENTUM * (self.moments - self.statistics)
        pooled = hidden.reshape(cells, nodes, -1).sum(axis=1) / nodes
        head = _linear(pooled, self.weights.head, self.weights.head_bias)
        kept = head if mask is None else head * mask
        outputs: Array = (kept @ self.weights.out + self.weights.out_bias)[:, 0]
        kept_values.append((pooled, head, kept, np.ones_like(head) if mask is None else mask, passing))
        return outputs, kept_values

    def _backward(self, kept_values: list[tuple[Any, ...]], slope: Array) -> None:
        """Write the gradients by all weights, given the loss's gradient by the outputs, shape (n,)."""
        weights, gradients = self.weights, self.gradients
        pooled, head, kept, mask, passing = kept_values[-1]
        column, nodes = slope[:, None].astype(self.dtype), passing.shape[1]
        ones = np.ones(len(column) * nodes, self.dtype)
        np.matmul(kept.T, column, out=gradients.out)
        np.matmul(ones[: len(column)], column, out=gradients.out_bias)
        by_head = column @ weights.out.T * mask * np.sign(head)
        np.matmul(pooled.T, by_head, out=gradients.head)
        np.matmul(ones[: len(column)], by_head, out=gradients.head_bias)
        by_hidden = np.repeat(by_head @ weights.head.T / nodes, nodes, axis=0)
        for number in reversed(range(len(weights.layers))):
            rows, inner, raw, normal, factor = kept_values[number]
            layer, written = weights.layers[number], gradients.layers[number]
            np.matmul(ones, by_hidden, out=written.shift)
            np.matmul(ones, by_hidden * normal, out=written.scale)
            # The batch's mean and deviation move with every row: what is left is by one row alone.
            by_hidden -= written.shift / len(ones)
            by_hidden -= normal * (written.scale / len(ones))
            by_hidden *= factor
            by_hidden *= np.sign(raw)
            np.matmul(inner.T, by_hidden, out=written.second)
            np.matmul(ones, by_hidden, out=written.second_bias)
            by_inner = by_hidden @ np.ascontiguousarray(layer.second.T)
            by_inner *= np.sign(inner)
            np.matmul(rows.T, by_inner, out=written.first)
            np.matmul(ones, by_inner, out=written.first_bias)
            if number:
                by_rows = by_inner @ np.ascontiguousarray(layer.first.T)
                by_gathered = by_rows.reshape(-1, nodes, by_rows.shape[1])
                by_hidden = (passing.transpose(0, 2, 1) @ by_gathered).reshape(by_rows.shape)


def _views(named: Mapping[str, Array], flat: Array) -> _Weights:
    """Parts of a vector in the shapes and the order of arrays, those of the perceptron last."""
    parts, place = [], 0
    for value in named.values():
        parts.append(flat[place : place + value.size].reshape(value.shape))
        place += value.size
    size = len(_Layer._fields)
    layers = [_Layer(*parts[start : start + size]) for start in range(0, len(parts) - 4, size)]
    return _Weights(tuple(layers), *parts[-4:])


def _linear(given: Array, weight: Array, bias: Array) -> Array:
    """A linear layer and a ReLU."""
    taken: Array = given @ weight
    taken += bias
    return np.maximum(taken, bias.dtype.type(0), out=taken)
