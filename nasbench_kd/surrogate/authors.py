"""Fills the paper's own fidelity: `nst@1/12` to `nst@12` of cifar100, for classes that MF-KD's authors did not train.

The model is fitted to the 200 cells of the embedded table `mf-kd-authors`. It knows of a cell what is known without
training it in full: its validation accuracy after 12 plain epochs on the three tasks, how long its training takes, and
its structure. Accuracies after 200 epochs are left out, so that an entry cannot say more of them than a training would.
An entry is the prediction plus the residuals, at all epochs at once, that one measured cell with a similar prediction
left in cross-validation; the residuals of those cells are its 90 % interval, too. There are entries of the validation
accuracy alone: draws of the training loss were tried, and said less of 200 epochs than trainings do (tau 0.72 to 0.83).

Rebuild: `python -m nasbench_kd.surrogate.authors FOLDER [PAGE]`.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesRegressor

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.files import write_between
from nasbench_kd.spaces.nasbench201 import (
    OPERATIONS,
    SPACE_SIZE,
    code_matrix,
    isomorphism_classes,
    representatives,
)
from nasbench_kd.stats.statistics import Interval, kendall, kendall_interval
from nasbench_kd.surrogate.features import full_accuracy, live_edges, structure
from nasbench_kd.surrogate.model import CONFIDENCE, fold_of
from nasbench_kd.surrogate.tasks import as_counts
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.draws import Group
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
TASK, CURVE = "cifar100", Fidelity.parse("nst@12")
NAME = "mf-kd-surrogate"
IMAGES, SEED = 5000, 111
"""Validation images and training seed of the authors' trainings, one more of which every entry stands for."""
FOLDS, TREES = 10, 300
PEERS = 19
"""Measured cells whose residuals stand for the uncertainty of a cell: from the least to the largest,
(19 - 1) / (19 + 1) = 90 % of a further one's (order statistics)."""
REPETITIONS = 10
"""Independent draws of each held-out class, over which Kendall's tau is averaged."""
MARKS = ("<!-- paper's fidelity -->", "<!-- end of paper's fidelity -->")


class Records(NamedTuple):
    """The authors' trainings of n cells at the T epochs of their curve."""

    cells: Integers
    accuracy: Array
    """Validation accuracy in percent, shape (n, T)."""
    seconds: Array
    """On the table's clock up to that epoch, shape (n, T)."""


class Answers(NamedTuple):
    """What the surrogate says of q cells at T epochs, in percent."""

    prediction: Array
    """Shape (q, T)."""
    residuals: Array
    """Those of the measured cells with the most alike predictions, shape (q, `PEERS`, T)."""
    peers: Integers
    """Which of the model's `residuals` they are, shape (q, `PEERS`)."""

    def intervals(self) -> Array:
        """90 % intervals of the accuracy of one training, shape (q, T, 2)."""
        bounds = np.stack((self.residuals.min(axis=1), self.residuals.max(axis=1)), axis=-1)
        return np.asarray(np.clip(self.prediction[:, :, None] + bounds, 0, 100))

    def draw(self, classes: Integers, repetition: int = 0) -> Array:
        """One made-up training for each class, shape (q, T), in whole images; fixed by class and repetition."""
        chosen = [_hash(f"{CURVE} {number} {repetition}") % PEERS for number in classes.tolist()]
        drawn = self.prediction + self.residuals[np.arange(len(chosen)), chosen]
        return np.asarray(as_counts(drawn, IMAGES) * (100 / IMAGES), dtype=np.float64)


class AuthorsSurrogate:
    """Fitted to the measured accuracies (n, T) of n cells."""

    def __init__(self, cells: Integers, accuracy: Array) -> None:
        fold, held_out = fold_of(isomorphism_classes()[cells], FOLDS), np.empty_like(accuracy)
        for number in range(FOLDS):
            outside = fold == number
            held_out[outside] = _fit(cells[~outside], accuracy[~outside]).predict(inputs()[cells[outside]])
        order = np.argsort(held_out[:, -1], kind="stable")
        self._places, self.residuals = held_out[order, -1], (accuracy - held_out)[order]
        self._model = _fit(cells, accuracy)

    def answer(self, cells: Integers) -> Answers:
        """Answer for q cells, shape (q,)."""
        prediction = self._model.predict(inputs()[cells]).reshape(len(cells), -1)
        middle = np.searchsorted(self._places, prediction[:, -1])
        first = np.clip(middle - PEERS // 2, 0, len(self._places) - PEERS)
        peers = first[:, None] + np.arange(PEERS)
        return Answers(prediction, self.residuals[peers], peers)


def _fit(cells: Integers, accuracy: Array) -> Any:
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0)
    return forest.fit(inputs()[cells], accuracy)


@cache
def inputs() -> Array:
    """What is known of every cell, shape (15625, inputs): no accuracy after 200 epochs is among it."""
    opened, every = tables("embedded"), np.arange(SPACE_SIZE)
    benches = [Benchmark(task, opened) for task in TASKS.values()]
    plain = [bench.evaluate_many(every, "none@12").value for bench in benches]
    return np.column_stack((*plain, benches[0].evaluate_many(every, FULL).seconds, structure()))


def records() -> Records:
    """The measured trainings, of the embedded table."""
    columns = [
        column
        for table in tables("embedded")
        if table.name == "mf-kd-authors"
        for column in table.select(TASK, "valid")
        if column.fidelity.curve == CURVE
    ]
    columns.sort(key=lambda column: column.fidelity.epochs)
    cells = columns[0].rows["cell"].astype(np.int64)
    accuracy = np.column_stack([column.accuracies() for column in columns])
    seconds = np.column_stack([column.rows["microseconds"] / 1e6 for column in columns])
    return Records(cells, accuracy, seconds)


def unsupported() -> npt.NDArray[np.bool_]:
    """Cells without a convolution between input and output, shape (15625,): the 200 have 28 of them."""
    convolution = np.isin(
        code_matrix(), [code for code, name in enumerate(OPERATIONS) if name.startswith("nor_conv")]
    )
    return np.asarray(~(convolution & live_edges()).any(axis=1))


def validate(measured: Records) -> dict[str, Any]:
    """Quality by ten-fold cross-validation over isomorphism classes, all of fitting repeated for each fold."""
    cells, count = measured.cells, len(measured.cells)
    classes = isomorphism_classes()[cells].astype(np.int64)
    fold = fold_of(classes, FOLDS)
    prediction, drawn = np.empty(count), np.empty((REPETITIONS, count))
    bounds = np.empty((count, 2))
    for number in range(FOLDS):
        outside = fold == number
        found = AuthorsSurrogate(cells[~outside], measured.accuracy[~outside]).answer(cells[outside])
        prediction[outside], bounds[outside] = found.prediction[:, -1], found.intervals()[:, -1]
        for repetition in range(REPETITIONS):
            drawn[repetition, outside] = found.draw(cells[outside], repetition)[:, -1]
    reached, full = measured.accuracy[:, -1], full_accuracy(TASK)[cells]
    error, width = reached - prediction, bounds[:, 1] - bounds[:, 0]
    odd = unsupported()[cells]
    taus = {}
    for name, part in (("all", np.ones(count, dtype=bool)), ("better half", full >= np.median(full))):
        taus[name] = {
            "measured": _tau(full[part], reached[part]),
            "drawn": _tau(full[part], drawn[:, part].T),
            "predicted": kendall(prediction[part], full[part]),
        }
    return {
        "fidelity": str(CURVE),
        "classes": len(np.unique(classes)),
        "trainings": count,
        "r2": 1 - float(np.mean(error**2) / np.var(reached)),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "tau_of_prediction": kendall(prediction, reached),
        "confidence": CONFIDENCE,
        "coverage": float(np.mean((bounds[:, 0] <= reached) & (reached <= bounds[:, 1]))),
        "interval_width": float(width[~odd].mean()),
        "interval_width_without_convolution": float(width[odd].mean()),
        "tau_with_full": taus,
    }


def write_surrogate(folder: Path) -> Table:
    """Fit, validate, and write the entries of all classes that were not measured to a table, with further draws."""
    measured = records()
    known = np.unique(isomorphism_classes()[measured.cells])
    lacking = np.array([cell.index for cell in representatives()])
    lacking = lacking[~np.isin(isomorphism_classes()[lacking], known)]
    model = AuthorsSurrogate(measured.cells, measured.accuracy)
    answers = model.answer(lacking)
    drawn = answers.draw(lacking)
    further = Group(
        TASK,
        tuple(str(CURVE.at_epoch(epoch + 1)) for epoch in range(CURVE.epochs)),
        np.full(CURVE.epochs, IMAGES),
        lacking,
        answers.prediction,
        model.residuals,
        answers.peers,
    )
    full = Benchmark(TASKS[TASK], tables("embedded")).evaluate_many(np.arange(SPACE_SIZE), FULL).seconds
    ratio = np.median(measured.seconds / full[measured.cells][:, None], axis=0)
    provenance = {
        "source": "surrogate",
        "origin": "surrogate of the trainings of MF-KD's authors",
        "method": "extremely randomized trees on none@12 of three tasks, 200-epoch seconds and structure, plus the "
        "residuals of one measured training with a similar prediction",
        "fitted_to": "mf-kd-authors",
        "seconds": "those of the authors' trainings in proportion to 200 epochs of the cell",
    }
    columns = [
        Column(
            TASK,
            CURVE.at_epoch(epoch + 1),
            "valid",
            IMAGES,
            make_rows(
                lacking,
                np.full(len(lacking), SEED),
                np.rint(drawn[:, epoch] * IMAGES / 100),
                np.rint(full[lacking] * ratio[epoch] * 1e6),
            ),
            provenance,
        )
        for epoch in range(CURVE.epochs)
    ]
    card = {
        "title": "Surrogate entries of MF-KD's own fidelity, nst@12 on cifar100: frozen draws, not trainings",
        "source": "fitted to the tables mf-kd-authors and nas-bench-201-12-epochs; no accuracy after 200 epochs",
        "source_sha256": {
            table.name: table.sha256
            for table in tables("embedded")
            if table.name in ("mf-kd-authors", "nas-bench-201-12-epochs")
        },
        "licence": "Apache-2.0",
        "rebuild": "python -m nasbench_kd.surrogate.authors FOLDER",
        "software": {name: version(name) for name in ("numpy", "scikit-learn")},
        "quality": validate(measured),
    }
    return write_table(folder, NAME, columns, card, [further])


def quality_markdown(quality: dict[str, Any]) -> str:
    """The figures of a card as Markdown."""
    lines = [
        "| over | tau of the measured with 200 epochs | drawn | predicted |",
        "|---|---|---|---|",
    ]
    for name, taus in quality["tau_with_full"].items():
        measured, drawn = (
            f"{low:.2f} to {high:.2f}, {mean:.2f}" for mean, low, high in (taus["measured"], taus["drawn"])
        )
        lines.append(f"| {name} | {measured} | {drawn} | {taus['predicted']:.2f} |")
    lines += [
        "",
        f"R2 {quality['r2']:.3f}, RMSE {quality['rmse']:.2f} points, tau of the prediction with the measured accuracy "
        f"{quality['tau_of_prediction']:.2f} ({quality['trainings']} trainings of {quality['classes']} classes). The "
        f"{quality['confidence']:.0%} intervals hold {quality['coverage']:.1%} of the trainings; they are "
        f"{quality['interval_width']:.1f} points wide on average, and "
        f"{quality['interval_width_without_convolution']:.1f} for cells without a convolution.",
    ]
    return "\n".join(lines) + "\n"


def _tau(full: Array, values: Array) -> list[float]:
    found: Interval = kendall_interval(full, values, np.random.default_rng(SEED), resamples=1000)
    return list(found)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


if __name__ == "__main__":
    table = write_surrogate(Path(sys.argv[1]))
    for page in sys.argv[2:]:
        write_between(Path(page), MARKS, quality_markdown(table.card["quality"]))
    print(quality_markdown(table.card["quality"]))
