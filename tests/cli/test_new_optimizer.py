"""A method that `new-optimizer` starts passes its own test and runs in its own suite."""

from __future__ import annotations

import os
import subprocess
import sys

from typer.testing import CliRunner

from nasbench_kd.cli import app
from tests.conftest import ROOT


def test_the_scaffold_is_a_method_that_conforms_and_runs(tmp_path):
    result = CliRunner().invoke(app, ["new-optimizer", "My-Search", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "my_search.py",
        "test_my_search.py",
        "my_search.toml",
    }
    path = os.pathsep.join([str(ROOT), str(ROOT / "baselines"), str(tmp_path)])
    here = {**os.environ, "PYTHONPATH": path}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=here,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert " passed" in run("pytest", "-q", "-p", "no:cacheprovider", "test_my_search.py")
    suite = tmp_path / "my_search.toml"
    suite.write_text(
        suite.read_text().replace("seeds = 20", "seeds = 2").replace('"50 gpu-hours"', '"12 gpu-hours"')
    )
    told = run(
        "nasbench_kd", "run", "my_search.toml", "--output", "out", "--jobs", "1", "--no-report", "--json"
    )
    assert '"failed": 0' in told


def test_nothing_is_overwritten_and_bad_names_are_refused(tmp_path):
    def ask(name: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["new-optimizer", name, "--folder", str(tmp_path)])
        return result.exit_code, result.stderr

    (tmp_path / "mine.toml").write_text("mine")
    code, told = ask("mine")
    assert code == 2
    assert "mine.toml exists" in told
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    for name in ("9lives", "class", "a b", "../x", ""):
        code, told = ask(name)
        assert (code, "is no name for a method" in told) == (2, True), name
    for name in ("random", "numpy", "nasbench-kd"):  # imported in its place
        code, told = ask(name)
        assert (code, "there is a module" in told) == (2, True), name
    code, told = ask("kd")
    assert (code, "a suite that ships" in told) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
