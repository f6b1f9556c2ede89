"""Pipes and devices in the place of files are refused at once: a reader would wait for them without end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nasbench_kd.errors import DataError, NasbenchKDError
from nasbench_kd.execution.runs import read_runs
from nasbench_kd.execution.verify import VERIFIED_FILE, stored_verification
from nasbench_kd.report.scored_runs import _overhead
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.draws import FILE as DRAWS_FILE
from nasbench_kd.tables.hardware import HardwareCosts
from nasbench_kd.tables.patch import merge
from nasbench_kd.tables.table import Table

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "read",
    [
        lambda path: merge([path], path.parent / "measured"),
        read_runs,
        _overhead,
    ],
    ids=["patch", "runs", "seconds"],
)
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(NasbenchKDError, match="is a pipe or a device"):
        read(pipe(tmp_path / "pipe"))
    assert not (tmp_path / "measured").exists()


def test_a_device_is_no_patch(tmp_path: Path) -> None:
    (tmp_path / "patch.json").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a pipe or a device"):
        merge([tmp_path / "patch.json"], tmp_path / "measured")


def test_a_pipe_in_the_place_of_a_replay_is_no_replay(tmp_path: Path) -> None:
    pipe(tmp_path / VERIFIED_FILE)
    assert stored_verification(tmp_path) is None


def test_hardware_costs_with_a_pipe_among_them(tmp_path: Path) -> None:
    pipe(tmp_path / "hardware.json")
    with pytest.raises(DataError, match="is a pipe or a device"):
        HardwareCosts.open(tmp_path)


def test_a_table_with_a_pipe_for_its_draws(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED_FOLDER / "mf_kd_surrogate", tmp_path / "table")
    (tmp_path / "table" / DRAWS_FILE).unlink()
    pipe(tmp_path / "table" / DRAWS_FILE)
    with pytest.raises(DataError, match="no plain file"):
        Table.open(tmp_path / "table")
