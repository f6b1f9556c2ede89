"""The board: places by hand, what was billed and given, whether it was verified, and its place in a file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.execution.verify import RunsToVerify
from nasbench_kd.report.board import board
from nasbench_kd.report.bought_once import bought_once, sentences
from nasbench_kd.report.leaderboard import regrets
from nasbench_kd.report.scored_runs import score_folder

from .conftest import write_hand_made


def test_places_by_hand(runs_folder):
    scored = score_folder(runs_folder)
    rows = {row.method: row for row in board(scored, runs_folder)}
    names = ["random", "hillclimb", "shy", "fragile"]
    values = regrets(scored.readings, scored.scorers, scored.readings.at_budget)
    every = [
        stats.rankdata([values[scored.readings.select(task, name)][:, budget] for name in names], axis=0)
        for task in scored.readings.tasks
        for budget in range(3)
    ]
    means = np.mean(every, axis=(0, 2))
    for name, mean, place in zip(names, means, stats.rankdata(means), strict=True):
        row = rows[name]
        assert row.mean_rank.estimate == pytest.approx(mean)
        assert row.place.estimate == place
        assert row.mean_rank.low <= mean <= row.mean_rank.high
        assert 1 <= row.place.low <= place <= row.place.high <= 4
        assert (row.billed, row.given, row.verified) == ("no teacher", "nothing", "not yet")
    assert rows["broken"].place is None
    assert [row.method for row in board(scored, runs_folder)][-1] == "broken"


def test_where_one_works_through_a_plan_all_are_ranked_at_the_largest_budget(tmp_path):
    late = [[("none@200", 600, 0, 5), ("none@200", 3600, 0, 9930)]] * 2
    early = [[("none@200", 600, 0, 1462), ("none@200", 3600, 0, 1462)]] * 2
    budgets = ("1 gpu-hours", "2 gpu-hours")
    for planned, over, rank in (((), "all", 1.5), (("late",), "2 gpu-hours", 1.0)):
        folder = tmp_path / over
        write_hand_made(
            folder, {"late": late, "early": early}, (), unbilled={}, planned=planned, budgets=budgets
        )
        rows = {row.method: row for row in board(score_folder(folder), folder)}
        assert {row.budgets for row in rows.values()} == {over}
        assert rows["late"].mean_rank.estimate == rank  # ahead at two hours, behind at one


def test_billed_given_and_verified(tmp_path):
    plain = [[("none@200", 600, 0, 5)], [("none@200", 600, 0, 6)]]
    taught = [[("nst@12", 600, 1800, 7)], [("nst@12", 600, 1800, 8)]]
    free = [[("nst@12", 600, 0, 7)], [("nst@12", 600, 0, 8)]]
    staged = [[("dna", 600, 1900, 7)], [("dna", 600, 1900, 8)]]
    made = {"plain": plain, "taught": taught, "free": free, "oracle": plain, "staged": staged}
    write_hand_made(tmp_path, made, (), unbilled={"free": "taught"}, unranked=("oracle",))
    RunsToVerify(tmp_path).store(1)
    rows = {row.method: row for row in board(score_folder(tmp_path), tmp_path)}
    assert rows["taught"].billed == "0.50 GPU-hours"
    assert (rows["free"].billed, rows["free"].given, rows["free"].place) == ("nothing", "its teacher", None)
    assert (rows["oracle"].given, rows["oracle"].place) == ("knowledge that others must pay for", None)
    assert rows["plain"].verified == "9 of 10 runs"
    said = sentences(score_folder(tmp_path).readings)
    for part in (
        "Teacher billed: 4 of 10 runs distilled",
        "Bought once as well, and billed: staged: stages.",
        "Left out of the bill: free: teacher.",
    ):
        assert part in said


def test_of_what_is_given_what_only_it_needs_is_left_out_too(tmp_path):
    staged = [[("dna", 600, 0, 7)], [("dna", 600, 0, 8)]]
    plain = [[("none@200", 600, 0, 5)], [("none@200", 600, 0, 6)]]
    write_hand_made(tmp_path, {"staged": staged, "plain": plain}, (), unbilled={})
    readings = score_folder(tmp_path).readings
    for given, expected in (
        ({"teacher"}, (("stages",), ("teacher",))),
        ({"stages"}, ((), ("stages", "teacher"))),
        (set(), (("stages", "teacher"), ())),
    ):
        suite = readings.provenance.suite
        entries = tuple(replace(entry, given=frozenset(given)) for entry in suite.optimizers)
        stored = replace(readings.provenance, suite=replace(suite, optimizers=entries))
        assert bought_once(replace(readings, provenance=stored), "staged") == expected
        assert stored.suite.unbilled == ({"staged", "plain"} if given else set())


def test_where_steps_are_not_kept_arguments_and_classes_say_what_was_bought(tmp_path):
    staged = [[("dna", 600, 36, 7)], [("dna", 600, 36, 8)]]
    made = dict.fromkeys(("own", "random-teacher", "plain", "ladder", "foreign"), staged)
    write_hand_made(tmp_path, made, (), unbilled={})
    readings = score_folder(tmp_path).readings
    described = {
        "own": ("dna", {}),
        "random-teacher": ("dna", {"score": "dna-random-teacher"}),
        "plain": ("mf-kd", {"low_fidelity": "none@12", "ratio": 4}),
        "ladder": ("asha", {"rungs": ["nst-cheap", "none@200"]}),
        "foreign": ("a:B", {}),
    }
    suite = readings.provenance.suite
    entries = tuple(
        replace(entry, optimizer=described[entry.name][0], arguments=described[entry.name][1])
        for entry in suite.optimizers
    )
    stored = replace(readings.provenance, suite=replace(suite, optimizers=entries), whole=False)
    readings = replace(readings, provenance=stored, asked={})
    assert {name: bought_once(readings, name).billed for name in made} == {
        "own": ("stages", "teacher"),
        "random-teacher": ("stages of a random teacher",),
        "plain": (),
        "ladder": ("teacher",),
        "foreign": (),
    }
    assert "Teacher billed: 8 of 10 runs" in sentences(readings)


def test_the_command_puts_several_folders_into_one_table(runs_folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("runs.parquet", "overhead.csv"):
        shutil.copy(runs_folder / name, other / name)
    page = tmp_path / "README.md"
    page.write_text("# Boards\n\n<!-- board -->\nold\n<!-- end of board -->\n\nMore.\n")
    asked = ["board", str(runs_folder), str(other), "--into", str(page)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    text = page.read_text()
    assert text.count("hillclimb") == 2
    assert "old" not in text
    assert text.endswith("<!-- end of board -->\n\nMore.\n")
    rows = json.loads(CliRunner().invoke(app, ["board", str(runs_folder), "--json"]).stdout)
    assert [row["method"] for row in rows][-1] == "broken"
    (tmp_path / "plain.md").write_text("# No place\n")
    assert CliRunner().invoke(app, [*asked[:-1], str(tmp_path / "plain.md")]).exit_code == 2
