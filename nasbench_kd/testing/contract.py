"""The conformance kit: a test class to inherit, which holds an optimizer to the ask/tell protocol."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

import nasbench_kd.opening
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import WAIT, Optimizer, Query, SearchView, Wait
from nasbench_kd.simulation.run import Run
from nasbench_kd.simulation.search import search
from nasbench_kd.simulation.simulation import Simulation
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.testing import landscapes
from nasbench_kd.testing.inspection import global_random_state, trail_to_table


class OptimizerContract:
    """Inherit, name your optimizer, and run pytest.

    >>> from nasbench_kd import Optimizer as MyOptimizer  # yours in its place
    >>> class TestMine(OptimizerContract):
    ...     make = MyOptimizer                       # or functools.partial(MyOptimizer, argument=1)
    ...     fidelities = ("nst@4/12",)               # all that it may ask for below the target

    The searches run on small made-up landscapes, never on real results.
    """

    make: ClassVar[Callable[[], Optimizer]]
    """Makes a fresh optimizer: its class, or any callable without arguments."""
    fidelities: ClassVar[tuple[str, ...]] = ()
    """All fidelities that the optimizer may ask for below the task's target, which is always there."""
    task: ClassVar[str] = "cifar10"
    """The task whose name, space, classes, target and teacher the landscapes borrow."""
    budget: ClassVar[str] = "30 evaluations"
    """Long enough to leave the optimizer's initial phase."""
    workers: ClassVar[tuple[int, ...]] = (1, 4)
    """Numbers of parallel workers to try."""
    free_share: ClassVar[float] = 0.5
    """Largest share of asks for entries that are already paid, among those that blind draws would find unpaid.

    In a large space that is all of them. In a small one blind draws, too, meet what is paid: `repeated_blindly`.
    """
    seeded: ClassVar[bool] = True
    """Whether two seeds ask for different cells. False for a method whose asks the task alone decides, such as the
    largest networks first where no two are of one size: runs with two seeds must then ask for the same."""

    make_reading: ClassVar[Callable[[str], Optimizer] | None] = None
    """Makes an optimizer that judges short trainings by the signal of this name; None where it reads accuracy alone."""

    def run(
        self,
        benchmark: Benchmark | None = None,
        *,
        optimizer: Optimizer | None = None,
        budget: str | None = None,
        seed: int = 0,
        workers: int = 1,
        bill_teacher: bool = True,
    ) -> Run:
        """Search, by default with a fresh optimizer on the ordinary landscape."""
        run = search(
            optimizer or type(self).make(),
            task=benchmark or self.world(),
            budget=budget or self.budget,
            seed=seed,
            workers=workers,
            bill_teacher=bill_teacher,
        )
        named = ", ".join((*self.fidelities, TARGET))
        assert "MissingEntryError" not in run.reason, (
            f"it asks for a fidelity that the test does not name in `fidelities`, which has {named}: {run.reason}"
        )
        return run

    @property
    def target(self) -> Fidelity:
        """The fidelity by which answers on the task are judged."""
        return find_task(self.task).target

    def fidelity(self, text: str | Fidelity) -> Fidelity:
        """A fidelity of the task, read from its text."""
        return find_task(self.task).fidelity(text)

    def world(self, landscape: landscapes.Landscape = landscapes.hilly) -> Benchmark:
        """A benchmark with all of `fidelities`; seconds are ten times the epochs."""
        return landscapes.landscape_benchmark(self.task, (*self.fidelities, TARGET), landscape)

    def test_same_seed_gives_the_same_run(self) -> None:
        """Everything random comes from the generator that `setup` hands over."""
        for workers in self.workers:
            first, again = self.run(workers=workers), self.run(workers=workers)
            assert first.steps == again.steps, f"two runs with one seed differ with {workers} workers"
        other = self.run(seed=1, workers=self.workers[0])
        cells = [[step.cell for step in run.steps] for run in (self.run(workers=self.workers[0]), other)]
        if self.seeded:
            assert cells[0] != cells[1], (
                "runs with two seeds ask for the same cells: is self.rng used? Where the task alone decides what "
                "is asked for, declare `seeded = False`"
            )
        else:
            assert cells[0] == cells[1], (
                "runs with two seeds ask for different cells: leave out `seeded = False`"
            )

    def test_one_instance_searches_again_as_if_it_were_new(self) -> None:
        """The constructor keeps arguments alone: what a run has learned is made in `setup`."""
        optimizer = type(self).make()
        first, again = self.run(optimizer=optimizer), self.run(optimizer=optimizer)
        assert first.steps == again.steps, "a second search with one instance differs from its first"

    def test_it_spends_the_budget_and_no_more(self) -> None:
        """A run ends because the budget is spent, not by a failure or by asking in circles.

        Unless nothing is left to buy, as where a small space is trained whole at a low fidelity.
        """
        for workers in self.workers:
            for budget in (
                self.budget,
                f"{10 * landscapes.SECONDS_PER_EPOCH * self.target.epochs:g} seconds",
            ):
                run = self.run(budget=budget, workers=workers)
                ended = run.ending == "budget" or (run.ending == "stalled" and bought_out(run))
                assert ended, f"{budget}, {workers} workers: {run.ending}: {run.reason}"
                # Time may be too short for what a method asks first; evaluations never are.
                assert run.steps or budget != self.budget
                assert all(step.spent <= run.budget.amount for step in run.steps)
                assert run.answer is not None or not run.steps

    def test_paid_queries_are_rarely_repeated(self) -> None:
        """An entry that is already paid costs nothing and teaches nothing."""
        steps = self.run(workers=self.workers[0]).steps
        paid = sum(step.charged + step.teacher > 0 for step in steps)
        free = 1 - paid / len(steps)
        blind = repeated_blindly(
            paid, len(find_task(self.task).space) * len({step.fidelity for step in steps})
        )
        allowed = blind + (1 - blind) * self.free_share
        assert free <= allowed, (
            f"{free:.0%} of the asks were for entries that were already paid; {allowed:.0%} are allowed"
        )

    def test_it_survives_pickling_midway(self) -> None:
        """A pickled and restored optimizer goes on as if nothing had happened."""
        for workers in self.workers:
            undisturbed = self.run(workers=workers)
            restored = self.run(optimizer=_Pickled(type(self).make()), workers=workers)
            assert restored.ending == undisturbed.ending, restored.reason
            assert restored.steps == undisturbed.steps, f"pickling changed the run with {workers} workers"

    def test_asking_for_the_answer_changes_nothing(self) -> None:
        """`answer` may be called at any time, any number of times."""
        assert self.run(optimizer=_Curious(type(self).make())).steps == self.run().steps

    def test_diverged_trainings_do_no_harm(self) -> None:
        """A failed evaluation is NaN; it never becomes the answer while another one succeeded."""
        benchmark = self.world(landscapes.treacherous)
        for workers in self.workers:
            for seed in range(3):
                run = self.run(benchmark, seed=seed, workers=workers)
                assert run.ending == "budget", f"seed {seed}, {workers} workers: {run.reason}"
                diverged = {step.cell for step in run.steps if step.valid_accuracy != step.valid_accuracy}
                assert run.answer is None or run.answer.index not in diverged, "the answer had diverged"

    def test_it_stands_a_task_where_everything_diverges(self) -> None:
        """Without a single success there is no answer, and no crash."""
        run = self.run(self.world(landscapes.hopeless))
        assert run.ending != "failed", run.reason
        assert run.answer is None, "the answer is a cell whose training diverged"

    def test_it_stands_equal_accuracies(self) -> None:
        """Ties everywhere: no division by a spread of zero; a climber that gets stuck is not at fault."""
        for workers in self.workers:
            run = self.run(self.world(landscapes.flat), workers=workers)
            assert run.ending != "failed", f"{workers} workers: {run.reason}"
            assert run.answer is not None

    def test_it_stands_cells_of_one_isomorphism_class(self) -> None:
        """Twins have one accuracy each, as where a table is filled from isomorphic cells."""
        run = self.run(self.world(landscapes.twins))
        assert run.ending == "budget", run.reason
        assert run.answer is not None

    def test_it_leaves_global_random_state_alone(self) -> None:
        """Global generators are neither read nor moved (random, numpy, and torch where it is loaded)."""
        runs = []
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            before = global_random_state()
            runs.append(self.run())
            assert global_random_state() == before, "the search moved a global random state"
        assert runs[0].steps == runs[1].steps, "the search depends on a global random state"

    def test_an_informative_loss_is_worth_more_than_noise(self) -> None:
        """Where short trainings tell by their loss alone, reading it beats the same search without.

        Judged by the answers all along: a small space is searched out in the end by either.
        """
        make = type(self).make_reading
        if make is None:
            pytest.skip("it reads validation accuracy alone")
        fidelities = (*self.fidelities, TARGET)
        benchmark = landscapes.loss_benchmark(self.task, fidelities)
        means = {}
        for signal in ("train_loss", "valid_accuracy"):
            # Without its bill the teacher, which is a good cell, is no answer.
            runs = [
                self.run(benchmark, optimizer=make(signal), seed=seed, bill_teacher=False)
                for seed in range(5)
            ]
            assert all(run.ending == "budget" for run in runs), runs[0].reason
            read = {step.signal for run in runs for step in run.steps if step.fidelity != str(self.target)}
            assert read == {signal}, f"short trainings were read by {', '.join(read)}, not by {signal}"
            answers = [cell for run in runs for _, cell in run.trajectory if cell is not None]
            means[signal] = np.mean([benchmark.evaluate(cell).value for cell in answers])
        assert means["train_loss"] > means["valid_accuracy"], f"mean accuracy of all answers: {means}"

    def test_answers_may_come_in_any_order(self) -> None:
        """Up to eight evaluations run at once and end in random order."""
        for seed in range(3):
            assert self._drive(seed, slots=8, seconds=None) is not None

    def test_paid_entries_cost_no_seconds(self) -> None:
        """`evaluation.seconds` is what was charged: zero for a paid entry, the difference after a pause."""
        assert self._drive(0, slots=1, seconds=0.0) is not None

    def test_it_holds_no_way_to_test_accuracy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither its attributes and closures lead to a table, nor does it open one while it searches."""
        benchmark = self.world()

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a search opened a table; it knows only what it is told")

        monkeypatch.setattr(nasbench_kd.opening, "tables", refuse)
        monkeypatch.setattr(Table, "open", staticmethod(refuse))
        optimizer = type(self).make()
        run = self.run(benchmark, optimizer=optimizer)
        assert run.ending == "budget", run.reason
        trail = trail_to_table(optimizer)
        assert trail is None, f"the optimizer reaches a table through {trail}"

    def test_a_missing_fidelity_is_named(self) -> None:
        """Where the task lacks a fidelity that it needs, the reason says which, or which there are instead."""
        other = landscapes.landscape_benchmark(self.task, ("none@3 images=1000",), landscapes.hilly)
        run = search(type(self).make(), task=other, budget=self.budget, seed=0, bill_teacher=False)
        if run.ending == "failed":
            known = [
                str(self.fidelity(each)) for each in (*self.fidelities, TARGET, *map(str, other.fidelities))
            ]
            assert any(each in run.reason for each in known), f"the reason names no fidelity: {run.reason}"

    def _drive(self, seed: int, slots: int, seconds: float | None) -> Architecture | None:
        """Ask and tell by hand, with an own order of answers and, where given, own seconds."""
        benchmark, optimizer = self.world(), type(self).make()
        order = np.random.default_rng(seed)
        view = Simulation(benchmark, Budget.parse(self.budget), seed, workers=slots).view()
        optimizer.setup(view, np.random.default_rng(seed))
        running: list[Query] = []
        for _ in range(120):
            more = not running or (len(running) < slots and order.random() < 0.6)
            asked = optimizer.ask() if more else WAIT
            if isinstance(asked, Query):
                running.append(asked)
            else:
                assert running, "ask returned WAIT while no evaluation was running"
                query = running.pop(int(order.integers(len(running))))
                evaluation = benchmark.draw(query.cell, self.fidelity(query.fidelity), seed, query.signal)
                optimizer.tell(query, evaluation if seconds is None else evaluation._replace(seconds=seconds))
        return optimizer.answer()


def bought_out(run: Run) -> bool:
    """Whether a run has paid for every architecture of its space at every fidelity that it asked for."""
    asked = {(step.cell, step.fidelity) for step in run.steps}
    return len(asked) == len(run.space) * len({fidelity for _, fidelity in asked})


def repeated_blindly(paid: int, entries: int) -> float:
    """Expected share of repetitions where entries are drawn blindly, with replacement, until so many are known.

    >>> round(repeated_blindly(30, 64), 2), round(repeated_blindly(30, 15_625), 4)
    (0.25, 0.0009)
    """
    paid = min(paid, entries)
    draws = sum(entries / (entries - known) for known in range(paid))
    return 1 - paid / draws if paid else 0.0


class _Pickled(Optimizer):
    """Pickles and restores the optimizer before every call."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        self.inner.setup(view, rng)

    def ask(self) -> Query | Wait:
        self.inner = pickle.loads(pickle.dumps(self.inner))
        return self.inner.ask()

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        self.inner = pickle.loads(pickle.dumps(self.inner))
        self.inner.tell(query, evaluation)

    def tell_prerequisite(self, query: Query, evaluation: Evaluation) -> None:
        self.inner.tell_prerequisite(query, evaluation)

    def answer(self) -> Architecture | None:
        return self.inner.answer()


class _Curious(_Pickled):
    """Asks for the answer again and again."""

    def ask(self) -> Query | Wait:
        self.inner.answer()
        return self.inner.ask()

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        self.inner.answer()
        self.inner.tell(query, evaluation)
        self.inner.answer()
