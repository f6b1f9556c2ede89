"""Benchmark: an evaluation from the table, an isomorphic twin, live training or the surrogate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import CellError, MissingEntryError, nearest
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, Cell, isomorphism_classes
from nasbench_kd.tables.table import MEAN_SEED, Column, Table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.task import Task

Source = Literal["measured", "isomorphic", "live", "surrogate"]


class Evaluation(NamedTuple):
    """What a search is told of a trained cell. It has no test accuracy, by construction."""

    valid_accuracy: float
    """Validation accuracy in percent; NaN where the training diverged."""
    seconds: float
    """Training time on the table's clock: the whole training, or what a search was charged."""
    seed: int
    """Training seed of the entry; 0 where a source gives only the mean over seeds."""
    source: Source
    """Where the number comes from."""

    @property
    def failed(self) -> bool:
        """Whether the training diverged."""
        return self.valid_accuracy != self.valid_accuracy


class Batch(NamedTuple):
    """Evaluations of many cells, as arrays of equal length."""

    valid_accuracy: npt.NDArray[np.float64]
    """Validation accuracy in percent, shape (n,)."""
    seconds: npt.NDArray[np.float64]
    """Training time on the table's clock, shape (n,)."""


class LiveTrainer(Protocol):
    """Trains what the tables do not hold (see `nasbench_kd.live`)."""

    def evaluate(self, task: Task, cell: Cell, fidelity: Fidelity, seed: int | None) -> Evaluation:
        """Train with a seed, by default one of its choice, and store and return the entry.

        Its time is scaled to the table's clock.
        """


class Benchmark:
    """One task, opened: answers evaluations and holds no test accuracy.

    >>> import nasbench_kd as nk
    >>> bench = nk.load("cifar100")
    >>> bench.evaluate(nk.Cell.from_index(0), "none@200", seed=888)
    Evaluation(valid_accuracy=53.08, seconds=2888.4372, seed=888, source='measured')
    """

    def __init__(self, task: Task, opened: Sequence[Table], live: LiveTrainer | None = None) -> None:
        self.task = task
        self.table_versions = {table.name: table.sha256 for table in opened}
        """SHA-256 of every table behind the answers, by name."""
        self._live = live
        self._columns: dict[Fidelity, list[Column]] = {}
        for table in opened:
            for column in table.select(task.name, "valid"):
                self._columns.setdefault(column.fidelity, []).append(column)
        self._covers: dict[Fidelity, bool] = {}
        self._answers: dict[str | Fidelity, list[tuple[Evaluation, ...]]] = {}
        self._trainings: dict[tuple[Fidelity, int, int | None], Evaluation] = {}
        self._batches: dict[str | Fidelity, Batch] = {}

    @property
    def live(self) -> bool:
        """Whether missing entries are trained when they are asked for."""
        return self._live is not None

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """Fidelities with at least one entry, cheapest first."""
        return tuple(sorted(self._columns, key=lambda fidelity: (self.mean_seconds(fidelity), str(fidelity))))

    def evaluate(self, cell: Cell, fidelity: str | Fidelity = FULL, *, seed: int | None = None) -> Evaluation:
        """Return the entry of a cell at a fidelity, for one training seed (default: the first one).

        Raises `FidelityError`, `CellError` or `MissingEntryError`, each saying what there is.
        """
        answers = self._answers.get(fidelity)
        if answers is None:
            answers = self._resolve(fidelity)
        try:
            options = answers[cell.index]
        except (AttributeError, TypeError):
            raise CellError(
                f"evaluate takes a Cell, not {type(cell).__name__}: use Cell.parse or Cell.from_index"
            ) from None
        if seed is None and options:
            return options[0]
        for option in options:
            if option.seed == seed:
                return option
        return self._beyond_the_tables(cell, Fidelity.parse(fidelity), seed, options)

    def evaluate_many(self, indices: npt.ArrayLike, fidelity: str | Fidelity = FULL) -> Batch:
        """Return the entries of many cells (official indices, shape (n,)) for their first seed.

        Raises `FidelityError`, `CellError` on an index outside the space, and `MissingEntryError`
        where a table lacks one of the cells; nothing is trained.
        """
        batch = self._batches.get(fidelity)
        if batch is None:
            batch = self._resolve_batch(fidelity)
        chosen = np.asarray(indices)
        if chosen.size and not (int(chosen.min()) >= 0 and int(chosen.max()) < SPACE_SIZE):
            raise CellError(
                f"indices run from 0 to {SPACE_SIZE - 1}, not from {chosen.min()} to {chosen.max()}"
            )
        seconds = batch.seconds[chosen]
        missing = np.isnan(seconds)
        if missing.any():
            raise MissingEntryError(
                f"{int(missing.sum())} of {chosen.size} cells have no entry at {fidelity} on "
                f"{self.task.name}, the first of them {int(chosen[missing][0])}"
            )
        return Batch(batch.valid_accuracy[chosen], seconds)

    def draw(self, cell: Cell, fidelity: Fidelity, run_seed: int) -> Evaluation:
        """Return the entry of the training seed that a run with this seed gets to see.

        The choice depends on the run's seed, the cell and the training curve alone, so that the
        same query always gets the same answer, and the epochs of one training share its seed.
        """
        answers = self._answers.get(fidelity)
        if answers is None:
            answers = self._resolve(fidelity)
        options = answers[cell.index]
        if not options:
            return self._beyond_the_tables(cell, fidelity, None, options)
        if len(options) == 1:
            return options[0]
        key = f"{run_seed} {cell.index} {fidelity.curve}".encode()
        digest = hashlib.blake2b(key, digest_size=8).digest()
        return options[int.from_bytes(digest, "little") % len(options)]

    def seeds(self, cell: Cell, fidelity: str | Fidelity = FULL) -> tuple[int, ...]:
        """Training seeds with an entry for this cell; empty where there is none."""
        answers = self._answers.get(fidelity) or self._resolve(fidelity)
        return tuple(answer.seed for answer in answers[cell.index])

    def mean_seconds(self, fidelity: str | Fidelity = FULL) -> float:
        """Mean training time over the entries of a fidelity, in seconds of the table's clock."""
        columns = self._columns.get(Fidelity.parse(fidelity))
        if columns is None:
            raise self._no_such_fidelity(Fidelity.parse(fidelity))
        return float(np.mean([column.rows["microseconds"].mean() for column in columns])) / 1e6

    def covers(self, fidelity: Fidelity) -> bool:
        """Whether every cell has an entry at a fidelity: its own or that of an isomorphic cell."""
        if fidelity not in self._covers:
            columns, classes = self._columns.get(fidelity, []), isomorphism_classes()
            measured = np.zeros(SPACE_SIZE, dtype=bool)
            for column in columns:
                measured[classes[column.rows["cell"]]] = True
            self._covers[fidelity] = bool(measured[classes].all())
        return self._covers[fidelity]

    @property
    def teacher_seconds(self) -> float:
        """What training the task's teacher costs, in seconds of the table's clock."""
        return self.evaluate(self.task.teacher, FULL).seconds

    def _no_such_fidelity(self, fidelity: Fidelity) -> MissingEntryError:
        known = sorted(map(str, self._columns))
        return MissingEntryError(
            f"no entries at the fidelity {str(fidelity)!r} on {self.task.name}; there are: "
            f"{', '.join(known)}.{nearest(str(fidelity), known)} `nasbench-kd data status` lists what is "
            "installed, `nasbench-kd data pull` adds public results, and `nasbench-kd fill` trains "
            "missing entries."
        )

    def _resolve(self, fidelity: str | Fidelity) -> list[tuple[Evaluation, ...]]:
        parsed = Fidelity.parse(fidelity)
        if parsed not in self._columns and self._live is None:
            raise self._no_such_fidelity(parsed)
        if parsed not in self._answers:
            columns = self._columns.get(parsed, [])
            measured = [column for column in columns if column.provenance.get("source") != "surrogate"]
            surrogate = [column for column in columns if column.provenance.get("source") == "surrogate"]
            answers: list[tuple[Evaluation, ...]] = [()] * SPACE_SIZE
            for column in measured:
                _fill(answers, _evaluations(column, "measured"))
            _fill_twins(answers, "isomorphic")
            for column in surrogate:
                _fill(answers, _evaluations(column, "surrogate"))
            if surrogate:
                _fill_twins(answers, "surrogate")
            self._answers[parsed] = answers
        self._answers[fidelity] = self._answers[parsed]
        return self._answers[parsed]

    def _resolve_batch(self, fidelity: str | Fidelity) -> Batch:
        first = [options[0] if options else None for options in self._resolve(fidelity)]
        accuracies = np.array([np.nan if entry is None else entry.valid_accuracy for entry in first])
        seconds = np.array([np.nan if entry is None else entry.seconds for entry in first])
        self._batches[fidelity] = Batch(accuracies, seconds)
        return self._batches[fidelity]

    def _beyond_the_tables(
        self, cell: Cell, fidelity: Fidelity, seed: int | None, options: Iterable[Evaluation]
    ) -> Evaluation:
        if self._live is not None and (seed is None or seed > MEAN_SEED):
            return self._trained(cell, fidelity, seed)
        seeds = [option.seed for option in options]
        if seeds:
            raise MissingEntryError(
                f"cell {cell.index} at {fidelity} on {self.task.name} has no training seed {seed}; "
                f"there are {', '.join(map(str, seeds))}"
            )
        raise MissingEntryError(
            f"cell {cell.index} has no entry at {fidelity} on {self.task.name}, nor has an isomorphic cell; "
            f"`nasbench-kd fill --task {self.task.name} --fidelity '{fidelity.curve}'` measures missing "
            "entries, and load(..., live=True) trains them when they are asked for"
        )

    def _trained(self, cell: Cell, fidelity: Fidelity, seed: int | None) -> Evaluation:
        """The entry of a live training; it joins no table, so that what a run draws there stays the same."""
        assert self._live is not None
        key = (fidelity, cell.index, seed)
        if key not in self._trainings:
            self._trainings[key] = self._live.evaluate(self.task, cell, fidelity, seed)
        return self._trainings[key]


def _evaluations(column: Column, source: Source) -> list[tuple[Evaluation, ...]]:
    """Group a column's rows by cell; the table keeps them sorted by cell and seed."""
    grouped: list[tuple[Evaluation, ...]] = [()] * SPACE_SIZE
    rows = column.rows
    accuracies = np.round(column.accuracies(), 10).tolist()
    seconds = (rows["microseconds"] / 1e6).tolist()
    for index, accuracy, time, seed in zip(
        rows["cell"].tolist(), accuracies, seconds, rows["seed"].tolist(), strict=True
    ):
        grouped[index] += (Evaluation(accuracy, time, seed, source),)
    return grouped


def _fill(answers: list[tuple[Evaluation, ...]], more: list[tuple[Evaluation, ...]]) -> None:
    """Add training seeds that are not there yet; single seeds take the place of a mean, never the reverse.

    Tables come in order of precedence.
    """
    for index, options in enumerate(more):
        if not options or answers[index] == options:
            continue
        known = {option.seed for option in answers[index]}
        if not known or (known == {MEAN_SEED} and all(option.seed != MEAN_SEED for option in options)):
            answers[index] = options
        elif MEAN_SEED not in known:
            fresh = [option for option in options if option.seed not in {*known, MEAN_SEED}]
            if fresh:
                answers[index] = tuple(sorted((*answers[index], *fresh), key=lambda option: option.seed))


def _fill_twins(answers: list[tuple[Evaluation, ...]], source: Source) -> None:
    """Give cells without an entry that of a cell which computes the same function."""
    empty = [index for index, options in enumerate(answers) if not options]
    if not empty:
        return
    classes = isomorphism_classes()
    donors: dict[int, tuple[Evaluation, ...]] = {}
    for index, options in enumerate(answers):
        if options:
            donors.setdefault(int(classes[index]), options)
    for index in empty:
        options = donors.get(int(classes[index]), ())
        answers[index] = tuple(option._replace(source=source) for option in options)
