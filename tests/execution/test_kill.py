"""A suite that is killed at random moments, parent and workers, ends with the bytes of an undisturbed run.

Five moments by default; `NASBENCH_KD_KILLS=50` makes it fifty.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasbench_kd.errors import StoreError
from nasbench_kd.execution.store import RunStore
from tests.counts import counted

HERE = Path(__file__).parents[1]
KILLS = int(os.environ.get("NASBENCH_KD_KILLS", "5"))
SUITE = """
name = "killed"
tasks = ["cifar10", "cifar100"]
budgets = ["40 evaluations"]
seeds = {seeds}
[[optimizers]]
name = "a"
optimizer = "hostile_optimizers:Slow"
[[optimizers]]
name = "b"
optimizer = "hostile_optimizers:Slow"
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")


def start(suite: Path, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    script = "from nasbench_kd.cli import app; app()"
    command = [sys.executable, "-c", script, "run", str(suite), "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE / 'plugins'}"}
    return subprocess.Popen([*command, "--no-report", "--quiet", "--jobs", "2", *options], env=environment)


def descendants(process: int) -> list[int]:
    """Children, their children and so on, that are not zombies."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found, frontier = [], [process]
    while frontier:
        frontier = [child for child, parent in parents.items() if parent in frontier]
        found += frontier
    return found


def wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.02)


def stored(folder: Path) -> int:
    """Finished runs, counted while nobody has the store open."""
    with RunStore(folder) as store:
        return sum(1 for _ in store.rows())


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.format(seeds=max(6, KILLS)))
    began = time.monotonic()
    assert start(suite, tmp_path / "undisturbed").wait() == 0
    duration = time.monotonic() - began

    generator = random.Random(os.environ.get("NASBENCH_KD_KILL_SEED", "0"))
    folder, left, finished, parents_killed = tmp_path / "disturbed", KILLS, 0, 0
    process = start(suite, folder)
    while left:
        # So that all of them come before the end.
        time.sleep(generator.uniform(0, duration * min(0.5, 1.5 / KILLS)))
        if process.poll() is not None:
            break
        workers = descendants(process.pid)
        victim = generator.choice([process.pid, *workers])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        left -= 1
        counted("kill of a suite")
        if victim == process.pid:
            parents_killed += 1
            process.wait()
            wait_until_gone(workers)
            try:
                now = stored(folder)
            except StoreError as error:
                pytest.fail(str(error))
            assert now >= finished, "a finished run was lost"
            finished = now
            process = start(suite, folder)
    assert process.wait() == 0
    print(f"{KILLS - left} kills, {parents_killed} of them of the parent")
    assert (folder / "runs.parquet").read_bytes() == (tmp_path / "undisturbed" / "runs.parquet").read_bytes()


def test_every_worker_killed_at_once_is_replaced(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.format(seeds=6))
    process = start(suite, tmp_path / "out")
    while len(victims := descendants(process.pid)) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert process.wait() == 0
    assert stored(tmp_path / "out") == 24
