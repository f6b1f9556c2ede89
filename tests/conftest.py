"""Shared fixtures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Optimizers that suites of tests name as `module:Class`; worker processes inherit the path.
sys.path.append(str(Path(__file__).parent / "plugins"))
sys.path.append(str(ROOT / "reports" / "reproduction"))


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("NASBENCH_KD_REFERENCE", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set NASBENCH_KD_REFERENCE to its folder")
    return folder


@pytest.fixture(scope="session")
def pulled(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which every public source was pulled; use it with `NASBENCH_KD_DATA`, read only."""
    from nasbench_kd.sources.pull import pull

    folder = tmp_path_factory.mktemp("pulled")
    pull(folder=folder, base=str(reference / "mirror"))
    return folder
