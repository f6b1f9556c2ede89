"""Makes tasks for DaSS's meta-training: class subsets of a data set, each with its own teacher and labelled students.

In a folder, for each subset NAME: `NAME.zip` (its images, a task of live mode), `teachers/NAME.npz`,
`NAME-embeddings.npz`; and in `labels.db` how accurate teachers and students became. What is there is
not made again, to the single training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nasbench_kd.live.archives import write_packed
from nasbench_kd.live.fill import class_order, keep_freed_memory
from nasbench_kd.live.images import STATISTICS, ImageTask, subset_order
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.store import Finished, Store, TrainingJob
from nasbench_kd.live.teacher import RESNET_CELL, TeacherFile, write_weights
from nasbench_kd_baselines.dass.embeddings import Embeddings, embed, open_teacher

SIDE = 16
"""Images are average-pooled to this side: a quarter of the work."""
TEACHER = "none@8 images=2000 batch=32"
"""How a subset's teacher, the whole network of the ResNet-like cell, is trained."""
STUDENT = "kd@4 images=1000 batch=32 cells=1"
"""How students are trained: their accuracies are the labels."""
SEED = 777


def data_set(task: str) -> str:
    """The data set that a task is, or is a class subset of."""
    return task.partition("-split")[0]


def class_splits(classes: int, size: int, count: int) -> list[npt.NDArray[np.int64]]:
    """The first `count` class subsets: consecutive pieces of one random order of the classes after another."""
    rng = np.random.default_rng(SEED)
    pieces = classes // size
    orders = [rng.permutation(classes) for _ in range(-(-count // pieces))]
    return [np.sort(order[size * i : size * (i + 1)]) for order in orders for i in range(pieces)][:count]


def write_subset(task: ImageTask, classes: npt.NDArray[np.int64], path: Path) -> None:
    """Write the training images of some classes as a live task: 70 % for training, 30 % for validation."""
    rows = np.flatnonzero(np.isin(task.train_labels, classes))
    rows = rows[subset_order(len(rows))]
    factor = task.side // SIDE
    images = task.train_images[rows].reshape(-1, SIDE, factor, SIDE, factor, 3)
    pooled = np.rint(images.mean((2, 4))).astype(np.uint8)
    labels = np.searchsorted(classes, task.train_labels[rows])
    border = len(rows) * 7 // 10
    about = {"classes": len(classes), "mean": task.statistics.mean, "std": task.statistics.std, "padding": 2}
    splits = {"train": (pooled[:border], labels[:border]), "valid": (pooled[border:], labels[border:])}
    write_packed(path, splits, {**about, "of": task.name, "kept": classes.tolist()})


def make_subsets(
    folder: Path,
    sources: Sources,
    task: str,
    *,
    size: int,
    count: int,
    students: int,
    say: Callable[[str], None],
) -> None:
    """Make `count` subsets of `size` classes of a task, each with a teacher and `students` students.

    Every subset takes other students: the next ones in the order of a fill. Raises `DataError` where
    the images are absent. On one core; about a minute and a half for a subset of 32 students.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "labels.db")
    full = Laboratory(sources)
    for number, classes in enumerate(class_splits(STATISTICS[task].classes, size, count)):
        name = f"{task}-split{number}"
        if not (folder / f"{name}.zip").exists():
            write_subset(full.task(task), classes, folder / f"{name}.zip")
        teacher = TeacherFile(folder / "teachers" / f"{name}.npz")
        laboratory = Laboratory(Sources(folder, folder, {name: teacher}))
        accuracy = _teach(laboratory, store, name, teacher.path)
        say(f"{name}: teacher {accuracy:.1f} %")
        cells = class_order()[number * students : (number + 1) * students]
        for cell in cells:
            job = laboratory.in_setup(TrainingJob(name, STUDENT, SEED, cell.index))
            if store.find(job) is None:
                store.finish(laboratory.train(job))
        path = folder / f"{name}-embeddings.npz"
        if not path.exists():
            embed(open_teacher(teacher.path, size), cells, task=name, teacher_accuracy=accuracy).save(path)
        found = label(folder, Embeddings.load(path))
        say(f"{name}: {len(found)} students, {np.min(found):.1f} to {np.max(found):.1f} %")


def label(folder: Path, embeddings: Embeddings) -> npt.NDArray[np.float64]:
    """Validation accuracies of a subset's students in percent, NaN where a training diverged, shape (n,)."""
    found = {
        entry.job.cell: _accuracy(entry)
        for entry in Store(folder / "labels.db").finished()
        if (entry.job.task, entry.job.curve, entry.job.seed) == (embeddings.task, STUDENT, SEED)
    }
    return np.array([found.get(cell, np.nan) for cell in embeddings.cells.tolist()])


def _teach(laboratory: Laboratory, store: Store, name: str, path: Path) -> float:
    job = laboratory.in_setup(TrainingJob(name, TEACHER, SEED, RESNET_CELL.index))
    entry = store.find(job)
    if entry is None or not path.exists():
        training = laboratory.training(job)
        while not training.done:
            training.run_epoch()
        path.parent.mkdir(exist_ok=True)
        write_weights(path, RESNET_CELL, training.engine.state_dict(), sum(training.curve.train_seconds))
        entry = laboratory.finished(job, training)
        store.finish(entry)
    return _accuracy(entry)


def _accuracy(entry: Finished) -> float:
    if entry.status != "ok":
        return float("nan")
    return 100 * entry.valid_correct[-1] / entry.valid_images
