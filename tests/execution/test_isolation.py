"""Every run has a process of its own, which ends with all that it started, whatever its optimizer does."""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

import pytest

from nasbench_kd.errors import StoreError, SuiteError, UnknownNameError
from nasbench_kd.execution.code import code_of
from nasbench_kd.execution.study import plan, run_suite
from nasbench_kd.execution.suite import check_optimizers
from tests.execution.test_study import RANDOM, exported, outcomes, suite

ONE_TASK = '"cifar10"'


def test_state_on_a_class_reaches_no_other_run(tmp_path: Path) -> None:
    remembers = suite("remembers = hostile_optimizers:RemembersOnTheClass", seeds=4)
    for jobs in (1, 2, 3):
        run_suite(remembers, tmp_path / str(jobs), jobs=jobs)
    assert exported(tmp_path / "1") == exported(tmp_path / "2") == exported(tmp_path / "3")


def test_what_an_optimizer_does_ends_its_own_run_only(tmp_path: Path) -> None:
    hostile = suite(
        f"random = {RANDOM}",
        "no text = hostile_optimizers:RaisesWithoutText",
        "exits = hostile_optimizers:ExitsInItsConstructor",
        "hangs = hostile_optimizers:HangsInItsConstructor",
        "prints = hostile_optimizers:PrintsForever",
        "takes memory = hostile_optimizers:TakesMemory",
        "closes = hostile_optimizers:ClosesEverything",
        "kills = hostile_optimizers:KillsAround",
        "is traced = hostile_optimizers:AsksToBeTraced",
        "import exits = exits_at_import:Never",
        "import hangs = hangs_at_import:Never",
        seeds=1,
        tasks=ONE_TASK,
        extra='wall_clock_cap = "6 seconds"',
    )
    assert run_suite(hostile, tmp_path, jobs=2).done == 11
    seen = {name: outcome for (name, _, _), outcome in outcomes(tmp_path).items()}
    late = ("failed", "timed out: not finished within the wall-clock cap of 6 seconds")
    assert seen["random"][0] == "budget"
    assert seen["no text"][0] == "failed"
    assert "Unspeakable" in seen["no text"][1] or "RuntimeError" in seen["no text"][1]
    assert seen["exits"] == ("failed", "SystemExit: 0")
    assert seen["import exits"] == ("failed", "SystemExit: 0")
    assert seen["hangs"] == seen["import hangs"] == seen["prints"] == late
    assert "MemoryError" in seen["takes memory"][1]
    assert seen["closes"][1].startswith("process died: in each of 3 attempts it exited with status")
    if sys.platform == "linux":
        assert seen["is traced"] == ("failed", "process died: in each of 3 attempts it was ended by SIGKILL")


def test_a_fork_server_that_dies_as_it_starts_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, deaths = multiprocessing.context.ForkServerProcess, []
    start_process = process.start

    def dies_at_first(self: multiprocessing.context.ForkServerProcess) -> None:
        if not deaths:
            deaths.append(self)
            raise EOFError("unexpected EOF")  # what the standard library raises when the server was killed
        start_process(self)

    monkeypatch.setattr(process, "start", dies_at_first)
    assert run_suite(suite(f"random = {RANDOM}", seeds=2, tasks=ONE_TASK), tmp_path, jobs=1).failed == 0
    assert len(deaths) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_what_a_run_starts_ends_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    leaves = suite(
        f'leaves = hostile_optimizers:LeavesChildren {{ pids = "{pids}" }}', seeds=1, tasks=ONE_TASK
    )
    assert run_suite(leaves, tmp_path / "out", jobs=1).failed == 0
    started = pids.read_text().split()
    assert started
    deadline = time.monotonic() + 10
    while any(Path("/proc", pid).exists() for pid in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in started if Path("/proc", pid).exists()]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("exits_at_import:Never", r"importing it raised SystemExit: 0"),
        ("hostile_optimizers:ExitsInItsConstructor", r"refuses the arguments {}: SystemExit: 0"),
        ("hostile_optimizers:HangsInItsConstructor", r"timed out"),
        ("hangs_at_import:Never", r"timed out"),
    ],
)
def test_optimizers_are_checked_in_a_process_of_their_own(entry: str, reason: str) -> None:
    with pytest.raises(SuiteError, match=reason):
        check_optimizers(suite(f"mine = {entry}", extra='wall_clock_cap = "2 seconds"'))


def test_code_is_every_file_of_its_own_and_every_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("import scipy.stats\n")
    (package / "other.py").write_text("")
    (package / "method.py").write_text(
        "import importlib\nfrom hostile_optimizers import Plain\n"
        "def late():\n    from . import helper\n    importlib.import_module('.by_name', __package__)\n"
        "class Mine(Plain):\n    pass\n"
    )
    (package / "by_name.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    code = code_of("own_package.method")
    assert list(code.files) == [
        "hostile_optimizers",
        "own_package",
        "own_package.by_name",
        "own_package.helper",
        "own_package.method",
    ]
    assert list(code.libraries) == ["nasbench-kd", "numpy", "scipy"]
    assert "own_package.method" not in sys.modules

    mine = suite(f"random = {RANDOM}", "mine = own_package.method:Mine", seeds=2, tasks=ONE_TASK)
    run_suite(mine, tmp_path / "out", jobs=2)
    before = exported(tmp_path / "out")
    (package / "helper.py").write_text("import scipy.stats  # edited\n")
    with pytest.raises(StoreError, match=r"code was changed in own_package\.helper\. .*--rerun mine"):
        run_suite(mine, tmp_path / "out")
    again = run_suite(mine, tmp_path / "out", rerun=["mine"], jobs=2)
    assert (again.total, again.resumed) == (4, 2)
    assert exported(tmp_path / "out") == before
    with pytest.raises(UnknownNameError, match=r"no optimizer 'mien'.*Did you mean 'mine'"):
        run_suite(mine, tmp_path / "out", rerun=["mien"])


def test_a_version_that_changed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = suite(seeds=1, tasks=ONE_TASK)
    run_suite(small, tmp_path, jobs=1)
    changed = code_of("nasbench_kd_baselines.random_search")
    version = changed.libraries["numpy"]
    monkeypatch.setattr("nasbench_kd.execution.code._version", lambda library: "0.0.1")
    with pytest.raises(StoreError, match=rf"numpy was {version} and is 0\.0\.1"):
        run_suite(small, tmp_path)
    assert {job.conditions.libraries["numpy"] for job in plan(small)} == {"0.0.1"}
