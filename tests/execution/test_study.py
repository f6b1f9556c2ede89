"""A suite ends with the same runs whatever interrupts it, and one bad optimizer spoils no other run."""

from __future__ import annotations

import csv
import dataclasses
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nasbench_kd import search
from nasbench_kd.errors import DataError, StoreError
from nasbench_kd.execution import study
from nasbench_kd.execution.jobs import run_seed
from nasbench_kd.execution.runs import RunRecord, read_runs, to_table
from nasbench_kd.execution.study import Progress, plan, run_suite
from nasbench_kd.execution.suite import Suite, parse_suite
from nasbench_kd.tables.catalog import tables
from tests.counts import counted

RANDOM = "nasbench_kd_baselines.random_search:RandomSearch"


def suite(*optimizers: str, seeds: int = 4, tasks: str = '"cifar10", "cifar100"', extra: str = "") -> Suite:
    """A small suite of `name = path { arguments }` lines."""
    entries = ""
    for line in optimizers or (f"random = {RANDOM}",):
        name, _, rest = line.partition(" = ")
        path, _, arguments = rest.partition(" ")
        counted("hostile optimizer", ("nasbench_kd_" not in path) * seeds * (1 + tasks.count(",")))
        entries += f'[[optimizers]]\nname = "{name}"\noptimizer = "{path}"\narguments = {arguments or "{}"}\n'
    return parse_suite(
        f'name = "test"\ntasks = [{tasks}]\nbudgets = ["5 gpu-hours", "20 gpu-hours"]\nseeds = {seeds}\n'
        f"{extra}\n{entries}"
    )


def exported(folder: Path) -> bytes:
    return (folder / "runs.parquet").read_bytes()


def outcomes(folder: Path) -> dict[tuple[str, str, int], tuple[str, str]]:
    rows = read_runs(folder / "runs.parquet").table.to_pylist()
    return {
        (row["optimizer"], row["task"], row["repetition"]): (row["ending"], row["reason"]) for row in rows
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_suite(suite(), folder, jobs=2) == Progress(total=8, done=8, failed=0, resumed=0)
    return folder


def test_seeds_never_change() -> None:
    """Published leaderboards rest on them: the first 8 bytes of SHA-256, halved, computed by hand."""
    # printf '["quick", "random", "cifar10", 0]' | sha256sum | cut -c1-16
    assert run_seed("quick", "random", "cifar10", 0) == 7155395264625754020
    assert run_seed("quick", "random", "cifar10", 1) == 7655301998706593361


def test_paired_seeds_are_one_for_all_optimizers_and_another_for_each_repetition_and_task() -> None:
    paired = suite(f"a = {RANDOM}", f"b = {RANDOM}", extra="paired_seeds = true")
    seeds: dict[tuple[str, int], set[int]] = {}
    for job in plan(paired):
        seeds.setdefault((job.conditions.task, job.repetition), set()).add(job.seed)
    assert {len(same) for same in seeds.values()} == {1}
    assert len(set.union(*seeds.values())) == len(seeds) == 8
    alone = [job.seed for job in plan(suite(f"b = {RANDOM}", extra="paired_seeds = true"))]
    assert set(alone) == set.union(*seeds.values())


def test_an_entry_may_leave_out_the_teacher_that_its_suite_bills() -> None:
    both = suite(f"a = {RANDOM}", f"b = {RANDOM}")
    first, second = both.optimizers
    both = dataclasses.replace(both, optimizers=(first, dataclasses.replace(second, bill_teacher=False)))
    billed = {job.conditions.name: job.conditions.bill_teacher for job in plan(both)}
    assert billed == {"a": True, "b": False}


def test_the_stored_runs_are_those_of_search(undisturbed: Path) -> None:
    records = [
        RunRecord(
            "random",
            repetition,
            search(
                "random",
                task=task,
                budget="20 gpu-hours",
                seed=run_seed("test", "random", task, repetition),
            ),
        )
        for task in ("cifar10", "cifar100")
        for repetition in range(4)
    ]
    stored = read_runs(undisturbed / "runs.parquet")
    assert stored.table.equals(to_table(records))
    assert stored.metadata["suite"] == suite().describe()
    shown = [table for table in tables("embedded") if any(each.split == "valid" for each in table.columns)]
    assert stored.metadata["tables"] == {table.name: table.sha256 for table in shown}


def test_overhead_is_listed_apart_from_the_runs(undisturbed: Path) -> None:
    with (undisturbed / "overhead.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["repetition"]) for row in rows] == [
        (task, str(repetition)) for task in ("cifar10", "cifar100") for repetition in range(4)
    ]
    assert all(0 < float(row["optimizer_seconds"]) < 60 for row in rows)


def test_one_process_gives_the_same_bytes(undisturbed: Path, tmp_path: Path) -> None:
    run_suite(suite(), tmp_path, jobs=1)
    assert exported(tmp_path) == exported(undisturbed)


@pytest.mark.parametrize("moment", [3, 8])
def test_an_interrupted_suite_goes_on_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, moment: int
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(suite(), tmp_path, jobs=2, on_progress=interrupt)
    assert not (tmp_path / "runs.parquet").exists()
    assert run_suite(suite(), tmp_path, jobs=2) == Progress(total=8, done=8, failed=0, resumed=moment)
    assert exported(tmp_path) == exported(undisturbed)


def test_a_clock_that_jumps_changes_nothing(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: jumps.uniform(-1e9, 1e10))
    assert run_suite(suite(), tmp_path, jobs=2).failed == 0
    assert exported(tmp_path) == exported(undisturbed)


def test_runs_that_cannot_be_exported_stay_stored(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "runs.parquet").mkdir()
    with pytest.raises(StoreError, match=r"cannot be written to .*They are kept in .*store.sqlite"):
        run_suite(suite(), tmp_path, jobs=2)
    (tmp_path / "runs.parquet").rmdir()
    assert run_suite(suite(), tmp_path).resumed == 8
    assert exported(tmp_path) == exported(undisturbed)


def test_published_runs_are_not_replaced(undisturbed: Path, tmp_path: Path) -> None:
    """A clone has `runs.parquet` without the store: what a suite writes would take its place."""
    shutil.copy(undisturbed / "runs.parquet", tmp_path)
    with pytest.raises(StoreError, match=r"published or merged runs.*choose another --output.*--fresh"):
        run_suite(replace(suite(), seeds=1), tmp_path, jobs=2)
    assert exported(tmp_path) == exported(undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.parquet"]
    assert run_suite(replace(suite(), seeds=1), tmp_path, jobs=2, fresh=True).total == 2


def test_more_seeds_and_optimizers_change_no_other_run(undisturbed: Path, tmp_path: Path) -> None:
    wider = suite(f"random = {RANDOM}", "second = hostile_optimizers:Plain", seeds=6)
    run_suite(wider, tmp_path, jobs=2)
    table = read_runs(tmp_path / "runs.parquet").table.to_pylist()
    kept = [row for row in table if row["optimizer"] == "random" and row["repetition"] < 4]
    assert kept == read_runs(undisturbed / "runs.parquet").table.to_pylist()
    assert {row["seed"] for row in table if row["optimizer"] == "second"}.isdisjoint(
        row["seed"] for row in table if row["optimizer"] == "random"
    )
    # And back: what the suite no longer has stays stored and is not exported.
    assert run_suite(suite(), tmp_path).resumed == 8
    assert exported(tmp_path) == exported(undisturbed)
    assert run_suite(wider, tmp_path).resumed == 24


def test_work_is_planned_repetition_by_repetition() -> None:
    planned = [job.key for job in plan(suite("a = hostile_optimizers:Plain", f"b = {RANDOM}", seeds=2))]
    assert planned == [
        (name, task, repetition)
        for repetition in range(2)
        for task in ("cifar10", "cifar100")
        for name in ("a", "b")
    ]


def test_failures_end_their_own_run_only(tmp_path: Path) -> None:
    hostile = suite(
        f"random = {RANDOM}",
        "raises = hostile_optimizers:Raises",
        "exits = hostile_optimizers:Exits",
        "exits 3 = hostile_optimizers:Exits { code = 3 }",
        "system exits = hostile_optimizers:SystemExits",
        "segfaults = hostile_optimizers:Segfaults",
        "hangs = hostile_optimizers:Hangs",
        "missing = hostile_optimizers:MissingFidelity",
        "unicode = hostile_optimizers:UnicodeReason",
        seeds=1,
        tasks='"cifar10"',
        extra='wall_clock_cap = "8 seconds"',
    )
    made = run_suite(hostile, tmp_path, jobs=2)
    assert made == Progress(total=9, done=9, failed=8, resumed=0)
    seen = {name: outcome for (name, _, _), outcome in outcomes(tmp_path).items()}
    died = "process died: in each of 3 attempts it"
    assert seen["random"][0] == "budget"
    assert seen["raises"] == ("failed", "ValueError in tell: broken at <object object at 0x...>")
    assert seen["exits"] == ("failed", f"{died} exited with status 0")
    assert seen["exits 3"] == ("failed", f"{died} exited with status 3")
    assert seen["segfaults"] == ("failed", f"{died} was ended by SIGSEGV")
    assert seen["system exits"] == ("failed", "SystemExit: enough")
    assert seen["hangs"] == ("failed", "timed out: not finished within the wall-clock cap of 8 seconds")
    assert "no entries at the fidelity 'nst@3'" in seen["missing"][1]
    assert seen["unicode"][1].startswith("ValueError in tell: ????")
    before = exported(tmp_path)
    assert run_suite(hostile, tmp_path) == Progress(total=9, done=9, failed=8, resumed=9)
    assert exported(tmp_path) == before


def test_a_run_that_is_killed_once_is_made_again(tmp_path: Path) -> None:
    def killed(times: int, folder: str) -> dict[tuple[str, str, int], tuple[str, str]]:
        marker = tmp_path / folder / "marker"
        marker.parent.mkdir()
        arguments = f'{{ marker = "{marker}", times = {times} }}'
        entry = f"killed = hostile_optimizers:KilledOnce {arguments}"
        run_suite(suite(entry, seeds=2, tasks='"cifar10"'), tmp_path / folder, jobs=1)
        return outcomes(tmp_path / folder)

    assert {ending for ending, _ in killed(2, "twice").values()} == {"budget"}
    thrice = killed(3, "thrice")
    assert thrice["killed", "cifar10", 0][1].startswith("process died")
    assert thrice["killed", "cifar10", 1][0] == "budget"


def test_failed_runs_are_made_again_on_request(tmp_path: Path) -> None:
    arguments = f'{{ marker = "{tmp_path / "marker"}", times = 3 }}'
    flaky = suite(f"killed = hostile_optimizers:KilledOnce {arguments}", seeds=1, tasks='"cifar10"')
    assert run_suite(flaky, tmp_path, jobs=1).failed == 1
    assert run_suite(flaky, tmp_path, jobs=1) == Progress(total=1, done=1, failed=1, resumed=1)
    assert run_suite(flaky, tmp_path, jobs=1, retry_failed=True) == Progress(1, 1, failed=0, resumed=0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"budgets": "25 gpu-hours"}, 'budget was "20 gpu-hours" and is "25 gpu-hours"'),
        ({"workers": 2}, "workers was 1 and is 2"),
        ({"bill_teacher": False}, "bill_teacher was true and is false"),
        ({"name": "other"}, 'suite was "test" and is "other"'),
        ({"arguments": {"fidelity": "none@12"}}, "arguments was {} and is"),
        (
            {"optimizer": "hostile_optimizers:Plain"},
            "code was changed in .*hostile_optimizers.*; optimizer was .* and is",
        ),
    ],
)
def test_stored_runs_made_under_other_conditions_are_refused(
    undisturbed: Path, change: dict[str, Any], expected: str
) -> None:
    before = suite()
    if "budgets" in change:
        after = dataclasses.replace(before, budgets=(type(before.largest_budget).parse(change["budgets"]),))
    elif "arguments" in change or "optimizer" in change:
        entry = dataclasses.replace(before.optimizers[0], **change)
        after = dataclasses.replace(before, optimizers=(entry,))
    else:
        after = dataclasses.replace(before, **change)
    bytes_before = exported(undisturbed)
    with pytest.raises(StoreError, match=f"made under other conditions: .*({expected}).*--output.*--fresh"):
        run_suite(after, undisturbed)
    assert exported(undisturbed) == bytes_before


def test_runs_of_another_table_version_are_refused(
    undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "table_versions", lambda *_: {"nas-bench-201": "0" * 64})
    with pytest.raises(
        StoreError, match=r'tables was {.*"nas-bench-201": "e3712.* and is {"nas-bench-201": "00000'
    ):
        run_suite(suite(), undisturbed)


def test_runs_of_edited_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "edited_plugin.py"
    module.write_text("from hostile_optimizers import Plain\nclass Mine(Plain):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = suite("mine = edited_plugin:Mine", seeds=1, tasks='"cifar10"')
    run_suite(mine, tmp_path / "out", jobs=1)
    module.write_text(module.read_text() + "    paper = 'edited'\n")
    with pytest.raises(StoreError, match=r"code was changed in edited_plugin\. .*--rerun mine"):
        run_suite(mine, tmp_path / "out")
    assert run_suite(mine, tmp_path / "out", fresh=True, jobs=1).resumed == 0


def test_tables_that_change_under_a_running_suite_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent believes in another version than the one that its worker processes open."""
    monkeypatch.setattr(study, "table_versions", lambda *_: {"nas-bench-201": "0" * 64})
    with pytest.raises(DataError, match=r"the installed tables changed"):
        run_suite(suite(), tmp_path, jobs=1)


def test_a_run_reads_at_every_smaller_budget_as_a_prefix(undisturbed: Path) -> None:
    """An optimizer does not know its budget, so the run at the largest holds all others."""
    for row in read_runs(undisturbed / "runs.parquet").table.to_pylist():
        shorter = search("random", task=row["task"], budget="5 gpu-hours", seed=row["seed"])
        assert row["cell"][: len(shorter.steps)] == [step.cell for step in shorter.steps]
        assert row["spent"][len(shorter.steps)] > 5 * 3600 * 1_000_000


def test_a_run_of_means_over_seeds_is_a_run(tmp_path: Path) -> None:
    """The 12-epoch table has means alone: their steps have no training seed."""
    early = suite(f'early = {RANDOM} {{ fidelity = "none@12" }}', seeds=1, tasks='"cifar10"')
    assert run_suite(early, tmp_path, jobs=1) == Progress(total=1, done=1, failed=0, resumed=0)
    (row,) = read_runs(tmp_path / "runs.parquet").table.to_pylist()
    assert set(row["training_seed"]) == {None}
