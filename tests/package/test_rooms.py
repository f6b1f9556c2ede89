"""Imports that the house forbids are caught where they are planted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="a tool of `make check`")

ROOT = Path(__file__).parents[2]


def test_planted_imports_are_caught(tmp_path):
    for package in (ROOT / "nasbench_kd", ROOT / "baselines" / "nasbench_kd_baselines"):
        shutil.copytree(
            package,
            tmp_path / package.name,
            ignore=lambda folder, names: [
                name for name in names if not name.endswith(".py") and (Path(folder) / name).is_file()
            ],
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = {
        "nasbench_kd/tables/catalog.py": "import nasbench_kd.report.tables",
        "nasbench_kd/report/tables.py": "import nasbench_kd.spaces.nasbench201",
        "nasbench_kd/benchmark/scoring.py": "import torch",
        "nasbench_kd/gate/gate.py": "import nasbench_kd_baselines.mf_kd",
    }
    for file, line in planted.items():
        with (tmp_path / file).open("a") as module:
            module.write(f"\n{line}\n")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Contracts: 0 kept, 5 broken." in done.stdout
    told = " ".join(done.stdout.split())
    for importer, imported in (
        ("nasbench_kd.tables.catalog", "nasbench_kd.report.tables"),
        ("nasbench_kd.report.tables", "nasbench_kd.spaces.nasbench201"),
        ("nasbench_kd.benchmark.scoring", "torch"),
        ("nasbench_kd.gate.gate", "nasbench_kd_baselines.mf_kd"),
    ):
        assert f"{importer} -> {imported}" in told
