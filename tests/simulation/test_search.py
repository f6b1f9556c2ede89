"""The search loop: accounting by hand, budgets, failures and reproducibility."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nasbench_kd as nk
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import ArgumentError, ProtocolError, UnknownNameError
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.simulation import MAX_FREE_ASKS, Simulation
from nasbench_kd.tables.column import DIVERGED, Column, make_rows
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.testing.inspection import trail_to_table
from nasbench_kd.testing.tables import table_benchmark

TEACHER_SECONDS = 100


def benchmark(
    seconds: dict[str, Sequence[float]], correct: Sequence[int] | None = None, teacher_correct: int = 0
) -> Benchmark:
    """Cells 0.. with the given times; the teacher takes 100 seconds at the full fidelity."""
    columns = []
    for text, times in seconds.items():
        cells = list(range(len(times)))
        counts = list(correct or range(len(times)))
        times = list(times)
        if text == "none@200":
            cells.append(TASKS["cifar10"].teacher.index)
            counts.append(teacher_correct)
            times.append(TEACHER_SECONDS)
        rows = make_rows(cells, [777] * len(cells), counts, [round(t * 1e6) for t in times])
        provenance = {"source": "measured"}
        columns.append(Column("cifar10", Fidelity.parse(text), "valid", 1000, rows, provenance))
    return Benchmark(TASKS["cifar10"], [Table("memory", "0", tuple(columns), {})])


class Script(nk.Optimizer):
    """Asks for a fixed list of (cell index, fidelity) or other things; then waits for what runs."""

    def __init__(self, *asks):
        self.asks = list(asks)
        self.told: list[tuple[int, float]] = []
        self.running = 0

    def ask(self):
        if not self.asks and self.running:
            return nk.WAIT
        ask = self.asks.pop(0)
        self.running += 1
        return nk.Query(nk.Cell.from_index(ask[0]), ask[1]) if type(ask) is tuple else ask

    def tell(self, query, evaluation):
        self.running -= 1
        self.told.append((query.cell.index, evaluation.seconds))
        self.keep_best(query, evaluation)


class Uniform(nk.Optimizer):
    def ask(self):
        return nk.Query(self.random_cell())

    def tell(self, query, evaluation):
        self.keep_best(query, evaluation)


def timeline(run: nk.Run) -> list[tuple[int, float, float]]:
    return [(step.cell, step.start / 1e6, step.finish / 1e6) for step in run.steps]


class TestClockByHand:
    def test_one_worker(self):
        bench = benchmark({"none@200": [30, 10, 20]})
        run = nk.search(Script((0, FULL), (1, FULL), (2, FULL)), task=bench, budget="3 evaluations")
        assert timeline(run) == [(0, 0, 30), (1, 30, 40), (2, 40, 60)]
        assert run.training_seconds == 60

    def test_two_workers(self):
        # worker 1: 0 (0-30), 3 (30-35); worker 2: 1 (0-10), 2 (10-30). 0 and 2 tie at 30; 0 started first.
        bench = benchmark({"none@200": [30, 10, 20, 5]})
        asks = [(cell, FULL) for cell in range(4)]
        run = nk.search(Script(*asks), task=bench, budget="4 evaluations", workers=2)
        assert timeline(run) == [(1, 0, 10), (0, 0, 30), (2, 10, 30), (3, 30, 35)]

    def test_resuming_pays_the_difference(self):
        bench = benchmark({"none@12/200": [6, 7], "none@50/200": [25, 26], "none@200": [100, 101]})
        asks = [(0, "none@12/200"), (1, "none@12/200"), (0, "none@50/200"), (0, FULL)]
        optimizer = Script(*asks)
        run = nk.search(optimizer, task=bench, budget="4 evaluations")
        assert [step.charged / 1e6 for step in run.steps] == [6, 7, 19, 75]
        assert optimizer.told == [(0, 6), (1, 7), (0, 19), (0, 75)]
        assert run.seconds == 107

    def test_another_schedule_is_another_training(self):
        bench = benchmark({"none@12": [6], "none@200": [100]})
        run = nk.search(Script((0, "none@12"), (0, FULL)), task=bench, budget="2 evaluations")
        assert run.seconds == 106

    def test_a_paid_entry_is_free(self):
        bench = benchmark({"none@12/200": [6], "none@200": [100]})
        asks = [(0, FULL), (0, FULL), (0, "none@12/200"), (0, FULL)]
        run = nk.search(Script(*asks, nk.WAIT), task=bench, budget="10 evaluations")
        assert [step.charged for step in run.steps] == [100_000_000, 0, 0, 0]
        assert [step.spent for step in run.steps] == [1, 1, 1, 1]

    def test_resuming_what_still_runs_waits_for_it(self):
        bench = benchmark({"none@12/200": [6], "none@200": [100]})
        run = nk.search(Script((0, "none@12/200"), (0, FULL)), task=bench, budget="2 evaluations", workers=2)
        assert timeline(run) == [(0, 0, 6), (0, 6, 100)]

    def test_the_teacher_is_trained_once_before_the_first_student(self):
        bench = benchmark({"none@200": [50, 60], "kd@4": [5, 7]})
        asks = [(0, "kd@4"), (1, "kd@4"), (0, FULL)]
        optimizer = Script(*asks)
        run = nk.search(optimizer, task=bench, budget="4 evaluations", workers=2)
        # worker 1: teacher 0-100, student 100-105; worker 2: student waits for the teacher, 100-107.
        teacher = TASKS["cifar10"].teacher.index
        assert timeline(run) == [(teacher, 0, 100), (0, 100, 105), (1, 100, 107), (0, 105, 155)]
        assert [step.teacher / 1e6 for step in run.steps] == [TEACHER_SECONDS, 0, 0, 0]
        assert [step.spent for step in run.steps] == [2, 2, 3, 4]
        assert (run.training_seconds, run.teacher_seconds, run.seconds) == (62, 100, 162)
        assert optimizer.told == [(0, 5), (1, 7), (0, 50)]

    def test_the_teacher_is_an_evaluation_that_the_search_is_told_and_may_answer_with(self):
        # Its result was withheld, it was free within budgets in evaluations, and asking for it cost it again.
        bench = benchmark({"none@200": [50], "kd@4": [5]}, teacher_correct=900)
        teacher = TASKS["cifar10"].teacher.index
        run = nk.search(Script((0, "kd@4"), (teacher, FULL), nk.WAIT), task=bench, budget="2 evaluations")
        assert [(step.cell, step.valid_accuracy, step.answer) for step in run.steps[::2]] == [
            (teacher, 90.0, teacher),
            (teacher, 90.0, teacher),
        ]
        assert (run.seconds, run.steps[-1].charged, run.steps[-1].teacher) == (105, 0, 0)
        assert nk.search(Script((0, "kd@4")), task=bench, budget="1 evaluation").ending == "budget"

    def test_who_trained_the_teacher_already_does_not_pay_it_again(self):
        bench = benchmark({"none@200": [50], "kd@4": [5]})
        asks = [(TASKS["cifar10"].teacher.index, FULL), (0, "kd@4")]
        run = nk.search(Script(*asks), task=bench, budget="2 evaluations", workers=2)
        assert [(step.start / 1e6, step.finish / 1e6) for step in run.steps] == [(0, 100), (100, 105)]
        assert (run.training_seconds, run.teacher_seconds) == (105, 0)

    def test_who_never_distils_needs_no_teacher(self):
        bench = benchmark({"none@12": [6], "kd@4": [5]})
        run = nk.search(Script((0, "none@12"), (0, "kd@4")), task=bench, budget="9 evaluations")
        assert (run.ending, timeline(run)) == ("failed", [(0, 0, 6)])
        assert "the teacher has no price" in run.reason

    def test_a_suite_may_leave_the_teacher_out(self):
        bench = benchmark({"none@200": [50], "kd@4": [5]})
        run = nk.search(Script((0, "kd@4")), task=bench, budget="1 evaluation", bill_teacher=False)
        assert (run.seconds, run.teacher_seconds) == (5, 0)

    @pytest.mark.parametrize(
        ("given", "bought"),
        [
            ((), "teacher stages"),
            (("teacher",), "stages"),
            (("stages",), ""),
            (("supernet",), "teacher stages"),
        ],
    )
    def test_what_is_given_is_not_paid_for_and_all_else_is(self, given, bought):
        quality = np.linspace(10, 90, len(TASKS["cifar10"].space))
        prices_of = {"none@200": TEACHER_SECONDS, "dna": 2.0, "kd@4": 5.0}
        bench = table_benchmark("cifar10", {name: (quality, price) for name, price in prices_of.items()})
        prices = {"teacher": TEACHER_SECONDS, "stages": TASKS["cifar10"].prerequisites[1].seconds}
        simulation = Simulation(bench, Budget.parse("1 gpu-hours"), 0, workers=2, given=given)
        simulation.start(nk.Query(nk.Cell.from_index(0), "dna"))
        assert simulation.ledger.prerequisites / 1e6 == pytest.approx(
            sum(prices[name] for name in bought.split())
        )
        simulation.start(nk.Query(nk.Cell.from_index(0), "kd@4"))  # distils: a teacher, and no stages
        assert simulation.ledger.training / 1e6 == 7
        late = TEACHER_SECONDS if "teacher" not in (*given, *bought.split()) else 0
        paid = sum(prices[name] for name in bought.split()) + late
        assert simulation.ledger.prerequisites / 1e6 == pytest.approx(paid)
        assert simulation.view().teacher_seconds == (0 if "teacher" in given else TEACHER_SECONDS)

    def test_a_name_that_no_prerequisite_has_is_refused(self):
        with pytest.raises(UnknownNameError, match="no prerequisite 'teachr'.*Did you mean 'teacher'"):
            nk.search(Script(), task=benchmark({"none@200": [50]}), budget="1 evaluation", given=["teachr"])
        with pytest.raises(ArgumentError, match=r"\['teacher'\]"):
            nk.search(Script(), task=benchmark({"none@200": [50]}), budget="1 evaluation", given="teacher")


class TestBudget:
    def test_what_does_not_fit_is_not_started(self):
        bench = benchmark({"none@200": [30, 10, 20]})
        run = nk.search(Script((0, FULL), (1, FULL), (2, FULL)), task=bench, budget="45 seconds")
        assert timeline(run) == [(0, 0, 30), (1, 30, 40)]
        assert (run.ending, run.seconds) == ("budget", 40)

    def test_the_teacher_counts(self):
        bench = benchmark({"none@200": [30], "kd@4": [5]})
        assert not nk.search(Script((0, "kd@4")), task=bench, budget="104 seconds").steps
        assert nk.search(Script((0, "kd@4"), nk.WAIT), task=bench, budget="105 seconds").seconds == 105

    def test_the_teacher_counts_as_an_evaluation(self):
        bench = benchmark({"none@200": [30], "kd@4": [5] * 20})
        students = Script(*((index, "kd@4") for index in range(20)))
        steps = nk.search(students, task=bench, budget="10 evaluations").steps
        assert [step.teacher > 0 for step in steps] == [True, *[False] * 9]
        assert [step.spent for step in steps][-1] == 10

    @given(
        seconds=st.lists(st.integers(1, 50), min_size=1, max_size=12),
        limit=st.integers(1, 200),
        workers=st.integers(1, 4),
        seed=st.integers(0, 5),
    )
    @settings(deadline=None, max_examples=60)
    def test_it_is_never_exceeded(self, seconds, limit, workers, seed):
        class Draw(Uniform):
            def ask(self):
                return nk.Query(nk.Cell.from_index(int(self.rng.integers(len(seconds)))))

        run = nk.search(
            Draw(),
            task=benchmark({"none@200": seconds}),
            budget=f"{limit} seconds",
            workers=workers,
            seed=seed,
        )
        assert run.seconds <= limit
        assert run.seconds == sum(step.charged for step in run.steps) / 1e6
        assert [step.finish for step in run.steps] == sorted(step.finish for step in run.steps)
        # One after another, a worker each: simulated time adds up to the work that was paid.
        if workers == 1 and run.steps:
            assert run.steps[-1].finish / 1e6 == run.seconds

    def test_a_smaller_budget_is_a_prefix_of_a_larger_one(self):
        large = nk.search(Uniform, task="cifar10", budget="20 gpu-hours", seed=3)
        small = nk.search(Uniform, task="cifar10", budget="5 gpu-hours", seed=3)
        limit = 5 * 3600 * 10**6
        assert small.steps == tuple(step for step in large.steps if step.spent <= limit)


class TestFailuresAreRecorded:
    @pytest.mark.parametrize(
        ("optimizer", "words"),
        [
            (Script((0, FULL), None), "ask returned None"),
            (Script((0, FULL), "cell"), "ask returned 'cell'"),
            (Script((0, FULL)), "IndexError in ask: pop from empty list"),
            (Script((0, FULL), nk.Query("|none~0|")), "not a Query with a Cell"),  # type: ignore[arg-type]
            (Script((0, FULL), (0, "at@3")), "no entries at the fidelity 'at@3'"),
            (Script((0, FULL), (0, "3@at")), "FidelityError"),
            (Script((0, FULL), (9, FULL)), "cell 9 has no entry"),
            (Script((0, FULL), nk.WAIT), "WAIT while no evaluation was running"),
        ],
    )
    def test_the_run_ends_with_its_reason(self, optimizer: Script, words: str):
        run = nk.search(optimizer, task=benchmark({"none@200": [30, 10]}), budget="5 evaluations")
        assert run.ending == "failed"
        assert words in run.reason
        assert len(run.steps) == 1

    def test_errors_in_tell_setup_and_answer(self):
        class BadTell(Uniform):
            def tell(self, query, evaluation):
                raise ValueError("no")

        class BadSetup(Uniform):
            def setup(self, view, rng):
                raise KeyError("x")

        class BadAnswer(Uniform):
            def answer(self):
                return 7

        reasons = [
            nk.search(kind, task="cifar10", budget="2 evaluations").reason
            for kind in (BadTell, BadSetup, BadAnswer)
        ]
        assert reasons[0] == "ValueError in tell: no"
        assert reasons[1] == "KeyError in setup: 'x'"
        assert "answer returned 7" in reasons[2]

    def test_asking_only_for_paid_entries_ends_as_stalled(self):
        class Same(Uniform):
            def ask(self):
                return nk.Query(nk.Cell.from_index(0))

        run = nk.search(Same, task="cifar10", budget="5 evaluations")
        assert run.ending == "stalled"
        assert len(run.steps) == 1 + MAX_FREE_ASKS

    def test_a_diverged_training_is_told_and_never_the_incumbent(self):
        bench = benchmark({"none@200": [3, 3, 3]}, correct=[400, DIVERGED, 300])
        run = nk.search(Script((1, FULL), (0, FULL), (2, FULL)), task=bench, budget="3 evaluations")
        assert [step.answer for step in run.steps] == [-1, 0, 0]
        assert np.isnan(run.steps[0].valid_accuracy)
        assert run.seconds == 9

    def test_what_is_no_optimizer_is_refused(self):
        with pytest.raises(ProtocolError):
            nk.search(object(), task="cifar10", budget="1 evaluation")  # type: ignore[arg-type]


class TestReproducibility:
    def test_two_runs_are_equal_and_seeds_matter(self):
        runs = [
            nk.search(Uniform, task="cifar100", budget="40 evaluations", seed=s, workers=3) for s in (1, 1, 2)
        ]
        assert runs[0].steps == runs[1].steps
        assert runs[0].steps != runs[2].steps

    def test_the_optimizers_own_time_never_moves_the_clock(self):
        class Slow(Uniform):
            def ask(self):
                time.sleep(0.01)
                return super().ask()

        slow = nk.search(Slow, task="cifar100", budget="5 evaluations", workers=2)
        quick = nk.search(Uniform, task="cifar100", budget="5 evaluations", workers=2)
        assert slow.steps == quick.steps
        assert slow.optimizer_seconds > 0.05 > quick.optimizer_seconds

    def test_golden_run(self):
        # The same on every machine, for ever: a change here breaks every stored run.
        run = nk.search(Uniform, task="cifar10", budget="3 evaluations", seed=0)
        assert [(step.cell, step.seed, step.finish) for step in run.steps] == [
            (13291, 777, 2_146_920_045),
            (9952, 888, 3_618_419_210),
            (7986, 888, 5_409_896_652),
        ]


def ready():
    """An optimizer at the beginning of a run."""
    optimizer = nk.Optimizer()
    view = nk.SearchView("cifar10", 10, 1, (FULL,), (1.0,), 0.0, space=TASKS["cifar10"].space, target=FULL)
    optimizer.setup(view, np.random.default_rng(0))
    return optimizer


def test_the_incumbent_prefers_the_full_fidelity_then_accuracy_then_age():
    optimizer = ready()
    cells = [nk.Cell.from_index(index) for index in range(4)]
    low, full = Fidelity.parse("kd@4"), FULL

    def tell(cell, fidelity, accuracy):
        evaluation = nk.Evaluation(accuracy, "valid_accuracy", 1.0, 0, "measured")
        return optimizer.keep_best(nk.Query(cell, fidelity), evaluation)

    assert tell(cells[0], low, 90.0)
    assert tell(cells[1], full, 50.0)
    assert not tell(cells[2], low, 99.0)
    assert not tell(cells[2], full, 50.0)
    assert tell(cells[3], full, 50.1)
    assert optimizer.incumbent.cell is cells[3]


def test_a_cell_that_diverged_in_full_is_given_up_for_the_next_best():
    optimizer = ready()
    first, second, third = (nk.Cell.from_index(index) for index in range(3))

    def tell(cell, fidelity, accuracy):
        optimizer.keep_best(
            nk.Query(cell, fidelity), nk.Evaluation(accuracy, "valid_accuracy", 1.0, 0, "measured")
        )
        return optimizer.answer()

    assert tell(first, "kd@4", 90.0) is first
    assert tell(second, "kd@4", 80.0) is first
    assert tell(third, "kd@4", 80.0) is first
    assert tell(first, FULL, np.nan) is second
    assert tell(first, "none@12", 99.0) is second
    assert tell(second, FULL, np.nan) is third
    assert tell(third, "none@12", np.nan) is third
    assert tell(third, FULL, np.nan) is None
    assert optimizer.diverged(third)
    assert tell(second, "kd@4", 80.0) is None


def test_a_teacher_competes_with_full_trainings_and_answers_alone_where_there_is_nothing_else():
    optimizer = ready()
    teacher, first, second = (nk.Cell.from_index(index) for index in range(3))

    def evaluation(accuracy):
        return nk.Evaluation(value=accuracy, signal="valid_accuracy", seconds=1.0, seed=0, source="measured")

    optimizer.tell_prerequisite(nk.Query(teacher), evaluation(70.0))
    assert optimizer.answer() is teacher
    optimizer.keep_best(nk.Query(first, "kd@4"), evaluation(40.0))
    assert optimizer.answer() is first
    optimizer.keep_best(nk.Query(second), evaluation(60.0))
    assert optimizer.answer() is teacher
    optimizer.keep_best(nk.Query(first), evaluation(71.0))
    assert optimizer.answer() is first


def test_no_way_leads_from_what_an_optimizer_is_handed_to_a_table():
    """Attributes, containers, bound methods and closures of all that a search hands over, and its pickles."""
    bench = benchmark({"none@200": [3] * 3})
    handed: list[object] = []

    class Nosy(Script):
        def setup(self, view, rng):
            super().setup(view, rng)
            handed.extend([view, rng])

        def tell(self, query, evaluation):
            super().tell(query, evaluation)
            handed.extend([query, evaluation])

    nk.search(Nosy((0, FULL), (1, FULL)), task=bench, budget="2 evaluations")
    assert len(handed) == 6
    for thing in handed:
        assert trail_to_table(thing) is None
        stored = pickle.dumps(thing)
        assert trail_to_table(pickle.loads(stored)) is None
        assert not any(
            name in stored for name in (b"Benchmark", b"nasbench_kd.tables", b"nasbench_kd.benchmark.scoring")
        )

    class Leaky:
        attribute = None

    leaky = Leaky()
    leaky.attribute = {"deep": [bench]}
    for leak in (leaky, lambda: bench, bench.evaluate):
        assert trail_to_table(leak) is not None
