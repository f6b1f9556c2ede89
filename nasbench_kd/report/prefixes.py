"""Prefixes of runs: which steps of a batch of runs were paid for within an amount, and what had been answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

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
STEP_COLUMNS = ("task", "cell", "fidelity", "training_seed", "spent", "charged", "source", "answer")


class Prefixes:
    """The steps of a batch of runs, laid end to end on one axis so that one sorted search finds every prefix.

    A prefix is given by its `stop`: the position on that axis after its last step.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self.offsets = _flat(batch["spent"])[1]
        """Position of every run's first step, and the end; shape (runs + 1,)."""
        self._run = np.repeat(np.arange(len(batch)), np.diff(self.offsets))
        self._spent = self._numbers("spent")
        self._answer = self._numbers("answer")

    def stops(self, amounts: npt.NDArray[np.float64]) -> Integers:
        """Ends of the longest prefixes paid for within amounts, shape (runs, checkpoints) like `amounts`."""
        stride = max(int(self._spent.max(initial=0)), int(amounts.max())) + 1
        paid = np.maximum.accumulate(self._spent + self._run * stride) if len(self._spent) else self._spent
        wanted = np.floor(amounts).astype(np.int64) + np.arange(len(amounts))[:, None] * stride
        return np.searchsorted(paid, wanted, side="right")

    def before_surrogate(self, stops: Integers) -> Integers:
        """The same prefixes, cut before the first step that the surrogate answered."""
        steps = np.flatnonzero(self._source == SOURCES.index("surrogate"))
        first = np.full(len(self._batch), len(self._spent), dtype=np.int64)
        np.minimum.at(first, self._run[steps], steps)
        return np.minimum(stops, first[:, None])

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
        """Most that any step of each prefix had spent, shape (runs, checkpoints); no prefix may be empty."""
        most = [
            np.maximum.accumulate(self._spent[start:end])[row - start - 1]
            for start, end, row in zip(self.offsets[:-1], self.offsets[1:], stops, strict=True)
        ]
        return np.array(most, dtype=np.int64).reshape(stops.shape)

    def paid_full_steps(self, stops: Integers) -> Integers:
        """Paid evaluations of the full training itself (the target) in every prefix, (runs, checkpoints)."""
        paid = self._is_full & (self._numbers("charged") > 0)
        counted = np.concatenate(([0], np.cumsum(paid)))
        return np.asarray(counted[stops] - counted[self.offsets[:-1]][:, None])

    def best_observed(self) -> Integers:
        """For every step, the cell of the best full training (the target) of its run until then; -1 for none yet."""
        full = self._is_full & (_flat(self._batch["signal"])[0].to_numpy(zero_copy_only=False) == ACCURACY)
        values = np.where(full, _flat(self._batch["value"])[0].to_numpy(), -np.inf)
        values = np.where(np.isnan(values), -np.inf, values)
        cells, best = self._numbers("cell"), np.full(len(values), -1, dtype=np.int64)
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            mine = values[start:end]
            most = np.maximum.accumulate(mine)
            new = mine > np.concatenate(([-np.inf], most[:-1]))
            place = np.maximum.accumulate(np.where(new, np.arange(len(mine)), -1))
            best[start:end] = np.where(place >= 0, cells[start + np.maximum(place, 0)], -1)
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
        given = self._answer if answers is None else answers
        scores = np.full(stops.shape, np.nan)
        if not len(given):
            return scores
        last = np.maximum(stops - 1, 0)
        row, column = np.nonzero((stops > self.offsets[:-1, None]) & (given[last] >= 0))
        position = last[row, column]
        chosen = given[position]
        shown = self._shown(row, chosen, position)
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
        return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)

    @cached_property
    def _full_steps(self) -> list[tuple[int, Integers, Integers]]:
        """For every training seed that was shown at the full curve: the seed, the sorted keys (run, cell) that it
        was shown of, and the step that showed each first.
        """
        steps = np.flatnonzero(self._compare(lambda fidelity, target: fidelity.curve == target.curve))
        seeds, keys = self._seeds[steps], self._run << 32 | self._numbers("cell")
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
        return np.asarray(seeds.to_numpy())

    def _shown(self, row: Integers, chosen: Integers, position: Integers) -> Integers:
        """Training seeds of the full curve that each answer's run had been shown by then, else `NOT_SHOWN`; (n, k)."""
        wanted = row << 32 | chosen
        shown = np.full((len(row), max(len(self._full_steps), 1)), NOT_SHOWN)
        for place, (seed, keys, steps) in enumerate(self._full_steps):
            found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            shown[(keys[found] == wanted) & (steps[found] <= position), place] = seed
        return shown

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
        return np.asarray(table[tasks.indices.to_numpy()[self._run], names.indices.to_numpy()])

    def _numbers(self, column: str) -> Integers:
        return np.asarray(_flat(self._batch[column])[0].to_numpy(), dtype=np.int64)


def _flat(column: pa.ListArray) -> tuple[pa.Array, Integers]:
    """Values of a list column and the offsets of its rows in them."""
    offsets = np.asarray(column.offsets.to_numpy(), dtype=np.int64)
    return column.flatten(), offsets - offsets[0]
