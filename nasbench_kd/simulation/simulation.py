"""A task in simulated time: what an evaluation shows, costs and lasts, without an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import NamedTuple

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.event_clock import EventClock
from nasbench_kd.simulation.ledger import Bill, Charge, Item, Ledger
from nasbench_kd.simulation.optimizer import Query, SearchView
from nasbench_kd.simulation.run import Ending, Step
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import all_prerequisites
from nasbench_kd.tasks.signals import ACCURACY

TEACHER = "teacher"
"""The prerequisite of distilled trainings."""
MAX_FREE_ASKS = 1000
"""Asks in a row for entries that are already paid after which a search ends as stalled."""


class Refusal(NamedTuple):
    """Why nothing more is started."""

    ending: Ending
    reason: str


class Outcome(NamedTuple):
    """An evaluation that has finished."""

    query: Query
    evaluation: Evaluation
    """What the search is told; its seconds are what it was charged."""
    step: Step
    """What is recorded, as yet without an answer (-1)."""
    asked: bool
    """Whether the search asked for it; a training that it paid for as a prerequisite it did not."""


class _Training(NamedTuple):
    """What all queries of one fidelity and signal have in common."""

    fidelity: Fidelity
    text: str
    curve: str
    needs: tuple[str, ...]
    """Prerequisites that are paid for."""
    draw: Callable[[Architecture], Evaluation]


class _Job(NamedTuple):
    """Something that occupies a worker: a training, or a prerequisite without an outcome."""

    start: int
    duration: int
    outcome: Outcome | None
    following: _Job | None
    """What the same worker does next."""


class Simulation:
    """A benchmark, a ledger and a clock: what the search loop runs, and what `verify` replays.

    Args:
        benchmark: the task, opened.
        budget: what may be paid.
        seed: of the run; it chooses the training seeds that are shown.
        workers: evaluations that run at once.
        bill_teacher: whether prerequisites are paid for; where they are not, they are not told either.
    """

    def __init__(
        self, benchmark: Benchmark, budget: Budget, seed: int, *, workers: int = 1, bill_teacher: bool = True
    ) -> None:
        self.benchmark = benchmark
        self.seed = seed
        self.workers = workers
        self.bill_teacher = bill_teacher
        self.ledger = Ledger(budget, self._item)
        self._prerequisites = all_prerequisites(benchmark.task)
        self._clock: EventClock[_Job] = EventClock(workers)
        self._ready: dict[Hashable, int] = {}
        self._free_asks = 0
        self._trainings: dict[tuple[str | Fidelity, str], _Training] = {}
        self._items: dict[str, Item] = {}

    @property
    def now(self) -> int:
        """Simulated microseconds since the start."""
        return self._clock.now

    @property
    def idle(self) -> int:
        """Workers without a job."""
        return self._clock.idle

    def view(self) -> SearchView:
        """All that a search is told of the task."""
        fidelities, live = self.benchmark.fidelities, self.benchmark.live
        return SearchView(
            task=self.benchmark.task.name,
            space=self.benchmark.task.space,
            target=self.benchmark.task.target,
            classes=self.benchmark.task.classes,
            workers=self.workers,
            fidelities=fidelities,
            mean_seconds=tuple(map(self.benchmark.mean_seconds, fidelities)),
            partial={
                each: self.benchmark.covered(each)
                for each in fidelities
                if not live and not self.benchmark.covers(each)
            },
            teacher_seconds=self._teacher_seconds(),
            live=live,
            signals={
                each: names
                for each in fidelities
                if (names := self.benchmark.common_signals(each)) != (ACCURACY,)
            },
        )

    def start(self, query: Query) -> Refusal | None:
        """Pay for a query and start it on an idle worker, or return why the search is over.

        Raises `FidelityError` and `MissingEntryError` where the task cannot answer it, and
        `RuntimeError` where no worker is idle.
        """
        training, evaluation, bill = self._plan(query)
        if not self.ledger.fits(bill):
            return Refusal(
                "budget", f"the next evaluation did not fit into the budget of {self.ledger.budget}"
            )
        self._free_asks = 0 if bill.total else self._free_asks + 1
        if self._free_asks > MAX_FREE_ASKS:
            return Refusal("stalled", f"{MAX_FREE_ASKS} asks in a row were for entries that are already paid")
        self.ledger.pay(bill)
        self._begin(self._jobs(query, training, evaluation, bill))
        return None

    def begins(self, query: Query) -> int:
        """When the training of a query would start if it were started now, in simulated microseconds.

        Raises as `start` does.
        """
        return self._starts(self._plan(query)[-1])[-1]

    def finish(self) -> Outcome | None:
        """Advance to the next evaluation that finishes and return it; None where nothing runs."""
        while (job := self._clock.next_finished()) is not None:
            if job.following is not None:
                self._begin(job.following)
            if job.outcome is not None:
                return job.outcome
        return None

    def _plan(self, query: Query) -> tuple[_Training, Evaluation, Bill]:
        try:
            training = self._trainings[query.fidelity, query.signal]
        except (KeyError, TypeError):  # not yet, or what is no key of any
            training = self._training(query)
        evaluation = training.draw(query.cell)
        key = _training_key(query.cell.index, training.curve, evaluation)
        item = Item(key, _microseconds(evaluation.seconds), training.needs)
        return training, evaluation, self.ledger.bill(item)

    def _training(self, query: Query) -> _Training:
        fidelity = self.benchmark.task.fidelity(query.fidelity)
        draw = self.benchmark.drawing(fidelity, self.seed, query.signal)
        needs = fidelity.needs if self.bill_teacher else ()
        found = _Training(fidelity, str(fidelity), str(fidelity.curve), needs, draw)
        self._trainings[query.fidelity, query.signal] = found
        return found

    def _item(self, name: str) -> Item:
        """A prerequisite as something to be bought."""
        if name not in self._items:
            self._items[name] = self._priced(name)
        return self._items[name]

    def _priced(self, name: str) -> Item:
        if name not in self._prerequisites:
            raise MissingEntryError(
                f"the task {self.benchmark.task.name} has no {name}, which this fidelity needs"
            )
        needs, training, seconds = self._prerequisites[name][1:]
        if training is None:
            return Item(name, _microseconds(seconds or 0.0), needs, name)
        index, fidelity = training
        try:
            evaluation = self.benchmark.draw(self.benchmark.task.space[index], fidelity, self.seed)
        except MissingEntryError as error:
            raise MissingEntryError(f"the {name} has no price: {error}") from error
        key = _training_key(index, str(fidelity.curve), evaluation)
        return Item(key, _microseconds(evaluation.seconds), (*needs, *fidelity.needs), name)

    def _starts(self, bill: Bill) -> list[int]:
        """When each line of a bill starts, the training last: one after another, and not before it can."""
        starts: list[int] = []
        free, ready = self._clock.now, self._ready
        bought: dict[Hashable, int] = {}  # beside `_ready`, which grows with the search: no copy of it
        for item, amount in bill.lines:
            start = max(free, ready.get(item.key, 0))
            for name in item.needs:
                key = self._item(name).key
                start = max(start, bought.get(key, ready.get(key, 0)))
            starts.append(start)
            free = bought[item.key] = start + amount
        return starts

    def _jobs(self, query: Query, training: _Training, evaluation: Evaluation, bill: Bill) -> _Job:
        """What one worker does for a query, one after another: what must be bought first, then it."""
        starts = self._starts(bill)
        start, amount = starts[-1], bill.training.amount
        value, signal, _, seed, source = evaluation
        told = Evaluation(value, signal, amount / 1e6, seed, source)
        untold = sum(map(self._untold, bill.prerequisites)) if bill.prerequisites else 0
        step = self._step(query.cell, training.text, told, start, amount, amount, untold)
        job = _Job(start, amount, Outcome(query, told, step, asked=True), None)
        if bill.prerequisites:
            for charge, begin in zip(reversed(bill.prerequisites), reversed(starts[:-1]), strict=True):
                job = _Job(begin, charge.amount, self._prerequisite_outcome(charge, begin), job)
                self._ready[charge.item.key] = begin + charge.amount
        self._ready[bill.training.item.key] = start + amount
        return job

    def _untold(self, charge: Charge) -> int:
        """What is paid for a prerequisite without an outcome."""
        return charge.amount if self._prerequisites[charge.item.prerequisite].training is None else 0

    def _prerequisite_outcome(self, charge: Charge, start: int) -> Outcome | None:
        """What a search is told of a prerequisite that it pays for: all, where it is a training."""
        training = self._prerequisites[charge.item.prerequisite].training
        if training is None:
            return None
        cell, fidelity = self.benchmark.task.space[training[0]], training[1]
        told = self.benchmark.draw(cell, fidelity, self.seed)._replace(seconds=charge.amount / 1e6)
        step = self._step(cell, str(fidelity), told, start, charge.amount, 0, charge.amount)
        return Outcome(Query(cell, fidelity), told, step, asked=False)

    def _step(
        self,
        cell: Architecture,
        fidelity: str,
        told: Evaluation,
        start: int,
        lasts: int,
        charged: int,
        prerequisites: int,
    ) -> Step:
        value, signal, _, seed, source = told
        spent = self.ledger.spent
        return Step(
            start,
            start + lasts,
            cell.index,
            fidelity,
            seed,
            value,
            charged,
            prerequisites,
            spent,
            source,
            -1,
            signal,
        )

    def _begin(self, job: _Job) -> None:
        self._clock.start(job, job.duration, not_before=job.start)

    def _teacher_seconds(self) -> float:
        """What distilling costs first, as far as it is known: nothing is trained to find it out."""
        if not self.bill_teacher:
            return 0.0
        total = 0.0
        for each in self.benchmark.task.prerequisites:
            if each.name != TEACHER:
                continue  # trained stages and the like are no part of what distilling costs
            if each.training is None:
                total += each.seconds or 0.0
                continue
            index, fidelity = each.training
            try:
                known = self.benchmark.seeds(self.benchmark.task.space[index], fidelity)
            except MissingEntryError:
                known = ()
            if not known:
                return math.nan
            total += self._item(each.name).price / 1e6
        return total


def _training_key(cell: int, curve: str, evaluation: Evaluation) -> Hashable:
    """Which training an evaluation is read from: going on with it costs the difference, another is paid in full."""
    return cell, curve, evaluation.seed


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
