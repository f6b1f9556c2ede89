"""Measure whether several teachers help block-wise distillation, and write the tables of several-teachers.md.

    python reports/one-shot/several_teachers.py FOLDER --images IMAGES --seeds 1 2 3   # trains; again after a kill
    python reports/one-shot/several_teachers.py FOLDER                                    # writes the tables

What is done is kept in FOLDER. IMAGES holds CIFAR-100, `teachers/cifar100.npz` and `teachers/cifar10.npz`, as
`docs/live.md` says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import kendalltau
from torch import Tensor, nn

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.files import atomic_write, write_between
from nasbench_kd.live.block_wise import (
    SquaredError,
    Stage,
    StageTraining,
    TeacherMaps,
    exact_errors,
    seeded_stages,
    teacher_maps,
)
from nasbench_kd.live.checkpoints import read_checkpoint
from nasbench_kd.live.clock import use_one_thread
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.fill import keep_freed_memory
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.network import stage_ends
from nasbench_kd.live.oracle import default_sources
from nasbench_kd.live.several_teachers import NearestMixture, align_channels, mixture_errors
from nasbench_kd.live.store import TrainingJob
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.live.teacher import Teacher, load_teacher, write_random_teacher
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import SPACE, Cell
from nasbench_kd.tasks.block_wise import STAGES
from nasbench_kd.tasks.fidelity import Fidelity

Floats = npt.NDArray[np.float64]
TASK, CLASSES, SIDE = "cifar100", 100, 16
IMAGES, SCORED, STEPS, BATCH, CHANNELS = 3000, 150, 1000, 64, 16
TRAINED = "none@6 images=10000 batch=64 size=16 cells=1"
"""How the second and the third teacher are trained here."""
CELLS = (9930, 1462)
"""Their cells: those on which published searches end."""
FIRST, OTHER_DATA_SET, RANDOM = "first teacher", "CIFAR-10's teacher", "random"
WEAK = (FIRST, *map(str, CELLS))
STRONG = (FIRST, OTHER_DATA_SET)


class Arm(NamedTuple):
    """What stages learn."""

    name: str
    teachers: tuple[str, ...]
    """Whose maps; none for the labels."""
    nearest: bool = False
    """Whether their nearest mixture, not their mean."""

    @property
    def group(self) -> tuple[str, ...]:
        """The teachers whose errors are kept: those of the mixtures that it is compared with."""
        return WEAK if self.teachers == (FIRST,) else self.teachers

    def file(self, folder: Path, seed: int, stage: int) -> Path:
        """Where the scores of a stage (0..2) are."""
        return folder / f"{self.name.replace(' ', '-')}-{seed}-{stage}.npz"


LABELS = Arm("labels", ())
ONE = Arm("one teacher", (FIRST,))
MEAN, NEAREST = Arm("mean of three", WEAK), Arm("nearest mixture of three", WEAK, nearest=True)
ARMS = (
    LABELS,
    Arm("random teacher", (RANDOM,)),
    ONE,
    MEAN,
    NEAREST,
    Arm("mean of two trained well", STRONG),
    Arm("nearest mixture of two trained well", STRONG, nearest=True),
)
SAMPLE = np.sort(np.random.default_rng(0).choice(len(SPACE), 400, replace=False))
"""Cells that every arm is compared on: the labels' scores have no exact form here."""
RESAMPLES = 1000
SAVE_SECONDS = 60.0


class Labels(nn.Module):
    """The control without a teacher's targets: cross-entropy of a linear head on the stage's pooled map."""

    def __init__(self, labels: Tensor, channels: int, seed: int) -> None:
        super().__init__()
        self._labels = labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(channels, CLASSES)

    def forward(self, output: Tensor, rows: Tensor) -> Tensor:
        """The mean cross-entropy of a stage's map (B, C, H, W) of the images in `rows` (B,)."""
        return F.cross_entropy(self.head(output.mean((2, 3))), self._labels[rows])


class Study:
    """The teachers' maps of the training and of the scored images, and what is trained on them."""

    def __init__(self, images: Path, folder: Path) -> None:
        self.folder = folder
        self.laboratory = Laboratory(default_sources(images))
        self.full = self.laboratory.workbench(TASK, Fidelity("nst", 1, 1, train_images=IMAGES))
        self.small = self.laboratory.workbench(
            TASK, Fidelity("none", 1, 1, train_images=IMAGES, image_size=SIDE)
        )
        self.labels = self.small.train.labels, self.small.valid.labels[:SCORED]
        self._maps: dict[str, tuple[TeacherMaps, TeacherMaps]] = {}

    def maps(self, name: str) -> tuple[TeacherMaps, TeacherMaps]:
        """A teacher's maps of the training and of the scored images, its channels in the first one's order."""
        if name not in self._maps:
            teacher = self._teacher(name)
            bench = self.small if name.isdigit() else self.full
            train = teacher_maps(teacher, _batches(bench.train, IMAGES), torch.float32)
            scored = teacher_maps(teacher, _batches(bench.valid, SCORED), torch.float32, train.moments)
            pairs = ((train, self.small.train, IMAGES), (scored, self.small.valid, SCORED))
            train, scored = (
                TeacherMaps((torch.cat(list(_batches(seen, count))).float(), *maps.levels[1:]), maps.moments)
                for maps, seen, count in pairs
            )
            if name not in (
                FIRST,
                RANDOM,
            ):  # channels of networks that were trained apart have no common order
                orders = align_channels(self.maps(FIRST)[0], train)
                train, scored = (
                    TeacherMaps(
                        (
                            maps.levels[0],
                            *(level[:, order] for level, order in zip(maps.levels[1:], orders, strict=True)),
                        ),
                        maps.moments,
                    )
                    for maps in (train, scored)
                )
            self._maps[name] = train, scored
        return self._maps[name]

    def run(self, seed: int, arm: Arm) -> None:
        """Train and score the stages of an arm, those that are not done."""
        for index in range(STAGES):
            path = arm.file(self.folder, seed, index)
            if path.exists():
                continue
            stage, objective = self._train(seed, arm, index)
            started = time.process_time()
            inputs = self.maps(FIRST)[1].levels[index]
            if isinstance(objective, Labels):
                found = {"entropies": self._entropies(stage, objective, inputs)}
            else:
                targets = [self.maps(name)[1].levels[index + 1] for name in arm.group]
                found = {"errors": exact_errors(stage, inputs, targets)}
                found |= {
                    other.name: mixture_errors(found["errors"], targets, nearest=other.nearest)
                    for other in ARMS
                    if len(other.teachers) > 1 and other.teachers == arm.group
                }
            if isinstance(objective, NearestMixture):
                found["weights"] = objective.mean_weights.numpy()
            with atomic_write(path) as file:
                np.savez(file, scoring_seconds=time.process_time() - started, **found)
            path.with_suffix(".checkpoint").unlink(missing_ok=True)
            print(time.strftime("%X"), path.name, f"{time.process_time():.0f} CPU-s", flush=True)

    def _train(self, seed: int, arm: Arm, index: int) -> tuple[Stage, nn.Module]:
        stage = seeded_stages(CHANNELS, 1, seed)[index].to(memory_format=torch.channels_last)
        targets = [self.maps(name)[0].levels[index + 1].to(torch.bfloat16) for name in arm.teachers]
        objective: nn.Module
        if not targets:
            objective = Labels(self.labels[0], CHANNELS * 2**index, seed)
        elif arm.nearest:
            objective = NearestMixture(targets)
        else:
            objective = SquaredError(torch.stack(targets).mean(0))
        inputs = self.maps(FIRST)[0].levels[index].to(torch.bfloat16)
        training = StageTraining(stage, inputs, objective, steps=STEPS, batch=BATCH, seed=seed)
        checkpoint = arm.file(self.folder, seed, index).with_suffix(".checkpoint")
        if state := read_checkpoint(checkpoint):
            training.restore(state)
        saved = time.monotonic()
        while training.done < STEPS:
            training.step()
            if time.monotonic() - saved > SAVE_SECONDS:
                with atomic_write(checkpoint) as file:
                    torch.save(training.state(), file)
                saved = time.monotonic()
        return stage, training.objective

    def _teacher(self, name: str) -> Teacher:
        if name.isdigit():
            return self._trained(int(name))
        if name == FIRST:
            assert self.full.teacher is not None
            return _halved(self.full.teacher)
        if name == RANDOM:
            path = self.folder / "random-teacher.npz"
            file, classes = write_random_teacher(path, CLASSES), CLASSES
        else:
            file, classes = self.laboratory.sources.teachers["cifar10"], 10
        return _halved(load_teacher(file, classes, self.laboratory.device, self.laboratory.dtype))

    @torch.no_grad()
    def _entropies(self, stage: Stage, objective: Labels, inputs: Tensor) -> Floats:
        rows = torch.arange(SCORED)
        scored = Labels(self.labels[1], objective.head.in_features, 0)
        scored.load_state_dict(objective.state_dict())
        return np.array(
            [
                float(scored(stage(inputs, cell.codes), rows)) if path_edges(cell.codes) else np.log(CLASSES)
                for cell in (Cell.from_index(int(index)) for index in SAMPLE)
            ]
        )

    def _trained(self, cell: int) -> Teacher:
        """A teacher of one cell a stage, trained on images of the students' size; kept with its accuracy."""
        training = self.laboratory.training(TrainingJob(TASK, TRAINED, 777, cell))
        path = self.folder / f"teacher-{cell}.checkpoint"
        if state := read_checkpoint(path):
            training.restore(state)
        while not training.done:
            training.run_epoch()
            with atomic_write(path) as file:
                torch.save(training.state(), file)
            correct = training.curve.valid_correct[-1] / len(training.workbench.valid)
            print(time.strftime("%X"), "teacher", cell, training.curve.epochs, f"{correct:.4f}", flush=True)
        return training.engine.compile_inference()


def _halved(teacher: Teacher) -> Teacher:
    """A teacher of images of twice the students' side: its stage ends are average-pooled to theirs."""

    def run(images: Tensor) -> Outputs:
        outputs = teacher(images)
        return outputs._replace(maps=[F.avg_pool2d(ends, 2) for ends in stage_ends(outputs.maps)])

    return run


def _batches(images: DeviceImages, count: int) -> Iterator[Tensor]:
    return (images.batch(rows) for rows in torch.split(torch.arange(count), 250))


def read_score(folder: Path, seed: int, arm: Arm, target: Arm) -> Floats:
    """Scores of an arm's stages by the target of an arm, less is better: (15625,), NaN where the labels have none.

    The mean over the stages.
    """
    stages = []
    for index in range(STAGES):
        with np.load(arm.file(folder, seed, index)) as file:
            if not arm.teachers:
                stage = np.full(len(SPACE), np.nan)
                stage[SAMPLE] = file["entropies"]
            else:
                stage = file["errors"][0] if len(target.teachers) == 1 else file[target.name]
            stages.append(stage)
    found: Floats = np.mean(stages, axis=0)
    return found


def done(folder: Path, seed: int) -> list[Arm]:
    """The arms all of whose stages are scored."""
    return [arm for arm in ARMS if all(arm.file(folder, seed, index).exists() for index in range(STAGES))]


def tau(score: Floats, truth: Floats) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(score, truth)[0])


def tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How the arms rank, and their paired differences on the cells that all of them scored, over the seeds."""
    truth = np.nanmean(open_scorer(TASK, "embedded").valid, axis=1)
    size = np.array([parameters(cell, CLASSES) for cell in SPACE], dtype=float)
    better = truth >= np.median(truth)
    ranked: list[dict[str, object]] = []
    gains: dict[tuple[str, str], list[tuple[float, Floats]]] = {}
    picks = np.random.default_rng(1).choice(SAMPLE, (RESAMPLES, len(SAMPLE)))
    for seed in seeds(folder):
        arms = done(folder, seed)
        scores = {arm.name: -read_score(folder, seed, arm, arm) for arm in arms}
        scores["parameters"] = size
        resampled = {
            arm: np.array([tau(values[pick], truth[pick]) for pick in picks])
            for arm, values in scores.items()
        }
        for arm, values in scores.items():
            whole = not np.isnan(values).any()
            low, high = np.quantile(resampled[arm], [0.025, 0.975])
            ranked.append(
                {
                    "seed": seed,
                    "arm": arm,
                    "tau, all cells": tau(values, truth) if whole else np.nan,
                    "better half": tau(values[better], truth[better]) if whole else np.nan,
                    f"tau, {len(SAMPLE)} cells": tau(values[SAMPLE], truth[SAMPLE]),
                    "95 %": f"{low:.2f} to {high:.2f}",
                }
            )
        for first, second in combinations([arm.name for arm in arms[::-1]], 2):
            gain = tau(scores[first][SAMPLE], truth[SAMPLE]) - tau(scores[second][SAMPLE], truth[SAMPLE])
            gains.setdefault((first, second), []).append((gain, resampled[first] - resampled[second]))
    differences = []
    for (first, second), of_seeds in gains.items():
        low, high = np.quantile(np.mean([draws for _, draws in of_seeds], axis=0), [0.025, 0.975])
        differences.append(
            {
                "arm": first,
                "over": second,
                "by seed": ", ".join(f"{gain:+.3f}" for gain, _ in of_seeds),
                "mean": f"{np.mean([gain for gain, _ in of_seeds]):+.3f}",
                "95 %": f"{low:+.2f} to {high:+.2f}",
            }
        )
    return pd.DataFrame(ranked), pd.DataFrame(differences)


def seeds(folder: Path) -> list[int]:
    """The seeds of which anything is scored."""
    return sorted(
        {int(path.stem.split("-")[-2]) for path in folder.glob(f"{ONE.name.replace(' ', '-')}-*.npz")}
    )


def crossed(folder: Path, seed: int) -> pd.DataFrame:
    """Tau over all cells of stages trained towards one target (rows) and scored by another (columns)."""
    truth = np.nanmean(open_scorer(TASK, "embedded").valid, axis=1)
    arms = (ONE, MEAN, NEAREST)
    rows = [
        (arm.name, *(tau(-read_score(folder, seed, arm, target), truth) for target in arms)) for arm in arms
    ]
    return pd.DataFrame(rows, columns=["trained towards \\ scored by", *(arm.name for arm in arms)])


def weights(folder: Path) -> pd.DataFrame:
    """The mean weights of the teachers over the training of each stage."""
    rows = []
    for seed in seeds(folder):
        for arm in done(folder, seed):
            for index in range(STAGES if arm.nearest else 0):
                with np.load(arm.file(folder, seed, index)) as file:
                    mean = {
                        name: f"{weight:.2f}"
                        for name, weight in zip(arm.teachers, file["weights"], strict=True)
                    }
                rows.append({"seed": seed, "arm": arm.name, "stage": index + 1, **mean})
    return pd.DataFrame(rows).fillna("")


def main() -> None:
    """Train and score, or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.images:
        use_one_thread()
        keep_freed_memory()
        study = Study(arguments.images, arguments.folder)
        for seed in arguments.seeds:
            for arm in ARMS:
                study.run(seed, arm)
        return
    ranked, differences = tables(arguments.folder)
    parts = [ranked, differences, crossed(arguments.folder, ranked["seed"][0]), weights(arguments.folder)]
    text = "\n\n".join(part.to_markdown(index=False, floatfmt=".3f") for part in parts)
    write_between(
        Path(__file__).parent / "several-teachers.md", ("<!-- tables -->", "<!-- /tables -->"), text + "\n"
    )


if __name__ == "__main__":
    main()
