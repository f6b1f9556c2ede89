"""Runs of a suite by Ray and by Slurm's client are byte for byte those of processes, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from nasbench_kd.cli.executing import Where, chosen_executor
from nasbench_kd.errors import ClusterError, MissingDependencyError
from nasbench_kd.execution.isolation import Caps
from nasbench_kd.execution.making import make_runs
from nasbench_kd.execution.study import plan, run_suite
from nasbench_kd.executors.slurm_cluster import slurm_executor
from tests.execution.test_kill import SUITE, start, stored
from tests.execution.test_study import exported, suite

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (extra: cluster)")
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed (extra: cluster)"
)
CAPS = Caps(60, 4 << 30)


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Any]:
    """A local Ray with places for two tasks."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def by_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    run_suite(slow(), folder, jobs=2)
    return folder


def slow() -> Any:
    return suite("slow = hostile_optimizers:Slow", seeds=12)


def ray_workers() -> list[int]:
    """Processes of Ray that work on a task, by the name that Ray gives them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::") and b"make" in command:
                found.append(int(entry.name))
    return found


@needs_ray
def test_with_a_worker_of_ray_killed_the_bytes_are_the_same(
    two_workers: Any, by_processes: Path, tmp_path: Path
) -> None:
    from nasbench_kd.executors.ray_cluster import ray_executor

    killed: list[int] = []

    def kill_one(progress: Any) -> None:
        if progress.done and not killed and (workers := ray_workers()):
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    with ray_executor() as executor:
        progress = run_suite(slow(), tmp_path, executor=executor, on_progress=kill_one)
    assert killed, "no worker was there to be killed"
    assert (progress.done, progress.failed) == (24, 0)
    assert exported(tmp_path) == exported(by_processes)
    assert two_workers.is_initialized(), "a cluster that was there before is left as it was"


@needs_ray
def test_killed_midway_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    file = tmp_path / "suite.toml"
    file.write_text(SUITE.format(seeds=12))
    assert start(file, tmp_path / "processes").wait() == 0
    process = start(file, tmp_path / "ray", "--executor", "ray")
    seen: set[int] = set()
    while not (tmp_path / "ray" / "store.sqlite-wal").exists() or len(seen) < 2:
        assert process.poll() is None, "it ended before it was killed"
        seen.update(ray_workers())
        time.sleep(0.02)
    time.sleep(1)  # in the midst of it
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = stored(tmp_path / "ray")
    assert before < 48
    assert start(file, tmp_path / "ray", "--executor", "ray").wait() == 0
    assert exported(tmp_path / "ray") == exported(tmp_path / "processes")


@needs_submitit
def test_by_jobs_of_submitit_with_one_killed_the_bytes_are_the_same(
    by_processes: Path, tmp_path: Path
) -> None:
    import submitit

    killed: list[int] = []
    whole = submitit.local.local.LocalExecutor._submit_command

    def killed_at_first(self: Any, command: str) -> Any:
        job = whole(self, command)
        if not killed:
            killed.append(job._process.pid)
            job._process.kill()
        return job

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(submitit.local.local.LocalExecutor, "_submit_command", killed_at_first)
        executor = slurm_executor(tmp_path / "slurm", at_once=2, cluster="local")
        assert run_suite(slow(), tmp_path, executor=executor).failed == 0
    assert killed
    assert exported(tmp_path) == exported(by_processes)


@needs_submitit
@pytest.mark.skipif(which("srun") is not None, reason="there is a Slurm here")
def test_where_there_is_no_slurm_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="jobs cannot be handed to Slurm from here"):
        slurm_executor(tmp_path)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, package in ((Where.ray, "ray"), (Where.slurm, "submitit")):
        monkeypatch.setitem(sys.modules, package, None)
        with (
            pytest.raises(MissingDependencyError, match=rf"{package}.*nasbench-kd\[cluster\]"),
            chosen_executor(where, tmp_path, None, None),
        ):
            pass
    with chosen_executor(Where.processes, tmp_path, None, None) as executor:
        assert executor is None


def test_a_machine_with_other_code_or_libraries_makes_no_runs() -> None:
    job = plan(slow())[0]
    conditions = job.conditions
    (name,) = [each for each in conditions.code if each == "hostile_optimizers"]
    for changed in ({"code": {**conditions.code, name: "0" * 64}}, {"libraries": {"numpy": "0.1"}}):
        other = replace(conditions, **changed)
        with pytest.raises(
            ClusterError, match=r"slow rests on another .+ here \(.+\) than where the suite was planned"
        ):
            list(make_runs([job._replace(conditions=other)], 1, caps=CAPS))
