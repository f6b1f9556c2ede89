"""The conformance kit lets a sound optimizer pass and catches each kind of unsound one."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd import Cell, Evaluation, Optimizer, Query
from nasbench_kd.spaces.nasbench201 import isomorphism_classes
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.testing.contract import OptimizerContract


class Sound(Optimizer):
    """Mutates the incumbent."""

    def ask(self) -> Query:
        return Query(self.random_cell() if self.incumbent is None else self.incumbent.cell.mutate(self.rng))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        self.keep_best(query, evaluation)


class TestSound(OptimizerContract):
    make = Sound


class GlobalRandom(Sound):
    def ask(self) -> Query:
        return Query(Cell.from_index(np.random.randint(15625)))  # noqa: NPY002


class IgnoresItsGenerator(Sound):
    def __init__(self) -> None:
        self.own = np.random.default_rng(1)

    def ask(self) -> Query:
        return Query(Cell.sample(self.own))


class RepeatsItself(Sound):
    def __init__(self) -> None:
        self.count = 0

    def ask(self) -> Query:
        self.count += 1
        return Query(Cell.from_index(self.count // 4))


class Remembers(Sound):
    """Goes on where its last run has ended."""

    def __init__(self) -> None:
        self.told = 0

    def ask(self) -> Query:
        self.told += 1
        return Query(Cell.from_index((int(self.rng.integers(100)) + 100 * self.told) % 15625))


class KeepsAGenerator(Sound):
    def __init__(self) -> None:
        self.cells = (Cell.from_index(index) for index in itertools.count())

    def ask(self) -> Query:
        return Query(next(self.cells))


class LosesStateInPickles(Sound):
    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "incumbent"}


class AnswersTheLast(Sound):
    """Takes NaN for an answer."""

    last: Cell | None = None

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        super().tell(query, evaluation)
        self.last = query.cell

    def answer(self) -> Cell | None:
        return self.last


class DividesBySpread(Sound):
    def __init__(self) -> None:
        self.accuracies: list[float] = []

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        super().tell(query, evaluation)
        self.accuracies.append(evaluation.valid_accuracy)
        if len(self.accuracies) > 2:
            _ = 1 / int(1000 * (max(self.accuracies) - min(self.accuracies)))


class DividesBySeconds(Sound):
    def tell(self, query: Query, evaluation: Evaluation) -> None:
        super().tell(query, evaluation)
        _ = 1 / evaluation.seconds


class MutatesInAnswer(Sound):
    def answer(self) -> Cell | None:
        self.rng.random()
        return super().answer()


class ExpectsOrder(Sound):
    def __init__(self) -> None:
        self.asked: list[Cell] = []

    def ask(self) -> Query:
        query = super().ask()
        self.asked.append(query.cell)
        return query

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        super().tell(query, evaluation)
        assert self.asked.pop(0) is query.cell


class HoldsABenchmark(Sound):
    """Peeks through a closure."""

    def __init__(self) -> None:
        bench = nk.load("cifar10", data="embedded")
        self.peek: Callable[[Cell], float] = lambda cell: bench.evaluate(cell).valid_accuracy


class OpensABenchmark(Sound):
    def ask(self) -> Query:
        nk.load("cifar10", data="embedded")
        return super().ask()


class PricesBlindly(Sound):
    def setup(self, view: nk.SearchView, rng: np.random.Generator) -> None:
        super().setup(view, rng)
        self.price = view.price("none@200")


class GivesUp(Sound):
    def tell(self, query: Query, evaluation: Evaluation) -> None:
        super().tell(query, evaluation)
        if evaluation.valid_accuracy > 50:
            raise RuntimeError("good enough")


class DividesByTheDifferenceOfTwins(Sound):
    def __init__(self) -> None:
        classes = isomorphism_classes()
        self.twins = np.flatnonzero(classes == np.bincount(classes).argmax()).tolist()
        self.accuracies: list[float] = []

    def ask(self) -> Query:
        return Query(Cell.from_index(self.twins.pop()))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        super().tell(query, evaluation)
        self.accuracies.append(evaluation.valid_accuracy)
        if len(self.accuracies) > 1:
            _ = 1 / (self.accuracies[-1] - self.accuracies[-2])


class MaximizesALoss(Optimizer):
    """Takes a signal's value for its utility."""

    fidelities = ("nst@12",)

    def __init__(self, signal: str = "valid_accuracy") -> None:
        self.signal = signal

    def ask(self) -> Query:
        return self.query(self.random_cell(), Fidelity.parse("nst@12"))

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        self.keep_best(query, evaluation, value=evaluation.value)


CAUGHT = [
    (MaximizesALoss, "test_an_informative_loss_is_worth_more_than_noise"),
    (GivesUp, "test_it_spends_the_budget_and_no_more"),
    (DividesByTheDifferenceOfTwins, "test_it_stands_cells_of_one_isomorphism_class"),
    (GlobalRandom, "test_it_leaves_global_random_state_alone"),
    (IgnoresItsGenerator, "test_same_seed_gives_the_same_run"),
    (Remembers, "test_one_instance_searches_again_as_if_it_were_new"),
    (RepeatsItself, "test_paid_queries_are_rarely_repeated"),
    (KeepsAGenerator, "test_it_survives_pickling_midway"),
    (LosesStateInPickles, "test_it_survives_pickling_midway"),
    (AnswersTheLast, "test_diverged_trainings_do_no_harm"),
    (AnswersTheLast, "test_it_stands_a_task_where_everything_diverges"),
    (DividesBySpread, "test_it_stands_equal_accuracies"),
    (DividesBySeconds, "test_paid_entries_cost_no_seconds"),
    (MutatesInAnswer, "test_asking_for_the_answer_changes_nothing"),
    (ExpectsOrder, "test_answers_may_come_in_any_order"),
    (HoldsABenchmark, "test_it_holds_no_way_to_test_accuracy"),
    (OpensABenchmark, "test_it_holds_no_way_to_test_accuracy"),
    (PricesBlindly, "test_a_missing_fidelity_is_named"),
]


@pytest.mark.parametrize(("kind", "test"), CAUGHT, ids=[f"{kind.__name__}-{test}" for kind, test in CAUGHT])
def test_the_kit_catches(
    kind: type[Optimizer], test: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    fidelities = getattr(kind, "fidelities", OptimizerContract.fidelities)
    parts = {"make": kind, "make_reading": kind, "fidelities": fidelities}
    contract = type("Contract", (OptimizerContract,), parts)()
    arguments = (monkeypatch,) if test == "test_it_holds_no_way_to_test_accuracy" else ()
    with pytest.raises((AssertionError, ArithmeticError, TypeError)):
        getattr(contract, test)(*arguments)


class LargestFirst(Sound):
    """A control whose asks the task alone decides."""

    def setup(self, view: nk.SearchView, rng: np.random.Generator) -> None:
        super().setup(view, rng)
        self.left = sorted(view.space, key=lambda cell: view.sizes(cell)["parameters"])

    def ask(self) -> Query:
        return Query(self.left.pop())


class TestLargestFirst(OptimizerContract):
    make = LargestFirst
    task = "kd-resnet"
    seeded = False


def test_what_is_declared_of_seeds_is_held_to() -> None:
    for make, seeded, told in (
        (LargestFirst, True, "is self.rng used"),
        (Sound, False, "ask for different cells"),
    ):
        parts = {"make": make, "task": "kd-resnet", "seeded": seeded}
        with pytest.raises(AssertionError, match=told):
            type("Contract", (OptimizerContract,), parts)().test_same_seed_gives_the_same_run()


class AsksForEverythingSeveralTimes(Sound):
    times: int

    def __init__(self) -> None:
        self.count = -1

    def ask(self) -> Query:
        self.count += 1
        return Query(self.view.space[self.count // self.times])


@pytest.mark.parametrize(("times", "sound"), [(2, True), (3, False)])
def test_a_small_space_allows_what_blind_draws_repeat_and_no_more(times: int, sound: bool) -> None:
    kind = type("Repeats", (AsksForEverythingSeveralTimes,), {"times": times})
    contract = type("Contract", (OptimizerContract,), {"make": kind, "task": "kd-resnet"})()
    if sound:
        contract.test_paid_queries_are_rarely_repeated()
    else:
        with pytest.raises(AssertionError, match="67% of the asks .* 62% are allowed"):
            contract.test_paid_queries_are_rarely_repeated()


class InCircles(Sound):
    """Asks for the first so many networks at a cheap fidelity, again and again."""

    def __init__(self, most: int) -> None:
        self.count, self.most = 0, most

    def ask(self) -> Query:
        self.count += 1
        return Query(self.view.space[self.count % self.most], "none@3")


@pytest.mark.parametrize("most", [63, 64])
def test_asking_in_circles_is_forgiven_where_nothing_is_left(most: int) -> None:
    parts = {"make": lambda: InCircles(most), "task": "kd-resnet", "fidelities": ("none@3",), "workers": (1,)}
    contract = type("Contract", (OptimizerContract,), parts)()
    if most == 64:
        contract.test_it_spends_the_budget_and_no_more()
    else:
        with pytest.raises(AssertionError, match="stalled: 1000 asks in a row"):
            contract.test_it_spends_the_budget_and_no_more()


def test_every_test_of_the_kit_is_proven_to_catch_something() -> None:
    tests = {name for name in vars(OptimizerContract) if name.startswith("test_")}
    assert tests == {test for _, test in CAUGHT}
