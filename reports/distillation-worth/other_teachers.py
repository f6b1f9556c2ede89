"""Distil the cheap recipe from other trained teachers: worse cells, in networks of one cell a stage.

    python reports/distillation-worth/other_teachers.py FOLDER --images IMAGES --classes 300

Each teacher is trained for six epochs on the first 25,000 images of CIFAR-100's training split (a quarter of an hour
of one thread; its state is kept in FOLDER), then 300 classes of the fixed random order learn from it (1.3 CPU-seconds
each). Each row is appended to `other_teachers.csv` beside this file as it is found: run again, it goes on. IMAGES holds
CIFAR-100, as `docs/live.md` says.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from nasbench_kd.files import atomic_write
from nasbench_kd.live.checkpoints import read_checkpoint
from nasbench_kd.live.clock import use_one_thread
from nasbench_kd.live.fill import class_order, keep_freed_memory
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.oracle import default_sources
from nasbench_kd.live.store import TrainingJob
from nasbench_kd.live.teacher import Teacher
from nasbench_kd.live.trainer import Training
from nasbench_kd.live.workbench import Workbench
from nasbench_kd.tasks.fidelity import Fidelity

RESULTS = Path(__file__).parent / "other_teachers.csv"
TASK, SEED = "cifar100", 777
TEACHERS = (9930, 1462)
"""Cells of the teachers."""
TEACHING = "none@6 images=25000 batch=64 cells=1"
RECIPE = Fidelity.parse("nst-cheap")
COLUMNS = ["teacher", "teacher_accuracy", "cell", "train_loss", "train_distillation"]


def teach(laboratory: Laboratory, cell: int, folder: Path) -> tuple[Teacher, float]:
    """A trained teacher, and the share of 2,500 validation images that it classifies correctly, in per cent."""
    path = folder / f"teacher-{cell}.checkpoint"
    training = laboratory.training(TrainingJob(TASK, TEACHING, SEED, cell))
    if state := read_checkpoint(path):
        training.restore(state)
    while not training.done:
        training.run_epoch()
        with atomic_write(path) as file:
            torch.save(training.state(), file)
    return training.engine.compile_inference(), training.curve.valid_correct[-1] / 25


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--classes", type=int, default=300)
    arguments = parser.parse_args()
    use_one_thread()
    keep_freed_memory()
    laboratory = Laboratory(default_sources(arguments.images))
    known = set()
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            known = {(int(row["teacher"]), int(row["cell"])) for row in csv.DictReader(file)}
    else:
        RESULTS.write_text(",".join(COLUMNS) + "\n")
    taught = {cell: teach(laboratory, cell, arguments.folder) for cell in TEACHERS}
    benches = {
        cell: Workbench(laboratory.task(TASK), RECIPE, valid_images=1, teacher=teacher)
        for cell, (teacher, _) in taught.items()
    }
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for cell in class_order()[: arguments.classes]:
            for teacher, bench in benches.items():
                if (teacher, cell.index) in known:
                    continue
                training = Training(bench, cell, RECIPE, SEED, validate=False)
                training.run_epoch()
                read = training.curve.readings
                values = (read["train_loss"][0], read["train_distillation"][0])
                writer.writerow(
                    [teacher, taught[teacher][1], cell.index, *(f"{value:.7g}" for value in values)]
                )
                file.flush()


if __name__ == "__main__":
    main()
