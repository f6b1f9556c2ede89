"""How supernets are trained whose scores are fidelities, and what that costs on the table's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from nasbench_kd.spaces.nasbench201 import OPERATIONS
from nasbench_kd.spaces.training_seconds import FORWARD, mean_seconds_per_image, seconds_per_image


class SharedWeights(NamedTuple):
    """A recipe; the defaults are NAS-Bench-201's configuration of RSPS (Dong and Yang, ICLR 2020)."""

    sampler: str = "uniform"
    """`uniform`: architectures drawn apart; `fair`: five, in which every edge has every operation once (FairNAS)."""
    paths: int = 1
    """How many uniform architectures a step has, whose gradients are summed."""
    split_edge: int | None = None
    """Few-shot NAS: the edge on whose operations the supernet is split into five; None is one supernet."""
    parent_epochs: int = 0
    """Of a supernet of all architectures, from whose weights the five start; 0: from initial weights of their own."""
    epochs: int = 250
    images: int | None = None
    """Training images, a fixed subset, unaugmented; None is the whole training split, augmented."""
    batch: int = 64
    cells_per_stage: int = 5

    @property
    def supernets(self) -> int:
        """How many are trained."""
        return 1 if self.split_edge is None else len(OPERATIONS)

    def seconds(self, images: int) -> float:
        """Price of the training where the training split has so many images: uniform architectures, on average."""
        epochs = self.parent_epochs + self.supernets * self.epochs
        passes = epochs * self._paths * (self.images or images)
        return passes * mean_seconds_per_image(self.cells_per_stage)

    def counts(self, images: int) -> str:
        """What `seconds` are of, where the training split has so many images."""
        parent = f"{self.parent_epochs} + " if self.parent_epochs else ""
        several = f"{self.supernets} x " if self.supernets > 1 else ""
        cells = "a uniform cell" if self._paths == 1 else f"{self._paths} uniform cells"
        small = ", one a stage" if self.cells_per_stage == 1 else ""
        return f"{parent}{several}{self.epochs} epochs x {self.images or images:,} images through {cells} each{small}"

    @property
    def _paths(self) -> int:
        """Architectures of a step."""
        return len(OPERATIONS) if self.sampler == "fair" else self.paths

    def scoring_seconds(self, codes: Sequence[int], images: int) -> float:
        """Price of the score of an architecture (six codes): a forward pass of so many images."""
        return images * seconds_per_image(codes, self.cells_per_stage) * FORWARD


_SMALL = SharedWeights(epochs=100, images=10_000, cells_per_stage=1)


def _few_shot(recipe: SharedWeights) -> SharedWeights:
    """Split on the first edge after a training of the recipe, with a quarter of its epochs for each of the five.

    As in the authors' code (aoiang/few-shot-NAS: 600 epochs, then 150 each).
    """
    return recipe._replace(split_edge=0, parent_epochs=recipe.epochs, epochs=recipe.epochs // 4)


SUPERNETS: Mapping[str, SharedWeights] = MappingProxyType(
    {
        "supernet": SharedWeights(),
        "supernet-fair": SharedWeights(sampler="fair"),
        "supernet-few-shot": _few_shot(SharedWeights()),
        "supernet-small": _SMALL,
        "supernet-small-fair": _SMALL._replace(sampler="fair"),
        "supernet-small-few-shot": _few_shot(_SMALL),
    }
)
"""The recipe behind each score by shared weights, by the name of the fidelity (`nasbench_kd.tasks.fidelity.SCORES`).

The `small` ones are what a CPU can train in some quarters of an hour: one cell a stage.
"""
