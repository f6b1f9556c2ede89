"""Prefixes of runs: which steps of a batch of runs were paid for within an amount, and what had been answered.

Steps are taken in the order in which they were started, which is that of what had been spent: a run at a smaller
budget starts the same evaluations until one does not fit, and is told all of them, those that were still running
included. With one worker that is the order in which they finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasbench_kd.benchmark.scoring import NOT_SHOWN, Scorer
from nasbench_kd.tables.resolve import MEAN_SEED
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.signals import ACCURACY

Integers = npt.NDArray[np.int64]
SOURCES = ("measured", "isomorphic", "live", "surrogate")
STEP_COLUMNS = (
    "task", "cell", "fidelity", "training_seed", "spent", "charged", "source", "answer", "value", "signal",
)  # fmt: skip


class Prefixes:
    """The steps of a batch of runs, laid end to end on one axis so that one sorted search finds every prefix.

    A prefix is given by its `stop`: the position on that axis after its last step. With `as_told` steps are
    taken in the order in which they finished, as a replay shows them.
    """

    def __init__(self, batch: pa.RecordBatch, *, as_told: bool = False) -> None:
        self._batch = batch
        self.offsets = _flat(batch["spent"])[1]
        """Position of every run's first step, and the end; shape (runs + 1,)."""
        self._run = np.repeat(np.arange(len(batch)), np.diff(self.offsets))
        told = np.asarray(_flat(batch["spent"])[0].to_numpy(), dtype=np.int64)
        self.order = np.arange(len(told)) if as_told else np.lexsort((told, self._run))
        """Place in the stored order of every step of the axis."""
        self._spent = told[self.order]
        self.answer, self.untold = self._answers()
        """Answer at every step, and how many evaluations of its prefix it had not been told of; (steps,) each."""

    def stops(self, amounts: npt.NDArray[np.float64]) -> Integers:
        """Ends of the prefixes that were paid for within amounts, shape (runs, checkpoints) like `amounts`."""
        stride = max(int(self._spent.max(initial=0)), int(amounts.max())) + 1
        paid = self._spent + self._run * stride
        wanted = np.floor(amounts).astype(np.int64) + np.arange(len(amounts))[:, None] * stride
        return np.searchsorted(paid, wanted, side="right")

    def before_surrogate(self, stops: Integers) -> Integers:
        """The same prefixes, cut before the first step that the surrogate answered."""
        steps = np.flatnonzero(self._source == SOURCES.index("surrogate"))
        first = np.full(len(self._batch), len(self._spent), dtype=np.int64)
        np.minimum.at(first, self._run[steps], steps)
        return np.minimum(stops, first[:, None])

    def untold_at(self, stops: Integers) -> Integers:
        """Evaluations of every prefix that its answer did not know of, shape (runs, checkpoints)."""
        known = np.append(self.untold, 0)
        return np.asarray(np.where(stops > self.offsets[:-1, None], known[stops - 1], 0))

    def first_spent(self) -> Integers:
        """What the first evaluation of every run with steps had cost."""
        return self._spent[self.offsets[:-1][np.diff(self.offsets) > 0]]

    def most_spent(self) -> Integers:
        """Most that any step of a run had spent; 0 without steps; shape (runs,)."""
        most = np.zeros(len(self._batch), dtype=np.int64)
        np.maximum.at(most, self._run, self._spent)
        return most

    def paid_stops(self) -> list[Integers]:
        """Ends of the prefixes that end with a paid evaluation, an array for each run."""
        paid = self._numbers("charged") > 0
        return [
            start + 1 + np.flatnonzero(paid[start:end])
            for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]

    def spent(self, stops: Integers) -> Integers:
        """What each prefix had spent, shape (runs, checkpoints); no prefix may be empty."""
        return self._spent[stops - 1]

    def paid_full_steps(self, stops: Integers) -> Integers:
        """Paid evaluations of the full training itself (the target) in every prefix, (runs, checkpoints)."""
        paid = self._is_full & (self._numbers("charged") > 0)
        counted = np.concatenate(([0], np.cumsum(paid)))
        return np.asarray(counted[stops] - counted[self.offsets[:-1]][:, None])

    def _answers(self) -> tuple[Integers, Integers]:
        """The answer at the end of every prefix, and how many of its evaluations had not been told then.

        Where a search answered with the best full training that it had been told of, throughout, so it would
        have after the whole prefix. Of another the last answer stands that rests on nothing beyond the prefix.
        """
        told = np.asarray(_flat(self._batch["answer"])[0].to_numpy(), dtype=np.int64)
        steps = np.arange(len(told))
        if (self.order == steps).all():
            return told, np.zeros(len(told), dtype=np.int64)
        answers, untold = told.copy(), np.zeros(len(told), dtype=np.int64)
        best, best_told = self.best_observed(), self.best_observed(as_told=True)
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            if (told[start:end] == best_told[start:end]).all():
                answers[start:end] = best[start:end]
                continue
            # The first `free` evaluations to finish are all among the first `place` to start.
            begun = np.maximum.accumulate(np.argsort(self.order[start:end]))
            free = np.searchsorted(begun, np.arange(end - start), side="right")
            answers[start:end] = np.where(free > 0, told[start + np.maximum(free - 1, 0)], -1)
            untold[start:end] = np.arange(1, end - start + 1) - free
        return answers, untold

    def fidelities(self) -> list[tuple[int, str]]:
        """Every run, by its place in the batch, with each fidelity that it was told of, once."""
        names = _flat(self._batch["fidelity"])[0].dictionary_encode()
        steps = names.indices.to_numpy()[self.order]
        found = np.unique(np.stack([self._run, steps]), axis=1)
        known = names.dictionary.to_pylist()
        return [(int(run), known[name]) for run, name in found.T]

    def best_observed(self, *, as_told: bool = False) -> Integers:
        """For every step, the cell of the best full training (the target) of its run until then; -1 for none yet.

        With `as_told`, steps in the order in which they finished.
        """
        full = self._is_full & (self._column("signal") == ACCURACY)
        values = np.where(full, self._column("value"), -np.inf)
        # Of equal values the one that was told first stands.
        values, told = np.where(np.isnan(values), -np.inf, values), self.order
        cells, best = self._numbers("cell"), np.full(len(values), -1, dtype=np.int64)
        if as_told:
            place = np.argsort(self.order)
            values, told, cells = values[place], told[place], cells[place]
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            ascending = np.lexsort((-told[start:end], values[start:end]))
            rank = np.empty(end - start, dtype=np.int64)
            rank[ascending] = np.arange(end - start)
            most = np.maximum.accumulate(np.where(np.isneginf(values[start:end]), -1, rank))
            best[start:end] = np.where(most >= 0, cells[start + ascending[most]], -1)
        return best

    def scores(
        self,
        stops: Integers,
        task: Integers,
        scorers: Sequence[Scorer],
        answers: Integers | None = None,
    ) -> npt.NDArray[np.float64]:
        """Score of the answer at the end of every prefix in percent, NaN for none; `task` indexes `scorers`.

        `answers` holds other cells than those that the searches answered with after each step, shape (steps,).
        """
        given = self.answer if answers is None else answers
        scores = np.full(stops.shape, np.nan)
        if not len(given):
            return scores
        last = np.maximum(stops - 1, 0)
        row, column = np.nonzero((stops > self.offsets[:-1, None]) & (given[last] >= 0))
        position = last[row, column]
        chosen = given[position]
        steps = self._full_steps
        trained = chosen
        if any(scorer.trained is not None for scorer in scorers):
            steps = self._first_shown(_trained(self._numbers("cell"), task[self._run], scorers))
            trained = _trained(chosen, task[row], scorers)
        shown = _shown(row << 32 | trained, position, steps)
        for number, scorer in enumerate(scorers):
            mine = task[row] == number
            scores[row[mine], column[mine]] = scorer.scores(chosen[mine], shown[mine])
        return scores

    def paid_steps(self, stops: Integers) -> Integers:
        """Paid evaluations in every prefix by source, shape (runs, checkpoints, 4), `SOURCES` order."""
        counted = np.zeros((len(self._spent) + 1, len(SOURCES)), dtype=np.int64)
        paid = (self._source[:, None] == np.arange(len(SOURCES))) & (self._numbers("charged") > 0)[:, None]
        np.cumsum(paid, axis=0, out=counted[1:])
        return np.asarray(counted[stops] - counted[self.offsets[:-1]][:, None])

    @cached_property
    def _is_full(self) -> npt.NDArray[np.bool_]:
        """Which steps are of the full training itself (the target)."""
        return self._compare(lambda fidelity, target: fidelity == target)

    @cached_property
    def _source(self) -> Integers:
        codes = pc.index_in(_flat(self._batch["source"])[0], pa.array(SOURCES))
        return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)[self.order]

    @cached_property
    def _full_steps(self) -> _Shown:
        """Where every architecture is answered by its own trainings."""
        return self._first_shown(self._numbers("cell"))

    def _first_shown(self, cells: Integers) -> _Shown:
        """What was shown at the full curve; `cells`, shape (steps,), are those whose trainings were."""
        steps = np.flatnonzero(self._compare(lambda fidelity, target: fidelity.curve == target.curve))
        seeds, keys = self._seeds[steps], self._run << 32 | cells
        found = []
        for seed in np.unique(seeds).tolist():
            mine = steps[seeds == seed]
            known, first = np.unique(keys[mine], return_index=True)
            found.append((seed, known, mine[first]))
        return found

    @cached_property
    def _seeds(self) -> Integers:
        """Training seed that every step showed, `MEAN_SEED` for a mean over seeds."""
        seeds = _flat(self._batch["training_seed"])[0].cast(pa.int64()).fill_null(MEAN_SEED)
        return np.asarray(seeds.to_numpy())[self.order]

    def _compare(self, holds: Callable[[Fidelity, Fidelity], bool]) -> npt.NDArray[np.bool_]:
        """For every step whether something holds of its fidelity and the target of its run's task."""
        names = _flat(self._batch["fidelity"])[0].dictionary_encode()
        tasks = self._batch["task"].dictionary_encode()
        targets = [find_task(name).target for name in tasks.dictionary.to_pylist()]
        table = np.array(
            [
                [holds(Fidelity.parse(name), target) for name in names.dictionary.to_pylist()]
                for target in targets
            ],
            dtype=bool,
        ).reshape(len(targets), -1)
        steps = names.indices.to_numpy()[self.order]
        return np.asarray(table[tasks.indices.to_numpy()[self._run], steps])

    def _column(self, name: str) -> npt.NDArray[Any]:
        return np.asarray(_flat(self._batch[name])[0].to_numpy(zero_copy_only=False))[self.order]

    def _numbers(self, name: str) -> Integers:
        return np.asarray(self._column(name), dtype=np.int64)


def _flat(column: pa.ListArray) -> tuple[pa.Array, Integers]:
    """Values of a list column and the offsets of its rows in them."""
    offsets = np.asarray(column.offsets.to_numpy(), dtype=np.int64)
    return column.flatten(), offsets - offsets[0]


_Shown = list[tuple[int, Integers, Integers]]
"""For every training seed: the seed, the sorted keys (run, cell) that it was shown of, and the step that showed each
first."""


def _trained(cells: Integers, task: Integers, scorers: Sequence[Scorer]) -> Integers:
    """The cells whose trainings answer for these: themselves or isomorphic ones; `task` indexes `scorers`."""
    found = cells.copy()
    for number, scorer in enumerate(scorers):
        if scorer.trained is not None:
            mine = task == number
            found[mine] = scorer.trained[cells[mine]]
    return found


def _shown(wanted: Integers, position: Integers, full_steps: _Shown) -> Integers:
    """Training seeds of the full curve that each answer's run had been shown by then, else `NOT_SHOWN`; (n, k)."""
    shown = np.full((len(wanted), max(len(full_steps), 1)), NOT_SHOWN)
    for place, (seed, keys, steps) in enumerate(full_steps):
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        shown[(keys[found] == wanted) & (steps[found] <= position), place] = seed
    return shown
