"""Optimizers that try to get more than they pay for, for tests of the border and of `verify`."""

from __future__ import annotations

from nasbench_kd import Cell, Evaluation, Fidelity, Optimizer, Query
from nasbench_kd.spaces.nasbench201 import SPACE

PROXY = "kd@4"
FULL = Fidelity.parse("none@200")


class Shifting(Cell):
    """Another cell each time that its index is read."""

    __slots__ = ()
    reads = 0

    @property
    def index(self) -> int:
        Shifting.reads += 1
        return 100 + Shifting.reads


class Disguised(Cell):
    """A cell whose index is whatever was stored in the class."""

    __slots__ = ()
    shown: object = 0

    @property
    def index(self) -> object:
        return Disguised.shown


def disguised(kind: type[Cell]) -> Cell:
    """A cell of the space in all but its class and its index."""
    made = object.__new__(kind)
    for name, value in (("space", SPACE), ("codes", (0,) * 6)):
        object.__setattr__(made, name, value)
    return made


class SameForAll(int):
    """Indices that are all equal to one another, so that one payment covers them."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Equal(Fidelity):
    """Equal to every other fidelity."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(FULL)


class NoCurve(Fidelity):
    """Claims to be resumed from a training that was paid."""

    @property
    def curve(self) -> Fidelity:
        return FULL


class OtherCurves(Fidelity):
    """Of another curve at each look: draws another training seed."""

    reads = 0

    @property
    def curve(self) -> Fidelity:
        OtherCurves.reads += 1
        return Fidelity.parse(f"none@{200 + OtherCurves.reads}")


class NoNeeds(Fidelity):
    """Distils and says that it does not need a teacher."""

    needs = ()

    def __getattribute__(self, name: str) -> object:
        return "none" if name == "distillation" and NoNeeds.armed else super().__getattribute__(name)

    armed = False


class TwoTexts(Fidelity):
    """Cheap at the first look, full at the next."""

    reads = 0

    def __str__(self) -> str:
        TwoTexts.reads += 1
        return "none@200" if TwoTexts.reads % 2 else PROXY


class LyingText(str):
    """Text that is equal to a paid fidelity and reads as another."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("none@200")

    def split(self, *_: object) -> list[str]:  # type: ignore[override]
        return ["none@200"]


class TwoQueries(Query):
    """Another cell at each look."""

    reads = 0

    @property
    def cell(self) -> Cell:
        TwoQueries.reads += 1
        return Cell.from_index(200 + TwoQueries.reads % 2)


class TwoFidelities(Query):
    """A cheap training that is told as a full one."""

    reads = 0

    @property
    def fidelity(self) -> str:
        TwoFidelities.reads += 1
        return PROXY if TwoFidelities.reads % 2 else "none@200"


class Cheat(Optimizer):
    """Asks honestly, and dishonestly every second time."""

    def setup(self, view, rng):
        super().setup(view, rng)
        self.asks = 0
        TwoQueries.reads = TwoFidelities.reads = 0

    def ask(self) -> Query:
        self.asks += 1
        return self.trick(self.asks) if self.asks % 2 == 0 else Query(self.random_cell())

    def trick(self, number: int) -> Query:
        return Query(Cell.from_index(number))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        self.keep_best(query, evaluation)


class ShiftingCells(Cheat):
    def trick(self, number):
        return Query(disguised(Shifting))


class EqualIndices(Cheat):
    def trick(self, number):
        Disguised.shown = SameForAll(300 + number)
        return Query(disguised(Disguised))


class EqualFidelities(Cheat):
    def trick(self, number):
        return Query(Cell.from_index(number), Equal("none", 12, 200))


class ForgedCurves(Cheat):
    def trick(self, number):
        return Query(Cell.from_index(7), NoCurve("none", 12, 12) if number % 4 else FULL)


class AllSeeds(Cheat):
    def trick(self, number):
        return Query(Cell.from_index(7), OtherCurves("none", 200, 200))


class FreeTeacher(Cheat):
    def trick(self, number):
        NoNeeds.armed = False
        distilled = NoNeeds("kd", 4, 4)
        NoNeeds.armed = True
        return Query(Cell.from_index(number), distilled)


class ChangingTexts(Cheat):
    def trick(self, number):
        return Query(Cell.from_index(number), TwoTexts("kd", 4, 4))


class LyingTexts(Cheat):
    def trick(self, number):
        return Query(Cell.from_index(number), LyingText(PROXY))


class ChangingQueries(Cheat):
    def trick(self, number):
        return TwoQueries(Cell.from_index(0))


class ChangingFidelities(Cheat):
    def trick(self, number):
        return TwoFidelities(Cell.from_index(number))


class ForgedAnswer(Cheat):
    index: object = 20_000

    def trick(self, number):
        return Query(Cell.from_index(number))

    def answer(self):
        Disguised.shown = self.index
        return disguised(Disguised)


class FractionalAnswer(ForgedAnswer):
    index = 1.5


class NegativeAnswer(ForgedAnswer):
    index = -7


ASKING = [
    ShiftingCells,
    EqualIndices,
    EqualFidelities,
    ForgedCurves,
    AllSeeds,
    FreeTeacher,
    ChangingTexts,
    LyingTexts,
    ChangingQueries,
    ChangingFidelities,
]
ANSWERING = [ForgedAnswer, FractionalAnswer, NegativeAnswer]
