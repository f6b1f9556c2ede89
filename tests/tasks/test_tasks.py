"""Tasks as values, found by name."""

from __future__ import annotations

import pytest

import nasbench_kd as nk
from nasbench_kd.errors import MissingEntryError, ProtocolError, UnknownNameError
from nasbench_kd.live.tasks import trainable
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.tasks.nasbench201 import TASKS, TEACHER_CELL, TEACHER_INDEX
from nasbench_kd.tasks.registry import PACKAGED, find_task, task_names


def test_the_tasks_of_nas_bench_201_are_taught_by_the_authors_cell():
    assert nk.Cell.parse(TEACHER_CELL).index == TEACHER_INDEX
    for task in TASKS.values():
        assert str(task.teacher) == TEACHER_CELL
        assert task.target == FULL


def test_names_are_found_and_an_unknown_one_is_told_what_comes_close():
    assert find_task("cifar100") is TASKS["cifar100"]
    assert task_names()[:3] == ("cifar10", "cifar100", "imagenet16-120")
    with pytest.raises(UnknownNameError, match="Did you mean 'cifar100'"):
        find_task("cifar1000")
    with pytest.raises(UnknownNameError, match="unknown task 'toy-letters'.*where that package is installed"):
        find_task("toy-letters")
    with pytest.raises(UnknownNameError, match="unknown task None"):
        nk.load(None)


def test_the_word_target_is_the_full_training_of_the_task():
    bench, cell = nk.load("cifar100"), nk.Cell.from_index(1462)
    assert bench.task.fidelity("target") == FULL
    assert bench.evaluate(cell) == bench.evaluate(cell, "target") == bench.evaluate(cell, "none@200")
    run = nk.search("random", "cifar10", "1 evaluations")
    assert run.steps[0].fidelity == "none@200"


def test_sizes_are_those_of_the_network_at_a_fidelity():
    task, cell = TASKS["cifar10"], nk.Cell.parse(TEACHER_CELL)
    assert set(task.sizes(cell)) == {"parameters", "multiply_accumulates"}
    assert (
        task.sizes(cell, nk.Fidelity.parse("none@4 channels=8"))["parameters"]
        < task.sizes(cell)["parameters"]
    )


def test_a_task_without_a_teacher_in_its_space_says_so():
    space = nk.SearchSpace("toy", {"a": "12", "b": "12"})
    with pytest.raises(MissingEntryError, match="teacher of the task toy"):
        nk.Task("toy", space, 10, 100, 10, 32).teacher  # noqa: B018


class NeedsMore(nk.Optimizer):
    needs = ("teacher", "star-charts")

    def ask(self):
        raise AssertionError("it was asked")


def test_an_optimizer_is_refused_by_a_task_that_lacks_what_it_needs():
    run = nk.search(NeedsMore(), "cifar10", "1 evaluations")
    assert (run.ending, run.steps) == ("failed", ())
    assert "NeedsMore needs star-charts, which the task cifar10 does not offer" in run.reason
    assert "teacher" in run.reason.partition("it offers")[2]
    with pytest.raises(ProtocolError, match="star-charts"):
        nk.search(NeedsMore(), "cifar10", "1 evaluations", on_error="raise")


def test_live_mode_trains_what_tasks_say_it_can():
    for task in PACKAGED.values():
        if task.trainable:
            assert trainable(task.name) is task
        else:
            with pytest.raises(UnknownNameError, match="there is no trainer for the networks of"):
                trainable(task.name)
