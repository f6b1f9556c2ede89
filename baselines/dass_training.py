"""Makes the two files that DaSS needs: `embed` the students of a teacher, `train` the predictor.

python -m baselines.dass_training embed --task cifar10 --teacher teacher.npz --accuracy 90.78 --output c10.npz
python -m baselines.dass_training train --tasks c10.npz --validation c100.npz --output predictor.npz
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from baselines.dass_embeddings import Embeddings, embed, open_teacher
from baselines.dass_predictor import PARTS, LabelledTask, correlation, meta_train, predict, save_weights
from nasbench_kd.benchmark import TASKS, load
from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.fidelity import FULL
from nasbench_kd.space import representatives


def labelled(path: Path, fidelity: str) -> LabelledTask:
    """Embeddings with the validation accuracies of a fidelity; raises where the tables lack one."""
    embeddings = Embeddings.load(path)
    accuracies = load(embeddings.task).evaluate_many(embeddings.cells, fidelity).valid_accuracy
    finished = np.flatnonzero(~np.isnan(accuracies))
    kept = Embeddings(
        task=embeddings.task,
        cells=embeddings.cells[finished],
        maps=embeddings.maps[finished],
        teacher=embeddings.teacher,
        teacher_map=embeddings.teacher_map,
        teacher_accuracy=embeddings.teacher_accuracy,
    )
    return LabelledTask(kept, accuracies[finished])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "embed":
            _embed(chosen)
        else:
            _train(chosen)
    except NasbenchKDError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _embed(chosen: argparse.Namespace) -> None:
    classes = representatives()
    order = np.random.default_rng(chosen.seed).permutation(len(classes))[: chosen.cells]
    made = embed(
        open_teacher(chosen.teacher, TASKS[chosen.task].classes),
        [classes[place] for place in order],
        task=chosen.task,
        teacher_accuracy=chosen.accuracy,
        remapping=not chosen.no_remapping,
    )
    made.save(chosen.output)
    print(f"{chosen.output}: {len(made.cells)} students of {chosen.task}")


def _train(chosen: argparse.Namespace) -> None:
    tasks = [labelled(path, chosen.fidelity) for path in chosen.tasks]
    validation = [labelled(path, chosen.fidelity) for path in chosen.validation]
    weights = meta_train(
        tasks,
        validation,
        seed=chosen.seed,
        episodes=chosen.episodes,
        parts=chosen.parts,
        progress=lambda episode, found: print(f"episode {episode}: Spearman {found:.3f}"),
    )
    save_weights(chosen.output, weights)
    for path, task in zip(chosen.validation, validation, strict=True):
        found = correlation(predict(weights, task.embeddings), task.accuracies)
        print(f"{path}: Spearman {found:.3f} on {len(task.accuracies)} students that were not trained on")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m baselines.dass_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    embedding = commands.add_parser("embed", help="embed students of a teacher")
    embedding.add_argument("--task", choices=sorted(TASKS), required=True)
    embedding.add_argument(
        "--teacher", type=Path, required=True, help="weights of the ResNet-like cell, .npz or .pth"
    )
    embedding.add_argument("--accuracy", type=float, required=True, help="its validation accuracy in percent")
    embedding.add_argument("--cells", type=int, default=500, help="random isomorphism classes (500)")
    embedding.add_argument("--seed", type=int, default=0)
    embedding.add_argument(
        "--no-remapping", action="store_true", help="students of fresh weights: the control"
    )
    embedding.add_argument("--output", type=Path, required=True)
    training = commands.add_parser("train", help="meta-train the predictor")
    training.add_argument(
        "--tasks", type=Path, nargs="+", required=True, help="files of embeddings to train on"
    )
    training.add_argument(
        "--validation", type=Path, nargs="+", required=True, help="files that choose the episode"
    )
    training.add_argument("--fidelity", default=str(FULL), help="whose accuracies are the labels (none@200)")
    training.add_argument("--episodes", type=int, default=1000)
    training.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="inputs of the predictor")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--output", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
