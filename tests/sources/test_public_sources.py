"""Every installed number against the independently joined reference, cell by cell."""

from __future__ import annotations

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from nasbench_kd import Cell, load
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.sources import embed
from nasbench_kd.sources.public import SOURCES
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER, tables
from nasbench_kd.tables.hardware import COSTS, HardwareCosts
from nasbench_kd.tables.table import Table

kendalltau = pytest.importorskip("scipy.stats", reason="rank correlations").kendalltau
TASKS = ("cifar10", "cifar100", "imagenet16-120")


@pytest.fixture(scope="module")
def installed(pulled):
    """A folder into which every public source was pulled."""
    return pulled


@pytest.fixture(scope="module")
def truth(reference):
    """The reference columns by name, each of shape (15625,), in index order."""
    table = pq.read_table(reference / "nb201_reference.parquet")
    assert table["index"].to_pylist() == list(range(SPACE_SIZE))
    return {name: table[name].to_numpy() for name in table.column_names if name != "cell"}


def column(folder, name, task, split):
    """The rows of one column of a table, checked to hold each cell once."""
    (found,) = Table.open(folder / name).select(task, split)
    assert found.rows["cell"].tolist() == list(range(SPACE_SIZE))
    return found


@pytest.mark.parametrize("task", TASKS)
def test_test_means_agree_cell_by_cell(installed, truth, task):
    found = column(installed, "nats-bench-test", task, "test")
    expected = truth[f"{task.replace('-', '_')}_test_acc_200ep_mean"]
    np.testing.assert_allclose(found.accuracies(), expected, atol=1e-5)
    assert found.means


def test_test_optima_are_the_published_ones(installed):
    best = {task: column(installed, "nats-bench-test", task, "test").accuracies() for task in TASKS}
    assert [round(float(best[task].max()), 3) for task in TASKS] == [94.373, 73.513, 47.311]
    assert (
        int(best["cifar100"].argmax())
        == Cell.parse(
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
        ).index
    )


@pytest.mark.parametrize("task", TASKS)
def test_test_means_are_exact_counts_of_two_or_three_seeds(installed, truth, task):
    found = column(installed, "nats-bench-test", task, "test")
    three = ~np.isnan(truth["cifar100_valid_acc_200ep_seed999"])
    sixths = found.rows["correct"]
    assert (sixths[three] % 2 == 0).all()
    assert (sixths[~three] % 3 == 0).all()


@pytest.mark.parametrize(("task", "others"), [("cifar100", 174), ("imagenet16-120", 126)])
def test_test_means_are_the_means_of_the_seeds(installed, truth, task, others):
    """But for the cells that were evaluated again and differ by a few images."""
    found = column(installed, "nats-bench-test", task, "test")
    names = [f"{task.replace('-', '_')}_test_acc_200ep_seed{seed}" for seed in (777, 888, 999)]
    difference = np.abs(found.accuracies() - np.nanmean([truth[name] for name in names], axis=0))
    assert int((difference > 1e-4).sum()) == others
    assert difference.max() < 0.1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["valid", "test"])
def test_12_epoch_results_agree_cell_by_cell(installed, truth, task, split):
    found = column(installed, "nb201-12-epochs", task, split)
    expected = truth[f"{task.replace('-', '_')}_{split}_acc_12ep"]
    np.testing.assert_allclose(found.accuracies(), expected, atol=1e-5)
    assert found.means == ((task, split) == ("cifar10", "valid"))
    assert found.means or set(found.rows["seed"]) == {111}


@pytest.mark.parametrize("task", TASKS)
def test_12_epochs_cost_12_of_200_epochs(installed, truth, task):
    rows = column(installed, "nb201-12-epochs", task, "valid").rows
    expected = truth[f"{task.replace('-', '_')}_train_seconds_200ep"] * (12 / 200)
    np.testing.assert_allclose(rows["microseconds"] / 1e6, expected, rtol=1e-6)


def test_12_epoch_times_match_the_archives_that_nats_bench_ships(installed):
    rows = column(installed, "nb201-12-epochs", "cifar10", "valid").rows
    per_epoch = rows["microseconds"][[0, 11, 284]] / 12e6
    np.testing.assert_allclose(per_epoch, [7.22, 12.46, 4.88], atol=0.006)


def test_12_epoch_validation_correlates_with_the_test_as_published(installed, reference):
    """0.9118 by the benchmark's authors, whose test is that of the models trained on half of the images."""
    early = column(installed, "nb201-12-epochs", "cifar10", "valid").accuracies()
    half = csv.read_csv(reference / "mirror" / SOURCES["nb201-v1.1-means"].files[0].place)
    assert np.corrcoef(early, half["test accuracy"].to_numpy())[0, 1] == pytest.approx(0.9118, abs=1e-4)
    final = column(installed, "nats-bench-test", "cifar10", "test").accuracies()
    assert np.corrcoef(early, final)[0, 1] < 0.9


@pytest.mark.parametrize(
    ("task", "agreeing"), [("cifar10", 15_625), ("cifar100", 15_537), ("imagenet16-120", 15_555)]
)
def test_v11_validation_means_are_means_of_the_embedded_seeds(installed, truth, task, agreeing):
    found = column(installed, "nb201-v1.1-means", task, "valid").accuracies()
    images = {"cifar10": 25_000, "cifar100": 5_000, "imagenet16-120": 3_000}[task]
    seeds = [truth[f"{task.replace('-', '_')}_valid_acc_200ep_seed{seed}"] for seed in (777, 888, 999)]
    subsets = [(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)]
    means = np.array([np.mean([seeds[i] for i in subset], axis=0) for subset in subsets])
    sixth = 100 / 6 / images
    assert (
        int((np.nanmin(np.abs(means - found), axis=0) < 0.6 * max(sixth, 50 / 25_000 / 1.2)).sum())
        == agreeing
    )


def test_v11_leaves_out_the_cifar10_test_of_half_trained_models(installed):
    table = Table.open(installed / "nb201-v1.1-means")
    assert table.select("cifar10", "test") == ()
    assert "25,000" in " ".join(table.card["notes"])


def test_v11_optima_are_the_published_ones(installed):
    best = [column(installed, "nb201-v1.1-means", task, "valid").accuracies().max() for task in TASKS]
    np.testing.assert_allclose(best, [91.607, 73.493, 46.733], atol=1e-3)


@pytest.mark.parametrize(
    "cost", ["edgegpu_latency", "raspi4_latency", "fpga_latency", "eyeriss_latency", "eyeriss_energy"]
)
def test_hardware_costs_agree_cell_by_cell(installed, truth, cost):
    costs = HardwareCosts.open(installed / "hw-nas-bench")
    np.testing.assert_allclose(costs.get("cifar10", cost), truth[f"hw_cifar10_{cost}"], rtol=1e-6)


def test_unmeasured_hardware_costs_are_nan(installed):
    costs = HardwareCosts.open(installed / "hw-nas-bench")
    for task in TASKS:
        for cost in COSTS:
            values = costs.get(task, cost)
            assert np.isnan(values).any() == (cost == "edgetpu_latency")
            assert np.nanmin(values) >= 0


def test_installed_data_answers_as_what_ships(installed, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(installed))
    bench = load("cifar100")
    embedded = load("cifar100", data="embedded")
    assert bench.fidelities == embedded.fidelities
    assert bench.evaluate(Cell.from_index(0), "none@12") == embedded.evaluate(Cell.from_index(0), "none@12")
    assert bench.evaluate(Cell.from_index(0), "none@12").valid_accuracy == 31.84
    assert bench.evaluate(Cell.from_index(0), "none@200") == embedded.evaluate(Cell.from_index(0))
    assert set(bench.table_versions) == {
        "kd_low_fidelity",
        "kd_readings",
        "kd_scores",
        "kd_surrogate",
        "mf-kd-authors",
        "mf-kd-surrogate",
        "nas-bench-201",
        "nas-bench-201-12-epochs",
        "nas-bench-201-test",
        "nats-bench-test",
        "nb201-12-epochs",
        "nb201-v1.1-means",
        "zero_cost",
    }


@pytest.mark.parametrize("task", TASKS)
def test_embedded_12_epoch_results_are_those_of_the_source(installed, truth, task):
    (shipped,) = Table.open(EMBEDDED_FOLDER / "nas_bench_201_12_epochs").select(task, "valid")
    expected = truth[f"{task.replace('-', '_')}_valid_acc_12ep"]
    np.testing.assert_allclose(shipped.accuracies(), expected, atol=1e-5)
    assert shipped.rows.tobytes() == column(installed, "nb201-12-epochs", task, "valid").rows.tobytes()
    assert Table.open(EMBEDDED_FOLDER / "nas_bench_201_12_epochs").select(task, "test") == ()


@pytest.mark.parametrize(
    ("task", "name", "best", "tau"),
    [
        ("cifar10", "cifar10", 91.523, 0.8965),
        ("cifar100", "cifar100", 73.513, 0.9878),
        ("imagenet16-120", "ImageNet16-120", 47.311, 0.9905),
    ],
)
def test_embedded_test_means_beside_those_that_are_pulled(installed, reference, task, name, best, tau):
    """Of one to three seeds in place of two or three, and on cifar10 of models trained on half of the images."""
    (shipped,) = Table.open(EMBEDDED_FOLDER / "nas_bench_201_test").select(task, "test")
    (file,) = [file for file in SOURCES["nb201-v1.1-means"].files if name + "." in file.path]
    public = csv.read_csv(reference / "mirror" / file.place)["test accuracy"].to_numpy()
    np.testing.assert_allclose(shipped.accuracies(), public, atol=1e-5)
    assert round(float(public.max()), 3) == best
    pulled = column(installed, "nats-bench-test", task, "test").accuracies()
    assert kendalltau(public, pulled)[0] == pytest.approx(tau, abs=5e-4)
    said = "25,000 of the 50,000 images" in shipped.provenance.get("trained_on", "")
    assert said == (task == "cifar10")


def test_rebuilding_gives_the_embedded_bytes(reference, tmp_path):
    for table in embed.rebuild(tmp_path, str(reference / "mirror")):
        (shipped,) = (each for each in tables("embedded") if each.name == table.name)
        assert (table.sha256, table.card) == (shipped.sha256, shipped.card)


def test_what_is_pulled_scores_before_what_ships(installed, monkeypatch):
    """On cifar10 the two are of different models."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(installed))
    pulled, shipped = open_scorer("cifar10", "installed"), open_scorer("cifar10", "embedded")
    assert (pulled.basis, shipped.basis) == ("test", "test")
    assert round(pulled.best, 2) == 94.37
    assert pulled.origin == "nats-bench-test: of models trained on all 50,000 images"
    assert round(shipped.best, 2) == 91.52
    assert shipped.origin.startswith("nas-bench-201-test: of models trained on 25,000 of the 50,000 images")


def test_installed_means_leave_the_scored_seeds_alone(installed, monkeypatch):
    """A table that answers for no cell adds no empty seed."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(installed))
    scorer = open_scorer("cifar100", "installed")
    assert scorer.basis == "test"
    assert scorer.seeds.tolist() == [777, 888, 999]
    np.testing.assert_array_equal(scorer.valid, open_scorer("cifar100", "embedded").valid)
