"""Trains the shared weights of a supernet by single paths, resumable, and counts what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.batches import ShuffledBatches
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.live.supernet.passes import Passes
from nasbench_kd.live.supernet.paths import SAMPLERS, Codes, Fixed, draw_paths
from nasbench_kd.live.supernet.supernet import Supernet
from nasbench_kd.spaces.nasbench201 import Cell

LEARNING_RATE, LOWEST_RATE = 0.025, 0.001
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
CLIP = 5.0
BATCH = 64
"""Of NAS-Bench-201's configurations for RSPS and its kin."""
SCORED_BATCH = 512


class SharedTraining:
    """Trains a supernet: shuffled epochs, one SGD step for every batch of images; resumable after any step.

    Args:
        supernet: with its initial weights; trained in place.
        images: of the weights; augmented where they have a border for it.
        epochs: all that will be taken; they decide the learning rate, a cosine set at every step.
        sampler: a name of `paths.SAMPLERS`, or what draws the paths of a step. Their gradients are summed.
        fixed: the sub-supernet that is trained; uniform paths only.
        paths: how many uniform ones a step has; `fair` has five.
        seed: of order, augmentation and paths.

    Attributes:
        passes: all images that went forward and backward so far, each path counted, and their price.
        steps, epoch_steps, all_steps: taken so far, those of an epoch, and those of all.
    """

    def __init__(
        self,
        supernet: Supernet,
        images: DeviceImages,
        *,
        epochs: int,
        seed: int,
        sampler: str | Callable[[torch.Generator], tuple[Codes, ...]] = "uniform",
        fixed: Fixed | None = None,
        paths: int = 1,
        batch: int = BATCH,
    ) -> None:
        if isinstance(sampler, str) and sampler not in SAMPLERS:
            raise UnknownNameError(
                f"no sampler of paths {sampler!r}: expected {', '.join(SAMPLERS)}.{nearest(sampler, SAMPLERS)}"
            )
        self.supernet, self.images = supernet, images
        self.batch = batch
        self.steps = 0
        self.passes = Passes(supernet.cells_per_stage)
        self.epoch_steps = math.ceil(len(images) / batch)
        self.all_steps = epochs * self.epoch_steps
        self._draw = (
            (lambda generator: draw_paths(sampler, generator, fixed, paths))
            if isinstance(sampler, str)
            else sampler
        )
        self._order = torch.empty(0, dtype=torch.int64)
        self._optimizer = torch.optim.SGD(
            supernet.parameters(),
            lr=LEARNING_RATE,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=WEIGHT_DECAY,
        )
        self._generator = torch.Generator().manual_seed(seed)

    def run_epoch(self) -> float:
        """Take the steps that an epoch has left; returns the mean cross-entropy of their paths."""
        losses = [self.step()]
        while self.steps % self.epoch_steps:
            losses.append(self.step())
        return sum(losses) / len(losses)

    def step(self) -> float:
        """Take one step; returns the mean cross-entropy of its paths."""
        place = self.steps % self.epoch_steps
        if place == 0:
            self._order = torch.randperm(len(self.images), generator=self._generator)
        rows = self._order[place * self.batch : (place + 1) * self.batch].to(self.images.labels.device)
        share = self.steps / self.all_steps
        for group in self._optimizer.param_groups:
            group["lr"] = LOWEST_RATE + (LEARNING_RATE - LOWEST_RATE) / 2 * (1 + math.cos(math.pi * share))
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
            self.passes.count_single(codes, len(rows))
        nn.utils.clip_grad_norm_(self.supernet.parameters(), CLIP)
        self._optimizer.step()
        self.steps += 1
        return total / len(paths)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on; `torch.save` keeps it."""
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "order": self._order,
            "steps": self.steps,
            "passes": self.passes.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a training of the same kind as if never paused."""
        self.supernet.load_state_dict(state["supernet"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._order = state["order"]
        self.steps = state["steps"]
        self.passes.restore(state["passes"])


@torch.no_grad()
def count_correct(
    supernet: Supernet,
    images: DeviceImages,
    codes: Codes,
    batch: int = SCORED_BATCH,
    rows: Tensor | None = None,
) -> float:
    """How many images an architecture classifies correctly with the shared weights.

    All images in their fixed order, in batches whose size is fixed, since batch norm sees a batch as a whole; a last
    batch of fewer than a quarter of it joins the one before. A dead architecture has what guessing gets. With `rows`
    these images alone, as one batch.
    """
    if rows is not None:
        parts = [rows]
    else:
        parts = list(torch.split(torch.arange(len(images), device=images.labels.device), batch))
        if len(parts) > 1 and 4 * len(parts[-1]) < batch:
            last = parts.pop()
            parts[-1] = torch.cat([parts[-1], last])
    if not path_edges(codes):
        return sum(len(part) for part in parts) / supernet.classifier.out_features
    correct = sum(
        (supernet(images.batch(part), codes).argmax(1) == images.labels[part]).sum() for part in parts
    )
    return float(correct)


def one_batch_scores(
    supernet_of: Callable[[Cell], Supernet], images: DeviceImages, cells: Sequence[Cell], seed: int
) -> list[float]:
    """Accuracies in percent, each on one batch alone: how published codes judge their candidates.

    The batches of 512 follow each other in shuffled rounds (AutoDL-Projects, `get_best_arch`). Their standard error is
    about 2 points, so that the best of many is mostly the luckiest.
    """
    batches = ShuffledBatches(images, SCORED_BATCH, torch.Generator().manual_seed(seed))
    scores = []
    for cell in cells:
        rows = batches.rows()
        scores.append(100 * count_correct(supernet_of(cell), images, cell.codes, rows=rows) / len(rows))
    return scores
