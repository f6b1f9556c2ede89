"""Runs and entries as data frames hold the same numbers as the objects, and a run says briefly what it was."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError, MissingDependencyError, StoreError
from nasbench_kd.execution.runs import RunRecord, to_table, write_runs

pandas = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def runs():
    return [
        nk.search(name, task="cifar100", budget="4 gpu-hours", seed=seed)
        for name in ("random", "successive-halving")
        for seed in range(2)
    ]


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    nothing = nk.Run("cifar100", runs[0].space, runs[0].budget, 9, 1, (), "failed", "no luck", 0.0, 0.0, 0.0)
    names = ("random", "random", "successive-halving", "successive-halving", "broken")
    records = [RunRecord(name, run.seed, run) for name, run in zip(names, [*runs, nothing], strict=True)]
    write_runs(path / "runs.parquet", to_table(records), {})
    return path


def test_version_and_module_answer_like_the_script():
    assert nk.__version__ == version("nasbench-kd")
    asked = [sys.executable, "-m", "nasbench_kd", "--version"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert told == f"nasbench-kd {nk.__version__}\n"
    with pytest.raises(AttributeError, match="no attribute 'opne_runs'"):
        nk.opne_runs  # noqa: B018


def test_importing_the_package_imports_neither_pandas_nor_arrow():
    code = "import sys, nasbench_kd; sys.exit(any(n in sys.modules for n in ('pandas', 'pyarrow', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_is_a_frame_of_its_steps(runs):
    run = runs[-1]
    told = run.to_frame()
    assert len(told) == len(run.steps) > 3
    for step, row in zip(run.steps, told.itertuples(), strict=True):
        assert (row.cell, row.fidelity, row.signal, row.value) == (
            step.cell,
            step.fidelity,
            step.signal,
            step.value,
        )
        assert (row.training_seed, row.source, row.answer) == (step.seed, step.source, step.answer)
        assert row.finish_seconds == step.finish / 1e6
    assert told["training_seconds"].sum() == pytest.approx(run.training_seconds)
    assert told["spent_seconds"].iloc[-1] == pytest.approx(run.seconds)


def test_the_repr_of_a_run_is_one_short_line(runs):
    run = runs[0]
    assert str(len(run.steps)) in repr(run)
    assert f"cell {run.steps[-1].answer}" in repr(run)
    assert len(repr(run)) < 120


def test_a_run_is_drawn_with_its_values_and_its_answer(runs):
    run = runs[-1]
    (axis,) = run.plot().axes
    drawn = np.concatenate([points.get_offsets().data[:, 1] for points in axis.collections])
    assert sorted(drawn) == pytest.approx(sorted(step.value for step in run.steps))
    assert "higher is better" in axis.get_ylabel()
    assert axis.get_xlabel() == "simulated GPU-hours"
    fidelity = run.steps[-1].fidelity
    line = axis.lines[list(dict.fromkeys(step.fidelity for step in run.steps)).index(fidelity)]
    known = [s.value for s in run.steps if (s.cell, s.fidelity) == (run.steps[-1].answer, fidelity)]
    assert line.get_ydata()[-1] == known[-1]
    with pytest.raises(ArgumentError, match="no evaluations to draw: no luck"):
        nk.Run("cifar10", run.space, run.budget, 0, 1, (), "failed", "no luck", 0.0, 0.0, 0.0).plot()


def test_entries_of_a_fidelity_are_a_frame():
    bench = nk.load("cifar10", data="embedded")
    table = bench.to_frame("none@200")
    assert list(table.columns[:5]) == ["cell", "architecture", "seed", "source", "seconds"]
    assert list(table.columns[5:]) == list(bench.signals("none@200"))
    row = table.iloc[12_345]
    cell = nk.Cell.from_index(int(row["cell"]))
    entry = bench.evaluate(cell, "none@200", seed=int(row["seed"]))
    assert (row["valid_accuracy"], row["seconds"], row["source"]) == (
        entry.value,
        entry.seconds,
        entry.source,
    )
    assert row["architecture"] == str(cell)
    assert set(bench.to_frame("none@12")["seed"]) == {None}  # a mean over seeds has none


def test_stored_runs_open_as_frames(runs, folder):
    table = nk.open_runs(folder)
    assert list(table["optimizer"]) == ["broken", "random", "random", *["successive-halving"] * 2]
    for run, row in zip(runs, table.iloc[1:].itertuples(), strict=True):
        assert (row.seed, row.evaluations, row.answer) == (run.seed, len(run.steps), run.steps[-1].answer)
        assert row.training_seconds == pytest.approx(run.training_seconds)
    assert (table["answer"][0], table["evaluations"][0], table["reason"][0]) == (-1, 0, "no luck")
    steps = nk.open_runs(folder / "runs.parquet", steps=True)
    expected = pandas.concat([run.to_frame() for run in runs], ignore_index=True)
    assert len(steps) == len(expected)
    for column in expected.columns:
        assert list(steps[column]) == list(expected[column]), column
    assert list(steps["step"][:3]) == [1, 2, 3]
    with pytest.raises(StoreError, match="no stored runs"):
        nk.open_runs(folder / "nowhere")


def test_frames_without_pandas_name_the_extra(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"nasbench-kd\[report\]"):
        runs[0].to_frame()
