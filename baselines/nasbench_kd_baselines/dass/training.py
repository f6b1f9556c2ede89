"""Makes what DaSS needs: `subsets` to meta-train on, `embed` the students of a teacher, `train` the predictor.

python -m nasbench_kd_baselines.dass.training subsets --task cifar100 --size 10 --folder dass
python -m nasbench_kd_baselines.dass.training embed --task cifar10 --teacher teacher.npz --accuracy 90.78 --output c.npz
python -m nasbench_kd_baselines.dass.training train --unseen cifar100 --tasks c.npz c100.npz --output cifar100.npz
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, NasbenchKDError
from nasbench_kd.files import write_text
from nasbench_kd.live.oracle import default_sources
from nasbench_kd.opening import load
from nasbench_kd.spaces.nasbench201 import representatives
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd_baselines.dass.embeddings import Embeddings, embed, one_hot, open_teacher
from nasbench_kd_baselines.dass.predictor import (
    PARTS,
    LabelledTask,
    correlation,
    meta_train,
    predict,
    predict_cells,
    save_weights,
)
from nasbench_kd_baselines.dass.subsets import STUDENT, TEACHER, data_set, label, make_subsets

VARIANTS = {
    "full": PARTS,
    "without remapping": ("fresh", "cell", "teacher"),
    "without teacher": ("student", "cell"),
    "without teacher and remapping": ("fresh", "cell"),
    "cell alone": ("cell",),
}
"""What is compared: the inputs of the predictor. `fresh` is a student of which no weight is inherited."""
KEPT = {variant: VARIANTS[variant] for variant in ("full", "cell alone")}
"""What is written to files, of seed 0."""


def labelled(path: Path) -> LabelledTask:
    """Embeddings with labels: the 200-epoch accuracies of a task, the proxy accuracies of a subset.

    Raises `DataError` where no student has one.
    """
    embeddings = Embeddings.load(path)
    if embeddings.task in TASKS:
        accuracies = load(embeddings.task).evaluate_many(embeddings.cells, FULL).valid_accuracy
    else:
        accuracies = label(path.parent, embeddings)
    finished = np.flatnonzero(~np.isnan(accuracies))
    if len(finished) == 0:
        raise DataError(f"no student of {path} has a known accuracy; make the subset again with `subsets`")
    return LabelledTask(embeddings.rows(finished), accuracies[finished])


def split(task: LabelledTask) -> tuple[LabelledTask, LabelledTask]:
    """Three quarters of the students to train on, and the last quarter to choose the episode by."""
    border = 3 * len(task.accuracies) // 4
    first, last = np.split(np.arange(len(task.accuracies)), [border])
    return (
        LabelledTask(task.embeddings.rows(first), task.accuracies[first]),
        LabelledTask(task.embeddings.rows(last), task.accuracies[last]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        {"subsets": _subsets, "embed": _embed, "train": _train}[chosen.command](chosen)
    except NasbenchKDError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _subsets(chosen: argparse.Namespace) -> None:
    make_subsets(
        chosen.folder,
        default_sources(),
        chosen.task,
        size=chosen.size,
        count=chosen.count,
        students=chosen.students,
        say=lambda text: print(text, flush=True),
    )


def _embed(chosen: argparse.Namespace) -> None:
    classes = representatives()
    order = np.random.default_rng(chosen.seed).permutation(len(classes))[: chosen.cells]
    embeddings = embed(
        open_teacher(chosen.teacher, TASKS[chosen.task].classes),
        [classes[place] for place in order],
        task=chosen.task,
        teacher_accuracy=chosen.accuracy,
    )
    embeddings.save(chosen.output)
    print(f"{chosen.output}: {len(embeddings.cells)} students of {chosen.task}")


def _train(chosen: argparse.Namespace) -> None:
    tasks = [labelled(path) for path in sorted(chosen.tasks)]
    seen = [task for task in tasks if data_set(task.embeddings.task) != chosen.unseen]
    unseen = [task for task in tasks if data_set(task.embeddings.task) == chosen.unseen]
    if not seen:
        raise DataError(f"all of the files are of {chosen.unseen}: name files of other data sets to train on")
    training, validation = zip(*map(split, seen), strict=True)
    seeds = range(chosen.seeds if unseen else 1)  # with nothing to test on, only what is kept
    found: dict[str, Any] = {}
    for variant, parts in VARIANTS.items() if unseen else KEPT.items():
        trained = [
            meta_train(training, validation, seed=seed, episodes=chosen.episodes, parts=parts)
            for seed in seeds
        ]
        found[variant] = {
            task.embeddings.task: [_score(predict(weights, task.embeddings), task) for weights in trained]
            for task in unseen
        }
        print(f"{variant}: {found[variant]}", flush=True)
        if variant == "full":
            save_weights(chosen.output, trained[0])
        if variant == "cell alone":
            save_weights(chosen.output.with_stem(f"{chosen.output.stem}-cells"), trained[0])
            found["cell alone, not adapted"] = {
                task.embeddings.task: [
                    _score(predict_cells(weights, one_hot(task.embeddings.cells)), task)
                    for weights in trained
                ]
                for task in unseen
            }
    card = {
        "purpose": f"ranks students of tasks of {chosen.unseen}, of which nothing was trained on",
        "trained on": [_about(task) for task in seen],
        "tested on": [_about(task) for task in unseen],
        "episodes": chosen.episodes,
        "seed of the predictor": 0,
        "Spearman correlation on what was not trained on, by seed": found,
    }
    write_text(chosen.output.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


def _score(predicted: npt.NDArray[np.float64], task: LabelledTask) -> float:
    return correlation(predicted, task.accuracies)


def _about(task: LabelledTask) -> dict[str, Any]:
    published = task.embeddings.task in TASKS
    return {
        "task": task.embeddings.task,
        "students": len(task.accuracies),
        "labels": f"{FULL}, measured" if published else f"{STUDENT}, measured",
        "teacher": "given" if published else TEACHER,
        "teacher accuracy": task.embeddings.teacher_accuracy,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nasbench_kd_baselines.dass.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    subsets = commands.add_parser(
        "subsets", help="make class subsets to meta-train on; goes on where it ended"
    )
    subsets.add_argument("--task", choices=("cifar10", "cifar100"), required=True)
    subsets.add_argument("--size", type=int, required=True, help="classes in a subset")
    subsets.add_argument("--count", type=int, default=4, help="how many subsets (4)")
    subsets.add_argument("--students", type=int, default=32, help="students trained in each (32)")
    subsets.add_argument("--folder", type=Path, required=True, help="where to keep them")
    embedding = commands.add_parser("embed", help="embed students of a teacher")
    embedding.add_argument("--task", choices=sorted(TASKS), required=True)
    embedding.add_argument(
        "--teacher", type=Path, required=True, help="weights of the ResNet-like cell, .npz or .pth"
    )
    embedding.add_argument("--accuracy", type=float, required=True, help="its validation accuracy in percent")
    embedding.add_argument("--cells", type=int, default=400, help="random isomorphism classes (400)")
    embedding.add_argument("--seed", type=int, default=0)
    embedding.add_argument("--output", type=Path, required=True)
    training = commands.add_parser("train", help="meta-train the predictor and write its card beside it")
    training.add_argument("--tasks", type=Path, nargs="+", required=True, help="files of embeddings")
    training.add_argument(
        "--unseen", choices=sorted(TASKS), required=True, help="data set kept out of the training, to test on"
    )
    training.add_argument("--episodes", type=int, default=200)
    training.add_argument("--seeds", type=int, default=3, help="trainings of each variant in the card (3)")
    training.add_argument("--output", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
