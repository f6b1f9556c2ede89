"""An ensemble of multi-layer perceptrons, trained side by side with one matrix product for all members."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class PerceptronEnsemble:
    """ReLU perceptrons with the absolute error as their loss, trained by Adam (0.9, 0.99).

    Members differ in their first weights (Glorot uniform) and in the order of their batches.

    Args:
        inputs: number of features.
        rng: draws the first weights.
        members, layers, width: size of the ensemble and of each member's hidden layers.
    """

    def __init__(
        self, inputs: int, rng: np.random.Generator, members: int = 5, layers: int = 10, width: int = 20
    ) -> None:
        self.members = members
        sizes = [inputs, *[width] * layers, 1]
        shapes = list(itertools.pairwise(sizes))
        self.flat = np.zeros(members * sum((given + 1) * taken for given, taken in shapes))
        self.weights: list[Array] = []
        self.biases: list[Array] = []
        # All weights are views into one vector, so that Adam is one step for all of them.
        place = 0
        for given, taken in shapes:
            for rows, kept in ((given, self.weights), (1, self.biases)):
                size = members * rows * taken
                kept.append(self.flat[place : place + size].reshape(members, rows, taken))
                place += size
            bound = np.sqrt(6 / (given + taken))
            self.weights[-1][:] = rng.uniform(-bound, bound, self.weights[-1].shape)

    def fit(
        self,
        features: Array,
        targets: Array,
        rng: np.random.Generator,
        epochs: int = 150,
        batch: int = 32,
        learning_rate: float = 0.01,
    ) -> None:
        """Train on features of shape (n, inputs) and targets of shape (n,)."""
        first, second, steps = np.zeros_like(self.flat), np.zeros_like(self.flat), 0
        for _ in range(epochs):
            orders = np.array([rng.permutation(len(targets)) for _ in range(self.members)])
            for start in range(0, len(targets), batch):
                chosen = orders[:, start : start + batch]
                slope = self.gradient(features[chosen], targets[chosen])
                steps += 1
                first += 0.1 * (slope - first)
                second += 0.01 * (slope**2 - second)
                deviation = np.sqrt(second / (1 - 0.99**steps))
                self.flat -= learning_rate * (first / (1 - 0.9**steps)) / (deviation + 1e-8)

    def predict(self, features: Array) -> Array:
        """Outputs of every member for features of shape (n, inputs), shape (members, n)."""
        return self._forward(np.broadcast_to(features, (self.members, *features.shape)))[-1][:, :, 0]

    def gradient(self, features: Array, targets: Array) -> Array:
        """Gradient of each member's mean absolute error, flat; (members, b, inputs) and (members, b)."""
        hidden = self._forward(features)
        by_output = np.sign(hidden[-1] - targets[:, :, None]) / targets.shape[1]
        parts: list[Array] = []
        for layer in reversed(range(len(self.weights))):
            parts.append(by_output.sum(axis=1).ravel())
            parts.append((hidden[layer].transpose(0, 2, 1) @ by_output).ravel())
            if layer:
                by_output = (by_output @ self.weights[layer].transpose(0, 2, 1)) * (hidden[layer] > 0)
        return np.concatenate(parts[::-1])

    def _forward(self, features: Array) -> list[Array]:
        """Inputs of every layer and, last, the outputs, (members, b, size)."""
        hidden = [features]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            value = hidden[-1] @ weight + bias
            hidden.append(value if layer == len(self.weights) - 1 else np.maximum(value, 0))
        return hidden
