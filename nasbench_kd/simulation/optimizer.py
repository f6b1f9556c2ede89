"""The ask/tell protocol: what an optimizer is, what it may see and what it may ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import MissingEntryError, nearest
from nasbench_kd.simulation.parameters import check_parameters
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.signals import ACCURACY, SCORE, SUM_OF_LOSSES, find_signal, readings_of


class Query(NamedTuple):
    """A cell to train, how to train it (a `Fidelity` or its short string), and the signal to read it by.

    Without a fidelity it is trained as answers are judged (`SearchView.target`).

    Another signal of a training that is paid for costs nothing.
    """

    cell: Architecture
    fidelity: str | Fidelity = TARGET
    signal: str = ACCURACY


class Incumbent(NamedTuple):
    """The best cell that a search knows."""

    cell: Architecture
    worth: float
    """Its validation accuracy in percent; where another signal was read, its utility."""
    fidelity: Fidelity


_Shown = tuple[int, float, Architecture | None, float, Fidelity]
"""Level and value, of which the larger win, and what an `Incumbent` is made of; no cell where its training diverged."""


class Wait:
    """Type of `WAIT`."""

    def __repr__(self) -> str:
        return "WAIT"

    def __reduce__(self) -> str:
        return "WAIT"


WAIT: Final = Wait()
"""What `ask` returns to leave workers idle until a running evaluation is told."""


@dataclass(frozen=True, slots=True)
class SearchView:
    """All that an optimizer is told of its task. Plain values: no way leads from here to test accuracy.

    Attributes:
        fidelities: what can be asked for, cheapest first.
        mean_seconds: mean price of each of them over the space, in seconds of the table's clock.
        teacher_seconds: price of the teacher, charged with the first distilled evaluation; 0 where
            the suite leaves it out, NaN where no table has it.
        live: whether what is not in `fidelities` is trained when it is asked for.
        trainable: whether missing entries can be measured, so that errors may say how.
        signals: what every entry of a fidelity can be read by, for those that have more than the validation
            accuracy or not even that.
        space: the architectures that can be asked for.
        target: the full training, by which answers are judged.
        partial: those of `fidelities` that some cells have no entry at, and no isomorphic cell has; with the indices
            of the cells that can be asked for, ascending.
    """

    task: str
    classes: int
    workers: int
    fidelities: tuple[Fidelity, ...]
    mean_seconds: tuple[float, ...]
    teacher_seconds: float
    live: bool = False
    trainable: bool = False
    partial: Mapping[Fidelity, npt.NDArray[np.intp]] = field(default_factory=dict, compare=False)
    signals: Mapping[Fidelity, tuple[str, ...]] = field(default_factory=dict)
    space: SearchSpace = field(kw_only=True)
    target: Fidelity = field(kw_only=True)

    def fidelity(self, text: str | Fidelity) -> Fidelity:
        """Read a fidelity; the word `target` is the task's. Raises `FidelityError`."""
        if isinstance(text, Fidelity):
            return text
        return self.target if isinstance(text, str) and text == TARGET else Fidelity.parse(text)

    def price(self, fidelity: str | Fidelity) -> float:
        """Mean seconds of one evaluation; raises `ValueError` where the task lacks the fidelity."""
        return self.mean_seconds[self.fidelities.index(self.fidelity(fidelity))]

    def covered(self, *fidelities: Fidelity) -> npt.NDArray[np.intp]:
        """Indices of the architectures that can be asked for at all of these fidelities, ascending."""
        parts = [self.partial[each] for each in fidelities if each in self.partial]
        if not parts:
            return np.arange(len(self.space), dtype=np.intp)
        return np.asarray(reduce(np.intersect1d, parts), dtype=np.intp)

    def sizes(self, architecture: Architecture, fidelity: Fidelity | None = None) -> Mapping[str, int]:
        """Sizes of an architecture's network, see `Task.sizes`; an optimizer that asks for them needs `sizes`."""
        return find_task(self.task).sizes(architecture, fidelity)

    def readable(self, fidelity: Fidelity) -> tuple[str, ...]:
        """Signals that a fidelity can be read by; what is trained on demand has all that its training records."""
        stored = self.signals.get(fidelity, (ACCURACY,))
        if not self.live:
            return stored
        return tuple(dict.fromkeys((*stored, *readings_of(fidelity), SUM_OF_LOSSES)))


class Optimizer:
    """Base of every search method: override `ask` and `tell`; keep state in plain attributes.

    The loop calls `setup` once, then `ask` whenever a worker is idle and `tell` for every answer,
    in the order in which evaluations finish. Everything must be picklable and draw its randomness
    from `self.rng`.

    >>> class Hillclimb(Optimizer):
    ...     '''Moves to a better neighbour of the incumbent.'''
    ...     def ask(self):
    ...         if self.incumbent is None:
    ...             return Query(self.random_cell())
    ...         return Query(self.incumbent.cell.mutate(self.rng))
    ...     def tell(self, query, evaluation):
    ...         self.keep_best(query, evaluation)
    """

    rng: np.random.Generator
    """Source of randomness, seeded by the run."""
    view: SearchView
    """What is known of the task."""
    incumbent: Incumbent | None = None
    _kept: dict[int, _Shown] | None = None
    """The best that each cell has shown, by its index."""
    _unasked: tuple[Architecture, Fidelity, Evaluation, float | None] | None = None
    signal: str | None = ACCURACY
    """What evaluations below the full training are judged by, where their fidelity records it."""
    reading: str = ACCURACY
    """`signal` in this run: what `setup` settled on where it is None."""
    _worst: dict[str, float]
    paper: ClassVar[str] = ""
    """The paper that the method comes from, for listings."""
    basis: ClassVar[str] = ""
    """What it rests on where that is not the paper and its code, such as "after the abstract"; leaderboards
    print it."""
    prerequisites: ClassVar[tuple[str, ...]] = ()
    """What its default fidelities need bought once, by the names of prerequisites of tasks; for listings."""
    given: ClassVar[tuple[str, ...]] = ()
    """What it starts from that was made before any search and that no run pays for, in words; listings and reports
    print it."""
    control: ClassVar[str] = ""
    """Registered name of the method that it must stand beside, with the same arguments: reports say where it does
    not."""
    compared: ClassVar[str] = ""
    """The document of this project where its results stand beside published numbers, for listings; empty where
    none does."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What it needs of a task beyond architectures with codes: names of a space, of encodings of it and of
    prerequisites (`Task.offers`). On a task that lacks one, a search fails before it begins and says which."""
    anytime: ClassVar[bool] = True
    """Whether the beginning of a run is what the method would do with a smaller budget. Not where it works through
    a plan, such as brackets of a size, that one would lay out for the budget: reports then rank it at the budget
    of its runs alone."""

    def __post_init__(self) -> None:
        """Hold arguments that are declared with constraints (`simulation.parameters`) to them."""
        check_parameters(self)

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Take the task's view and the generator; override to begin a run, and call this first.

        What a run learns begins here and not in the constructor: an instance may search again.
        """
        self.view = view
        self.rng = rng
        self.incumbent = None
        self._kept = None
        self._unasked = None
        self._worst = {}
        self.reading = ACCURACY if self.signal is None else self.signal

    def ask(self) -> Query | Wait:
        """Return the next query, or `WAIT` while evaluations are running."""
        raise NotImplementedError

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn the outcome of a query; `evaluation.failed` marks a training that diverged."""
        raise NotImplementedError

    def tell_prerequisite(self, query: Query, evaluation: Evaluation) -> None:
        """Learn the outcome of a training that was paid for without being asked for: the teacher's.

        It comes once, before the first distilled evaluation that paid for it. By default the teacher is
        the answer as long as there is no other, and competes with the cells that the search has trained
        in full itself: nothing says how it compares with cells that were trained for less.
        """
        self.keep_prerequisite(query, evaluation)

    def keep_prerequisite(self, query: Query, evaluation: Evaluation, value: float | None = None) -> None:
        """Let a prerequisite compete as `tell_prerequisite` says; `value` as for `keep_best`."""
        fidelity = self.view.fidelity(query.fidelity)
        level = self.level(fidelity)
        if self.incumbent is None or self.level(self.incumbent.fidelity) < level:
            self._unasked = (query.cell, fidelity, evaluation, value)
            level = -1
        self._keep(query.cell, fidelity, evaluation, value, level)

    def answer(self) -> Architecture | None:
        """The cell that the search would return now."""
        return None if self.incumbent is None else self.incumbent.cell

    def random_cell(self, *fidelities: Fidelity) -> Architecture:
        """Draw a cell uniformly from the space, or from those that can be asked for at all of these fidelities."""
        if all(each not in self.view.partial for each in fidelities):
            return self.view.space.sample(self.rng)
        return self.view.space[int(self.rng.choice(self.view.covered(*fidelities)))]

    def signal_at(self, fidelity: Fidelity) -> str:
        """The signal that a fidelity is read by: the full training by validation accuracy, a score by itself."""
        if fidelity.score is not None:
            return SCORE
        if fidelity != self.view.target and self.reading in self.view.readable(fidelity):
            return self.reading
        return ACCURACY

    def query(self, cell: Architecture, fidelity: Fidelity) -> Query:
        """Ask for a cell at a fidelity, read by `signal_at` it."""
        return Query(cell, fidelity, self.signal_at(fidelity))

    def settle_signal(self, fidelities: Iterable[Fidelity]) -> None:
        """Raise `MissingEntryError` where none of a search's fidelities can be read by its signal."""
        lower = [fidelity for fidelity in fidelities if fidelity != self.view.target]
        if self.reading == ACCURACY or any(self.reading in self.view.readable(each) for each in lower):
            return
        known = {each: self.view.readable(each) for each in lower}
        listed = "; ".join(f"{each}: {', '.join(names)}" for each, names in known.items())
        raise MissingEntryError(
            f"no fidelity of this search on {self.view.task} can be read by {self.reading} for every cell; there "
            f"are {listed or 'only full trainings'}."
            f"{nearest(self.reading, {name for names in known.values() for name in names})}"
        )

    def worth(self, evaluation: Evaluation) -> float:
        """What an evaluation is worth to a search, the more the better: the utility of its signal.

        A training that diverged counts as a guess among the classes; by a signal without a known value of
        a guess, as the worst that this search has seen.
        """
        if evaluation.failed:
            return self.floor(evaluation.signal)
        self._worst[evaluation.signal] = min(evaluation.utility, self._worst.get(evaluation.signal, math.inf))
        return evaluation.utility

    def floor(self, signal: str) -> float:
        """What a training that diverged is worth by a signal, see `worth`."""
        known = find_signal(signal)
        guess = known.utility(known.floor(self.view.classes))
        return guess if math.isfinite(guess) else self._worst.get(signal, 0.0)

    def level(self, fidelity: Fidelity) -> int:
        """How much an evaluation counts for the answer: one of a higher level beats all of lower ones.

        By default the full training is above everything else; override for a ladder of fidelities.
        """
        target = self.view.target
        return 1 if fidelity is target or fidelity == target else 0

    def keep_best(self, query: Query, evaluation: Evaluation, value: float | None = None) -> bool:
        """Make the query the incumbent if it is better, and say whether it was.

        The higher `level` wins, then the higher `value` (by default the utility of the signal), and the
        earlier one keeps a tie. A training that diverges is never the incumbent, and a cell whose
        training diverged at a level is not one for what it had shown at lower levels: the best other
        cell takes its place.
        """
        fidelity = self.view.fidelity(query.fidelity)
        level = self.level(fidelity)
        if self._unasked is not None and not evaluation.failed:
            cell, trained, told, worth = self._unasked
            if level >= (full := self.level(trained)):
                self._unasked = None
                self._keep(cell, trained, told, worth, full)
        return self._keep(query.cell, fidelity, evaluation, value, level)

    def _keep(
        self, cell: Architecture, fidelity: Fidelity, evaluation: Evaluation, value: float | None, level: int
    ) -> bool:
        index, best = cell.index, self.incumbent
        failed = evaluation.failed
        worth = -math.inf if failed else evaluation.utility
        if value is None or failed:
            value = worth
        kept = self._kept
        if kept is None:
            kept = self._kept = {}
        known = kept.get(index)
        if known is not None:
            if known[:2] >= (level, value):
                return False
            del kept[index]  # so that it is the latest
        kept[index] = level, value, None if failed else cell, worth, fidelity
        if failed:
            if best is not None and best.cell.index == index:
                # Python's max returns the first of equals: the earlier one keeps a tie.
                *_, other, worth, fidelity = max(kept.values(), key=lambda one: one[:2] if one[2] else ())
                self.incumbent = None if other is None else Incumbent(other, worth, fidelity)
            return False
        if best is not None and best.cell.index != index:
            standing = kept.get(best.cell.index) or (self.level(best.fidelity), best.worth)
            if standing[:2] >= (level, value):
                return False
        self.incumbent = Incumbent(cell, worth, fidelity)
        return True

    def diverged(self, cell: Architecture) -> bool:
        """Whether the best that is known of a cell, by `keep_best`, is that its training diverged."""
        known = (self._kept or {}).get(cell.index)
        return known is not None and known[2] is None
