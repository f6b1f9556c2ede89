"""How the stages of block-wise distillation are trained and scored, and what that costs on the table's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nasbench_kd.spaces.training_seconds import FORWARD, mean_seconds_per_image, seconds_per_image

STAGES = 3


class BlockWise(NamedTuple):
    """A recipe; the defaults are those of the fidelity `dna`."""

    images: int = 10_000
    """Training images, a fixed subset, unaugmented: the teacher's maps of them are made once."""
    steps: int = 3000
    """Steps of each stage, of which a network of one cell a stage has three."""
    batch: int = 64
    scored_images: int = 500
    """Validation images that architectures are scored on, a fixed subset, in one batch."""

    def seconds(self, teacher: Sequence[int]) -> float:
        """Price of the stages: their steps on uniform architectures, and a forward pass of the teacher (six codes)."""
        steps = self.steps * self.batch * mean_seconds_per_image(cells_per_stage=1)
        return steps + (self.images + self.scored_images) * seconds_per_image(teacher) * FORWARD

    @property
    def counts(self) -> str:
        """What `seconds` are of."""
        return (
            f"{self.steps:,} steps x {self.batch} images through uniform cells, one a stage; "
            f"{self.images + self.scored_images:,} images forward through the teacher"
        )

    def scoring_seconds(self, codes: Sequence[int]) -> float:
        """Price of an architecture's score (six codes): a forward pass of its own; scoring all together costs less."""
        return self.scored_images * seconds_per_image(codes, cells_per_stage=1) * FORWARD


DNA = BlockWise()
