"""The doctor's fingerprints, and one regression test for each error found in a peer."""

from __future__ import annotations

import pickle
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from nasbench_kd import Cell, Evaluation, load, search
from nasbench_kd.errors import DataError, FidelityError, MissingEntryError, UnknownNameError
from nasbench_kd.examine.doctor import examine_file, examine_installed, examine_table
from nasbench_kd.sources.nasbench201_releases import HALF_TRAINED_TEST_OPTIMUM, TRAPS
from nasbench_kd.sources.public import SOURCES
from nasbench_kd.tables.catalog import full_results
from nasbench_kd.tables.hardware import COSTS, HardwareCosts
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import FULL

TASKS = ("cifar10", "cifar100", "imagenet16-120")


@pytest.fixture
def installed(pulled, monkeypatch):
    """Every public source, in use."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(pulled))
    return pulled


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty user folder: the embedded table is all there is."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path / "empty"))


def texts(findings, level):
    return [finding.text for finding in findings if finding.level == level]


def altered(table, tmp_path, change):
    """A copy of a table whose columns went through `change`."""
    return write_table(tmp_path / "altered", table.name, [change(column) for column in table.columns], {})


def test_embedded_table_is_as_published(alone):
    findings = examine_installed()
    assert texts(findings, "problem") == []
    good = texts(findings, "ok")
    assert sum("best mean" in text and "as published" in text for text in good) == 5
    assert any("this is the latter's test, as its card says" in text for text in texts(findings, "note"))
    assert sum("seeds as in NATS-Bench: 7456 cells with 2, 8169 cells with 3" in text for text in good) == 3
    assert any("official index order" in text for text in good)
    assert any("1 : 2 : 6.068" in text for text in good)
    for name in TRAPS:
        assert any(name in text for text in texts(findings, "note"))


def test_installed_tables_are_as_published(installed):
    findings = examine_installed()
    assert texts(findings, "problem") == []
    assert sum("best mean" in text for text in texts(findings, "ok")) == 13


@pytest.mark.parametrize(
    ("task", "optimum"), [("cifar10", 91.607), ("cifar100", 73.493), ("imagenet16-120", 46.733)]
)
def test_other_optimum_is_a_problem(alone, tmp_path, task, optimum):
    def raise_one(column):
        rows = np.array(column.rows)
        rows["correct"][:3] = column.images - 5
        return replace(column, rows=rows)

    problems = [
        finding
        for finding in examine_table(altered(full_results(), tmp_path, raise_one))
        if finding.level == "problem"
    ]
    assert any(task in finding.subject and f"published is {optimum}" in finding.text for finding in problems)


def test_lost_seeds_are_a_problem(alone, tmp_path):
    def lose(column):
        return replace(column, rows=np.array(column.rows[column.rows["seed"] != 888]))

    findings = examine_table(altered(full_results(), tmp_path, lose))
    assert sum("those of no release" in text for text in texts(findings, "problem")) == 3


def test_test_of_half_trained_models_is_recognised(pulled, reference, tmp_path):
    """The test column of the repackaged v1.1 means is cifar10-valid's."""
    import pyarrow.csv as csv

    half = csv.read_csv(reference / "mirror" / SOURCES["nb201-v1.1-means"].files[0].place)
    accuracies = half["test accuracy"].to_numpy()
    assert accuracies.max() == pytest.approx(HALF_TRAINED_TEST_OPTIMUM, abs=5e-4)

    def swap(column):
        if column.task != "cifar10":
            return column
        rows = np.array(column.rows)
        rows["correct"] = np.rint(accuracies * column.images / 100)
        return replace(column, rows=rows)

    findings = examine_table(altered(Table.open(pulled / "nats-bench-test"), tmp_path, swap))
    assert any("cifar10 against cifar10-valid" in text for text in texts(findings, "problem"))


def test_other_clock_is_noted(pulled, tmp_path):
    def slow(column):
        rows = np.array(column.rows)
        rows["microseconds"] *= 3
        return replace(column, rows=rows)

    findings = examine_table(altered(Table.open(pulled / "nb201-12-epochs"), tmp_path, slow))
    assert sum("another clock: 3 times" in text for text in texts(findings, "note")) == 6


def test_pinned_file_is_recognised(reference):
    for source in SOURCES.values():
        for file in () if source.optional else source.files:
            (finding,) = examine_file(reference / "mirror" / file.place)
            assert f"data pull {source.name}" in finding.text


def test_table_folder_is_examined(pulled):
    assert texts(examine_file(pulled / "nats-bench-test"), "problem") == []


def test_official_file_is_examined_and_its_traps_named(tmp_path):
    utilities = pytest.importorskip("nats_bench.api_utils", reason="needs the package nats-bench")
    from tests.sources.official import build, whole_file

    states = build([Cell.from_index(0)], utilities)
    utilities.pickle_save(whole_file(states), tmp_path / "small.pickle")
    findings = examine_file(tmp_path / "small.pickle.pbz2")
    assert texts(findings, "problem") == []
    assert any("for 1 of 15625 cells" in text for text in texts(findings, "ok"))
    assert any("12-epoch default" in text for text in texts(findings, "note"))
    assert not any("problem" in finding.level for finding in findings)

    wrong = deepcopy(states)
    wrong[0]["200"]["arch_index"] = 7
    utilities.pickle_save(whole_file(wrong), tmp_path / "wrong.pickle")
    assert any(
        "official index" in text for text in texts(examine_file(tmp_path / "wrong.pickle.pbz2"), "problem")
    )


def test_naslib_list_of_an_unknown_split_is_a_problem(tmp_path):
    content = {str(Cell.from_index(0)): {"cifar10-valid": {"eval_acc1es": [50.0] * 200}}}
    (tmp_path / "nb201_cifar10_full_training.pickle").write_bytes(pickle.dumps(content))
    findings = examine_file(tmp_path / "nb201_cifar10_full_training.pickle")
    assert any("no seed's validation split" in text for text in texts(findings, "problem"))
    assert any("one list as validation and as test" in text for text in texts(findings, "note"))


def test_unknown_file_is_an_error(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="another kind"):
        examine_file(tmp_path / "photo.jpg")


class TestErrorsFoundInPeers:
    """None of the errors found in other packages may exist here, one test each."""

    def test_naslib_validation_and_test_are_different_arrays(self, installed):
        for name in ("nb201-12-epochs", "nb201-v1.1-means"):
            table = Table.open(installed / name)
            for task in TASKS:
                for valid in table.select(task, "valid"):
                    for test in table.select(task, "test"):
                        assert not np.array_equal(valid.accuracies(), test.accuracies())

    def test_naslib_training_time_depends_on_the_epoch(self, installed):
        for task in TASKS:
            bench, cell = load(task), Cell.from_index(3)
            early, full = bench.evaluate(cell, "none@12"), bench.evaluate(cell, "none@200")
            assert early.seconds == pytest.approx(full.seconds * 12 / 200, rel=1e-6)

    def test_syne_tune_third_seed_is_not_a_mean_of_the_others(self, alone):
        bench = load("cifar100")
        two = [cell for cell in map(Cell.from_index, range(15_000, 15_100)) if len(bench.seeds(cell)) == 2]
        assert two
        for cell in two:
            with pytest.raises(MissingEntryError, match="no training seed 999; there are 777, 888"):
                bench.evaluate(cell, seed=999)

    def test_hpobench_first_epoch_costs_one_epoch(self, tmp_path, monkeypatch):
        utilities = pytest.importorskip("nats_bench.api_utils", reason="needs the package nats-bench")
        from nasbench_kd.sources.importer import import_file
        from tests.sources.official import build, whole_file

        monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path / "data"))
        utilities.pickle_save(whole_file(build([Cell.from_index(0)], utilities)), tmp_path / "one.pickle")
        import_file(tmp_path / "one.pickle.pbz2")
        bench, cell = load("cifar10"), Cell.from_index(0)
        one, full = bench.evaluate(cell, "none@1/200"), bench.evaluate(cell, "none@200")
        assert one.seconds == pytest.approx(full.seconds / 200, rel=1e-6)
        assert bench.evaluate(cell, "none@200/200") == full

    def test_hpobench_cost_is_of_one_seed(self, alone):
        bench, cell = load("cifar10"), Cell.from_index(0)
        assert bench.evaluate(cell).seconds == pytest.approx(200 * 7.22, rel=1e-3)
        assert len({bench.evaluate(cell, seed=seed).seconds for seed in bench.seeds(cell)}) == 1

    def test_nasbenchapi_unknown_fidelity_is_no_other_fidelity(self, alone):
        bench = load("cifar100")
        for fidelity in ("none@199", "none@11", "kd@200"):
            with pytest.raises(MissingEntryError, match=r"there are: .*none@200"):
                bench.evaluate(Cell.from_index(0), fidelity)
        with pytest.raises(FidelityError):
            bench.evaluate(Cell.from_index(0), "none@201/200")

    def test_nasbenchapi_validation_exists_on_every_task(self, alone):
        for task in TASKS:
            accuracies = load(task).evaluate_many(range(15_625)).valid_accuracy
            assert np.isfinite(accuracies).all()

    def test_archai_every_cost_can_be_asked_for(self, installed):
        costs = HardwareCosts.open()
        for task in TASKS:
            for cost in COSTS:
                assert np.isfinite(costs.get(task, cost)).sum() > 10_000
        with pytest.raises(UnknownNameError, match="Did you mean 'fpga_latency'"):
            costs.get("cifar10", "fpga_latencies")

    def test_mf_prior_bench_objective_is_validation_accuracy(self, alone, reference):
        import pyarrow.parquet as pq

        truth = pq.read_table(reference / "nb201_reference.parquet")
        bench = load("cifar10")
        found = [bench.evaluate(Cell.from_index(index), seed=777).valid_accuracy for index in range(500)]
        expected = truth["cifar10_valid_acc_200ep_seed777"].to_numpy()[:500]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert not [name for name in Evaluation._fields if "train" in name or "test" in name]

    def test_nats_bench_same_query_same_answer(self, installed):
        bench, again = load("cifar10"), load("cifar10")
        for index in range(300):
            cell = Cell.from_index(index)
            for fidelity in ("none@12", "none@200"):
                assert bench.evaluate(cell, fidelity) == again.evaluate(cell, fidelity)

    def test_nats_bench_mid_curve_mix_is_no_validation(self, installed):
        for task in ("cifar100", "imagenet16-120"):
            assert [each for each in load(task).fidelities if each.curve == FULL] == [FULL]

    def test_nni_key_order_of_a_configuration_does_not_matter(self, alone):
        from nasbench_kd.adapters.export import cell_of

        cell = Cell.from_index(77)
        forward = dict(zip(cell.space.coordinates, cell.operations, strict=True))
        backward = dict(reversed(forward.items()))
        assert cell_of(cell.space, forward) is cell_of(cell.space, backward) is cell

    def test_syne_tune_simulated_clock_is_the_same_again(self, alone):
        from nasbench_kd_baselines.random_search import RandomSearch

        runs = [
            search(RandomSearch, task="cifar10", budget="10 gpu-hours", seed=3, workers=4) for _ in range(3)
        ]
        assert runs[0].steps == runs[1].steps == runs[2].steps

    def test_plain_install_needs_no_extras(self):
        code = (
            "import sys\n"
            "for name in ('torch', 'pandas', 'matplotlib', 'scipy', 'optuna'): sys.modules[name] = None\n"
            "import nasbench_kd.examine.doctor, nasbench_kd.tables.hardware\n"
            "import nasbench_kd.sources.pull, nasbench_kd.sources.importer\n"
            "from nasbench_kd import load; load('cifar10', data='embedded')\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
