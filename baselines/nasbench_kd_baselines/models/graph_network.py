"""A graph isomorphism network on cells with its gradient written out; trains in a second on one core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS

Array = npt.NDArray[np.floating]
Loss = Callable[[Array], Array]
"""Gradient of a loss by the outputs: shape (n,) to shape (n,)."""

NODES = len(EDGES) + 2
INPUT, OUTPUT = 0, NODES - 1
SYMBOLS = len(OPERATIONS) + 2
_NORM_FLOOR = 1e-5


def adjacency() -> npt.NDArray[np.float64]:
    """Operation-on-node graph of every cell, (8, 8), rows are sources: input, the six edges, output."""
    matrix = np.zeros((NODES, NODES))
    for number, (source, target) in enumerate(EDGES, start=1):
        if source == 0:
            matrix[INPUT, number] = 1
        if target == 3:
            matrix[number, OUTPUT] = 1
        for later, (begins, _) in enumerate(EDGES, start=1):
            if begins == target:
                matrix[number, later] = 1
    return matrix


class GraphNetwork:
    """GIN and multi-layer perceptron: one output for each cell (the predictor of NPENAS, Wei et al. 2020).

    `layers` rounds of: sum of a node and its predecessors, Linear-ReLU-Linear, ReLU, batch norm;
    then the mean over nodes, Linear-ReLU-dropout and Linear. Trained on full batches (NPENAS: 16)
    by Adam with weight decay in the gradient and a cosine schedule. Batch norm predicts with the
    statistics of the training cells.

    Args:
        rng: draws the first weights (uniform within 1/sqrt(inputs)).
        width: of the graph layers; the perceptron has half of it.
        layers: rounds of message passing.
        dropout: probability in the perceptron while training.
        dtype: of all computations.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        width: int = 32,
        layers: int = 3,
        dropout: float = 0.1,
        dtype: type[np.floating] = np.float32,
    ) -> None:
        self.layers = layers
        self.dropout = dropout
        self.dtype = dtype
        self.passing = (np.eye(NODES) + adjacency().T).astype(dtype)
        self.weights: dict[str, Array] = {}
        shapes = [("head", width, width // 2), ("out", width // 2, 1)]
        for layer in range(layers):
            shapes += [
                (f"{layer} first", width if layer else SYMBOLS, width),
                (f"{layer} second", width, width),
            ]
            self.weights[f"{layer} scale"] = np.ones(width, dtype)
            self.weights[f"{layer} shift"] = np.zeros(width, dtype)
        for name, inputs, outputs in shapes:
            bound = 1 / np.sqrt(inputs)
            self.weights[f"{name} weight"] = rng.uniform(-bound, bound, (inputs, outputs)).astype(dtype)
            self.weights[f"{name} bias"] = rng.uniform(-bound, bound, outputs).astype(dtype)
        self.statistics: dict[int, tuple[Array, Array]] = {}

    def fit(
        self,
        codes: npt.NDArray[np.integer],
        loss: Loss,
        rng: np.random.Generator,
        epochs: int = 300,
        learning_rate: float = 5e-3,
        weight_decay: float = 1e-4,
    ) -> None:
        """Train on cells, codes of shape (n, 6); `loss` turns their outputs into its gradient."""
        features = self._features(codes)
        first = {name: np.zeros_like(value) for name, value in self.weights.items()}
        second = {name: np.zeros_like(value) for name, value in self.weights.items()}
        for epoch in range(epochs):
            rate = learning_rate * (1 + np.cos(np.pi * epoch / epochs)) / 2
            half = len(self.weights["head bias"])
            mask = (rng.random((len(codes), half)) >= self.dropout) / (1 - self.dropout)
            outputs, cache = self._forward(features, mask.astype(self.dtype))
            gradients = self._backward(cache, loss(outputs))
            for name, value in self.weights.items():
                slope = gradients[name] + weight_decay * value
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                mean = first[name] / (1 - 0.9 ** (epoch + 1))
                deviation = np.sqrt(second[name] / (1 - 0.999 ** (epoch + 1)))
                self.weights[name] = (value - rate * mean / (deviation + 1e-8)).astype(self.dtype)
        self._forward(features, None, learn_statistics=True)

    def predict(self, codes: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Outputs for cells, codes of shape (n, 6), shape (n,)."""
        return self._forward(self._features(codes), None)[0].astype(float)

    def _features(self, codes: npt.NDArray[np.integer]) -> Array:
        features = np.zeros((len(codes), NODES, SYMBOLS), self.dtype)
        features[:, INPUT, SYMBOLS - 2] = features[:, OUTPUT, SYMBOLS - 1] = 1
        features[:, 1:OUTPUT, : len(OPERATIONS)] = np.eye(len(OPERATIONS))[codes]
        return features

    def _forward(
        self, features: Array, mask: Array | None, learn_statistics: bool = False
    ) -> tuple[Array, list[tuple[Any, ...]]]:
        """Outputs (n,), and what the gradient needs; `mask` is the dropout's while training."""
        weights, hidden = self.weights, features
        cache: list[tuple[Any, ...]] = []
        for layer in range(self.layers):
            gathered = self.passing @ hidden
            inner = np.maximum(
                gathered @ weights[f"{layer} first weight"] + weights[f"{layer} first bias"], 0
            )
            raw = np.maximum(inner @ weights[f"{layer} second weight"] + weights[f"{layer} second bias"], 0)
            if mask is not None or learn_statistics:
                mean, spread = raw.mean(axis=(0, 1)), 1 / np.sqrt(raw.var(axis=(0, 1)) + _NORM_FLOOR)
                if learn_statistics:
                    self.statistics[layer] = (mean, spread)
            else:
                mean, spread = self.statistics[layer]
            normal = (raw - mean) * spread
            hidden = normal * weights[f"{layer} scale"] + weights[f"{layer} shift"]
            cache.append((gathered, inner, raw, spread, normal))
        pooled = hidden.mean(axis=1)
        head = np.maximum(pooled @ weights["head weight"] + weights["head bias"], 0)
        kept = head if mask is None else head * mask
        outputs: Array = (kept @ weights["out weight"] + weights["out bias"])[:, 0]
        cache.append((pooled, head, kept, np.ones_like(head) if mask is None else mask))
        return outputs, cache

    def _backward(self, cache: list[tuple[Any, ...]], slope: Array) -> dict[str, Array]:
        """Gradients by all weights, given the loss's gradient by the outputs, shape (n,)."""
        weights, gradients = self.weights, {}
        pooled, head, kept, mask = cache[-1]
        column = slope[:, None].astype(self.dtype)
        gradients["out weight"], gradients["out bias"] = kept.T @ column, column.sum(axis=0)
        by_head = column @ weights["out weight"].T * mask * (head > 0)
        gradients["head weight"], gradients["head bias"] = pooled.T @ by_head, by_head.sum(axis=0)
        by_hidden = np.repeat((by_head @ weights["head weight"].T / NODES)[:, None, :], NODES, axis=1)
        for layer in reversed(range(self.layers)):
            gathered, inner, raw, spread, normal = cache[layer]
            gradients[f"{layer} shift"] = by_hidden.sum(axis=(0, 1))
            gradients[f"{layer} scale"] = (by_hidden * normal).sum(axis=(0, 1))
            by_normal = by_hidden * weights[f"{layer} scale"]
            centred = (
                by_normal - by_normal.mean(axis=(0, 1)) - normal * (by_normal * normal).mean(axis=(0, 1))
            )
            by_raw = spread * centred * (raw > 0)
            by_inner = by_raw @ weights[f"{layer} second weight"].T * (inner > 0)
            for name, given, taken in (("second", inner, by_raw), ("first", gathered, by_inner)):
                flat = taken.reshape(-1, taken.shape[-1])
                gradients[f"{layer} {name} weight"] = given.reshape(len(flat), -1).T @ flat
                gradients[f"{layer} {name} bias"] = flat.sum(axis=0)
            if layer:
                by_hidden = self.passing.T @ (by_inner @ weights[f"{layer} first weight"].T)
        return gradients
