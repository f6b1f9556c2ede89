"""Source distribution and wheel: the one makes the other, which runs alone in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_source_distribution_holds_what_the_wheel_is_made_of(wheel: Path):
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "CITATION.cff", "suites/kd.toml"} <= names
    assert not [name for name in names if name.startswith(("tests/", "reports/", ".venv", ".ci"))]
    assert archive.stat().st_size < 12_000_000


def test_what_the_index_shows_is_true(wheel: Path):
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith("dist-info/METADATA")]
        shown = Parser().parsestr(opened.read(name).decode())
    assert "Operating System :: POSIX :: Linux" in shown.get_all("Classifier")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} <= set(
        shown.get_all("Classifier")
    )
    assert shown.get_all("Project-URL") is None  # there is no public place yet


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
        "nasbench_kd_baselines/references.bib",
        "nasbench_kd/report/page/charts.js",
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
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[report,search]")
    found = run(
        python,
        "-c",
        "import importlib.util, nasbench_kd; print(nasbench_kd.__file__, importlib.util.find_spec('torch'))",
    )
    assert str(tmp_path) in found
    assert found.split()[-1] == "None"
    command = tmp_path / "venv" / "bin" / "nasbench-kd"
    leaderboard = run(command, "run", "quick", "--seeds", "4", "--output", tmp_path / "out")
    assert "regularized-evolution" in leaderboard
    for name in ("leaderboard.md", "leaderboard.csv", "runs.parquet", "anytime.png", "anytime.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 0
