"""NATS-Bench's size space: official files read back by the official package, published sizes, a search on both."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

import nasbench_kd as nk
from nasbench_kd.cli import app
from nasbench_kd.errors import CellError, DataError, MissingEntryError
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.sources.importer import import_file
from nasbench_kd.spaces.nats_size import SPACE, multiply_accumulates, parameters, parse_official

utilities = pytest.importorskip("nats_bench.api_utils", reason="needs the package nats-bench")

SCHEDULES = (1, 12, 90)
INDICES = (0, 12, 1234, 32_767)
TRAINED = {"cifar10-valid": 25_000, "cifar10": 50_000, "cifar100": 50_000, "ImageNet16-120": 151_700}
TESTED = {
    "cifar10-valid": {"x-valid": 25_000, "ori-test": 10_000},
    "cifar10": {"ori-test": 10_000},
    "cifar100": {"x-valid": 5_000, "x-test": 5_000, "ori-test": 10_000},
    "ImageNet16-120": {"x-valid": 3_000, "x-test": 3_000, "ori-test": 6_000},
}


def official(index: int) -> str:
    """The official string, by the loops of the official generator: the last layer changes fastest."""
    return ":".join(str(8 * (1 + index // 8**place % 8)) for place in range(4, -1, -1))


def state(index, epochs, rng, timed=True):
    """Results of one network, made with the official package's classes."""
    results = utilities.ArchResults(index, official(index))
    for dataset, images in TRAINED.items():
        for seed in (777, 888) if epochs == 12 else (777,):
            curve = {epoch: int(rng.integers(images)) * 100 / images for epoch in range(epochs)}
            losses = {epoch: 1 / (epoch + 1) for epoch in range(epochs)}
            config = {"channels": official(index), "class_num": 10}
            trial = utilities.ResultsCount(dataset, None, curve, losses, 1.0, 1.0, config, seed, epochs, None)
            if timed:
                trial.reset_pseudo_train_times(float(rng.uniform(1, 9)) * epochs)
            for split, count in TESTED[dataset].items():
                shown = range(epochs) if split == "x-valid" else [epochs - 1]
                told = {epoch: int(rng.integers(count)) * 100 / count for epoch in shown}
                trial.update_OLD_eval(split, told, dict.fromkeys(told, 1.0))
                trial.reset_pseudo_eval_times(split, 1.0 * epochs)
            results.update(dataset, seed, trial)
    return results.state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small archive in the form of NATS-sss-v1_0-50262-simple."""
    folder, rng = tmp_path_factory.mktemp("nats") / "NATS-sss-v1_0-50262-simple", np.random.default_rng(0)
    folder.mkdir()
    names = [official(index) for index in range(len(SPACE))]
    utilities.pickle_save({"meta_archs": names, "total_archs": len(names)}, folder / "meta.pickle")
    for index in INDICES:
        states = {f"{epochs:02d}": state(index, epochs, rng) for epochs in SCHEDULES}
        utilities.pickle_save(states, folder / f"{index:06d}.pickle")
    return folder


@pytest.fixture(scope="module")
def installed(folder, tmp_path_factory):
    """A folder of tables with that of the archive."""
    where = tmp_path_factory.mktemp("installed")
    return where, import_file(folder, folder=where)


@pytest.fixture
def imported(installed, monkeypatch):
    """The table of the archive, as a user has it."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(installed[0]))
    return installed[1]


def test_networks_and_sizes_are_the_official_ones():
    """Counts of the archive: parameters of four networks, and multiply-accumulates of network 12 with the bias."""
    for text, index, count in (
        ("8:8:8:8:8", 0, 11_714),
        ("8:8:8:16:40", 12, 67_378),
        ("64:64:64:64:64", 32_767, 713_674),
    ):
        assert parse_official(text) == SPACE[index]
        assert parameters(SPACE[index], 10) == count
    assert parameters(parse_official("8:8:16:40:40"), 10) == 107_826
    assert (multiply_accumulates(SPACE[12], 10, 32) + 10) / 1e6 == pytest.approx(7.991706, abs=1e-9)
    assert [parse_official(official(index)).index for index in (1, 1234, 30_000)] == [1, 1234, 30_000]
    assert len(SPACE[1234].neighbours()) == 35
    for wrong in ("8:8:8:8", "8:8:8:8:9", "8:8:8:8:8:8", ""):
        with pytest.raises(CellError, match="5 numbers of channels out of 8, 16"):
            parse_official(wrong)


def test_what_is_imported_agrees_with_the_official_api(folder, imported):
    from nats_bench.api_size import NATSsize

    api = NATSsize(str(folder), fast_mode=True, verbose=False)
    for ours, theirs in (
        ("cifar10", "cifar10-valid"),
        ("cifar100", "cifar100"),
        ("imagenet16-120", "ImageNet16-120"),
    ):
        bench = nk.load(f"nats-size-{ours}")
        for index in INDICES:
            for fidelity, schedule, seed, epoch in (
                ("none@90", "90", 777, None),
                ("none@12", "12", 888, None),
                ("none@7/12", "12", 777, 6),
                ("none@1", "01", 777, None),
            ):
                known = api.get_more_info(index, theirs, iepoch=epoch, hp=schedule, is_random=seed)
                told = bench.evaluate(SPACE[index], fidelity, seed=seed)
                assert told.value == pytest.approx(known["valid-accuracy"], abs=1e-9)
                assert told.seconds == pytest.approx(known["train-all-time"], abs=1e-5)
        theirs = "cifar10" if ours == "cifar10" else theirs
        (test,) = [each for each in imported.select(bench.task.name, "test") if each.fidelity.epochs == 90]
        for index, accuracy in zip(test.rows["cell"].tolist(), test.accuracies().tolist(), strict=True):
            known = api.get_more_info(index, theirs, hp="90", is_random=777)
            assert accuracy == pytest.approx(known["test-accuracy"], abs=1e-9)
    assert "NATS-Bench size results" in imported.card["title"]
    assert imported.card["notes"][1].startswith("Times are the file's own training times")


def test_a_search_and_a_query_use_what_is_imported(imported):
    halving = make_optimizer("successive-halving", {"initial": 4, "rungs": ["none@1", "none@12", "none@90"]})
    run = nk.search(halving, "nats-size-cifar100", "7 evaluations", seed=0)
    assert run.ending == "budget", run.reason
    assert {step.cell for step in run.steps} == set(INDICES)
    assert {step.fidelity for step in run.steps} == {"none@1", "none@12", "none@90"}
    done = CliRunner().invoke(app, ["query", "1234", "--task", "nats-size-cifar100", "--fidelity", "none@12"])
    assert done.exit_code == 0, done.output
    assert "channels1=8" in done.output


def test_without_results_it_is_said_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    with pytest.raises(MissingEntryError, match=r"nasbench-kd data import NATS-sss"):
        nk.load("nats-size-cifar10").evaluate(SPACE[0])
    run = nk.search("random", "nats-size-cifar10", "3 evaluations")
    assert run.ending == "failed"
    assert "NATS-sss-v1_0-50262-simple.tar by the link in github.com/D-X-Y/NATS-Bench" in run.reason
    for command in (
        ["data", "pull", "nats-bench-size"],
        ["query", "0", "--task", "nats-size-cifar10"],
        ["explain", "0", "--task", "nats-size-cifar10"],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert "unpack it, and give the folder to" in " ".join(done.output.split())


def test_results_of_another_form_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    for name, states, message in (
        ("untimed", {"12": state(3, 12, rng, timed=False)}, "no training time of each epoch"),
        ("long", {"200": state(3, 200, rng)}, "schedules of 1 and 12 and 90"),
        ("moved", {"12": state(3, 12, rng) | {"arch_index": 4}}, "official index 3"),
    ):
        folder = tmp_path / f"NATS-sss-{name}"
        folder.mkdir()
        utilities.pickle_save({"meta_archs": []}, folder / "meta.pickle")
        utilities.pickle_save(states, folder / "000003.pickle")
        with pytest.raises(DataError, match=message):
            import_file(folder, folder=tmp_path / "installed")
        assert not list((tmp_path / "installed").glob("*/card.json"))
