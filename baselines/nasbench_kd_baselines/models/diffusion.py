"""Diffusion over a finite space: noised architectures, their exact score, and guided sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.space import SearchSpace

Floats = npt.NDArray[np.float64]
Gradient = Callable[[Floats, float], Floats]
"""Of something by noised architectures, (b, choices), at a deviation of the noise."""
BLOCK = 64


class Noise(NamedTuple):
    """Variance-exploding noise, whose deviation grows from `least` to `most` (DiffusionNAG's, for NAS-Bench-201)."""

    least: float = 0.1
    most: float = 5.0

    def deviation(self, time: float) -> float:
        """Deviation at a time from 0 to 1."""
        return self.least * float((self.most / self.least) ** time)

    def diffusion(self, time: float) -> float:
        """Square of the diffusion coefficient, the derivative of the variance by time."""
        return self.deviation(time) ** 2 * 2 * float(np.log(self.most / self.least))


DEFAULT = Noise()


def states(space: SearchSpace) -> Floats:
    """Architectures without noise: one-hot codes scaled to -1 and 1, shape (n, choices of all coordinates)."""
    return 2 * space.one_hot - 1


def score(space: SearchSpace, noised: Floats, deviation: float) -> Floats:
    """Gradient of the log density of noised architectures, drawn uniformly from the space, shape as given.

    The architecture behind a noised one is expected to be the mean of all, each weighted by the density of the noise
    between the two. On a full grid the weights are a product over the coordinates, so that each has its own.
    """
    expected = np.empty_like(noised)
    if space.grid:
        start = 0
        for names in space.choices:
            place = slice(start, start + len(names))
            # Of a coordinate's one-hot vectors, all of one length, only the product with the noised one matters.
            weights = _softmax(2 * noised[:, place] / deviation**2)
            expected[:, place] = 2 * weights - 1
            start += len(names)
    else:
        clean = states(space)
        for first in range(0, len(noised), BLOCK):
            block = noised[first : first + BLOCK]
            expected[first : first + BLOCK] = _softmax(block @ clean.T / deviation**2) @ clean
    return (expected - noised) / deviation**2


def sample(
    space: SearchSpace,
    count: int,
    rng: np.random.Generator,
    *,
    guidance: Gradient | None = None,
    scale: float = 0.0,
    steps: int = 200,
    signal_to_noise: float = 0.16,
    noise: Noise = DEFAULT,
) -> npt.NDArray[np.intp]:
    """Draw architectures, indices of the shape (count,), by a predictor-corrector sampler (Song et al., ICLR 2021).

    In every step one of Langevin dynamics, then one of Euler and Maruyama backwards in time, both along the score
    plus `scale` times the guidance. Of a coordinate's choices the one of the largest value is taken; where these
    choices are no architecture, the closest one.
    """
    noised = noise.most * rng.standard_normal((count, space.one_hot.shape[1]))
    mean = noised
    for time in np.linspace(1.0, 1e-3, steps):
        deviation, diffusion = noise.deviation(time), noise.diffusion(time)

        def gradient(place: Floats, at: float = deviation) -> Floats:
            found = score(space, place, at)
            return found if guidance is None else found + scale * guidance(place, at)

        slope, drawn = gradient(noised), rng.standard_normal(noised.shape)
        lengths = [np.linalg.norm(each, axis=1).mean() for each in (drawn, slope)]
        step = 2 * (signal_to_noise * lengths[0] / lengths[1]) ** 2
        noised = noised + step * slope + np.sqrt(2 * step) * drawn
        mean = noised + diffusion / steps * gradient(noised)
        noised = mean + np.sqrt(diffusion / steps) * rng.standard_normal(noised.shape)
    codes, start = [], 0
    for names in space.choices:
        codes.append(np.round(mean[:, start : start + len(names)], 6).argmax(axis=1))
        start += len(names)
    return np.array([space.closest(each).index for each in np.stack(codes, axis=1).tolist()], dtype=np.intp)


class NoisedRegression:
    """A perceptron that predicts a value from a noised architecture and the noise's deviation.

    Two hidden layers of tanh units, squared error, Adam (0.9, 0.999) with a cosine schedule; each batch is drawn
    with replacement and noised anew, at a time that is uniform between 0 and 1.
    """

    def __init__(self, inputs: int, rng: np.random.Generator, width: int = 64) -> None:
        sizes = [(inputs + 1, width), (width, width), (width, 1)]
        self.weights = [rng.normal(size=size) / np.sqrt(size[0]) for size in sizes]
        self.biases = [np.zeros(size[1]) for size in sizes]

    def fit(
        self,
        clean: Floats,
        targets: Floats,
        rng: np.random.Generator,
        *,
        steps: int = 1500,
        batch: int = 64,
        learning_rate: float = 3e-3,
        noise: Noise = DEFAULT,
    ) -> None:
        """Train on architectures without noise, (n, choices), and targets, (n,)."""
        parameters = [*self.weights, *self.biases]
        moments = [(np.zeros_like(each), np.zeros_like(each)) for each in parameters]
        for step in range(1, steps + 1):
            chosen = rng.integers(len(targets), size=batch)
            deviations = noise.least * (noise.most / noise.least) ** rng.random((batch, 1))
            noised = clean[chosen] + deviations * rng.standard_normal((batch, clean.shape[1]))
            given, layers = self._forward(noised, deviations)
            slopes = 2 * (layers[-1] - targets[chosen, None]) / batch
            by_weights, by_biases, _ = self._backward(given, layers, slopes)
            rate = learning_rate * (1 + np.cos(np.pi * step / steps)) / 2
            for parameter, slope, (first, second) in zip(
                parameters, [*by_weights, *by_biases], moments, strict=True
            ):
                first += 0.1 * (slope - first)
                second += 0.001 * (slope**2 - second)
                deviation = np.sqrt(second / (1 - 0.999**step)) + 1e-8
                parameter -= rate * (first / (1 - 0.9**step)) / deviation

    def predict(self, noised: Floats, deviation: float) -> Floats:
        """Predicted values, (b,)."""
        return self._forward(noised, np.full((len(noised), 1), deviation))[1][-1][:, 0]

    def gradient(self, noised: Floats, deviation: float) -> Floats:
        """Gradient of the prediction by the noised architecture, (b, choices)."""
        deviations = np.full((len(noised), 1), deviation)
        given, layers = self._forward(noised, deviations)
        by_given = self._backward(given, layers, np.ones((len(noised), 1)))[2]
        return np.asarray(by_given[:, :-1] / np.sqrt(1 + deviations**2))

    def _forward(self, noised: Floats, deviations: Floats) -> tuple[Floats, list[Floats]]:
        """Inputs of unit scale with the logarithm of the deviation beside, and the values of every layer."""
        given = np.concatenate([noised / np.sqrt(1 + deviations**2), np.log(deviations)], axis=1)
        first = np.tanh(given @ self.weights[0] + self.biases[0])
        second = np.tanh(first @ self.weights[1] + self.biases[1])
        return given, [first, second, second @ self.weights[2] + self.biases[2]]

    def _backward(
        self, given: Floats, layers: list[Floats], slopes: Floats
    ) -> tuple[list[Floats], list[Floats], Floats]:
        """Gradients by the weights, the biases and the inputs, given those by the outputs, (b, 1)."""
        by_weights, by_biases = [], []
        for layer in (2, 1, 0):
            below = layers[layer - 1] if layer else given
            by_weights.append(below.T @ slopes)
            by_biases.append(slopes.sum(axis=0))
            slopes = slopes @ self.weights[layer].T
            if layer:
                slopes = slopes * (1 - below**2)
        return by_weights[::-1], by_biases[::-1], slopes


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
