"""A search over shared weights from its images to its answer: resumable, billed by counts, looked up in the table.

Its images: half of the training images train the weights, the other half teaches parameters or controller and judges
candidates (DrNAS's split). The published runs of the other methods took the validation images of the table for the
latter (`held_out="validation"`), on which the table's validation accuracy is measured: such an accuracy is then no
fair signal of the answer. Test images are never read.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import DataError
from nasbench_kd.files import atomic_write
from nasbench_kd.live import methods
from nasbench_kd.live.checkpoints import resume, write_checkpoint
from nasbench_kd.live.checks import check_training
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.images import subset_order
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.supernet.differentiable import CONSTANTS, DifferentiableSearch
from nasbench_kd.live.supernet.enas import ControllerSearch
from nasbench_kd.live.supernet.setn import TemplateSearch
from nasbench_kd.live.supernet.supernet import seeded_supernet
from nasbench_kd.live.supernet.training import (
    BATCH,
    CLIP,
    LEARNING_RATE,
    LOWEST_RATE,
    MOMENTUM,
    SCORED_BATCH,
    WEIGHT_DECAY,
    count_correct,
    one_batch_scores,
)
from nasbench_kd.live.workbench import read_clock
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

FORMAT = "nasbench-kd-supernet-search-1"
HeldOut = Literal["training", "validation"]
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and all of it."""
_SAVE_SECONDS = 30.0
"""How much work a kill may cost."""


class Recipe(NamedTuple):
    """How large a search is, and how it departs from the defaults."""

    epochs: int
    images: int | None = None
    """Of the training split, a fixed subset, unaugmented; None is all of it, augmented."""
    cells_per_stage: int = 5
    held_out: HeldOut = "training"
    """Which images teach parameters and judge candidates: the second half of the training images, or the validation
    images of the task."""
    candidates: int = 100
    """How many architectures SETN and ENAS judge at the end."""
    one_batch: bool = False
    """Judge each on one batch of 512, as published codes do, not on all held-out images."""
    updates: int = 50
    """Of ENAS's controller, after every epoch."""
    bound: float | None = None
    """Of `rc-darts`, the largest expected seconds of its edges for an epoch of 25,000 images."""


SMALL = Recipe(epochs=3, images=2000, cells_per_stage=1, candidates=20, updates=5)
"""What a CPU takes some minutes for: enough to see a method run, far too little for an answer."""


class Looked(NamedTuple):
    """What the table says of an answer."""

    accuracy: float
    """Mean validation accuracy of its trainings at the target, in percent; nothing was trained for it here."""
    regret: float
    """How far that is below the best architecture's, in percent points."""


class SupernetSearch:
    """Runs a method to its answer; call `run`, again after a kill.

    Args:
        laboratory: the images; no teacher is needed.
        checkpoint: file of what has been done so far.
        method: one of `nasbench_kd.live.methods.searches()`.
        seed: of initial weights, order, augmentation, parameters and what is drawn.
        recipe: the published one when left out.

    Raises:
        UnknownNameError: there is no such method.
        ArgumentError: a bound is missing, or no bound of the method.
    """

    def __init__(
        self,
        laboratory: Laboratory,
        task: str,
        checkpoint: Path,
        *,
        method: str,
        seed: int,
        recipe: Recipe | None = None,
    ) -> None:
        methods.check_search(method, None if recipe is None else recipe.bound)
        self.recipe = recipe or Recipe(methods.searches()[method])
        self.task, self.method, self.seed = task, method, seed
        self._laboratory, self._checkpoint = laboratory, checkpoint
        self._device = laboratory.device
        images = laboratory.task(task)
        check_training(images, Fidelity("none", 1, 1, train_images=self.recipe.images), seed)
        order = subset_order(len(images.train_labels))[: self.recipe.images]
        half = len(order) // 2 if self.recipe.held_out == "training" else len(order)
        if half < 2:
            raise DataError(f"{task} has {len(order)} training images here: too few for two halves")
        parts = (
            (order[:half], order[half:])
            if self.recipe.held_out == "training"
            else (order, np.arange(len(images.valid_labels)))
        )
        self._train = self._load(images.train_images, images.train_labels, parts[0])
        if self.recipe.held_out == "training":
            self._held_out = self._load(images.train_images, images.train_labels, parts[1])
        else:
            self._held_out = self._load(images.valid_images, images.valid_labels, parts[1])
        digest = hashlib.sha256(b"".join(part.astype("<i8").tobytes() for part in parts)).hexdigest()
        self._identity = {
            "method": method,
            "task": task,
            "seed": seed,
            **self.recipe._asdict(),
            "images_sha256": images.digest,
            "split_sha256": digest,
        }

    def run(self, progress: Progress = lambda *_: None) -> Cell:
        """The answer.

        Raises `DataError` where the checkpoint is of another search, or the losses are not finite.
        """
        with _whole_float32():
            return self._run(progress)

    def _run(self, progress: Progress) -> Cell:
        state = self._restore()
        search = self._search()
        if state["search"] is not None:
            search.restore(state["search"])
        clock = _Clock(self._device)
        while search.steps < search.all_steps:
            loss = search.step()
            if loss is not None and not math.isfinite(loss):
                raise DataError(
                    f"{self.method} diverged at step {search.steps}: its loss is {loss}; try another seed"
                )
            ended = search.steps == search.all_steps
            if ended or clock.is_due():
                state["search"] = search.state()
                state["seconds"] += clock.taken()
                write_checkpoint(self._checkpoint, state)
            progress("trained", search.steps, search.all_steps)
        if state["answer"] is None:
            state |= self._judge(search, progress)
            state["seconds"] += clock.taken()
            write_checkpoint(self._checkpoint, state)
        return Cell.from_index(state["answer"])

    def record(self) -> dict[str, Any]:
        """How the answer was found and what the table says of it, as JSON values; to be asked for after `run`."""
        state = self._restore()
        search = self._search()
        search.restore(state["search"])
        search.passes.restore(state["passes"])
        answer, images = Cell.from_index(state["answer"]), self._laboratory.task(self.task)
        around = self._laboratory.surroundings()
        looked = look_up(self.task, answer)
        return {
            "format": FORMAT,
            "task": self.task,
            "method": self.method,
            "paper": methods.METHODS[self.method].paper,
            "seed": self.seed,
            "recipe": {**self.recipe._asdict(), **_constants(self.method)},
            "images": {
                "weights": len(self._train),
                "held_out": len(self._held_out),
                "held_out_from": self.recipe.held_out,
                "augmentation": "none" if self.recipe.images else "flip and random crop",
                "images_sha256": images.digest,
                "split_sha256": self._identity["split_sha256"],
            },
            "precision": "float32",
            "counts": search.passes.record(),
            "counted_seconds": round(search.passes.seconds, 3),
            "measured_seconds": {"all": round(state["seconds"], 1), "meaning": around["seconds"]},
            **_learned(search),
            "candidates": state["judged"],
            "judged_on": None
            if isinstance(search, DifferentiableSearch)
            else "one batch of 512 each"
            if self.recipe.one_batch
            else "all held-out images",
            "answer": {"cell": answer.index, "architecture": str(answer)},
            "in the table": None
            if looked is None
            else {
                "valid_accuracy": round(looked.accuracy, 3),
                "regret": round(looked.regret, 3),
                "meaning": "mean validation accuracy of the table's 200-epoch trainings, read after the search",
            },
            "software": around["software"],
            "device": around["device"],
            "clock": {"scale": 1, "meaning": "counted images times the table's clock, not measured"},
        }

    def _judge(self, search: Search, progress: Progress) -> dict[str, Any]:
        """The answer, the bill with it, and what candidates were judged to be worth, in percent."""
        if isinstance(search, DifferentiableSearch):
            return {"answer": search.answer().index, "judged": {}, "passes": search.passes.state()}
        cells = list(dict.fromkeys(search.candidates(self.recipe.candidates)))
        images = self._held_out
        if self.recipe.one_batch:
            scores = one_batch_scores(lambda _: search.supernet, images, cells, self.seed)
        else:
            scores = []
            for cell in cells:
                scores.append(100 * count_correct(search.supernet, images, cell.codes) / len(images))
                progress("judged", len(scores), len(cells))
        for cell in cells:
            search.passes.count_forward(
                cell.codes, min(SCORED_BATCH, len(images)) if self.recipe.one_batch else len(images)
            )
        best = cells[scores.index(max(scores))]  # of equals the first
        judged = {str(cell.index): round(score, 4) for cell, score in zip(cells, scores, strict=True)}
        return {"answer": best.index, "judged": judged, "passes": search.passes.state()}

    def _search(self) -> Search:
        classes = self._laboratory.task(self.task).statistics.classes
        supernet = seeded_supernet(classes, seed=self.seed, cells_per_stage=self.recipe.cells_per_stage)
        supernet = supernet.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = (supernet, self._train, self._held_out)
        epochs, seed = self.recipe.epochs, self.seed
        if self.method == "setn":
            return TemplateSearch(*images, epochs=epochs, seed=seed)
        if self.method == "enas":
            return ControllerSearch(*images, epochs=epochs, seed=seed, updates=self.recipe.updates)
        bound = math.inf if self.recipe.bound is None else self.recipe.bound
        return DifferentiableSearch(self.method, *images, epochs=epochs, seed=seed, bound=bound)

    def _load(self, images: Any, labels: Any, rows: Any) -> DeviceImages:
        task = self._laboratory.task(self.task)
        return DeviceImages(
            images[rows],
            labels[rows],
            task.statistics,
            size=task.side,
            dtype=torch.float32,  # as the published codes: bfloat16 spoils gradients of second order
            device=self._device,
            padding=0 if self.recipe.images else task.statistics.padding,
        )

    def _restore(self) -> dict[str, Any]:
        fresh = {
            "identity": self._identity,
            "search": None,
            "answer": None,
            "judged": {},
            "passes": None,
            "seconds": 0.0,
        }
        return resume(self._checkpoint, fresh, "search")


Search = DifferentiableSearch | TemplateSearch | ControllerSearch


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Convolutions on a GPU in float32, not in its short form of 10 bits, which is PyTorch's default there."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class _Clock:
    """When to save, and how many seconds of work there were since."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._saved, self._start = time.monotonic(), read_clock(device)

    def is_due(self) -> bool:
        return time.monotonic() - self._saved > _SAVE_SECONDS

    def taken(self) -> float:
        now = read_clock(self._device)
        seconds = now - self._start
        self._saved, self._start = time.monotonic(), now
        return seconds


def look_up(task: str, cell: Architecture) -> Looked | None:
    """What the package's table says of the answer of a search; None where it has no such task."""
    if task not in TASKS:
        return None
    means = np.nanmean(open_scorer(task, "embedded").valid, axis=1)
    return Looked(float(means[cell.index]), float(means.max() - means[cell.index]))


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    with atomic_write(path) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())


def _constants(method: str) -> dict[str, Any]:
    constants = CONSTANTS.get(method)
    rate, decay, nesterov = LEARNING_RATE, WEIGHT_DECAY, True
    if constants is not None:
        rate, decay, nesterov = constants.learning_rate, constants.weight_decay, constants.nesterov
    return {
        "optimizer": "SGD, Nesterov" if nesterov else "SGD",
        "learning_rate": f"{rate} to {LOWEST_RATE}, cosine",
        "momentum": MOMENTUM,
        "weight_decay": decay,
        "batch": BATCH,
        "clip": CLIP,
        "channels": 16,
        "batch_norm": "statistics of the batch, in training and in judging",
    }


def _learned(search: Search) -> dict[str, Any]:
    """What chooses the answer, or its candidates."""
    if isinstance(search, ControllerSearch):
        return {"rewards": [round(reward, 5) for reward in search.rewards]}
    return {"alphas": [[round(float(alpha), 6) for alpha in edge] for edge in search.alphas.detach()]}
