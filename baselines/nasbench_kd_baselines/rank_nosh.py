"""RANK-NOSH-style search: a pyramid of paused trainings, fed by a ranker that learns from its pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.optimizer import WAIT, Query, SearchView, Wait
from nasbench_kd.simulation.parameters import integer, parameter, real, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.signals import ACCURACY
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker
from nasbench_kd_baselines.successive_halving import LadderSearch


@dataclass
class Member:
    """A cell of the pyramid; its level is the number of worths."""

    cell: Architecture
    worths: list[float] = field(default_factory=list)
    """What it was worth after each level that it has reached, -inf where the training diverged."""


@with_parameters
class RankNosh(LadderSearch):
    """Non-uniform successive halving with a pairwise ranker (Wang et al., ICCV 2021).

    Cells wait in levels of a pyramid; level i has been trained to rung i. Each round the ranker,
    retrained on all pairs, proposes cells; they are trained to the first rung, and then, level by
    level, the best of the whole level (old and new) are resumed until the shares of the pyramid
    are restored: of M cells, round(r^(i-1) M) have reached level i. Workers wait for a level to be
    finished.

    The text of the paper is not open to us: the number of levels, their epochs, r, K and the
    treatment of discrepant pairs are unknown. Ours are r = 1/2, K = 10 and 20 initial cells, the
    rungs that the task has, and discrepant pairs dropped. The ranker's template is NPENAS's, on
    the space's graph, else on one whose nodes are its coordinates.

    Args:
        signal: see `LadderSearch`.
        rungs: fidelities of the levels, cheapest first, best of one curve (`none@12/200`, ...,
            `none@200`) so that promotions resume; by default as for `LadderSearch`, spaced by 1/r.
        keep: r, the share of a level that reaches the next one.
        proposals: K, new cells in a round.
        initial: random cells of the first round.
        pool: M, the number of cells after which no new ones are proposed, as in the paper; the best
            of each level then go on until all are trained out. None proposes as long as the search
            lasts: a search is not told its budget.
        parents: best cells whose neighbours are candidates.
        random_candidates: random cells among the candidates.
        ranker: `PairwiseRanker` by default.

    Attributes:
        schedule: (fidelity, share of the pool that reaches it) of every level, after `setup`.
        members: the pyramid's cells with what they were worth.
    """

    paper = "Wang et al., ICCV 2021"
    basis = "after the abstract"
    anytime = False
    keep: float = parameter(0.5, real(above=0, below=1))
    proposals: int = parameter(10, integer(1))
    initial: int = parameter(20, integer(1))
    pool: int | None = parameter(None, integer(1))
    parents: int = parameter(10, integer(1))
    random_candidates: int = parameter(200, integer(0))
    ranker: PairwiseRanker | None = None

    @property
    def spacing(self) -> float:
        """Levels get dearer as fast as they get smaller."""
        return 1 / self.keep

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Lay out the levels; raises `MissingEntryError` where the task has no cheap fidelity."""
        super().setup(view, rng)
        self.model = PairwiseRanker() if self.ranker is None else copy(self.ranker)
        self.schedule = [(rung, self.keep**level) for level, rung in enumerate(self.ladder)]
        self.members: dict[int, Member] = {}
        self.queue: list[Architecture] = []
        self.running = 0
        self.stage = len(self.ladder)

    def ask(self) -> Query | Wait:
        """Return the next training of the level at work, `WAIT` for its last results."""
        while not self.queue:
            if self.running:
                return WAIT
            self.stage += 1
            if self.stage < len(self.ladder):
                self.queue = self._promotions(self.stage)
            elif not self._complete():
                self.stage = 0
                self.queue = self._propose()
            else:
                self.queue = self._left_over()
                if not self.queue:
                    # Everything is trained: asking for what is paid lets the search end.
                    self.running += 1
                    return self.query(self.answer() or self.random_eligible(), self.ladder[-1])
        self.running += 1
        cell = self.queue.pop(0)
        return self.query(cell, self.ladder[self._level(cell)])

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome; a training that diverged ranks last and is never resumed."""
        self.keep_best(query, evaluation)
        self.running -= 1
        member = self.members.get(query.cell.index)
        # Asked for once all are trained out, the answer may be the teacher, which is no member.
        if member is not None and self.ladder.index(Fidelity.parse(query.fidelity)) == len(member.worths):
            member.worths.append(-math.inf if evaluation.failed else self.worth(evaluation))

    def _level(self, cell: Architecture) -> int:
        return len(self.members[cell.index].worths)

    def _complete(self) -> bool:
        return self.pool is not None and len(self.members) >= self.pool

    def _ranked(self, level: int) -> list[Member]:
        """Members that wait at a level (1 is the lowest) and did not diverge, best first."""
        waiting = [member for member in self.members.values() if len(member.worths) == level]
        alive = [member for member in waiting if member.worths[-1] > -math.inf]
        return sorted(alive, key=lambda member: -member.worths[-1])

    def _promotions(self, stage: int) -> list[Architecture]:
        """The best of level `stage`, as many as its upper neighbour lacks."""
        reached = sum(len(member.worths) > stage for member in self.members.values())
        wanted = math.floor(self.keep**stage * len(self.members) + 0.5)
        return [member.cell for member in self._ranked(stage)[: max(0, wanted - reached)]]

    def _left_over(self) -> list[Architecture]:
        """The best cell of the highest level that is not trained out."""
        for level in range(len(self.ladder) - 1, 0, -1):
            if ranked := self._ranked(level):
                return [ranked[0].cell]
        return []

    def _propose(self) -> list[Architecture]:
        """New cells: random ones at first, then those that the ranker puts on top."""
        count = self.initial if not self.members else self.proposals
        if self.pool is not None:
            count = min(count, self.pool - len(self.members))
        if not self.members:
            chosen = [self.new_cell() for _ in range(count)]
        else:
            candidates = self._candidates()
            chosen = self._rank(candidates)[:count] or [self.random_eligible()]
            self.asked.update(cell.index for cell in chosen)
        for cell in chosen:
            self.members.setdefault(cell.index, Member(cell))
        return chosen

    def _candidates(self) -> list[Architecture]:
        """Neighbours of the best cells, and random cells, none of them in the pool."""
        alive = [member for member in self.members.values() if member.worths[-1] > -math.inf]
        best = sorted(alive, key=lambda member: (len(member.worths), member.worths[-1]), reverse=True)
        found = [cell for member in best[: self.parents] for cell in member.cell.neighbours()]
        found += [self.random_eligible() for _ in range(self.random_candidates)]
        new = [cell for cell in dict.fromkeys(found) if cell.index not in self.members]
        return [cell for cell in new if self.eligible[cell.index]]

    def _rank(self, candidates: list[Architecture]) -> list[Architecture]:
        pool = list(self.members.values())
        self.model.fit([member.cell for member in pool], self._curves(pool), self.rng)
        if not candidates:
            return []
        order = np.argsort(-np.round(self.model.score(candidates), 4), kind="stable")
        return [candidates[position] for position in order]

    def _curves(self, pool: Sequence[Member]) -> list[list[float]]:
        """What the ranker compares, level by level: finite numbers on the scale of accuracies in percent.

        A diverged training ranks below every other one.
        """
        curves: list[list[float]] = [[] for _ in pool]
        for level, rung in enumerate(self.ladder):
            reached = [place for place, member in enumerate(pool) if len(member.worths) > level]
            worths = np.array([pool[place].worths[level] for place in reached])
            if self.signal_at(rung) != ACCURACY and len(worths):
                worths = _in_percent(worths)
            for place, worth in zip(reached, worths.tolist(), strict=True):
                curves[place].append(max(worth, 0.0))
        return curves


def _in_percent(worths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values of any unit, spread as widely as accuracies usually are: mean 50, deviation 10, and none below 0."""
    alive = worths[np.isfinite(worths)]
    if not len(alive):
        return worths
    return np.where(
        np.isfinite(worths),
        np.maximum(50 + 10 * (worths - alive.mean()) / (alive.std() or 1.0), 1.0),
        -np.inf,
    )
