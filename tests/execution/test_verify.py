"""`verify` agrees with honest runs of every shipped optimizer, and finds what was changed in others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import nasbench_kd as nk
from nasbench_kd.cli import app
from nasbench_kd.errors import StoreError
from nasbench_kd.execution.jobs import run_seed
from nasbench_kd.execution.missing import missing_runs
from nasbench_kd.execution.runs import KEPT, RunRecord, read_runs, to_table, write_runs
from nasbench_kd.execution.verify import RunsToVerify, replay, stored_verification
from nasbench_kd.gate.reference import readable_at
from nasbench_kd.report.board import board
from nasbench_kd.report.scored_runs import score_folder
from nasbench_kd.simulation import optimizer_side
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.registry import make_optimizer, registered
from nasbench_kd.tables.catalog import tables
from tests.simulation.test_border import audit, honest_world, world

sys.path.append(str(Path(__file__).parents[1] / "plugins"))
import cheats
from hostile_optimizers import Raises

NST = "nst@4 images=5000 batch=32 size=16 cells=1"
SMALL: dict[str, dict[str, Any]] = {
    "bananas": {"batch": 5, "epochs": 5},
    "botorch-multi-fidelity": {"fidelities": [NST, "none@200"], "initial": 3, "candidates": 20, "maximum": 7},
    "dass": {"fidelity": NST},
    "npenas": {"batch": 5, "epochs": 5},
    "mf-kd": {"low_fidelity": NST, "initial_low": 8, "restarts": 1, "refit_growth": 2.0},
    "rank-nosh": {"initial": 5, "proposals": 3},
    "successive-halving": {"initial": 8},
    "trade": {"fidelity": NST, "maximum": 14, "refit_growth": 2.0},
    "zero-cost": {"fidelity": "none@12", "cells": 8},  # scores ship for a sample of the classes
}
NEEDS = {"botorch-multi-fidelity": "botorch", "dass": "torch", "optuna": "optuna"}
GAIN_NOTHING = {cheats.AllSeeds, cheats.LyingTexts, cheats.ChangingQueries, cheats.ChangingFidelities}
"""Cheats that are read once even where nothing is made canonical, and so leave no trace."""


def row(run: nk.Run) -> dict[str, Any]:
    return to_table([RunRecord("x", 0, run)]).to_pylist()[0]


@pytest.fixture(scope="module")
def bench():
    return nk.load("cifar100", data="embedded")


@pytest.mark.parametrize(
    ("budget", "workers", "name"),
    [
        *(("18 evaluations", 1, name) for name in sorted(registered())),
        # Once is enough for those that take their time.
        *(
            ("9 gpu-hours", 3, name)
            for name in sorted(set(registered()) - {"botorch-multi-fidelity", "dass"})
        ),
    ],
)
def test_honest_runs_agree(name: str, budget: str, workers: int, bench):
    pytest.importorskip(NEEDS.get(name, "numpy"))
    optimizer = make_optimizer(name, SMALL.get(name, {}))
    run = nk.search(
        optimizer, task=bench, budget="25 evaluations" if budget[0] == "1" else budget, workers=workers
    )
    assert run.steps, run.reason
    assert list(replay(row(run), bench, run.budget, bill_teacher=True)) == []


def test_runs_that_failed_on_the_way_agree(bench):
    for workers in (1, 3):
        run = nk.search(Raises, task=bench, budget="9 evaluations", workers=workers)
        assert (run.ending, len(run.steps)) == ("failed", 2)
        assert list(replay(row(run), bench, run.budget, bill_teacher=True)) == []


@pytest.mark.parametrize("kind", cheats.ASKING)
def test_clever_queries_end_as_honest_runs(kind: type[nk.Optimizer], bench):
    run = nk.search(kind, task=bench, budget="9 evaluations")
    assert list(replay(row(run), bench, run.budget, bill_teacher=True)) == []


@pytest.mark.parametrize("kind", [*cheats.ASKING, *cheats.ANSWERING])
def test_each_cheat_that_the_border_stops_would_be_found(
    kind: type[nk.Optimizer], monkeypatch: pytest.MonkeyPatch
):
    """With the border taken away the cheats work: their runs say what no replay gives."""
    monkeypatch.setattr(optimizer_side, "canonical_query", lambda asked, task: asked)
    monkeypatch.setattr(
        optimizer_side, "canonical_answer", lambda given, space: -1 if given is None else given.index
    )
    run = nk.search(kind, task=world(), budget="20 evaluations", seed=3)
    found = list(replay(row(run), honest_world(), run.budget, bill_teacher=True))
    assert (run.ending, len(run.steps) >= 20) == ("budget", True)
    assert bool(found) == (kind not in GAIN_NOTHING)
    if kind in GAIN_NOTHING:
        audit(run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored suite of one distilling search with two workers, written as `nasbench-kd run` does."""
    place = tmp_path_factory.mktemp("runs")
    suite = {
        "name": "s",
        "tasks": ["cifar100"],
        "budgets": ["20 evaluations"],
        "workers": 2,
        "seeds": 1,
        "optimizers": [{"name": "x", "optimizer": "mf-kd", "arguments": SMALL["mf-kd"]}],
    }
    seed = run_seed("s", "x", "cifar100", 0)
    run = nk.search(
        make_optimizer("mf-kd", SMALL["mf-kd"]),
        task=nk.load("cifar100", data="embedded"),
        budget="20 evaluations",
        seed=seed,
        workers=2,
    )
    versions = {t.name: t.sha256 for t in tables("embedded") if t.select("cifar100", "valid")}
    write_runs(
        place / "runs.parquet", to_table([RunRecord("x", 0, run)]), {"suite": suite, "tables": versions}
    )
    return place


def tampered(folder: Path, target: Path, change) -> Path:
    stored = read_runs(folder / "runs.parquet")
    (values,) = stored.table.to_pylist()
    change(values)
    metadata = {name: value for name, value in stored.metadata.items() if name != "format"}
    write_runs(target / "runs.parquet", pa.Table.from_pylist([values], schema=stored.table.schema), metadata)
    return target


def set_step(name: str, value: Any, step: int = 6):
    def change(values: dict[str, Any]) -> None:
        values[name][step] = value(values[name][step]) if callable(value) else value

    return change


def drop_teacher(values: dict[str, Any]) -> None:
    place = next(step for step, paid in enumerate(values["teacher"]) if paid)
    for column in values.values():
        if isinstance(column, list):
            del column[place]


def drop_last(values: dict[str, Any]) -> None:
    for column in values.values():
        if isinstance(column, list):
            column.pop()


def swap(values: dict[str, Any]) -> None:
    for column in values.values():
        if isinstance(column, list):
            column[4], column[5] = column[5], column[4]


def best_of_the_space(values: dict[str, Any]) -> None:
    values["answer"] = [9930] * len(values["answer"])


def test_the_command_says_that_honest_runs_agree_and_keeps_the_result(folder: Path):
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert result.exit_code == 0, result.output
    assert "1 of 1 runs agree with their replay." in result.output
    stored = stored_verification(folder)
    assert stored is not None
    assert (stored.runs, stored.disagreeing) == (1, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_step("value", lambda value: value + 0.01), "value is"),
        (set_step("training_seed", 888888), "seed is 888888"),
        (set_step("charged", lambda value: value - 1), "charged is"),
        (set_step("finish", lambda value: value + 1), "finish is"),
        (set_step("start", 0), "start is 0"),
        (set_step("spent", lambda value: value - 1), "replay"),
        (set_step("source", "live"), "source is 'live'"),
        (set_step("cell", lambda value: (value + 1) % 15625), "the replay gives"),
        (set_step("cell", -3), "cannot be replayed"),
        (set_step("fidelity", "none@200"), "replay"),
        (set_step("fidelity", "nonsense"), "cannot be replayed"),
        (set_step("answer", 20000), "which the search has not evaluated"),
        (best_of_the_space, "which the search has not evaluated"),
        (drop_teacher, "replay"),
        (drop_last, "the steps come to"),
        (swap, "replay"),
        (lambda values: values.update(seed=5), "the seed is 5, and the suite gives"),
        (lambda values: values.update(budget="5 evaluations"), "none of the suite's"),
        (lambda values: values.update(workers=3), "3 workers, and the suite has 2"),
        (lambda values: values.update(optimizer="y"), "the suite has no such optimizer"),
        (lambda values: values.update(teacher_microseconds=0), "teacher_microseconds is 0"),
    ],
)
def test_what_was_changed_is_found(folder: Path, tmp_path: Path, change, words: str):
    changed = tampered(folder, tmp_path, change)
    result = CliRunner().invoke(app, ["verify", str(changed), "--json"])
    assert result.exit_code == 1, result.output
    printed = json.loads(result.stdout)
    # A run of another optimizer, and the one that it took the place of.
    disagreeing = 1 + ("no such optimizer" in words)
    assert printed["disagreeing"] == disagreeing
    assert words in " ".join(printed["mismatches"])
    stored = stored_verification(changed)
    assert stored is not None
    assert stored.disagreeing == disagreeing


def test_a_result_is_of_the_runs_that_were_checked(folder: Path, tmp_path: Path):
    tampered(folder, tmp_path, swap)
    CliRunner().invoke(app, ["verify", str(tmp_path)])
    tampered(folder, tmp_path, lambda values: None)
    assert stored_verification(tmp_path) is None


def test_what_cannot_be_checked_is_a_typed_error(folder: Path, tmp_path: Path):
    assert CliRunner().invoke(app, ["verify", str(tmp_path)]).exit_code == 2
    (tmp_path / "runs.parquet").write_bytes(b"no runs")
    assert CliRunner().invoke(app, ["verify", str(tmp_path)]).exit_code == 2
    stored = read_runs(folder / "runs.parquet")
    for metadata in ({}, {"suite": dict(stored.metadata["suite"]), "tables": {"nas-bench-201": "0" * 64}}):
        write_runs(tmp_path / "runs.parquet", stored.table, metadata)
        with pytest.raises(StoreError, match=r"does not say which suite|rest on version 000000000000"):
            RunsToVerify(tmp_path)


def kept(folder: Path, target: Path, change=lambda values: None) -> Path:
    """The steps that decide the scores of a folder's runs, with a change to one of the runs."""
    stored = read_runs(folder / "runs.parquet")
    budgets = [Budget.parse(text) for text in stored.metadata["suite"]["budgets"]]
    rows = readable_at(stored.table, budgets).to_pylist()
    change(rows[0])
    table = pa.Table.from_pylist(rows, schema=stored.table.schema)
    write_runs(target / "runs.parquet", table, {**stored.metadata, KEPT: "the steps that decide"})
    return target


def test_runs_of_which_only_the_deciding_steps_are_stored_are_checked_step_by_step(
    folder: Path, tmp_path: Path
):
    place = kept(folder, tmp_path)
    assert all(not found for found in RunsToVerify(place).verify())
    result = CliRunner().invoke(app, ["verify", str(place)])
    assert result.exit_code == 0
    assert "with the tables in the steps of them that are stored" in result.output
    assert "that the answer had been evaluated cannot be told" in " ".join(result.output.split())
    checked = stored_verification(place)
    assert checked is not None
    assert (checked.runs, checked.disagreeing, checked.whole) == (
        len(read_runs(place / "runs.parquet").table),
        0,
        False,
    )
    assert "each asked for by itself" in checked.sentence
    assert {row.verified for row in board(score_folder(place), place)} == {"yes, the stored steps"}
    result = CliRunner().invoke(app, ["bundle", str(place)])
    assert result.exit_code == 2
    assert "only the steps that decide" in " ".join((result.output + result.stderr).split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_step("value", 99.0, 0), "value is 99.0"),
        (set_step("training_seed", 5, 0), "seed is 5"),
        (set_step("charged", 10**12, 0), "it costs at most"),
        (set_step("fidelity", "nst@77", 0), "it cannot be asked for again"),
    ],
)
def test_a_change_to_a_kept_step_is_found(folder: Path, tmp_path: Path, change, words: str):
    found = [str(each) for run in RunsToVerify(kept(folder, tmp_path, change)).verify() for each in run]
    assert any(words in line for line in found), found


class Counted(set):
    """Counts how often all of it is looked at."""

    walks = 0

    def __iter__(self):
        self.walks += 1
        return super().__iter__()


def test_runs_that_were_left_out_are_missed(folder: Path, tmp_path: Path):
    """Of whole suites and of shards any run, of merged suites one amid the repetitions of its optimizer."""
    pairs = [("x", "cifar10"), ("y", "cifar10"), ("x", "cifar100"), ("y", "cifar100")]
    suite = {"tasks": ["cifar10", "cifar100"], "seeds": 3, "optimizers": [{"name": "x"}, {"name": "y"}]}
    planned = [(*pair, number) for number in range(3) for pair in pairs]
    for left_out in planned:
        stored = set(planned) - {left_out}
        assert missing_runs({"suite": suite}, stored) == [left_out]
        merged = missing_runs({"suite": suite, "merged": True}, stored)
        assert merged == ([left_out] if left_out[2] < 2 else [])
        assert missing_runs({"suite": suite, "shard": [1, 5]}, stored) == [left_out] * (
            left_out in planned[::5]
        )
    assert missing_runs({"suite": suite}, set(planned)) == []
    often = Counted(planned)
    missing_runs({"suite": suite, "merged": True}, often)
    assert often.walks == 1  # and not once for each optimizer and task
    stored = read_runs(folder / "runs.parquet")
    for seeds, code, words in ((3, 1, "1 of 3 runs agree"), (10**12, 2, "1000000000000")):
        described = {**stored.metadata, "suite": {**stored.metadata["suite"], "seeds": seeds}}
        write_runs(tmp_path / "runs.parquet", stored.table, described)
        result = CliRunner().invoke(app, ["verify", str(tmp_path)])
        assert (result.exit_code, words in " ".join(result.output.split())) == (code, True), result.output


@pytest.mark.parametrize(
    ("claim", "code", "words"),
    [
        ({"tables": {}}, 2, "does not say which suite and tables"),
        ({"shard": [1, 1]}, 0, "They are shard 1/1 of their suite"),
        ({"shard": "a part"}, 2, "does not say which runs its suite has"),
        ({"shard": [1, 0]}, 2, "does not say which runs its suite has"),
        ({"merged": True}, 0, "They come from several suites"),
    ],
)
def test_what_cannot_be_told_of_runs_is_said(folder: Path, tmp_path: Path, claim, code: int, words: str):
    stored = read_runs(folder / "runs.parquet")
    write_runs(tmp_path / "runs.parquet", stored.table, {**stored.metadata, **claim})
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert (result.exit_code, words in " ".join(result.output.split())) == (code, True), result.output
