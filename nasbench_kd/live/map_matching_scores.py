"""Scores the classes of a task by map matching, in the fixed random order of every fill; resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nasbench_kd.live.fill import class_order
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.map_matching import (
    LEARNING_RATE,
    MATCHING,
    MOMENTUM,
    STEPS,
    WEIGHT_DECAY,
    MapMatching,
    Matched,
)
from nasbench_kd.live.store import Finished, Reading, Store, TrainingJob, setup_of
from nasbench_kd.live.workbench import read_clock
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.training_seconds import seconds_per_image
from nasbench_kd.tasks.fidelity import Fidelity

CANDIDATES, BATCH = 512, 32
SHRINK = 2
"""The student's images have the side of the task's over this."""
CELLS_PER_STAGE = 1


class MapMatchingScores:
    """What the scores of a task share, made once: the batch and the teacher's maps of it.

    Args:
        laboratory: images and teacher.
        seed: of the initial weights of every network; the batch does not depend on it.
        students: how many are trained side by side, which pays on a GPU; each scores as alone, up to rounding.
        steps: of each training; 75 or 150, which have scores of their own.
    """

    def __init__(
        self, laboratory: Laboratory, task: str, *, seed: int, students: int = 1, steps: int = STEPS
    ) -> None:
        self.task, self.seed, self.students, self.steps = task, seed, students, steps
        images = laboratory.task(task)
        fidelity = Fidelity("nst", 1, 1, train_images=min(CANDIDATES, len(images.train_labels)))
        bench = laboratory.workbench(task, fidelity)
        small = laboratory.workbench(
            task, Fidelity("none", 1, 1, train_images=fidelity.train_images, image_size=images.side // SHRINK)
        )
        assert bench.teacher is not None
        self._name = "rmi" if steps == STEPS else f"rmi-{steps}"
        if laboratory.sources.teachers[task].control:
            self._name += "-random-teacher"
        self._device = laboratory.device
        self._matching = MapMatching(
            bench.teacher,
            bench.train,
            small.train,
            images.statistics.classes,
            batch=BATCH,
            cells_per_stage=CELLS_PER_STAGE,
            dtype=laboratory.dtype,
        )
        provenance = laboratory.provenance(bench, fidelity)
        self.provenance: dict[str, Any] = {
            "kind": "map matching of a teacher on one batch",
            "recipe": {
                "optimizer": "SGD",
                "learning_rate": LEARNING_RATE,
                "momentum": MOMENTUM,
                "weight_decay": WEIGHT_DECAY,
                "steps": steps,
                "batch": BATCH,
                "candidates": CANDIDATES,
                "loss": f"{MATCHING} * sum over the three stage ends of (1 - linear CKA) + {1 - MATCHING:.1f} * "
                "cross-entropy; the score is minus that of the last step",
                "channels": 16,
                "cells_per_stage": CELLS_PER_STAGE,
            },
            "images": {
                **small.record(),
                "train_images": BATCH,
                "train_subset": f"of the first {CANDIDATES} of the split in the order of images.subset_order those "
                "of lowest teacher cross-entropy",
                "valid_images": 0,
                "teacher_image_size": images.side,
            },
            "precision": provenance["precision"],
            "teacher": {
                name: value
                for name, value in provenance["teacher"].items()
                if name not in ("forward", "forward_seconds", "maps")
            },
            "software": provenance["software"],
            "device": provenance["device"] + (f", {students} students side by side" if students > 1 else ""),
            "seconds": f"{steps * BATCH} images forward and backward at the table's seconds for an image of a "
            "network of one cell a stage, over the square of the shrinking of the side",
            "clock": {"scale": 1, "meaning": "counted images times the table's clock, not measured"},
        }
        self._setup = setup_of(self.provenance, validated=False)

    def job(self, cell: Cell) -> TrainingJob:
        """The key of a cell's score in a store."""
        return TrainingJob(self.task, self._name, self.seed, cell.index, self._setup)

    def score(self, cells: Sequence[Cell]) -> list[Finished]:
        """Score some cells, at most `students` of them."""
        start = read_clock(self._device)
        if self.students == 1:
            matched = [self._matching.train(cell, steps=self.steps, seed=self.seed) for cell in cells]
        else:
            matched = self._matching.train_together(cells, steps=self.steps, seed=self.seed)
        measured = (read_clock(self._device) - start) / len(cells)
        return [self.entry(cell, each, measured) for cell, each in zip(cells, matched, strict=True)]

    def entry(self, cell: Cell, matched: Matched, measured: float) -> Finished:
        """What a store keeps of a score that took so many seconds."""
        counted = self.steps * BATCH * seconds_per_image(cell.codes, CELLS_PER_STAGE) / SHRINK**2
        diverged = not np.isfinite(matched.loss)
        return Finished(
            job=self.job(cell),
            valid_images=0,
            valid_correct=(),
            seconds=(counted,),
            valid_seconds=(measured,),
            status="diverged" if diverged else "ok",
            provenance=self.provenance,
            readings={} if diverged else _readings(matched),
        )

    def missing(self, store: Store, classes: int | None = None) -> list[Cell]:
        """What a store lacks of the first `classes` of the fixed order; None is all."""
        done = store.done()
        return [cell for cell in class_order()[:classes] if self.job(cell) not in done]

    def score_into(self, store: Store, cells: Sequence[Cell]) -> None:
        """Score cells, at most `students`, and keep the scores, but for those that another process has or is at."""
        claimed = [cell for cell in cells if store.claim(self.job(cell))]
        if not claimed:
            return
        try:
            for entry in self.score(claimed):
                store.finish(entry)
        except BaseException:
            for cell in claimed:
                store.release(self.job(cell))
            raise

    def finished(self, store: Store) -> list[Finished]:
        """The scores of this task, seed and setup in a store."""
        wanted = self.job(class_order()[0])
        return [entry for entry in store.finished() if replace(entry.job, cell=wanted.cell) == wanted]


def _readings(matched: Matched) -> dict[str, Reading]:
    return {"score": Reading(None, (matched.score,))}
