"""The closed world: its cells and its table against the whole space and the tables that it is copied from."""

from __future__ import annotations

import pickle
import tomllib

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import CellError, MissingEntryError, ProtocolError
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.spaces import nasbench201
from nasbench_kd.spaces.nasbench201_sample import SIZE, SPACE
from nasbench_kd.tasks.closed import ORIGINALS, TASKS
from tests.conftest import ROOT

SOME = range(0, SIZE, 37)
FIDELITIES = {
    "none@200", "none@12", "dna", "dna-random-teacher", "rmi", "rmi-random-teacher", "none-dear", "nst-dear",
    *(f"{kind}-cheap" for kind in ("none", "nst", "kd", "kd+nst", "at", "pkt", "sp")),
}  # fmt: skip


def official() -> list[int]:
    return [each.cell.index for each in SPACE]


def test_the_sample_is_the_first_classes_of_every_fill():
    pytest.importorskip("torch", reason="fills train")
    from nasbench_kd.live.fill import class_order

    assert official() == [cell.index for cell in class_order()[:SIZE]]
    assert len({nasbench201.SPACE.classes[index] for index in official()}) == SIZE


def test_cells_print_and_are_read_as_in_the_whole_space():
    for place in SOME:
        cell, whole = SPACE[place], nk.Cell.from_index(official()[place])
        assert str(cell) == str(whole)
        assert SPACE.parse(str(whole)) is cell
        assert pickle.loads(pickle.dumps(cell)) == cell
    outside = next(cell for cell in nasbench201.all_cells() if cell.index not in official())
    with pytest.raises(CellError, match=r"not among the 1000 architectures.*the closest is SampledCell"):
        SPACE.parse(str(outside))
    with pytest.raises(CellError, match="form: "):
        SPACE.parse("|nothing|")
    with pytest.raises(CellError, match="from 0 to 999"):
        SPACE[SIZE]


def test_neighbours_are_the_nearest_of_the_sample():
    codes = np.array([each.cell.codes for each in SPACE])
    for place in SOME:
        distances = (codes != codes[place]).sum(axis=1)
        mine = {each.index for each in SPACE[place].neighbours()}
        assert place not in mine
        assert len(mine) >= 6
        beyond = min(distances[other] for other in range(SIZE) if other not in mine and other != place)
        assert max(distances[list(mine)]) < beyond


def test_encodings_are_rows_of_those_of_the_whole_space():
    rows = official()
    assert np.array_equal(SPACE.one_hot, nasbench201.one_hot_matrix()[rows])
    assert np.array_equal(SPACE.encoding("paths"), nasbench201.paths()[rows])
    for name in ("symbols", "absent"):
        assert np.array_equal(getattr(SPACE.graph, name), getattr(nasbench201.graph(), name)[rows])


@pytest.mark.parametrize("name", TASKS)
def test_every_fidelity_is_measured_everywhere_as_in_the_tables_that_it_is_copied_from(name):
    closed, whole = nk.load(name, data="measured"), nk.load(ORIGINALS[name].name, data="measured")
    own = [each for each in closed.fidelities if each.trained_on is None]
    assert {each.alias for each in own} == FIDELITIES
    for fidelity in own:
        signals = closed.common_signals(fidelity)
        assert closed.covers(fidelity)
        assert signals == closed.signals(fidelity) == whole.common_signals(fidelity)
        for place in SOME:
            there = SPACE[place].cell
            assert closed.seeds(SPACE[place], fidelity) == whole.seeds(there, fidelity)
            for seed in closed.seeds(SPACE[place], fidelity):
                for signal in signals:
                    mine = closed.evaluate(SPACE[place], fidelity, signal, seed=seed)
                    assert mine == whole.evaluate(there, fidelity, signal, seed=seed)
                    assert mine.source == "measured"
    for place in SOME:
        assert closed.task.sizes(SPACE[place]) == whole.task.sizes(SPACE[place].cell)
    scores, all_scores = open_scorer(name), open_scorer(ORIGINALS[name].name)
    assert scores.basis == all_scores.basis == "test"
    assert np.array_equal(scores.reference, all_scores.reference[official()])


@pytest.mark.parametrize("name", TASKS)
def test_prerequisites_are_those_of_the_whole_space_and_the_teacher_is_of_its_class(name):
    task, original = TASKS[name], ORIGINALS[name]
    assert task.teacher.cell.isomorphism_class == original.teacher.isomorphism_class
    whole = nk.load(original.name, data="measured")
    assert nk.load(name, data="measured").teacher_seconds == whole.evaluate(task.teacher.cell).seconds
    assert [each._replace(training=None) for each in task.prerequisites] == [
        each._replace(training=None) for each in original.prerequisites
    ]


class Leaves(nk.Optimizer):
    """Asks for a cell of the whole space."""

    def ask(self):
        return nk.Query(nk.Cell.from_index(0))

    def tell(self, query, evaluation):
        pass


def test_a_search_cannot_leave_the_world():
    with pytest.raises(ProtocolError, match="is no architecture of nas-bench-201-sample"):
        nk.search(Leaves(), "cifar10-closed", "1 gpu-hours", on_error="raise")
    for fidelity in ("nst@12", "nwot", "none@12 on=cifar100", "nst-cheap on=cifar10"):
        run = nk.search(make_optimizer("screening", {"fidelity": fidelity}), "cifar100-closed", "1 gpu-hours")
        assert (run.ending, run.steps) == ("failed", ())
        assert "no entries at the fidelity" in run.reason
    with pytest.raises(MissingEntryError):
        nk.load("cifar10-closed").evaluate(SPACE[0], "nst-4-epochs")


def test_searches_of_the_suite_run_on_measured_entries_alone():
    suite = tomllib.loads((ROOT / "suites" / "kd-closed.toml").read_text())
    assert suite["data"] == "measured"
    assert set(suite["tasks"]) == set(TASKS)
    named = {each.get("name", each["optimizer"]): each for each in suite["optimizers"]}
    for name in ("mf-kd", "dna-random-teacher"):
        entry = named[name]
        bench = nk.load("cifar100-closed", data=suite["data"])
        run = nk.search(make_optimizer(entry["optimizer"], entry["arguments"]), bench, "3 gpu-hours", seed=1)
        assert run.ending == "budget"
        assert {step.source for step in run.steps} == {"measured"}
        assert len({step.fidelity for step in run.steps}) >= 2
        assert run.answer in SPACE
