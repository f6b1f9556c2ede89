"""Paired comparisons: by hand, in words, and across folders."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import StoreError, UnknownNameError
from nasbench_kd.execution.runs import RunsFile, read_runs, write_runs
from nasbench_kd.report import compare
from nasbench_kd.report.compare import Difference, sentence
from nasbench_kd.report.readings import read
from nasbench_kd.stats.statistics import Interval


def test_differences_by_hand(runs_folder, tmp_path):
    found = compare("hillclimb", "random", runs=runs_folder, output=tmp_path)
    readings = read(RunsFile(runs_folder / "runs.parquet"), open_scorer)
    entry = next(d for d in found.differences if (d.task, d.budget) == ("cifar10", "20 gpu-hours"))
    scores = {
        name: readings.at_budget[readings.select("cifar10", name), -1] for name in ("hillclimb", "random")
    }
    difference = scores["random"] - scores["hillclimb"]
    assert entry.regret.estimate == pytest.approx(difference.mean())
    assert entry.better == pytest.approx(np.mean((difference < 0) + (difference == 0) / 2))
    assert (entry.pairs, entry.same_seeds) == (8, False)
    assert len(found.differences) == 6
    assert found.markdown.startswith("# hillclimb against random\n")
    assert "had different seeds" in found.markdown
    assert {path.name for path in found.files} == {"compare.md", "compare.png", "compare.svg"}
    width, _ = struct.unpack(">II", (tmp_path / "compare.png").read_bytes()[16:24])
    assert width == 1200
    again = compare(f"{runs_folder}:hillclimb", "random", runs=runs_folder)
    assert again.differences == found.differences


def test_a_version_against_itself_shows_nothing(runs_folder, tmp_path):
    stored = read_runs(runs_folder / "runs.parquet")
    write_runs(tmp_path / "runs.parquet", stored.table, stored.metadata)
    found = compare(str(runs_folder), str(tmp_path))
    assert {d.first for d in found.differences} == {"random", "hillclimb", "shy", "fragile"}
    assert all(d.regret == Interval(0, 0, 0) and d.p_value == 1 and d.verdict == 0 for d in found.differences)
    assert "both runs of a pair had the same seed" in found.markdown
    assert "in 24 no difference is shown" in found.markdown


def test_one_optimizer_in_another_version(runs_folder, tmp_path):
    """Repetitions that only one folder has are left out."""
    stored = read_runs(runs_folder / "runs.parquet")
    kept = stored.table.filter([number > 2 for number in stored.table["repetition"].to_pylist()])
    write_runs(tmp_path / "runs.parquet", kept, stored.metadata)
    found = compare(f"{runs_folder}:random", str(tmp_path))
    assert {d.pairs for d in found.differences} == {5}
    assert {(d.first, d.second) for d in found.differences} == {("random", "random")}


def test_words():
    labels = ("a", "b")
    shown = Difference("cifar10", "1 gpu-hours", "a", "b", 50, True, Interval(-0.5, -0.7, -0.3), 0.8, 0.001)
    assert sentence(shown, labels) == (
        "cifar10, 1 gpu-hours: a ends 0.50 points better than b [0.30, 0.70], and is better in 80% of 50 pairs."
    )
    assert shown.verdict == -1
    unsure = Difference("cifar10", "1 gpu-hours", "a", "b", 50, True, Interval(0.5, 0.3, 0.7), 0.2, 0.06)
    assert unsure.verdict == 0
    assert "no difference shown (+0.50 points [+0.30, +0.70]; 50 pairs)" in sentence(unsure, labels)


def test_what_cannot_be_compared_is_refused(runs_folder, tmp_path):
    with pytest.raises(UnknownNameError, match=r"no runs of 'hilclimb'.*Did you mean 'hillclimb'"):
        compare("hilclimb", "random", runs=runs_folder)
    with pytest.raises(UnknownNameError, match="no folder of runs"):
        compare("hillclimb", "random")
    with pytest.raises(StoreError, match="in common, or all runs of one failed"):
        compare("broken", "random", runs=runs_folder)
    stored = read_runs(runs_folder / "runs.parquet")
    write_runs(tmp_path / "runs.parquet", stored.table, {**stored.metadata, "tables": {"another": "0"}})
    with pytest.raises(StoreError, match="are the same runs"):
        compare("hillclimb", "hillclimb", runs=runs_folder)
    with pytest.raises(StoreError, match=r"rest on different tables or versions of them \(another, "):
        compare(str(runs_folder), str(tmp_path))
