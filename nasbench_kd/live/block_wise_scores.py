"""Scores all architectures of a task by block-wise distillation, resumable, with the record of how it was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasbench_kd.errors import DataError
from nasbench_kd.live.block_wise import (
    CLIP,
    LEARNING_RATE,
    Floats,
    SquaredError,
    Stage,
    StageTraining,
    TeacherMaps,
    exact_errors,
    scores,
    seeded_stages,
    teacher_maps,
)
from nasbench_kd.live.checkpoints import resume, write_checkpoint
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.store import Finished, Reading, TrainingJob, setup_of
from nasbench_kd.live.workbench import read_clock
from nasbench_kd.spaces.nasbench201 import all_cells
from nasbench_kd.tasks.block_wise import DNA, STAGES, BlockWise
from nasbench_kd.tasks.fidelity import Fidelity

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and all of it."""
_SAVE_SECONDS = 30.0
"""How much work a kill may cost."""


class BlockWiseScores:
    """Trains and scores the three stages of a task, one after the other; call `run`, again after a kill.

    Args:
        laboratory: images and teacher; the teacher's stage ends must have 16, 32 and 64 channels.
        checkpoint: file of what has been done so far.
        seed: of initial weights, images and architectures drawn.
    """

    def __init__(
        self, laboratory: Laboratory, task: str, checkpoint: Path, *, seed: int, recipe: BlockWise = DNA
    ) -> None:
        self.recipe = recipe
        self.task = task
        self.seed = seed
        self._laboratory = laboratory
        self._checkpoint = checkpoint
        self._fidelity = Fidelity("nst", 1, 1, train_images=self.recipe.images)
        self._bench = laboratory.workbench(task, self._fidelity)
        self._name = "dna-random-teacher" if laboratory.sources.teachers[task].control else "dna"
        if self._bench.teacher is None or len(self._bench.valid) < self.recipe.scored_images:
            raise DataError(
                f"{task} has {len(self._bench.valid)} validation images here, not {self.recipe.scored_images}"
            )
        self._identity = {
            "task": task,
            "seed": seed,
            "recipe": self.recipe._asdict(),
            "images": self._bench.record()["images_sha256"],
            "teacher": laboratory.provenance(self._bench, self._fidelity)["teacher"]["weights_sha256"],
        }

    def run(self, progress: Progress = lambda *_: None) -> list[Floats]:
        """The errors of all architectures in the three stages, (15625,) each, in index order.

        Raises `DataError` where the checkpoint is of another scoring.
        """
        state = self._restore()
        errors: list[Floats] = [np.array(each) for each in state["errors"]]
        if len(errors) == STAGES:
            return errors
        start = read_clock(self._bench.device)
        maps, scored = self._maps()
        state["teacher_seconds"] += read_clock(self._bench.device) - start
        stages = seeded_stages(self._channels(maps), 1, self.seed)
        for index in range(len(errors), STAGES):
            stage = self._train(stages[index], index, maps, state, progress)
            start = read_clock(self._bench.device)
            found = exact_errors(
                stage,
                scored.levels[index],
                [scored.levels[index + 1]],
                progress=lambda done, index=index: progress(f"stage {index + 1} scored", done, 25),  # type: ignore[misc]
            )
            state["scoring_seconds"] += read_clock(self._bench.device) - start
            errors.append(found[0])
            state.update(errors=[each.tolist() for each in errors], training=None)
            write_checkpoint(self._checkpoint, state)
        return errors

    def entries(self, errors: Sequence[Floats]) -> list[Finished]:
        """The scores of all architectures as entries of a patch, each at the price of a pass of its own."""
        found, provenance = scores(errors), self.record()
        setup = setup_of(provenance, validated=False)
        return [
            Finished(
                job=TrainingJob(self.task, self._name, self.seed, cell.index, setup),
                valid_images=0,
                valid_correct=(),
                seconds=(round(self.recipe.scoring_seconds(cell.codes), 6),),
                valid_seconds=(),
                status="ok",
                provenance=provenance,
                readings={"score": Reading(None, (-float(found[cell.index]),))},
            )
            for cell in all_cells()
        ]

    def record(self) -> dict[str, Any]:
        """How the scores were made, as JSON values, with the counted images and the measured seconds."""
        state = self._restore()
        provenance = self._laboratory.provenance(self._bench, self._fidelity)
        images = self._bench.record()
        return {
            "kind": "block-wise distillation: three stages of shared weights, all architectures scored exactly",
            "recipe": {
                **self.recipe._asdict(),
                "optimizer": "Adam",
                "learning_rate": f"{LEARNING_RATE}, cosine per step to 0",
                "clip": CLIP,
                "architectures": "uniform among those with a path from input to output",
                "cells_per_stage": 1,
                "targets": "the teacher's stage ends, normalised for each channel over the training images",
                "inputs": "the images, then the normalised targets of the stage before",
                "score": "minus the mean over the stages of squared error over the target's mean square",
            },
            "seed": self.seed,
            "images": {**images, "valid_images": self.recipe.scored_images},
            "teacher": {
                name: value
                for name, value in provenance["teacher"].items()
                if name not in ("forward", "forward_seconds", "maps")
            },
            "precision": f"{str(self._bench.dtype).removeprefix('torch.')} activations in training, float32 in "
            "scoring, inner products summed in float64",
            "counts": {
                "images_forward_and_backward_through_each_stage": self.recipe.steps * self.recipe.batch,
                "teacher_images_forward": self.recipe.images + self.recipe.scored_images,
                "scored_images": self.recipe.scored_images,
            },
            "measured_seconds": {
                "training": round(state["training_seconds"], 1),
                "scoring_of_all": round(state["scoring_seconds"], 1),
                "teacher": round(state["teacher_seconds"], 1),
                "meaning": provenance["seconds"],
            },
            "software": provenance["software"],
            "device": provenance["device"],
            "clock": {"scale": 1, "meaning": "counted images times the table's clock, not measured"},
        }

    def _maps(self) -> tuple[TeacherMaps, TeacherMaps]:
        teacher, bench = self._bench.teacher, self._bench
        assert teacher is not None
        maps = teacher_maps(teacher, _batches(bench.train, len(bench.train)), bench.dtype)
        scored = teacher_maps(
            teacher, _batches(bench.valid, self.recipe.scored_images), torch.float32, maps.moments
        )
        return maps, scored

    def _channels(self, maps: TeacherMaps) -> int:
        widths = [features.shape[1] for features in maps.levels[1:]]
        if widths != [widths[0], 2 * widths[0], 4 * widths[0]]:
            raise DataError(
                f"the teacher's stages end in {widths} channels; students of the space double them, as in 16, 32, 64"
            )
        return widths[0]

    def _train(
        self,
        stage: Stage,
        index: int,
        maps: TeacherMaps,
        state: dict[str, Any],
        progress: Progress,
    ) -> Stage:
        device, recipe = self._bench.device, self.recipe
        stage.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        training = StageTraining(
            stage,
            maps.levels[index],
            SquaredError(maps.levels[index + 1]),
            steps=recipe.steps,
            batch=recipe.batch,
            seed=self.seed,
        )
        if state["training"] is not None:
            training.restore(state["training"])
        saved, start = time.monotonic(), read_clock(device)
        while training.done < recipe.steps:
            training.step()
            if time.monotonic() - saved > _SAVE_SECONDS or training.done == recipe.steps:
                now = read_clock(device)
                state["training_seconds"] += now - start
                state["training"] = training.state()
                write_checkpoint(self._checkpoint, state)
                saved, start = time.monotonic(), now
            progress(f"stage {index + 1} trained", training.done, recipe.steps)
        return stage

    def _restore(self) -> dict[str, Any]:
        fresh: dict[str, Any] = {
            "identity": self._identity,
            "errors": [],
            "training": None,
            "training_seconds": 0.0,
            "scoring_seconds": 0.0,
            "teacher_seconds": 0.0,
        }
        return resume(self._checkpoint, fresh, "scoring")


def _batches(images: DeviceImages, count: int) -> Iterator[Tensor]:
    rows = torch.arange(count, device=images.labels.device)
    return (images.batch(part) for part in torch.split(rows, 250))
