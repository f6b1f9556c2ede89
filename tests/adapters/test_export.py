"""Exports, read back by the packages that they are for."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from nasbench_kd import Cell, load
from nasbench_kd.adapters.export import (
    ELAPSED,
    EPOCH,
    ERROR,
    OptunaObjective,
    cell_of,
    export_syne_tune,
)
from nasbench_kd.adapters.space import config_space
from nasbench_kd.cli import app
from nasbench_kd.errors import CellError, MissingEntryError
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.tasks.registry import SHIPPED
from nasbench_kd.testing.tables import table_benchmark

TASKS = ["cifar10", "cifar100", "imagenet16-120"]


@pytest.fixture(scope="module")
def blackbox(tmp_path_factory):
    """A blackbox folder of the embedded table and the values that were written."""
    folder = tmp_path_factory.mktemp("syne") / "nasbench-kd"
    return folder, export_syne_tune(folder, TASKS, data="embedded")


@pytest.fixture
def curve(tmp_path, monkeypatch):
    """An installed table with two earlier epochs of the 200-epoch training on cifar10."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path / "data"))
    cells = np.repeat(np.arange(15_625), 2)
    seeds = np.tile([777, 888], 15_625)
    columns = [
        Column(
            "cifar10",
            FULL.at_epoch(epoch),
            "valid",
            25_000,
            make_rows(cells, seeds, (cells + seeds + epoch) % 25_001, np.full(len(cells), epoch * 10**6)),
            {"source": "measured"},
        )
        for epoch in (1, 50)
    ]
    write_table(tmp_path / "data" / "curves", "curves", columns, {})


def test_syne_tune_files_hold_every_cell_and_seed(blackbox):
    folder, values = blackbox
    assert values.shape == (3, 15_625, 2, 1, 2)
    assert np.isfinite(values).all()
    parameters = pq.read_table(folder / "hyperparameters.parquet").to_pylist()
    stored = np.load(folder / "objectives_evaluations.npy", allow_pickle=False)
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["task_names"] == TASKS
    assert metadata["seeds"] == [777, 888]
    assert metadata["sources"] == {"measured": 3 * 15_625 * 2}
    for task, name in enumerate(TASKS):
        bench = load(name, data="embedded")
        for row in (0, 1, 6111, 15_624):
            cell = Cell.from_operations([parameters[row][f"hp_x{edge}"] for edge in range(6)])
            assert cell.index == row
            for place, seed in enumerate((777, 888)):
                entry = bench.evaluate(cell, seed=seed)
                assert stored[task, row, place, 0, 0] == pytest.approx(
                    1 - entry.valid_accuracy / 100, rel=1e-6
                )
                assert stored[task, row, place, 0, 1] == pytest.approx(entry.seconds, rel=1e-6)


def test_syne_tune_opens_the_folder_and_answers_alike(blackbox):
    tabular = pytest.importorskip(
        "syne_tune.blackbox_repository.blackbox_tabular", reason="needs the package syne-tune"
    )
    folder, _ = blackbox
    boxes = tabular.deserialize(str(folder))
    assert list(boxes) == TASKS
    for name, box in boxes.items():
        bench = load(name, data="embedded")
        for cell in (Cell.from_index(0), Cell.from_index(9075)):
            configuration = {f"hp_x{edge}": operation for edge, operation in enumerate(cell.operations)}
            for place, seed in enumerate((777, 888)):
                found = box.objective_function(configuration, fidelity={EPOCH: 200}, seed=place)
                entry = bench.evaluate(cell, seed=seed)
                assert found[ERROR] == pytest.approx(1 - entry.valid_accuracy / 100, rel=1e-6)
                assert found[ELAPSED] == pytest.approx(entry.seconds, rel=1e-6)


def test_syne_tune_simulates_a_search_on_the_folder(blackbox):
    pytest.importorskip("syne_tune", reason="needs the package syne-tune")
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend.simulator_backend.simulator_callback import SimulatorCallback
    from syne_tune.blackbox_repository.blackbox_tabular import deserialize
    from syne_tune.blackbox_repository.simulated_tabular_backend import UserBlackboxBackend
    from syne_tune.optimizer.baselines import RandomSearch

    box = deserialize(str(blackbox[0]))["cifar100"]
    backend = UserBlackboxBackend(blackbox=box, elapsed_time_attr=ELAPSED, seed=0)
    tuner = Tuner(
        trial_backend=backend,
        scheduler=RandomSearch(box.configuration_space, metrics=[ERROR], random_seed=1),
        stop_criterion=StoppingCriterion(max_wallclock_time=50_000),
        n_workers=2,
        sleep_time=0,
        callbacks=[SimulatorCallback()],
        save_tuner=False,
    )
    tuner.run()
    _, configuration = tuner.best_config()
    cell = Cell.from_operations([configuration[f"hp_x{edge}"] for edge in range(6)])
    assert load("cifar100").evaluate(cell, seed=777).valid_accuracy > 60


def test_syne_tune_export_of_a_curve(curve, tmp_path):
    values = export_syne_tune(tmp_path / "out", ["cifar10"])
    assert values.shape == (1, 15_625, 2, 3, 2)
    assert np.load(tmp_path / "out" / "fidelities_values.npy").tolist() == [1, 50, 200]
    bench = load("cifar10")
    entry = bench.evaluate(Cell.from_index(5), "none@50/200", seed=888)
    assert values[0, 5, 1, 1] == pytest.approx([1 - entry.valid_accuracy / 100, 50.0], rel=1e-6)
    assert export_syne_tune(tmp_path / "both", ["cifar10", "cifar100"]).shape == (2, 15_625, 2, 1, 2)


def test_syne_tune_export_of_an_absent_training(tmp_path):
    with pytest.raises(MissingEntryError, match="there are: .*none@200"):
        export_syne_tune(tmp_path / "out", TASKS, training="nst@12", data="embedded")
    assert not (tmp_path / "out").exists()


def test_further_readings_are_further_metrics(tmp_path, monkeypatch):
    """One training for every cell, read by its train loss as well."""
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    bench = table_benchmark(
        "cifar10",
        {"nst@1": (np.linspace(20, 80, SPACE_SIZE), 5.0)},
        losses={"nst@1": {"train_loss": np.linspace(2, -2, SPACE_SIZE)}},
    )
    monkeypatch.setattr("nasbench_kd.adapters.export.load", lambda *_, **__: bench)
    values = export_syne_tune(tmp_path / "out", ["cifar10"], "nst@1")
    assert values.shape == (1, SPACE_SIZE, 1, 1, 4)
    names = json.loads((tmp_path / "out" / "metadata.json").read_text())["objectives_names"]
    assert names[2:] == ["metric_train_loss", "metric_sum_train_loss"]
    assert values[0, [0, -1], 0, 0, 2] == pytest.approx([2, -2])
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(OptunaObjective("cifar10", "nst@1", signal="train_loss"), n_trials=3)
    for trial in study.trials:
        entry = bench.evaluate(cell_of(SPACE, trial.params), "nst@1", "train_loss")
        assert trial.value == trial.user_attrs["train_loss"] == entry.value
        assert trial.user_attrs["valid_accuracy"] > 0


def test_optuna_study_sees_the_table(tmp_path):
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(OptunaObjective("cifar100", data="embedded"), n_trials=20)
    bench = load("cifar100", data="embedded")
    for trial in study.trials:
        cell = cell_of(SPACE, trial.params)
        entry = bench.evaluate(cell)
        assert (trial.value, trial.user_attrs["seconds"]) == (entry.valid_accuracy, entry.seconds)
        assert trial.user_attrs["cell"] == cell.index
        assert trial.intermediate_values == {200: entry.valid_accuracy}


def test_optuna_pruner_sees_the_curve(curve):
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(
        direction="maximize", sampler=sampler, pruner=optuna.pruners.ThresholdPruner(lower=20.0)
    )
    study.optimize(OptunaObjective("cifar10", seed=777), n_trials=30)
    bench = load("cifar10")
    states = set()
    for trial in study.trials:
        states.add(trial.state)
        cell = cell_of(SPACE, trial.params)
        pruned_at = next(
            (
                epoch
                for epoch in (1, 50)
                if bench.evaluate(cell, f"none@{epoch}/200", seed=777).valid_accuracy < 20
            ),
            None,
        )
        assert (trial.state == optuna.trial.TrialState.PRUNED) == (pruned_at is not None)
        if pruned_at is not None:
            assert trial.user_attrs["seconds"] == pruned_at
    assert len(states) == 2


def test_parameters_that_name_no_cell():
    with pytest.raises(CellError, match="edge_0_1"):
        cell_of(SPACE, {"Op0": "none"})
    with pytest.raises(CellError, match="skip_connect"):
        cell_of(SPACE, dict.fromkeys(SPACE.coordinates, "skip_conect"))


@pytest.mark.parametrize("package", ["optuna", "syne_tune"])
def test_examples_in_the_documentation_run(package, blackbox, tmp_path, monkeypatch, capsys):
    pytest.importorskip(package, reason=f"needs the package {package}")
    text = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text()
    (example,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if f"import {package}" in code or f"from {package}" in code
    ]
    assert len(example.strip().splitlines()) <= 10
    (tmp_path / "blackbox").symlink_to(blackbox[0])
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/adapters.md", "exec"), {})
    assert "conv" in capsys.readouterr().out


def test_the_space_as_schema_and_for_configspace(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    configspace = pytest.importorskip("ConfigSpace")
    runner = CliRunner()
    for form in ("json-schema", "configspace"):
        target = tmp_path / f"{form}.json"
        assert runner.invoke(app, ["export", "space", str(target), "--form", form]).exit_code == 0
        assert runner.invoke(app, ["export", "space", str(target), "--form", form]).exit_code == 2
    space = configspace.ConfigurationSpace.from_json(tmp_path / "configspace.json")
    assert space.estimate_size() == SPACE_SIZE
    schema = json.loads((tmp_path / "json-schema.json").read_text())
    for configuration in config_space(SPACE, seed=0).sample_configuration(5):
        architecture = {name: str(value) for name, value in dict(configuration).items()}
        jsonschema.validate(architecture, schema)
        cell = cell_of(SPACE, dict(configuration))
        assert cell.operations == tuple(architecture[name] for name in SPACE.coordinates)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**architecture, "edge_0_1": "conv_9x9"}, schema)


def test_tables_are_shared_with_croissant_metadata(tmp_path):
    runner = CliRunner()
    done = runner.invoke(app, ["export", "croissant", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert runner.invoke(app, ["export", "croissant", str(tmp_path)]).exit_code == 2
    described = json.loads((tmp_path / "croissant.json").read_text())
    shipped = {table.name: table for table in tables("embedded", *SHIPPED.values())}
    assert {each["@id"] for each in described["recordSet"]} == set(shipped)
    for file in described["distribution"]:
        path = tmp_path / file["contentUrl"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        table = shipped[path.stem]
        written = pq.read_table(path)
        assert written.num_rows == sum(len(column.rows) for column in table.columns)
        column = table.columns[-1]
        last = written.slice(written.num_rows - 1).to_pylist()[0]
        assert (last["cell"], last["seed"]) == (column.rows["cell"][-1], column.rows["seed"][-1])
        for signal in column.signals:
            value = column.values(signal)[-1]
            assert last[signal] == (None if np.isnan(value) else value)
    croissant = pytest.importorskip("mlcroissant")
    dataset = croissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
    assert not dataset.metadata.issues.errors
    record = next(iter(dataset.records("nas-bench-201")))
    assert record["nas-bench-201/architecture"].decode().startswith("|")
