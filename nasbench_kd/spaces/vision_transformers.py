"""Two samples of vision transformers, those that Auto-Prox trained (Wei et al., AAAI 2024): AutoFormer and PiT.

Neither is a grid: the first holds 200 of AutoFormer's networks, whose 12 to 14 layers have their own numbers of
heads and widths, the second 100 of PiT's. They are numbered in the order of the published results.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.space import Architecture, SearchSpace

LAYERS = 14
"""Most layers of an AutoFormer network; a layer that is not there has the choice `none`."""
IMAGE_SIZE, PATCH_SIZE, PIT_STRIDE = 224, 16, 8
_FOLDER = Path(__file__).parent


def _codes(name: str) -> npt.NDArray[np.int64]:
    """Codes of a sample, one architecture a line."""
    return np.loadtxt(_FOLDER / f"{name}.csv", delimiter=",", dtype=np.int64)


def _autoformer_codes() -> npt.NDArray[np.int64]:
    return _codes("autoformer")


def _pit_codes() -> npt.NDArray[np.int64]:
    return _codes("pit")


def _layer(number: int, *choices: str) -> tuple[str, ...]:
    """The choices of a layer, beyond the twelfth that of not being there among them."""
    return ("none", *choices) if number > LAYERS - 2 else choices


AUTOFORMER = SearchSpace(
    "autoformer",
    {
        "width": ("192", "216", "240"),
        "depth": ("12", "13", "14"),
        **{f"heads{number}": _layer(number, "3", "4") for number in range(1, LAYERS + 1)},
        **{f"mlp{number}": _layer(number, "3.5", "4.0") for number in range(1, LAYERS + 1)},
    },
    _autoformer_codes,
    size=200,
)
"""200 networks of AutoFormer's tiny space: width, depth, and for each layer heads and the ratio of its perceptron."""
PIT = SearchSpace(
    "pit",
    {
        "width": ("16", "24", "32", "40"),
        "mlp": ("2", "4", "6", "8"),
        "depth1": ("1", "2", "3"),
        "depth2": ("4", "6", "8"),
        "depth3": ("2", "4", "6"),
        **{f"heads{stage}": ("2", "4", "8") for stage in (1, 2, 3)},
    },
    _pit_codes,
    size=100,
)
"""100 networks of PiT's space: width of a head, ratio of the perceptrons, and depth and heads of three stages."""


def autoformer_parameters(network: Architecture, classes: int) -> int:
    """Trainable parameters of an AutoFormer network for images of 224 pixels; the number of heads changes none."""
    width, layers = int(network.choices[0]), int(network.choices[1])
    ratios = [float(ratio) for ratio in network.choices[2 + LAYERS :][:layers]]
    patches = (IMAGE_SIZE // PATCH_SIZE) ** 2
    embedding = 3 * PATCH_SIZE**2 * width + width + (patches + 1) * width + width
    return embedding + sum(_block(width, ratio) for ratio in ratios) + 2 * width + (width + 1) * classes


def pit_parameters(network: Architecture, classes: int) -> int:
    """Trainable parameters of a PiT network for images of 224 pixels."""
    base, ratio, *rest = map(int, network.choices)
    depths, widths = rest[:3], [base * heads for heads in rest[3:]]
    side = (IMAGE_SIZE - PATCH_SIZE) // PIT_STRIDE + 1
    embedding = widths[0] * side**2 + 3 * PATCH_SIZE**2 * widths[0] + 2 * widths[0]
    blocks = sum(depth * _block(width, ratio) for depth, width in zip(depths, widths, strict=True))
    pooling = sum(10 * after + (before + 1) * after for before, after in pairwise(widths))
    return embedding + blocks + pooling + 2 * widths[2] + (widths[2] + 1) * classes


def autoformer_depth(network: Architecture) -> int:
    """Transformer layers."""
    return int(network.choices[1])


def pit_depth(network: Architecture) -> int:
    """Transformer layers of all stages."""
    return sum(map(int, network.choices[2:5]))


def _block(width: int, ratio: float) -> int:
    """Parameters of a layer: two norms, attention with a bias, and a perceptron."""
    hidden = int(width * ratio)
    return 4 * width + 4 * width * (width + 1) + hidden * (2 * width + 1) + width
