"""A task in simulated time: what an evaluation shows, costs and lasts, without an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
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
    recorded: tuple[int, int, int, str, int | None, float, int, int, int, str]
    """The fields of its step before the answer."""
    asked: bool
    """Whether the search asked for it; a training that it paid for as a prerequisite it did not."""

    def step(self, answer: int = -1) -> Step:
        """What is recorded of it, with the answer that the search has then (-1 for none)."""
        return Step._make((*self.recorded, answer, self.evaluation.signal))


class _Training(NamedTuple):
    """What all queries of one fidelity and signal have in common."""

    fidelity: Fidelity
    text: str
    curve: str
    needs: tuple[str, ...]
    """Prerequisites that are paid for."""
    draw: Callable[[Architecture], Evaluation]


_Job = tuple[int, int, Outcome | None]
"""What occupies a worker: from when, how long, and what comes of it (nothing of some prerequisites)."""


class Simulation:
    """A benchmark, a ledger and a clock: what the search loop runs, and what `verify` replays.

    Args:
        benchmark: the task, opened.
        budget: what may be paid.
        seed: of the run; it chooses the training seeds that are shown.
        workers: evaluations that run at once.
        bill_teacher: whether prerequisites are paid for; where they are not, they are not told either.
        given: names of those that are there already: neither they nor what they need themselves is paid for.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        budget: Budget,
        seed: int,
        *,
        workers: int = 1,
        bill_teacher: bool = True,
        given: Collection[str] = (),
    ) -> None:
        self.benchmark = benchmark
        self.seed = seed
        self.workers = workers
        self.bill_teacher = bill_teacher
        self.given = frozenset(given)
        self.ledger = Ledger(budget, self._item)
        self._prerequisites = all_prerequisites(benchmark.task)
        self._clock: EventClock[tuple[_Job, ...]] = EventClock(workers)
        self._ready: dict[Hashable, int] = {}
        self._free_asks = 0
        self._trainings: dict[tuple[str | Fidelity, str], _Training] = {}
        self._latest: tuple[_Training | None, object, object] = (None, None, None)
        """The training that was asked for last, its fidelity and its signal."""
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
            trainable=self.benchmark.task.trainable,
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
        if not self.ledger.pay(bill):
            return Refusal(
                "budget", f"the next evaluation did not fit into the budget of {self.ledger.budget}"
            )
        if bill.amount or bill.prerequisites:
            self._free_asks = 0
        elif self._free_asks < MAX_FREE_ASKS:
            self._free_asks += 1
        else:
            return Refusal("stalled", f"{MAX_FREE_ASKS} asks in a row were for entries that are already paid")
        self._begin(self._jobs(query, training, evaluation, bill))
        return None

    def begins(self, query: Query) -> int:
        """When the training of a query would start if it were started now, in simulated microseconds.

        Raises as `start` does.
        """
        training, _, bill = self._plan(query)
        return self._starts(training, bill)[1]

    def finish(self) -> Outcome | None:
        """Advance to the next evaluation that finishes and return it; None where nothing runs."""
        while (jobs := self._clock.next_finished()) is not None:
            if len(jobs) > 1:
                self._begin(jobs[1:])
            outcome = jobs[0][2]
            if outcome is not None:
                return outcome
        return None

    def _plan(self, query: Query) -> tuple[_Training, Evaluation, Bill]:
        training, fidelity, signal = self._latest
        if training is None or query.fidelity is not fidelity or query.signal is not signal:
            training = self._training(query)
        evaluation = training.draw(query.cell)
        # What it is read from: going on with a training costs the difference, another one is paid in full.
        key = query.cell.index, training.curve, evaluation.seed
        return training, evaluation, self.ledger.bill(key, round(evaluation.seconds * 1e6), training.needs)

    def _training(self, query: Query) -> _Training:
        """What all queries of this fidelity and signal have in common."""
        try:
            found = self._trainings[query.fidelity, query.signal]
        except (KeyError, TypeError):  # not yet, or what is no key of any
            found = self._new_training(query)
        self._latest = found, query.fidelity, query.signal
        return found

    def _new_training(self, query: Query) -> _Training:
        fidelity = self.benchmark.task.fidelity(query.fidelity)
        draw = self.benchmark.drawing(fidelity, self.seed, query.signal)
        needs = self._bought(fidelity.needs)
        found = _Training(fidelity, str(fidelity), str(fidelity.curve), needs, draw)
        self._trainings[query.fidelity, query.signal] = found
        return found

    def _bought(self, needs: tuple[str, ...]) -> tuple[str, ...]:
        """Those of some prerequisites that are paid for."""
        return tuple(each for each in needs if each not in self.given) if self.bill_teacher else ()

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
        _, needs, training, seconds, _ = self._prerequisites[name]
        if training is None:
            return Item(name, round((seconds or 0.0) * 1e6), self._bought(needs), name)
        index, fidelity = training
        try:
            evaluation = self.benchmark.draw(self.benchmark.task.space[index], fidelity, self.seed)
        except MissingEntryError as error:
            raise MissingEntryError(f"the {name} has no price: {error}") from error
        key = index, str(fidelity.curve), evaluation.seed
        needs = self._bought((*needs, *fidelity.needs))
        return Item(key, round(evaluation.seconds * 1e6), needs, name)

    def _starts(self, training: _Training, bill: Bill) -> tuple[Sequence[int], int]:
        """When the prerequisites on a bill start and when the training does: one after another, and not too early."""
        start = self._clock.now
        if bill.amount == bill.price and not training.needs:
            return (), start
        starts: list[int] = []
        bought: dict[Hashable, int] = {}  # beside `_ready`, which grows with the search: no copy of it
        for item, amount in bill.prerequisites:
            begin = self._once_ready(max(start, self._ready.get(item.key, 0)), item.needs, bought)
            starts.append(begin)
            start = bought[item.key] = begin + amount
        if bill.amount < bill.price:  # a part of it has been trained, or is being trained
            start = max(start, self._ready[bill.key])
        return starts, self._once_ready(start, training.needs, bought)

    def _once_ready(self, earliest: int, needs: tuple[str, ...], bought: Mapping[Hashable, int]) -> int:
        """When something starts that needs prerequisites, some of which are bought with it."""
        keys = [self._item(name).key for name in needs]
        return max([earliest, *(bought.get(key, self._ready.get(key, 0)) for key in keys)])

    def _jobs(
        self, query: Query, training: _Training, evaluation: Evaluation, bill: Bill
    ) -> tuple[_Job, ...]:
        """What one worker does for a query, one after another: what must be bought first, then it."""
        key, _, amount, unpaid = bill
        starts, start = self._starts(training, bill)
        value, signal, seconds, seed, source = evaluation
        if seconds != amount / 1e6:
            evaluation = Evaluation(value, signal, amount / 1e6, seed, source)
        finish = self._ready[key] = start + amount
        untold = sum(map(self._untold, unpaid)) if unpaid else 0
        spent = self.ledger.spent
        recorded = start, finish, query.cell.index, training.text, seed, value, amount, untold, spent, source
        training_job = start, amount, Outcome(query, evaluation, recorded, True)
        return (*map(self._prerequisite, unpaid, starts), training_job) if unpaid else (training_job,)

    def _untold(self, charge: Charge) -> int:
        """What is paid for a prerequisite without an outcome."""
        return charge.amount if self._prerequisites[charge.item.name].training is None else 0

    def _prerequisite(self, charge: Charge, start: int) -> _Job:
        """The making of a prerequisite; the search is told all of it, where it is a training."""
        item, amount = charge
        finish = self._ready[item.key] = start + amount
        training = self._prerequisites[item.name].training
        if training is None:
            return start, amount, None
        cell, fidelity = self.benchmark.task.space[training[0]], training[1]
        told = self.benchmark.draw(cell, fidelity, self.seed)._replace(seconds=amount / 1e6)
        value, _, _, seed, source = told
        recorded = start, finish, cell.index, str(fidelity), seed, value, 0, amount, self.ledger.spent, source
        return start, amount, Outcome(Query(cell, fidelity), told, recorded, asked=False)

    def _begin(self, jobs: tuple[_Job, ...]) -> None:
        start, duration, _ = jobs[0]
        self._clock.start(jobs, duration, start)

    def _teacher_seconds(self) -> float:
        """What distilling costs first, as far as it is known: nothing is trained to find it out."""
        if not self._bought((TEACHER,)):
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
