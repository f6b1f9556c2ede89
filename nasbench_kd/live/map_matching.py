"""Scores an architecture by how well it learns a teacher's maps of one small batch in a few steps.

Source: Zheng et al., "Neural Architecture Search with Representation Mutual Information" (RMI-NAS, CVPR 2022), and
its authors' code (MAC-AutoML/XNAS). A network trains alone on one fixed batch by
0.8 (sum over the three stage ends of 1 - CKA) + 0.2 cross-entropy; the loss of the last step, with a minus sign, is
its score. Where we differ: one cell a stage, 75 steps in place of 150 and images of half the side for the student
(arguments all), and the batch is the 32 images of lowest teacher loss, as the paper has it (the published script
trains on all 512). The teacher sees the images in full size: alignment compares images, not positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.distillation.precision import widen
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.network import seeded_network, stage_ends
from nasbench_kd.live.student_batch import StudentBatch
from nasbench_kd.live.teacher import Teacher, matched_maps
from nasbench_kd.spaces.nasbench201 import Cell

LEARNING_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
MATCHING = 0.8
"""Weight of the maps; the rest is cross-entropy's."""
STEPS = 75
"""RMI-NAS takes 150; half of them rank as well (reports/one-shot)."""


class Matched(NamedTuple):
    """The last step of a training: of the loss, its two parts without their weights."""

    loss: float
    """NaN or infinite where the training diverged."""
    matching: float
    """Sum over the stage ends of 1 - CKA, from 0 to 3."""
    cross_entropy: float

    @property
    def score(self) -> float:
        """Minus the loss; more is better, minus infinity where the training diverged."""
        return -self.loss if math.isfinite(self.loss) else -math.inf


def unit_gram(features: Tensor) -> Tensor:
    """The Gram matrix (B, B) of a map's centred rows (B, C, H, W), over its Frobenius norm; zero for a constant."""
    rows = widen(features).flatten(1)
    rows = rows - rows.mean(0)
    gram = rows @ rows.T
    unit: Tensor = gram / gram.norm().clamp_min(torch.finfo(gram.dtype).tiny)
    return unit


def unit_grams(features: Tensor) -> Tensor:
    """`unit_gram` of the maps (S, C, B, H, W) of S networks: (S, B, B)."""
    rows = widen(features).transpose(1, 2).flatten(2)
    rows = rows - rows.mean(1, keepdim=True)
    grams = rows @ rows.mT
    unit: Tensor = grams / grams.norm(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(grams.dtype).tiny)
    return unit


def linear_cka(first: Tensor, second: Tensor) -> Tensor:
    """Linear centred kernel alignment of two maps of one batch, from 0 to 1 (Kornblith et al., ICML 2019).

    |X'Y|^2 / (|X'X| |Y'Y|) in Frobenius norms of the centred maps flattened to (B, C H W), by Gram matrices of the
    batch, so that the price does not depend on the widths, which may differ.
    """
    return (unit_gram(first) * unit_gram(second)).sum()


class MapMatching:
    """The fixed batch of a task, with what its teacher makes of it; scores any architecture.

    Args:
        images: what the teacher sees, in full size and without augmentation.
        student_images: the same images in the same order, in the size that networks are trained on.
        classes: K of the logits.
        batch: so many of the images, those of lowest teacher cross-entropy, are kept.
        cells_per_stage: of the networks that are scored.
        dtype: of activations and convolution weights.
    """

    def __init__(
        self,
        teacher: Teacher,
        images: DeviceImages,
        student_images: DeviceImages,
        classes: int,
        *,
        batch: int = 32,
        cells_per_stage: int = 1,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        device = images.labels.device
        rows = torch.arange(len(images), device=device)
        losses = torch.cat(
            [
                F.cross_entropy(
                    widen(teacher(images.batch(part)).logits), images.labels[part], reduction="none"
                )
                for part in torch.split(rows, 128)
            ]
        )
        # By loss, then by place: a teacher that is sure of many images has losses that are equal.
        order = torch.argsort(losses, stable=True)[:batch]
        self.rows = rows[order].sort().values
        """Places of the batch among `images`, (batch,), ascending."""
        self._images = student_images.batch(self.rows)
        self._labels = images.labels[self.rows]
        outputs = matched_maps(teacher(images.batch(self.rows)), positions=False)
        self._grams = [unit_gram(features) for features in outputs.maps]
        self._classes = classes
        self._cells_per_stage = cells_per_stage
        self._dtype, self._device = dtype, device

    def train(self, cell: Cell, *, steps: int = STEPS, seed: int) -> Matched:
        """Train the network of a cell from an initialisation of `seed`; deterministic on one device."""
        network = seeded_network(cell, self._classes, seed=seed, cells_per_stage=self._cells_per_stage)
        engine = Engine(network, self._dtype, self._device)
        optimizer = torch.optim.SGD(
            engine.parameters, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
        )
        found = Matched(math.nan, math.nan, math.nan)
        for _ in range(steps):
            outputs = engine.train_forward(self._images)
            aligned = [
                (unit_gram(features) * gram).sum()
                for features, gram in zip(stage_ends(outputs.maps), self._grams, strict=True)
            ]
            matching = len(aligned) - torch.stack(aligned).sum()
            entropy = F.cross_entropy(widen(outputs.logits), self._labels)
            loss = MATCHING * matching + (1 - MATCHING) * entropy
            found = Matched(*torch.stack([loss, matching, entropy]).tolist())
            if not math.isfinite(found.loss):
                break
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        return found

    def train_together(self, cells: Sequence[Cell], *, steps: int = STEPS, seed: int) -> list[Matched]:
        """What `train` gives for each cell, up to rounding, side by side in the same tensor operations."""
        networks = StudentBatch(
            cells,
            self._classes,
            seed=seed,
            cells_per_stage=self._cells_per_stage,
            dtype=self._dtype,
            device=self._device,
        )
        optimizer = torch.optim.SGD(
            networks.parameters, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
        )
        labels = self._labels.repeat(len(cells))
        found = torch.empty(3, len(cells))
        # A network that has diverged stays so: its later steps compute with what is not finite.
        for _ in range(steps):
            outputs = networks.forward(self._images, training=True)
            aligned = [
                (unit_grams(features) * gram).sum((1, 2))
                for features, gram in zip(outputs.maps, self._grams, strict=True)
            ]
            matching = len(aligned) - torch.stack(aligned).sum(0)
            entropies = F.cross_entropy(widen(outputs.logits).flatten(0, 1), labels, reduction="none")
            entropy = entropies.view(len(cells), -1).mean(1)
            loss = MATCHING * matching + (1 - MATCHING) * entropy
            found = torch.stack([loss, matching, entropy]).detach()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss.sum())
            optimizer.step()
        return [Matched(*parts) for parts in found.T.tolist()]
