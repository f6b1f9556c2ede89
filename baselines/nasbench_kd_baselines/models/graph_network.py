"""A graph isomorphism network with its gradient written out; trains in a second on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
        self.layers = layers
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
        self.rates = np.ones_like(self.flat)
        self.weights: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        place = 0
        for name, value in drawn.items():
            for kept, views in ((self.flat, self.weights), (self.slope, self.gradients)):
                views[name] = kept[place : place + value.size].reshape(value.shape)
            if name.endswith(("bias", "shift")):
                self.rates[place : place + value.size] = 2
            place += value.size
        self.statistics = [(np.zeros(width, dtype), np.ones(width, dtype)) for _ in range(layers)]
        """Running mean and variance of each layer's batch norm."""

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
        features, passing = self._features(architectures)
        count = len(architectures)
        size = count if batch is None else min(batch, count)
        half = len(self.weights["head bias"])
        decay = weight_decay * (self.rates == 1)
        second, step, steps = np.zeros_like(self.flat), 0, epochs * -(-count // size)
        for _ in range(epochs):
            order = rng.permutation(count)
            for start in range(0, count, size):
                chosen = order[start : start + size]
                mask = (rng.random((len(chosen), half)) >= self.dropout) / (1 - self.dropout)
                outputs, cache = self._forward(features[chosen], passing[chosen], mask.astype(self.dtype))
                self._backward(cache, loss(outputs, chosen))
                slope = self.slope + decay * self.flat
                second += (1 - _SECOND_MOMENT) * (slope**2 - second)
                rate = learning_rate * (1 + np.cos(np.pi * step / steps)) / 2
                step += 1
                deviation = np.sqrt(second / (1 - _SECOND_MOMENT**step))
                self.flat -= (rate * self.rates * slope / (deviation + 1e-8)).astype(self.dtype)

    def predict(self, architectures: Sequence[int]) -> npt.NDArray[np.float64]:
        """Outputs for architectures, by index, shape (n,)."""
        return self._forward(*self._features(architectures), None)[0].astype(float)

    def _features(self, architectures: Sequence[int]) -> tuple[Array, Array]:
        """One-hot symbols, (n, nodes, kinds), and who hears from whom, itself included, (n, nodes, nodes)."""
        rows = list(architectures)
        features = np.eye(self.graph.kinds, dtype=self.dtype)[self.graph.symbols[rows]]
        joined = (~self.graph.absent[rows]).astype(self.dtype)
        passing = (
            np.eye(len(self.graph.arrows)) + self.graph.arrows.T * joined[:, :, None] * joined[:, None, :]
        )
        return features, passing.astype(self.dtype)

    def _forward(
        self, features: Array, passing: Array, mask: Array | None
    ) -> tuple[Array, list[tuple[Any, ...]]]:
        """Outputs (n,), and what the gradient needs; `mask` is the dropout's while training."""
        weights, hidden = self.weights, features
        cache: list[tuple[Any, ...]] = []
        for layer in range(self.layers):
            gathered = passing @ hidden
            inner = np.maximum(
                gathered @ weights[f"{layer} first weight"] + weights[f"{layer} first bias"], 0
            )
            raw = np.maximum(inner @ weights[f"{layer} second weight"] + weights[f"{layer} second bias"], 0)
            mean, variance = self.statistics[layer]
            if mask is not None:
                running, count = self.statistics[layer], raw[..., 0].size
                mean = _mean(raw)
                variance = _mean((raw - mean) ** 2)
                self.statistics[layer] = (
                    running[0] + _NORM_MOMENTUM * (mean - running[0]),
                    running[1] + _NORM_MOMENTUM * (variance * (count / (count - 1)) - running[1]),
                )
            spread = 1 / np.sqrt(variance + _NORM_FLOOR)
            normal = (raw - mean) * spread
            hidden = normal * weights[f"{layer} scale"] + weights[f"{layer} shift"]
            cache.append((gathered, inner, raw, spread, normal))
        pooled = hidden.mean(axis=1)
        head = np.maximum(pooled @ weights["head weight"] + weights["head bias"], 0)
        kept = head if mask is None else head * mask
        outputs: Array = (kept @ weights["out weight"] + weights["out bias"])[:, 0]
        cache.append((pooled, head, kept, np.ones_like(head) if mask is None else mask, passing))
        return outputs, cache

    def _backward(self, cache: list[tuple[Any, ...]], slope: Array) -> dict[str, Array]:
        """Write and return the gradients by all weights, given the loss's gradient by the outputs, shape (n,)."""
        weights, gradients = self.weights, self.gradients
        pooled, head, kept, mask, passing = cache[-1]
        column, nodes = slope[:, None].astype(self.dtype), len(self.graph.arrows)
        np.matmul(kept.T, column, out=gradients["out weight"])
        np.add.reduce(column, axis=0, out=gradients["out bias"])
        by_head = column @ weights["out weight"].T * mask * (head > 0)
        np.matmul(pooled.T, by_head, out=gradients["head weight"])
        np.add.reduce(by_head, axis=0, out=gradients["head bias"])
        by_hidden = np.repeat((by_head @ weights["head weight"].T / nodes)[:, None, :], nodes, axis=1)
        for layer in reversed(range(self.layers)):
            gathered, inner, raw, spread, normal = cache[layer]
            np.add.reduce(by_hidden, axis=(0, 1), out=gradients[f"{layer} shift"])
            np.add.reduce(by_hidden * normal, axis=(0, 1), out=gradients[f"{layer} scale"])
            by_normal = by_hidden * weights[f"{layer} scale"]
            centred = by_normal - _mean(by_normal) - normal * _mean(by_normal * normal)
            by_raw = spread * centred * (raw > 0)
            by_inner = by_raw @ weights[f"{layer} second weight"].T * (inner > 0)
            for name, given, taken in (("second", inner, by_raw), ("first", gathered, by_inner)):
                flat = taken.reshape(-1, taken.shape[-1])
                np.matmul(given.reshape(len(flat), -1).T, flat, out=gradients[f"{layer} {name} weight"])
                np.add.reduce(flat, axis=0, out=gradients[f"{layer} {name} bias"])
            if layer:
                by_hidden = passing.transpose(0, 2, 1) @ (by_inner @ weights[f"{layer} first weight"].T)
        return gradients


def _mean(values: Array) -> Array:
    """Mean over cells and nodes of an array (n, nodes, width), as `numpy.mean` gives it, without its overhead."""
    total: Array = np.add.reduce(values, axis=(0, 1))
    total /= values.shape[0] * values.shape[1]
    return total
