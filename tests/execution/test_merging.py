"""Shards of a suite give its bytes, and runs of one suite with different optimizers make one board."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.errors import NasbenchKDError, StoreError
from nasbench_kd.execution.bundles import opened, read_about
from nasbench_kd.execution.merging import merge_runs
from nasbench_kd.execution.runs import KEPT, MADE_BY, SCHEMA, read_runs, write_runs
from nasbench_kd.execution.study import run_suite
from nasbench_kd.execution.suite import load_suite
from tests.execution.test_study import RANDOM, exported, suite

BOTH = suite(
    f"random = {RANDOM}",
    "evolution = nasbench_kd_baselines.regularized_evolution:RegularizedEvolution",
    seeds=3,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_suite(BOTH, folder, jobs=2)
    return folder


def test_all_shards_are_the_whole(whole: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        run_suite(BOTH, tmp_path / str(number), jobs=2, shard=(number, 3))
    parts = [tmp_path / str(number) for number in (3, 1, 2)]
    assert merge_runs(parts, tmp_path / "merged") == 12
    assert exported(tmp_path / "merged") == exported(whole)
    names = [line.rsplit(",", 1)[0] for line in (whole / "overhead.csv").read_text().splitlines()]
    merged = (tmp_path / "merged" / "overhead.csv").read_text().splitlines()
    assert [line.rsplit(",", 1)[0] for line in merged] == names
    with pytest.raises(StoreError, match=r"the shards 2/3 are missing"):
        merge_runs(parts[:2], tmp_path / "less")
    with pytest.raises(StoreError, match=r"two of the folders hold evolution on cifar10, repetition"):
        merge_runs([*parts, parts[0]], tmp_path / "more")
    with pytest.raises(StoreError, match=r"goes on from"):
        merge_runs(parts, parts[0])
    (tmp_path / "published").mkdir()
    shutil.copy(whole / "runs.parquet", tmp_path / "published")
    assert merge_runs(parts, tmp_path / "published") == 12
    run_suite(replace(BOTH, optimizers=BOTH.optimizers[:1]), tmp_path / "narrower", jobs=2)
    with pytest.raises(
        StoreError, match=r"6 runs that these folders lack, such as evolution on cifar10.*be lost"
    ):
        merge_runs([tmp_path / "narrower"], tmp_path / "published")
    assert exported(tmp_path / "published") == exported(whole)


def test_one_board_of_two_folders(whole: Path, tmp_path: Path) -> None:
    """The seeds of a suite do not depend on what else is in it."""
    for entry in BOTH.optimizers:
        run_suite(replace(BOTH, optimizers=(entry,)), tmp_path / entry.name, jobs=2)
    merge_runs([tmp_path / entry.name for entry in BOTH.optimizers], tmp_path / "merged")
    assert read_runs(tmp_path / "merged" / "runs.parquet").table.equals(
        read_runs(whole / "runs.parquet").table
    )


def test_a_board_tells_who_made_its_runs_and_that_some_are_thinned(whole: Path, tmp_path: Path) -> None:
    """Whichever comes first: thinned runs cannot be replayed as whole ones."""
    stored = read_runs(whole / "runs.parquet")
    parts = []
    for entry, claim in zip(
        BOTH.describe()["optimizers"], ({KEPT: "some"}, {MADE_BY: {"evolution": "Ada"}}), strict=True
    ):
        rows = stored.table.filter(pc.equal(stored.table["optimizer"], entry["name"]))
        described = {**stored.metadata, "suite": {**stored.metadata["suite"], "optimizers": [entry]}, **claim}
        write_runs(tmp_path / entry["name"] / "runs.parquet", rows, described)
        parts.append(tmp_path / entry["name"])
    for order in (parts[::-1], parts):
        merge_runs(order, tmp_path / "board")
        metadata = read_runs(tmp_path / "board" / "runs.parquet").metadata
        assert (metadata[KEPT], metadata[MADE_BY]) == ("some", {"evolution": "Ada"})
    described = {**read_runs(parts[0] / "runs.parquet").metadata, MADE_BY: ["Ada"]}
    write_runs(tmp_path / "odd.parquet", read_runs(parts[0] / "runs.parquet").table, described)
    with pytest.raises(StoreError, match="does not say in words who made its runs"):
        merge_runs([tmp_path / "odd.parquet", parts[1]], tmp_path / "odd")
    asked = ["report", *map(str, parts)]
    assert CliRunner().invoke(app, asked).exit_code == 2
    assert CliRunner().invoke(app, ["report", str(parts[0]), "--output", str(tmp_path)]).exit_code == 2
    result = CliRunner().invoke(app, [*asked, "--output", str(tmp_path / "both")])
    assert result.exit_code == 0, result.output
    assert exported(tmp_path / "both") == exported(tmp_path / "board")
    listed = CliRunner().invoke(app, ["board", str(tmp_path / "both"), "--json"]).stdout
    assert {row["method"]: row["made_by"] for row in json.loads(listed)} == {
        "random": "not said",
        "evolution": "Ada",
    }


def test_a_board_of_unequal_suites_says_so_and_agrees(whole: Path, tmp_path: Path) -> None:
    fewer = replace(BOTH, optimizers=(replace(BOTH.optimizers[0], name="fewer"),), seeds=1)
    run_suite(fewer, tmp_path / "fewer", jobs=2)
    merge_runs([whole, tmp_path / "fewer"], tmp_path / "merged")
    done = CliRunner().invoke(app, ["verify", str(tmp_path / "merged")])
    assert (done.exit_code, "They come from several suites" in done.output) == (0, True), done.output


def test_runs_made_otherwise_are_not_merged(whole: Path, tmp_path: Path) -> None:
    other = replace(BOTH, workers=2, optimizers=BOTH.optimizers[:1], seeds=1)
    run_suite(other, tmp_path / "other", jobs=1)
    done = CliRunner().invoke(
        app, ["merge", str(whole), str(tmp_path / "other"), "--output", str(tmp_path / "merged")]
    )
    assert done.exit_code == 2
    assert "the suites differ in workers: 1 and 2" in done.output
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/", "-1/2"])
def test_parts_that_there_are_not(text: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "quick", f"--shard={text}", "--output", str(tmp_path)])
    assert done.exit_code == 2
    assert "expected a part such as 3/8" in done.output


OWN = "from nasbench_kd_baselines.random_search import RandomSearch\nclass Mine(RandomSearch):\n    pass\n"


def test_an_added_optimizer_never_goes_into_the_folder_of_its_suite(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept_apart.py").write_text(OWN)
    described = dict(read_runs(whole / "runs.parquet").metadata, isolation="process")
    write_runs(tmp_path / "reports/ci/runs.parquet", read_runs(whole / "runs.parquet").table, described)
    added = ["run", "ci", "--add", "kept_apart:Mine", "--seeds", "1", "--task", "cifar10"]
    done = CliRunner().invoke(app, added)
    assert done.exit_code == 0, done.output
    assert "reports/ci were made with --isolated" in " ".join(done.output.split())
    assert "nasbench-kd report reports/ci reports/ci-Mine --output reports/ci-Mine-board" in done.output
    assert read_runs(tmp_path / "reports/ci-Mine/runs.parquet").table["optimizer"].to_pylist() == ["Mine"]
    assert [path.name for path in (tmp_path / "reports/ci").iterdir()] == ["runs.parquet"]


def test_an_own_optimizer_beside_those_of_a_suite(tmp_path: Path) -> None:
    """From a module beside the suite's file; only what is new runs, and the board is that of the whole suite."""
    (tmp_path / "beside_the_suite.py").write_text(OWN)
    text = 'name = "small"\ntasks = ["cifar10"]\nbudgets = ["10 evaluations"]\nseeds = 2\n'
    (tmp_path / "small.toml").write_text(f'{text}[[optimizers]]\nname = "random"\noptimizer = "{RANDOM}"\n')
    (tmp_path / "larger.toml").write_text(
        'extends = "small.toml"\n[[optimizers]]\nname = "Mine"\noptimizer = "beside_the_suite:Mine"\n'
    )
    runs = {
        "small": ["small.toml"],
        "mine": ["small.toml", "--add", "beside_the_suite:Mine"],
        "whole": ["larger.toml"],
    }
    for name, (file, *options) in runs.items():
        command = [
            "run",
            str(tmp_path / file),
            *options,
            "--no-report",
            "-q",
            "--output",
            str(tmp_path / name),
        ]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    mine = read_runs(tmp_path / "mine" / "runs.parquet").table
    assert mine["optimizer"].to_pylist() == ["Mine", "Mine"]
    merged = ["merge", str(tmp_path / "small"), str(tmp_path / "mine"), "--output", str(tmp_path / "board")]
    assert CliRunner().invoke(app, merged).exit_code == 0
    assert exported(tmp_path / "board") == exported(tmp_path / "whole")
    twice = ["run", str(tmp_path / "small.toml"), *["--add", "beside_the_suite:Mine"] * 2]
    done = CliRunner().invoke(app, [*twice, "--output", str(tmp_path / "twice")])
    assert (done.exit_code, "has an optimizer 'Mine' already" in done.output) == (2, True)
    again = [*runs["mine"][1:], "--task", "cifar11", "--output", str(tmp_path / "again")]
    assert (
        "no task 'cifar11'" in CliRunner().invoke(app, ["run", str(tmp_path / "small.toml"), *again]).output
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "no such suite"\n', "no suite 'no such suite'"),
        ('extends = "itself.toml"\n', "extends itself"),
        ("extends = 3\n", "extends names a suite"),
        (
            'extends = "quick"\n[[optimizers]]\noptimizer = "nowhere_at_all:Mine"\n',
            r"No module named 'nowhere_at_all'.*looked for among the installed packages and in .*",
        ),
    ],
)
def test_suites_that_extend_what_they_cannot(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "itself.toml").write_text(text)
    with pytest.raises(NasbenchKDError, match=message) as raised:
        load_suite(tmp_path / "itself.toml")
    if "nowhere" in text:
        assert str(tmp_path) in str(raised.value)


def test_a_bundle_is_checked_and_merged_as_its_folder_is(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(whole, folder)
    packed = tmp_path / "mine.nbkd"
    for _ in range(2):
        done = CliRunner().invoke(app, ["bundle", str(folder)])
        assert done.exit_code == 0, done.output
        assert "12 of 12 runs agree" in done.output
    before = packed.read_bytes()
    assert CliRunner().invoke(app, ["bundle", str(folder), "--output", str(packed)]).exit_code == 0
    assert packed.read_bytes() == before
    about = read_about(packed)
    assert about["verification"]["disagreeing"] == 0
    assert len(about["conditions"]) == 4
    assert about["conditions"][0]["libraries"]["numpy"] == version("numpy")
    assert "nasbench_kd_baselines.random_search" in {
        each for one in about["conditions"] for each in one["code"]
    }
    assert "12 of 12 runs agree" in CliRunner().invoke(app, ["verify", str(packed)]).output
    done = CliRunner().invoke(app, ["merge", str(packed), "--output", str(tmp_path / "board")])
    assert "12 runs are stored" in done.output
    with opened(packed) as (unpacked,):
        assert unpacked.is_dir()
    assert not unpacked.exists()
    assert exported(tmp_path / "board") == exported(whole)


def test_runs_that_do_not_agree_are_not_bundled(whole: Path, tmp_path: Path) -> None:
    stored = read_runs(whole / "runs.parquet")
    rows = stored.table.to_pylist()
    rows[0]["value"][0] += 1
    write_runs(tmp_path / "forged" / "runs.parquet", pa.Table.from_pylist(rows, SCHEMA), stored.metadata)
    done = CliRunner().invoke(app, ["bundle", str(tmp_path / "forged")])
    assert done.exit_code == 1
    assert "11 of 12 runs agree" in done.output
    assert not (tmp_path / "forged.nbkd").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "File is not a zip file"),
        ("empty", "no item named 'bundle.json'"),
        ("other name", "There is no item named"),
        ("changed", "does not match its checksum"),
        ("path", "it holds runs.parquet, overhead.csv and no others"),
        ("list", "it holds runs.parquet, overhead.csv and no others"),
        ("no runs", "it holds runs.parquet, overhead.csv and no others"),
        ("array", "does not say 'nasbench-kd bundle 1'"),
        ("cut", "File is not a zip file"),
    ],
)
def test_damaged_bundles_are_refused(whole: Path, tmp_path: Path, kind: str, message: str) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(whole, folder)
    packed = tmp_path / "mine.nbkd"
    CliRunner().invoke(app, ["bundle", str(folder)])
    about: Any = read_about(packed)
    content = exported(folder)
    if kind == "cut":
        packed.write_bytes(packed.read_bytes()[:-2000])
    elif kind == "text":
        packed.write_text("no bundle")
    else:
        name = "../planted" if kind == "path" else "runs.parquet"
        if kind == "path":
            about["sha256"][name] = about["sha256"]["runs.parquet"]
        elif kind == "list":
            about["sha256"] = ["runs.parquet"]
        elif kind == "no runs":
            about["sha256"] = {}
        elif kind == "array":
            about = [about]
        with zipfile.ZipFile(packed, "w") as archive:
            if kind != "empty":
                archive.writestr("bundle.json", json.dumps(about))
            archive.write(folder / "overhead.csv", "overhead.csv")
            archive.writestr("else" if kind == "other name" else name, content[:-1] + b"x")
    done = CliRunner().invoke(app, ["verify", str(packed)])
    assert done.exit_code == 2, done.output
    assert re.search("not a readable bundle|is damaged", done.output)
    assert message in done.output
    assert "mine.nbkd" in done.output
    assert not list(tmp_path.parent.glob("planted"))


def test_runs_that_all_failed_are_not_bundled(tmp_path: Path) -> None:
    run_suite(suite("broken = hostile_optimizers:Raises", seeds=1), tmp_path / "broken", jobs=2)
    done = CliRunner().invoke(app, ["bundle", str(tmp_path / "broken")])
    assert (done.exit_code, "broken failed" in done.output) == (2, True), done.output
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_suite_that_extends_a_shipped_one_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "larger.toml").write_text('extends = "quick"\nseeds = 1\n')
    done = CliRunner().invoke(
        app, ["run", "larger.toml", "--task", "cifar10", "--optimizer", "random", "--no-report", "-q"]
    )
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["larger"]
