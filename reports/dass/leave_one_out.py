"""Does DaSS's predictor carry over to a teacher and a data set that it never saw? Leave one out, beside controls.

    python reports/dass/leave_one_out.py embed TEACHERS FOLDER    # TEACHERS/cifar10_resnet_cell.npz and cifar100's
    python reports/dass/leave_one_out.py train FOLDER             # goes on where it ended
    python reports/dass/leave_one_out.py report FOLDER            # the tables of README.md, leave_one_out.csv

The embeddings derive from the teachers' weights, which are not shipped, and so are not kept here.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import auto_prox
import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from nasbench_kd.files import write_between
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.teacher import RESNET_CELL
from nasbench_kd.report.tables import pipe_table
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd_baselines.dass.embeddings import Embeddings, embed, open_teacher
from nasbench_kd_baselines.dass.predictor import PARTS, LabelledTask, correlation, meta_train, predict
from nasbench_kd_baselines.dass.training import VARIANTS, split

Array = npt.NDArray[np.float64]
HERE = Path(__file__).parent
DATA_SETS = {"cifar10": 90.78, "cifar100": 70.20}
"""The data sets, with the validation accuracies of their trained teachers in percent (the authors' records)."""
TEACHERS = ("trained", "random")
RANDOM_TEACHER_SEED = 1
"""Of the untrained teacher's initialisation, as in the sweeps of `reports/kd-readings`."""
STUDENTS = 600
"""Classes that are embedded: those of the first half are trained on, those of the second half tested on."""
SIGNALS = ("train_accuracy", "train_distillation")
"""What is predicted: the student's accuracy under distillation, and how far it is from the teacher (less is more)."""
SEEDS = range(3)
RESAMPLES = 1000
NO_META = "without adapting"
PREDICTORS = {**VARIANTS, NO_META: PARTS}
"""What the predictors see. The last one is fitted to all tasks at once, with no step to the teacher."""
SIZE, PLAIN = "parameters", "accuracy without a teacher"
ELSEWHERE, AGAIN = "the same reading on the other tasks", "a second training"
GAINS = ("without adapting", "without teacher", "without remapping", "cell alone", SIZE)
"""What the whole predictor is held against in the table of gains."""


class Pair(NamedTuple):
    """A task of DaSS: a data set and a teacher."""

    data_set: str
    teacher: str

    def __str__(self) -> str:
        return f"{self.data_set}, {self.teacher} teacher"


PAIRS = tuple(Pair(data_set, teacher) for data_set in DATA_SETS for teacher in TEACHERS)


class Fold(NamedTuple):
    """What is predicted, what is trained on, and what is tested on."""

    signal: str
    left_out: str
    """`task`, or `data set` with both of its teachers."""
    training: tuple[Pair, ...]
    tested: Pair


def folds() -> Iterator[Fold]:
    """Every task left out once by itself, and once with the other one of its data set, for both signals."""
    for signal in SIGNALS:
        for pair in PAIRS:
            yield Fold(signal, "task", tuple(each for each in PAIRS if each != pair), pair)
            rest = tuple(each for each in PAIRS if each.data_set != pair.data_set)
            yield Fold(signal, "data set", rest, pair)


@cache
def reading(pair: Pair, signal: str, distillation: str = "nst", seed: int = 777) -> Array:
    """A signal of the cheap one-epoch trainings, losses with a minus sign, NaN where there is none, shape (15625,)."""
    data_set, teacher = pair
    controls = teacher == "random" or seed != 777
    table = Table.open(
        HERE.parent / "distillation-worth" / "controls" if controls else EMBEDDED_FOLDER / "kd_readings"
    )
    fidelity = Fidelity.parse(f"{distillation}-cheap")
    (column,) = [
        each
        for each in table.columns
        if (each.task, each.fidelity) == (data_set, fidelity)
        and seed in each.rows["seed"]
        and (not controls or each.provenance["teacher"]["kind"].startswith(teacher))
    ]
    spread = np.full(SPACE_SIZE, np.nan)
    spread[column.rows["cell"]] = column.values(signal) * (1 if signal.endswith("accuracy") else -1)
    return spread


def students() -> npt.NDArray[np.int64]:
    """Random classes that were trained by every teacher, shape (STUDENTS,)."""
    random = [reading(pair, SIGNALS[0]) for pair in PAIRS if pair.teacher == "random"]
    measured = np.flatnonzero(~np.isnan(np.sum(random, axis=0)))
    return np.random.default_rng(0).permutation(measured)[:STUDENTS]


def embed_all(teachers: Path, folder: Path) -> None:
    """Embed the students of all four teachers."""
    cells = [SPACE[index] for index in students().tolist()]
    for pair in (each for each in PAIRS if not _file(folder, each).exists()):
        classes = TASKS[pair.data_set].classes
        trained = pair.teacher == "trained"
        network = (
            open_teacher(teachers / f"{pair.data_set}_resnet_cell.npz", classes)
            if trained
            else seeded_network(RESNET_CELL, classes, seed=RANDOM_TEACHER_SEED)
        )
        # An untrained network is not tested: it guesses.
        accuracy = DATA_SETS[pair.data_set] if trained else 100 / classes
        found = embed(network, cells, task=pair.data_set, teacher_accuracy=accuracy)
        found.save(_file(folder, pair))
        print(pair, flush=True)


def halves(folder: Path, pair: Pair, signal: str) -> tuple[LabelledTask, LabelledTask]:
    """A task's students to train on and its students to test on, with what they read under its teacher."""
    embeddings = Embeddings.load(_file(folder, pair))
    accuracies = reading(pair, signal)[embeddings.cells]
    rows = np.split(np.arange(len(accuracies)), 2)
    first, second = (LabelledTask(embeddings.rows(each), accuracies[each]) for each in rows)
    return first, second


def train_all(folder: Path) -> None:
    """Train every predictor of every fold and keep its predictions."""
    for fold in folds():
        tested = halves(folder, fold.tested, fold.signal)[1]
        seen = (split(halves(folder, pair, fold.signal)[0]) for pair in fold.training)
        training, validation = zip(*seen, strict=True)
        for name, parts in PREDICTORS.items():
            for seed in SEEDS:
                path = _predictions(folder, fold, name, seed)
                if path.exists():
                    continue
                adapting = name != NO_META
                weights = meta_train(training, validation, seed=seed, parts=parts, adapting=adapting)
                path.parent.mkdir(exist_ok=True)
                with path.open("wb") as file:
                    np.save(file, predict(weights, tested.embeddings, adapting=adapting))
        print(fold.signal, fold.left_out, fold.tested, flush=True)


def rankings(folder: Path, fold: Fold) -> dict[str, list[Array]]:
    """What ranks the tested students, by name: of a predictor one for each of its trainings."""
    found = {name: [np.load(_predictions(folder, fold, name, seed)) for seed in SEEDS] for name in PREDICTORS}
    tested = Embeddings.load(_file(folder, fold.tested)).cells[STUDENTS // 2 :]
    task = TASKS[fold.tested.data_set]
    sizes = [task.sizes(SPACE[index])["parameters"] for index in tested.tolist()]
    found[SIZE] = [np.array(sizes, dtype=float)]
    found[PLAIN] = [reading(fold.tested._replace(teacher=""), "train_accuracy", "none")[tested]]
    others = [rankdata(reading(pair, fold.signal)[tested]) for pair in fold.training]
    found[ELSEWHERE] = [np.mean(others, axis=0)]
    if fold.tested.teacher == "trained":
        found[AGAIN] = [reading(fold.tested, fold.signal, seed=888)[tested]]
    return found


def report(folder: Path) -> None:
    """Write the tables and the numbers behind them."""
    tables: dict[tuple[str, str], list[dict[str, Bootstrap]]] = {}
    lines: list[list[str]] = []
    for fold in folds():
        values = halves(folder, fold.tested, fold.signal)[1].accuracies
        found = rankings(folder, fold)
        lines += [
            [
                fold.signal,
                fold.left_out,
                str(fold.tested),
                name,
                str(seed),
                f"{correlation(ranking, values):.4f}",
            ]
            for name, trainings in found.items()
            for seed, ranking in enumerate(trainings)
        ]
        drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
        tables.setdefault((fold.signal, fold.left_out), []).append(
            {
                name: Bootstrap(
                    _mean(trainings, values, np.arange(len(values))),
                    np.array([_mean(trainings, values, rows) for rows in drawn]),
                )
                for name, trainings in found.items()
            }
        )
    gains = []
    for (signal, left_out), columns in tables.items():
        rows = [
            [name, *(str(each[name]) if name in each else "" for each in columns)]
            for name in (*PREDICTORS, SIZE, PLAIN, ELSEWHERE, AGAIN)
        ]
        _write(f"{signal}, one {left_out} out", pipe_table(rows, ["ranked by", *map(str, PAIRS)]))
        gains.append([signal, left_out, *(str(_gain(columns, name)) for name in GAINS)])
    _write("gains", pipe_table(gains, ["predicted", "left out", *GAINS]))
    _write("transformers", auto_prox.table())
    with (HERE / "leave_one_out.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["predicted", "left out", "tested on", "ranked by", "training", "spearman"])
        writer.writerows(lines)


class Bootstrap(NamedTuple):
    """A number over some students, and over resamples of them."""

    estimate: float
    samples: Array

    def __str__(self) -> str:
        low, high = np.quantile(self.samples, (0.025, 0.975))
        return f"{self.estimate:.2f} [{low:.2f}, {high:.2f}]"


def _gain(columns: list[dict[str, Bootstrap]], name: str) -> Bootstrap:
    """What the whole predictor adds to another ranking, mean over the tested tasks."""
    return Bootstrap(
        float(np.mean([each["full"].estimate - each[name].estimate for each in columns])),
        np.mean([each["full"].samples - each[name].samples for each in columns], axis=0),
    )


def _mean(trainings: list[Array], values: Array, rows: npt.NDArray[np.int64]) -> float:
    """Spearman correlation over some students, mean over the trainings of a predictor."""
    return float(np.mean([correlation(each[rows], values[rows]) for each in trainings]))


def _write(name: str, text: str) -> None:
    write_between(HERE / "README.md", (f"<!-- {name} -->", f"<!-- end of {name} -->"), f"{text}\n")


def _file(folder: Path, pair: Pair) -> Path:
    return folder / f"{pair.data_set}-{pair.teacher}.npz"


def _predictions(folder: Path, fold: Fold, name: str, seed: int) -> Path:
    stem = f"{fold.signal} {fold.left_out} {fold.tested.data_set} {fold.tested.teacher} {name} {seed}"
    return folder / "predictions" / f"{stem.replace(' ', '-')}.npy"


if __name__ == "__main__":
    command, *folders = sys.argv[1:]
    sys.exit({"embed": embed_all, "train": train_all, "report": report}[command](*map(Path, folders)))
