"""NATS-Bench's size space: 32,768 networks of one cell, five numbers of channels each.

Dong, Liu, Musial and Gabrys, TPAMI 2021: one good cell of the topology space, once in each of three stages, with a
residual block between two stages. The stem with the first cell, the blocks and the other cells differ in channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nasbench_kd.errors import CellError
from nasbench_kd.spaces.space import Architecture, SearchSpace

LAYERS = 5
"""The stem with the first cell, the first block, the second cell, the second block, and the third cell."""
CHANNELS = tuple(map(str, range(8, 65, 8)))
SPACE = SearchSpace("nats-bench-size", {f"channels{layer}": CHANNELS for layer in range(1, LAYERS + 1)})
"""Every combination, in the official order: the last layer changes fastest."""


def parse_official(text: str) -> Architecture:
    """Read an official string such as `8:8:16:40:64`; raises `CellError`."""
    words = text.split(":")
    if len(words) != LAYERS or not set(words) <= set(CHANNELS):
        raise CellError(
            f"{text!r:.80} is no network of {SPACE.name}: it has {LAYERS} numbers of channels out of "
            f"{', '.join(CHANNELS)}, as in 8:8:16:40:64"
        )
    return SPACE.from_codes([CHANNELS.index(word) for word in words])


def parameters(network: Architecture, classes: int) -> int:
    """Trainable parameters, two for each channel of a batch norm among them."""
    last = int(network.choices[-1])
    layers = sum(
        each.taps * each.before * each.after + 2 * each.after * each.normed for each in _layers(network)
    )
    return layers + 2 * last + (last + 1) * classes


def multiply_accumulates(network: Architecture, classes: int, image_size: int) -> int:
    """Multiply-accumulates of one square image in the convolutions and the classifier."""
    layers = (
        each.taps * each.before * each.after * (image_size >> each.stage) ** 2 for each in _layers(network)
    )
    return sum(layers) + int(network.choices[-1]) * classes


class _Convolution(NamedTuple):
    taps: int
    before: int
    """Channels of its input."""
    after: int
    stage: int
    """How often the side of its output has been halved."""
    normed: bool = True
    """Whether a batch norm follows."""


def _layers(network: Architecture) -> Iterator[_Convolution]:
    """Every convolution, in order."""
    stem, *rest = map(int, network.choices)
    yield _Convolution(9, 3, stem, 0)
    yield from _cell(stem, stem, 0)
    before = stem
    for stage, (block, cell) in enumerate(((rest[0], rest[1]), (rest[2], rest[3])), 1):
        # A residual block that halves the side; its shortcut is pooled before its convolution.
        yield _Convolution(9, before, block, stage)
        yield _Convolution(9, block, block, stage)
        yield _Convolution(1, before, block, stage, normed=False)
        yield from _cell(block, cell, stage)
        before = cell


def _cell(before: int, after: int, stage: int) -> Iterator[_Convolution]:
    """The cell of five 3x3 convolutions and a skip connection, which is a convolution where the width changes."""
    yield from [_Convolution(9, before, after, stage)] * 2
    yield from [_Convolution(9, after, after, stage)] * 3
    if before != after:
        yield _Convolution(1, before, after, stage)
