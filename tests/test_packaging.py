"""The wheel, installed into an empty environment away from the clone, runs the quick suite without torch."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_code_tables_suites_and_licence_only(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"nasbench_kd", "nasbench_kd_baselines"}
    for expected in (
        "nasbench_kd/py.typed",
        "nasbench_kd/tables/data/nas_bench_201/entries.npy",
        "nasbench_kd/tables/data/nas_bench_201/card.json",
        "nasbench_kd/suites/quick.toml",
        "nasbench_kd_baselines/random_search.py",
    ):
        assert expected in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 12_000_000


def test_it_runs_the_quick_suite_in_an_empty_environment(wheel: Path, tmp_path: Path):
    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[report,search]")
    found = run(
        python,
        "-c",
        "import importlib.util, nasbench_kd; print(nasbench_kd.__file__, importlib.util.find_spec('torch'))",
    )
    assert str(tmp_path) in found
    assert found.split()[-1] == "None"
    leaderboard = run(tmp_path / "venv" / "bin" / "nasbench-kd", "run", "quick", "--output", tmp_path / "out")
    assert "regularized-evolution" in leaderboard
    for name in ("leaderboard.md", "leaderboard.csv", "runs.parquet", "anytime.png", "anytime.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 0
