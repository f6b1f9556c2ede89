"""Trains the shared weights of a supernet by single paths, resumable, and counts what that costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.live.supernet.paths import SAMPLERS, Codes
from nasbench_kd.live.supernet.supernet import Supernet
from nasbench_kd.spaces.training_seconds import FORWARD, seconds_per_image

LEARNING_RATE, LOWEST_RATE = 0.025, 0.001
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
CLIP = 5.0
BATCH = 64
"""Of NAS-Bench-201's configurations for RSPS and its kin."""
SCORED_BATCH = 512


class SharedTraining:
    """Trains a supernet: shuffled epochs, one SGD step for every batch of images.

    Args:
        supernet: with its initial weights; trained in place.
        images: of the weights; augmented where they have a border for it.
        epochs: all that will be taken; they decide the learning rate, a cosine set at every step.
        sampler: a name of `paths.SAMPLERS`. `fair` sums the gradients of its five paths before a step.
        seed: of order, augmentation and paths.

    Attributes:
        seconds: price of all steps so far, in seconds of the table's clock.
    """

    def __init__(
        self,
        supernet: Supernet,
        images: DeviceImages,
        *,
        epochs: int,
        seed: int,
        sampler: str = "uniform",
        batch: int = BATCH,
    ) -> None:
        if sampler not in SAMPLERS:
            raise UnknownNameError(
                f"no sampler of paths {sampler!r}: expected {', '.join(SAMPLERS)}.{nearest(sampler, SAMPLERS)}"
            )
        self.supernet, self.images = supernet, images
        self.epochs, self.batch = epochs, batch
        self.done = 0
        self.seconds = 0.0
        self._draw = SAMPLERS[sampler]
        self._optimizer = torch.optim.SGD(
            supernet.parameters(),
            lr=LEARNING_RATE,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=WEIGHT_DECAY,
        )
        self._generator = torch.Generator().manual_seed(seed)

    def run_epoch(self) -> float:
        """Train one epoch; returns the mean cross-entropy of the drawn paths."""
        order = torch.randperm(len(self.images), generator=self._generator)
        batches = torch.split(order, self.batch)
        total = 0.0
        for number, rows in enumerate(batches):
            share = (self.done + number / len(batches)) / self.epochs
            rate = LOWEST_RATE + (LEARNING_RATE - LOWEST_RATE) / 2 * (1 + math.cos(math.pi * share))
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            total += self._step(rows.to(self.images.labels.device)) * len(rows)
        self.done += 1
        return total / len(order)

    def _step(self, rows: Tensor) -> float:
        inputs = (
            self.images.augmented_batch(rows, self._generator)
            if self.images.padding
            else self.images.batch(rows)
        )
        labels = self.images.labels.index_select(0, rows)
        self._optimizer.zero_grad(set_to_none=True)  # what no path has is neither moved nor decayed
        paths = self._draw(self._generator)
        total = 0.0
        for codes in paths:
            loss = F.cross_entropy(self.supernet(inputs, codes), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            self.seconds += len(rows) * seconds_per_image(codes, self.supernet.cells_per_stage)
        nn.utils.clip_grad_norm_(self.supernet.parameters(), CLIP)
        self._optimizer.step()
        return total / len(paths)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on; `torch.save` keeps it."""
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "done": self.done,
            "seconds": self.seconds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a training of the same kind as if never paused."""
        self.supernet.load_state_dict(state["supernet"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self.done, self.seconds = state["done"], state["seconds"]


@torch.no_grad()
def count_correct(supernet: Supernet, images: DeviceImages, codes: Codes, batch: int = SCORED_BATCH) -> float:
    """How many images an architecture classifies correctly with the shared weights.

    All images in their fixed order, in batches whose size is fixed, since batch norm sees a batch as a whole; a last
    batch of fewer than a quarter of it joins the one before. A dead architecture has what guessing gets.
    """
    if not path_edges(codes):
        return len(images) / supernet.classifier.out_features
    rows = list(torch.split(torch.arange(len(images), device=images.labels.device), batch))
    if len(rows) > 1 and 4 * len(rows[-1]) < batch:
        last = rows.pop()
        rows[-1] = torch.cat([rows[-1], last])
    correct = sum(
        (supernet(images.batch(part), codes).argmax(1) == images.labels[part]).sum() for part in rows
    )
    return float(correct)


def scoring_seconds(codes: Codes, images: int, cells_per_stage: int = 5) -> float:
    """Price of scoring an architecture on so many images: a forward pass of each, on the table's clock."""
    return images * seconds_per_image(codes, cells_per_stage) * FORWARD
