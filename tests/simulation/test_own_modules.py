"""Own modules are found, and hide nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nasbench_kd.simulation.own_modules import look_in, looked_in

SUITE = """
name = "small"
tasks = ["cifar10"]
budgets = ["2 evaluations"]
seeds = 1

[[optimizers]]
name = "mine"
optimizer = "mine:Mine"
"""
MINE = "from nasbench_kd_baselines.random_search import RandomSearch\nclass Mine(RandomSearch):\n    pass\n"


def test_a_folder_comes_after_installed_packages_and_before_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    library, installed, source = "/usr/lib/python3", "/env/lib/site-packages", "/clone"
    monkeypatch.setattr(sys, "path", [library, installed, source])
    look_in(Path("/own"))
    look_in(Path("/beside/the/suite"))
    look_in(Path("/own"))
    assert sys.path == [library, installed, "/beside/the/suite", "/own", source]
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert looked_in() == ["/beside/the/suite", "/own", "/clone"]
    monkeypatch.setattr(sys, "path", [library])
    look_in(Path("/own"))
    assert sys.path == [library, "/own"]


def test_files_of_the_working_folder_stand_for_no_standard_module(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("nasbench-kd")
    if not command.exists():
        pytest.skip("the command is not installed beside this Python")
    (tmp_path / "random.py").write_text("raise RuntimeError('not the one of the standard library')\n")
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "small.toml").write_text(SUITE)
    done = subprocess.run(
        [command, "run", "small.toml", "--no-report", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, '"failed": 0' in done.stdout) == (0, True), done.stdout + done.stderr
