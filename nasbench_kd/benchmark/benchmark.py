"""Benchmark: an evaluation from the table, an isomorphic twin, live training or the surrogate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_kd.arguments import whole_number
from nasbench_kd.benchmark.evaluation import Batch, Evaluation
from nasbench_kd.errors import CellError, MissingEntryError, nearest
from nasbench_kd.frames import frame
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tables.column import READ_ON_TEST, Column
from nasbench_kd.tables.resolve import MEAN_SEED, SOURCES, Entries, MeanEntries, resolve
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd.tasks.registry import shares_space
from nasbench_kd.tasks.signals import ACCURACY, SIGNALS, SUM_OF_LOSSES, find_signal
from nasbench_kd.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
_OF_TWIN = SOURCES.index("isomorphic")


class LiveTrainer(Protocol):
    """Trains what the tables do not hold (see `nasbench_kd.live`)."""

    def evaluate(
        self, task: Task, cell: Architecture, fidelity: Fidelity, seed: int | None, signal: str
    ) -> Evaluation:
        """Train with a seed, by default one of its choice, store the entry and return its reading of a signal.

        Its time is scaled to the table's clock.
        """


class Benchmark:
    """One task, opened: answers evaluations and holds no test accuracy.

    >>> import nasbench_kd as nk
    >>> bench = nk.load("cifar100")
    >>> bench
    Benchmark(cifar100, nas-bench-201)
    >>> bench.evaluate(nk.Cell.from_index(0), "none@200", seed=888)
    Evaluation(value=53.08, signal='valid_accuracy', seconds=2888.4372, seed=888, source='measured')
    """

    def __init__(
        self,
        task: Task,
        opened: Sequence[Table],
        live: LiveTrainer | None = None,
        *,
        mean_over_seeds: bool = False,
    ) -> None:
        self.task = task
        self._space = task.space
        self._size = len(task.space)
        self.table_versions = {table.name: table.sha256 for table in opened}
        """SHA-256 of every table behind the answers, by name."""
        self.mean_over_seeds = mean_over_seeds
        """Whether a query gives the mean over a cell's training seeds, not one training."""
        self._live = live
        self._columns: dict[Fidelity, list[Column]] = {}
        self._withheld: set[Fidelity] = set()
        """Fidelities of the task that were read on its test images."""
        for table in opened:
            for column in table.columns:
                if _is_known(column, task):
                    fidelity = _seen_from(task.name, column.task, column.fidelity)
                    self._columns.setdefault(fidelity, []).append(column)
                elif _was_read_on_its_test_images(column, task):
                    self._withheld.add(column.fidelity)
        self._draws = [table.draws for table in opened if table.draws is not None]
        self._covered: dict[Fidelity, npt.NDArray[np.intp]] = {}
        self._means: dict[Fidelity, float] = {}
        self._common: dict[Fidelity, tuple[str, ...]] = {}
        self._entries: dict[Fidelity, Entries] = {}
        self._answers: dict[str, dict[str | Fidelity, list[tuple[Evaluation, ...]]]] = {}
        self._seeds: dict[Fidelity, list[tuple[int | None, ...]]] = {}
        self._other_trainings: dict[Fidelity, dict[int, tuple[int | None, ...]]] = {}
        """Seeds of the cells at a fidelity that has not all seeds that a run may be shown along the curve."""
        self._trainings: dict[tuple[Fidelity, int, int | None, str], Evaluation] = {}
        self._batches: dict[tuple[str, str | Fidelity], Batch] = {}

    def __repr__(self) -> str:
        return f"Benchmark({self.task.name}, {self.task.space.name})"

    @property
    def live(self) -> bool:
        """Whether missing entries are trained when they are asked for."""
        return self._live is not None

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """Fidelities with at least one entry, cheapest first: the task's own, and measured trainings on other tasks."""
        return tuple(sorted(self._columns, key=lambda fidelity: (self.mean_seconds(fidelity), str(fidelity))))

    def signals(self, fidelity: str | Fidelity = TARGET) -> tuple[str, ...]:
        """Signals that entries of a fidelity can be read by, in the order of the list.

        Raises `FidelityError` and `MissingEntryError`.
        """
        parsed = self.task.fidelity(fidelity)
        found = {*self._resolved(parsed).signals}
        if self._epochs_before(parsed):
            found.add(SUM_OF_LOSSES)
        return tuple(name for name in SIGNALS if name in found)

    def common_signals(self, fidelity: str | Fidelity) -> tuple[str, ...]:
        """Signals that every entry of a fidelity can be read by; raises `MissingEntryError`."""
        fidelity = self.task.fidelity(fidelity)
        if fidelity not in self._common:
            found = {*self._resolved(fidelity).common_signals}
            if self._epochs_before(fidelity) and self._values(fidelity, SUM_OF_LOSSES)[1].all():
                found.add(SUM_OF_LOSSES)
            self._common[fidelity] = tuple(name for name in SIGNALS if name in found)
        return self._common[fidelity]

    def evaluate(
        self,
        cell: Architecture,
        fidelity: str | Fidelity = TARGET,
        signal: str = ACCURACY,
        *,
        seed: int | None = None,
    ) -> Evaluation:
        """Return the entry of a cell at a fidelity, for one training seed (default: the first one), read by a signal.

        Raises `FidelityError`, `UnknownNameError` on the signal, `ArgumentError` on the seed, `CellError` or
        `MissingEntryError`, each saying what there is.
        """
        try:
            answers = self._answers[signal][fidelity]
        except (KeyError, TypeError):  # no such answers yet, or what is no key of any
            answers = self._answer(fidelity, signal)
        try:
            if cell.space is not self._space and cell.space != self._space:
                raise self._no_architecture(cell)
        except AttributeError:
            raise self._no_architecture(cell) from None
        options = answers[cell.index]
        if seed is None and options:
            return options[0]
        if seed is not None and type(seed) is not int:
            seed = whole_number("seed", seed)
        for option in options:
            if option.seed == seed:
                return option
        return self._beyond_the_tables(cell, self.task.fidelity(fidelity), seed, signal)

    def evaluate_many(
        self, indices: npt.ArrayLike, fidelity: str | Fidelity = TARGET, signal: str = ACCURACY
    ) -> Batch:
        """Return the entries of many cells (official indices, shape (n,)) for their first seed, read by a signal.

        Raises `FidelityError`, `UnknownNameError` on the signal, `CellError` on an index outside the space,
        and `MissingEntryError` where a table lacks one of the cells; nothing is trained.
        """
        try:
            batch = self._batches[signal, fidelity]
        except (KeyError, TypeError):  # as in `evaluate`
            parsed = self.task.fidelity(fidelity)
            batch = self._batch(parsed, signal)
            self._batches[signal, fidelity] = batch
        chosen = np.asarray(indices)
        if not chosen.size:
            chosen = chosen.astype(np.intp)
        if chosen.dtype.kind not in "iu":
            raise CellError(f"the indices of cells are whole numbers, not of the type {chosen.dtype}")
        if chosen.size and not (int(chosen.min()) >= 0 and int(chosen.max()) < self._size):
            raise CellError(
                f"indices run from 0 to {self._size - 1}, not from {chosen.min()} to {chosen.max()}"
            )
        seconds = batch.seconds[chosen]
        missing = np.isnan(seconds)
        if missing.any():
            raise MissingEntryError(
                f"{int(missing.sum())} of {chosen.size} cells have no entry at {fidelity} on "
                f"{self.task.name}" + (f" with {signal}" if signal != ACCURACY else "") + ", the first of "
                f"them {int(chosen[missing][0])}"
            )
        return Batch(batch.value[chosen], seconds, signal)

    def to_frame(self, fidelity: str | Fidelity = TARGET) -> pd.DataFrame:
        """Every entry of a fidelity as a pandas DataFrame: one row for each cell and training seed, sorted by both.

        Columns: `cell` (index), `architecture` (its text), `seed` (None where a source gives only the mean over
        seeds), `source`, `seconds` of training on the table's clock, and one column a signal, NaN where it
        was not read or the training diverged. No test accuracy. Raises `FidelityError`, `MissingEntryError`, and
        `MissingDependencyError` where pandas is not installed.
        """
        parsed = self.task.fidelity(fidelity)
        entries = self._resolved(parsed)
        return frame(
            {
                "cell": entries.cell,
                "architecture": [str(self._space[index]) for index in entries.cell.tolist()],
                "seed": _named(entries.seed),
                "source": [SOURCES[code] for code in entries.source.tolist()],
                "seconds": entries.seconds,
                **{signal: self._values(parsed, signal)[0] for signal in self.signals(parsed)},
            }
        )

    def draw(
        self, cell: Architecture, fidelity: Fidelity, run_seed: int, signal: str = ACCURACY
    ) -> Evaluation:
        """Return the entry of the training seed that a run with this seed gets to see, read by a signal.

        The choice depends on the run's seed, the cell and the training curve alone, so that the
        same query always gets the same answer, and all epochs and signals of one training share its seed:
        one of those that most stored epochs of the cell's curve have. An epoch that has not this one is of
        another training, with a seed of its own. Where the surrogate answers, the run has a draw of its own,
        as far as its table can give one.
        """
        if not isinstance(fidelity, Fidelity):
            fidelity = self.task.fidelity(fidelity)
        return self.drawing(fidelity, run_seed, signal)(cell)

    def drawing(
        self, fidelity: Fidelity, run_seed: int, signal: str = ACCURACY
    ) -> Callable[[Architecture], Evaluation]:
        """Return `draw` of one fidelity, run and signal, for many cells. Raises as `evaluate` does."""
        drawable, answers, space = self._drawable(fidelity), self._answer(fidelity, signal), self._space
        others, end = self._other_trainings[fidelity], f" {fidelity.curve}"

        def drawn(cell: Architecture) -> Evaluation:
            try:
                index = cell.index
                seeds = drawable[index]
            except (AttributeError, TypeError, IndexError):
                raise self._no_architecture(cell) from None
            options = answers[index] if cell.space is space else ()
            place = _drawn(len(seeds), f"{run_seed} {index}{end}") if len(seeds) > 1 else 0
            seed = seeds[place] if seeds else None
            if others and index in others and seed not in others[index]:
                seed = others[index][_drawn(len(others[index]), f"{run_seed} {index}{end}")]
            if place < len(options) and options[place].seed == seed:  # as it is where all seeds are stored
                evaluation = options[place]
            else:
                there = (each for each in options if each.seed == seed)
                evaluation = next(there, None) or self.evaluate(cell, fidelity, signal, seed=seed)
            if evaluation.source == "surrogate":
                return self._redrawn(evaluation, cell, fidelity, run_seed)
            return evaluation

        return drawn

    def _redrawn(
        self, evaluation: Evaluation, cell: Architecture, fidelity: Fidelity, run_seed: int
    ) -> Evaluation:
        """An entry of the surrogate as a run with this seed sees it."""
        number = int(self._space.classes[cell.index])
        for draws in self._draws:
            value = draws.accuracy(self.task.name, str(fidelity), number, run_seed)
            if value is not None and evaluation.signal == ACCURACY:
                return evaluation._replace(value=value)
        return evaluation

    def seeds(self, cell: Architecture, fidelity: str | Fidelity = TARGET) -> tuple[int | None, ...]:
        """Training seeds with an entry for this cell, None for a mean over seeds; empty where there is no entry."""
        parsed = self.task.fidelity(fidelity)
        if parsed not in self._columns and self._live is not None:
            return ()
        if not isinstance(cell, Architecture) or cell not in self._space:
            raise self._no_architecture(cell)
        entries = self._resolved(parsed)
        return tuple(_named(entries.seed[entries.starts[cell.index] : entries.starts[cell.index + 1]]))

    def mean_seconds(self, fidelity: str | Fidelity = TARGET) -> float:
        """Mean training time over the cells that a fidelity has entries of, on the table's clock.

        A cell with several seeds counts once, by their mean.
        """
        parsed = self.task.fidelity(fidelity)
        if parsed not in self._means:
            entries = self._resolved(parsed)
            count = np.diff(entries.starts)
            total = np.bincount(entries.cell, weights=entries.seconds, minlength=self._size)
            self._means[parsed] = float((total[count > 0] / count[count > 0]).mean())
        return self._means[parsed]

    def covered(self, fidelity: str | Fidelity) -> npt.NDArray[np.intp]:
        """Indices of the cells that have an entry at a fidelity: their own or that of an isomorphic cell, ascending."""
        fidelity = self.task.fidelity(fidelity)
        if fidelity not in self._covered:
            columns, classes = self._columns.get(fidelity, []), self._space.classes
            measured = np.zeros(self._size, dtype=bool)
            for column in columns:
                measured[classes[column.rows["cell"]]] = True
            self._covered[fidelity] = np.flatnonzero(measured[classes])
        return self._covered[fidelity]

    def covers(self, fidelity: str | Fidelity) -> bool:
        """Whether every cell has an entry at a fidelity: its own or that of an isomorphic cell."""
        return len(self.covered(fidelity)) == self._size

    @property
    def teacher_seconds(self) -> float:
        """What training the task's teacher costs, in seconds of the table's clock."""
        return self.evaluate(self.task.teacher).seconds

    def _no_architecture(self, given: object) -> CellError:
        space = self._space
        found = repr(given) if isinstance(given, Architecture) else type(given).__name__
        return CellError(
            f"the benchmark takes a {type(space[0]).__name__} of {space.name}, not {found:.120}: use "
            "`task.space.parse` or `task.space[index]` of the opened task"
        )

    def _no_such_fidelity(self, fidelity: Fidelity) -> MissingEntryError:
        where = fidelity.trained_on
        own = replace(fidelity, trained_on=None) if where == self.task.name else fidelity
        if own in self._withheld:
            return MissingEntryError(
                f"{own.alias!r} was read on the test images of {self.task.name}, so that its searches are not shown "
                f"it: reports are, and so are searches of other tasks, as '{own.on(self.task.name)}'"
            )
        if where == self.task.name:
            return MissingEntryError(
                f"{str(fidelity)!r} is a training on the task's own images: leave out on={where}"
            )
        others = sorted({each.trained_on for each in self._columns if each.trained_on})
        if where not in (None, *others):
            where = None
        if not self._columns and self.task.obtain:
            return MissingEntryError(f"there are no entries on {self.task.name}: {self.task.obtain}")
        known = sorted(each.alias for each in self._columns if each.trained_on == where)
        if where is None and others:
            known.append(f"and what was trained on {', '.join(others)} (on=...)")
        return MissingEntryError(
            f"no entries at the fidelity {fidelity.alias!r} on {self.task.name}; there are: "
            f"{', '.join(known)}.{nearest(fidelity.alias, known)} `nasbench-kd data status` lists what is "
            "installed"
            + (
                ", `nasbench-kd data pull` adds public results, and `nasbench-kd fill` trains missing entries."
                if self.task.trainable
                else f"; {self._no_trainer()}."
            )
        )

    def _no_trainer(self) -> str:
        return f"there is no trainer for the networks of {self._space.name}: none can be measured here"

    def _resolved(self, fidelity: Fidelity) -> Entries:
        """The entries of a fidelity; raises `MissingEntryError` where there are none."""
        if fidelity not in self._entries:
            if fidelity not in self._columns:
                raise self._no_such_fidelity(fidelity)
            entries = resolve(self._columns[fidelity], self._space)
            self._entries[fidelity] = MeanEntries(entries) if self.mean_over_seeds else entries
        return self._entries[fidelity]

    def _values(self, fidelity: Fidelity, signal: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Values of a signal for the entries of a fidelity, and which of them have it; (entries,) each."""
        find_signal(signal)
        if signal != SUM_OF_LOSSES:
            return self._resolved(fidelity).values(signal)
        entries = self._resolved(fidelity)
        total, there = np.zeros(len(entries.cell)), np.ones(len(entries.cell), dtype=bool)
        for epoch in self._epochs_before(fidelity):
            other = self._resolved(epoch)
            values, known = other.values("train_loss")
            keys, wanted = other.cell << 32 | other.seed, entries.cell << 32 | entries.seed
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            there &= (keys[place] == wanted) & known[place]
            total += values[place]
        return np.where(there, total, np.nan), there

    def _epochs_before(self, fidelity: Fidelity) -> list[Fidelity]:
        """All epochs of the curve up to a fidelity, where all of them have the train loss; else none."""
        if not any("train_loss" in column.readings for column in self._columns.get(fidelity, ())):
            return []
        epochs = [fidelity.at_epoch(epoch) for epoch in range(1, fidelity.epochs + 1)]
        stored = all(
            any("train_loss" in column.readings for column in self._columns.get(epoch, ()))
            for epoch in epochs
        )
        return epochs if stored else []

    def _answer(self, fidelity: str | Fidelity, signal: str) -> list[tuple[Evaluation, ...]]:
        """Every cell's answers at a fidelity; raises where neither a table nor training can give any."""
        parsed = self.task.fidelity(fidelity)
        find_signal(signal)
        answers = self._answers.setdefault(signal, {})
        if parsed not in answers:
            if self._live is None and signal not in self.signals(parsed):
                known = self.signals(parsed)
                raise MissingEntryError(
                    f"no {signal} was recorded at {parsed} on {self.task.name}; there are {', '.join(known)}."
                    f"{nearest(signal, known)}"
                )
            answers[parsed] = (
                self._evaluations(parsed, signal) if parsed in self._columns else [()] * self._size
            )
        answers[fidelity] = answers[parsed]
        return answers[parsed]

    def _evaluations(self, fidelity: Fidelity, signal: str) -> list[tuple[Evaluation, ...]]:
        entries = self._resolved(fidelity)
        values, there = self._values(fidelity, signal)
        kept = np.flatnonzero(there)
        sources = [SOURCES[code] for code in entries.source[kept].tolist()]
        found = list(
            map(
                Evaluation,
                values[kept].tolist(),
                [signal] * len(kept),
                entries.seconds[kept].tolist(),
                _named(entries.seed[kept]),
                sources,
            )
        )
        starts = np.searchsorted(kept, entries.starts).tolist()
        return [tuple(found[start:stop]) for start, stop in pairwise(starts)]

    def _batch(self, fidelity: Fidelity, signal: str) -> Batch:
        self._answer(fidelity, signal)
        value, seconds = np.full(self._size, np.nan), np.full(self._size, np.nan)
        if fidelity in self._columns:
            entries = self._resolved(fidelity)
            values, there = self._values(fidelity, signal)
            kept = np.flatnonzero(there)
            cells, first = np.unique(entries.cell[kept], return_index=True)
            value[cells], seconds[cells] = values[kept[first]], entries.seconds[kept[first]]
        return Batch(value, seconds, signal)

    def _drawable(self, fidelity: Fidelity) -> list[tuple[int | None, ...]]:
        """For every cell the seeds of which a run is shown one along the curve of a fidelity: those of most epochs."""
        if fidelity not in self._seeds:
            if fidelity not in self._columns and self._live is None:
                raise self._no_such_fidelity(fidelity)
            epochs = [self._resolved(each) for each in self._columns if each.curve == fidelity.curve]
            nothing = np.empty(0, dtype=np.int64)
            trained = np.concatenate([nothing, *(each.cell << 32 | each.seed for each in epochs)])
            # A cell's own trainings go before all that it has of an isomorphic one.
            weights = [np.where(each.source == _OF_TWIN, 1, len(epochs) + 1) for each in epochs]
            keys, place = np.unique(trained, return_inverse=True)
            stored = np.bincount(place, np.concatenate([nothing, *weights]))
            most = np.zeros(self._size)
            np.maximum.at(most, keys >> 32, stored)
            shared = self._by_cell(keys[stored == most[keys >> 32]])
            own: list[tuple[int | None, ...]] = [()] * self._size
            if fidelity in self._columns:
                entries = self._resolved(fidelity)
                own = self._by_cell(entries.cell << 32 | entries.seed)
            # An epoch without entries is trained with the seed of the others, which a mean has not.
            self._seeds[fidelity] = [
                common if mine else tuple(seed for seed in common if seed is not None)
                for common, mine in zip(shared, own, strict=True)
            ]
            self._other_trainings[fidelity] = {
                cell: mine
                for cell, (common, mine) in enumerate(zip(shared, own, strict=True))
                if mine is not common and mine and not set(common) <= set(mine)
            }
        return self._seeds[fidelity]

    def _beyond_the_tables(
        self, cell: Architecture, fidelity: Fidelity, seed: int | None, signal: str
    ) -> Evaluation:
        if self._live is not None:
            return self._trained(cell, fidelity, seed, signal)
        seeds = self.seeds(cell, fidelity)
        if seeds and (seed is None or seed in seeds):
            known = self._resolved(fidelity).signals_of(cell.index)
            raise MissingEntryError(
                f"no {signal} was recorded for cell {cell.index} at {fidelity} on {self.task.name}"
                + (f" with seed {seed}" if seed is not None else "")
                + f"; there are {', '.join(known)}.{nearest(signal, known)}"
            )
        if seeds:
            raise MissingEntryError(
                f"cell {cell.index} at {fidelity} on {self.task.name} has no training seed {seed}; "
                + (
                    "there is the mean over its seeds"
                    if seeds == (None,)
                    else f"there are {', '.join(map(str, seeds))}"
                )
            )
        raise MissingEntryError(
            f"cell {cell.index} has no entry at {fidelity} on {self.task.name}, nor has an isomorphic cell; "
            + (
                f"`nasbench-kd fill --task {self.task.name} --fidelity '{fidelity.curve}'` measures missing "
                "entries, and load(..., live=True) trains them when they are asked for"
                if self.task.trainable
                else self._no_trainer()
            )
        )

    def _trained(self, cell: Architecture, fidelity: Fidelity, seed: int | None, signal: str) -> Evaluation:
        """The entry of a live training; it joins no table, so that what a run draws there stays the same."""
        assert self._live is not None
        key = (fidelity, cell.index, seed, signal)
        if key not in self._trainings:
            self._trainings[key] = self._live.evaluate(self.task, cell, fidelity, seed, signal)
        return self._trainings[key]

    def _by_cell(self, keys: npt.NDArray[np.int64]) -> list[tuple[int | None, ...]]:
        """The seeds of every cell, from sorted pairs of cell and seed in one number each."""
        seeds = _named(keys & 0xFFFFFFFF)
        starts = np.searchsorted(keys >> 32, np.arange(self._size + 1)).tolist()
        return [tuple(seeds[start:stop]) for start, stop in pairwise(starts)]


def _is_known(column: Column, task: Task) -> bool:
    """Whether trainings are known to a task: its own, and measured ones of the other tasks of its space.

    What was read on the test images of a task is known to the others alone.
    """
    if _was_read_on_its_test_images(column, task):
        return False
    lent = column.provenance.get("source") == "measured" and shares_space(column.task, task)
    return column.split == "valid" and (lent or column.task == task.name)


def _was_read_on_its_test_images(column: Column, task: Task) -> bool:
    return column.provenance.get("read_on") == READ_ON_TEST and column.task == task.name


@lru_cache(maxsize=4096)
def _seen_from(task: str, trained_on: str, fidelity: Fidelity) -> Fidelity:
    """A fidelity of one task's trainings as another task names it."""
    return fidelity if task == trained_on else fidelity.on(trained_on)


def _drawn(count: int, key: str) -> int:
    """Position of the training seed, of so many, that a run is shown; the key names run, cell and curve."""
    digest = blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % count


def _named(seeds: npt.NDArray[np.int64]) -> list[int | None]:
    """Training seeds as they are told, None for a mean over seeds."""
    known = {seed: None if seed == MEAN_SEED else seed for seed in np.unique(seeds).tolist()}
    return [known[seed] for seed in seeds.tolist()]  # one object for each: they are few, and looked at often
