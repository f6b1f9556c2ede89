"""Scores architectures by the accuracy that they have with shared weights: RSPS, SPOS, FairNAS, few-shot; resumable.

Sources: Dong and Yang (ICLR 2020; random search with parameter sharing, AutoDL-Projects), Guo et al. (SPOS, ECCV
2020), Chu et al. (FairNAS, ICCV 2021), Zhao et al. (few-shot NAS, ICML 2021: its five start from the weights of a
trained supernet). Where we differ from their code: architectures are scored on all validation images, not on one batch
of 512 (`one_batch_answer` does that); dead ones are neither drawn nor scored by a pass; fair paths are drawn anew for
every step. All are trained by NAS-Bench-201's constants for RSPS; codes of SPOS and FairNAS on this space (PA-DA) take
0.05, batches of 256 and weight decay 2.5e-4, that of few-shot NAS weight decay 1e-4 and batches of 48.
Undertrained supernets rank backwards, so that the correlation with short trainings is measured along.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import DataError
from nasbench_kd.live.checkpoints import resume, write_checkpoint
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.store import Finished, Reading, TrainingJob, setup_of
from nasbench_kd.live.supernet.paths import Fixed
from nasbench_kd.live.supernet.supernet import Supernet, seeded_supernet
from nasbench_kd.live.supernet.training import (
    CLIP,
    LEARNING_RATE,
    LOWEST_RATE,
    MOMENTUM,
    SCORED_BATCH,
    WEIGHT_DECAY,
    SharedTraining,
    count_correct,
    one_batch_scores,
)
from nasbench_kd.live.workbench import read_clock
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.stats.statistics import kendall_interval
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.tasks.shared_weights import SUPERNETS, SharedWeights

Floats = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and all of it."""
SHORT = Fidelity("none", 12, 12)
"""What the scores are compared with: trainings that a search could have paid for, not the target."""
_SAVE_SECONDS = 30.0
"""How much work a kill may cost."""


class SupernetScores:
    """Trains the supernet of a score, or the five of few-shot NAS, and scores; call `run`, again after a kill.

    Args:
        laboratory: the images; no teacher is needed.
        name: of the score, from `SUPERNETS`.
        checkpoint: file of what has been done so far.
        seed: of initial weights, order, augmentation and architectures drawn.
        recipe: another one than the score's, for trainings that are not exported.
    """

    def __init__(
        self,
        laboratory: Laboratory,
        task: str,
        checkpoint: Path,
        *,
        name: str,
        seed: int,
        recipe: SharedWeights | None = None,
    ) -> None:
        self.task, self.name, self.seed = task, name, seed
        self.recipe = recipe or SUPERNETS[name]
        self._laboratory, self._checkpoint = laboratory, checkpoint
        self._fidelity = Fidelity("none", 1, 1, train_images=self.recipe.images)
        self._bench = laboratory.workbench(task, self._fidelity)
        self._identity = {
            "task": task,
            "seed": seed,
            "recipe": self.recipe._asdict(),
            "images": self._bench.record()["images_sha256"],
        }

    def run(self, cells: Sequence[Cell], progress: Progress = lambda *_: None) -> dict[int, float]:
        """The accuracies in percent of architectures, by index; those of earlier calls among them.

        Raises `DataError` where the checkpoint is of another supernet.
        """
        state = self._restore()
        if self.recipe.parent_epochs and state["parent"] is None:
            self._train(None, state, progress)
        for number in range(len(state["trained"]), self.recipe.supernets):
            self._train(number, state, progress)
        trained = [self._supernet(weights) for weights in state["trained"]]
        images = self._bench.valid
        missing = [cell for cell in cells if cell.index not in state["correct"]]
        saved, start = time.monotonic(), read_clock(self._bench.device)
        for done, cell in enumerate(missing, 1):
            state["correct"][cell.index] = count_correct(self._part(trained, cell), images, cell.codes)
            if time.monotonic() - saved > _SAVE_SECONDS or done == len(missing):
                now = read_clock(self._bench.device)
                state["scoring_seconds"] += now - start
                write_checkpoint(self._checkpoint, state)
                saved, start = time.monotonic(), now
            progress("scored", done, len(missing))
        return {index: 100 * correct / len(images) for index, correct in state["correct"].items()}

    def one_batch_answer(self, cells: Sequence[Cell]) -> Cell:
        """The answer as published codes find it: of these the best, each on one validation batch of its own.

        To be asked for after `run`; of equals the first.
        """
        trained = [self._supernet(weights) for weights in self._restore()["trained"]]
        found = one_batch_scores(
            lambda cell: self._part(trained, cell), self._bench.valid, cells, seed=self.seed
        )
        return cells[found.index(max(found))]

    def entries(self, scores: Mapping[int, float]) -> list[Finished]:
        """The scores as entries of a patch, each at the price of its pass; the training is a prerequisite.

        Raises `DataError` where the recipe is not that of the score's name.
        """
        if self.recipe != SUPERNETS[self.name]:
            raise DataError(
                f"{self.name} is the name of another recipe, by which searches pay: these scores cannot be exported"
            )
        provenance, images = self.record(scores), len(self._bench.valid)
        setup = setup_of(provenance, validated=False)
        return [
            Finished(
                job=TrainingJob(self.task, self.name, self.seed, index, setup),
                valid_images=0,
                valid_correct=(),
                seconds=(round(self.recipe.scoring_seconds(Cell.from_index(index).codes, images), 6),),
                valid_seconds=(),
                status="ok",
                provenance=provenance,
                readings={"score": Reading(None, (score,))},
            )
            for index, score in sorted(scores.items())
        ]

    def record(self, scores: Mapping[int, float]) -> dict[str, Any]:
        """How the scores were made, as JSON values: counted passes, their price, measured seconds and correlation."""
        state, recipe = self._restore(), self.recipe
        provenance = self._laboratory.provenance(self._bench, self._fidelity)
        return {
            "kind": "accuracy with shared weights",
            "recipe": {
                **recipe._asdict(),
                "optimizer": "SGD, Nesterov",
                "learning_rate": f"{LEARNING_RATE} to {LOWEST_RATE}, cosine per step",
                "momentum": MOMENTUM,
                "weight_decay": WEIGHT_DECAY,
                "clip": CLIP,
                "channels": 16,
                "architectures": "among those with a path from input to output",
                "batch_norm": f"statistics of the batch, in training and in scoring (batches of {SCORED_BATCH})",
                "score": "accuracy in percent on the validation images",
            },
            "seed": self.seed,
            "images": self._bench.record(),
            "precision": provenance["precision"],
            "counts": {
                "images_forward_and_backward": state["images"],
                "images_forward_for_a_score": len(self._bench.valid),
                "scored_architectures": len(scores),
            },
            "counted_seconds_of_training": round(state["seconds"], 3),
            "measured_seconds": {
                "training": round(state["training_seconds"], 1),
                "scoring": round(state["scoring_seconds"], 1),
                "meaning": provenance["seconds"],
            },
            "correlation": correlation(self.task, scores),
            "software": provenance["software"],
            "device": provenance["device"],
            "clock": {"scale": 1, "meaning": "counted images times the table's clock, not measured"},
        }

    def _part(self, trained: Sequence[Supernet], cell: Cell) -> Supernet:
        """The supernet that an architecture belongs to."""
        return trained[0 if self.recipe.split_edge is None else cell.codes[self.recipe.split_edge]]

    def _train(self, number: int | None, state: dict[str, Any], progress: Progress) -> None:
        """Train a supernet and keep its weights; None is the one from which those of few-shot NAS start."""
        recipe, device = self.recipe, self._bench.device
        parent = number is None
        supernet = self._supernet(None if parent else state["parent"])
        fixed = None if number is None or recipe.split_edge is None else Fixed(recipe.split_edge, number)
        training = SharedTraining(
            supernet,
            self._bench.train,
            epochs=recipe.parent_epochs if parent else recipe.epochs,
            seed=self.seed,
            sampler=recipe.sampler,
            fixed=fixed,
            paths=recipe.paths,
            batch=recipe.batch,
        )
        if state["training"] is not None:
            training.restore(state["training"])
        what = "trained" if number is None or fixed is None else f"trained {number + 1} of {recipe.supernets}"
        saved, start = time.monotonic(), read_clock(device)
        while training.steps < training.all_steps:
            training.step()
            ended = training.steps == training.all_steps
            if time.monotonic() - saved > _SAVE_SECONDS or ended:
                now = read_clock(device)
                state["training_seconds"] += now - start
                state["training"] = training.state()
                if ended:
                    weights = supernet.state_dict()
                    if parent:
                        state["parent"] = weights
                    else:
                        state["trained"] = [*state["trained"], weights]
                    state["seconds"] += training.passes.seconds
                    state["images"] += training.passes.single
                    state["training"] = None
                write_checkpoint(self._checkpoint, state)
                saved, start = time.monotonic(), now
            progress(what, training.steps, training.all_steps)

    def _supernet(self, weights: Mapping[str, Any] | None = None) -> Supernet:
        classes = self._bench.task.statistics.classes
        supernet = seeded_supernet(classes, seed=self.seed, cells_per_stage=self.recipe.cells_per_stage)
        if weights is not None:
            supernet.load_state_dict(weights)
        return supernet.to(self._bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _restore(self) -> dict[str, Any]:
        fresh: dict[str, Any] = {
            "identity": self._identity,
            "parent": None,
            "trained": [],
            "training": None,
            "seconds": 0.0,
            "images": 0,
            "training_seconds": 0.0,
            "scoring_seconds": 0.0,
            "correct": {},
        }
        return resume(self._checkpoint, fresh, "supernet")


def correlation(task: str, scores: Mapping[int, float]) -> dict[str, Any] | None:
    """Kendall's tau of scores with accuracies after 12 epochs, with a 95 % interval over the cells, as JSON values.

    `better_half` is tau among the half of the cells that is better after 12 epochs; the control is the number of
    parameters on the same cells. None for fewer than 20 cells, and
    where the package's tables have no task of that name.
    """
    if task not in TASKS or len(scores) < 20:
        return None
    cells = np.array(sorted(scores))
    values = np.array([scores[int(cell)] for cell in cells])
    accuracy = Benchmark(TASKS[task], tables("embedded")).evaluate_many(cells, SHORT).valid_accuracy
    classes = TASKS[task].classes
    size = np.array([parameters(Cell.from_index(int(cell)), classes) for cell in cells], dtype=float)
    better = accuracy >= np.median(accuracy)

    def taus(of: Floats) -> dict[str, list[float]]:
        found = {}
        for name, kept in (("all", np.full(len(cells), True)), ("better_half", better)):
            interval = kendall_interval(of[kept], accuracy[kept], np.random.default_rng(0))
            found[name] = [round(float(value), 3) for value in interval]
        return found

    return {
        "cells": len(cells),
        "with": f"valid_accuracy at {SHORT}",
        "tau, low, high": taus(values),
        "tau, low, high of parameters": taus(size),
    }


def answers(scores: Mapping[int, float]) -> dict[str, Cell]:
    """What a search over scored architectures ends with: the best one, and the vote of the best tenth.

    The vote takes on every edge the operation that most of them have, of equals that of the better one. The argmax of
    a supernet is what it overrates most.
    """
    order = sorted(scores, key=lambda index: (-scores[index], index))
    codes = [Cell.from_index(index).codes for index in order[: max(1, round(len(order) / 10))]]
    voted = [max(edge, key=edge.count) for edge in zip(*codes, strict=True)]  # the first of equals
    return {"best score": Cell.from_index(order[0]), "vote of the best tenth": Cell.from_codes(voted)}
