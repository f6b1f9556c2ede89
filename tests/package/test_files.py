"""Folders that are replaced: killed at every step, on a full disk, by two at once, none is lost or half there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nasbench_kd.files import folders_in, replace_folder, settled_folder
from tests.counts import counted

PARTS = ("a", "b")
STEPS = frozenset({"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"})
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ends processes of its own by fork")


def check(folder: Path) -> str:
    """What the folder holds; raises where it is not whole."""
    first, second = ((folder / part).read_text() for part in PARTS)
    if first != second:
        raise ValueError(f"{first[:9]} with {second[:9]}")
    return first


def write(folder: Path, text: str) -> None:
    with replace_folder(folder, check) as fresh:
        for part in PARTS:
            (fresh / part).write_text(text)


def in_child(act: Callable[[], None]) -> int:
    """Call `act` in a child; its wait status, in which an exception counts as exit code 1."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(step: int, act: Callable[[], None]) -> bool:
    """Call `act` in a child that kills itself before its `step`-th access to files; whether it came to that."""

    def run() -> None:
        left = [step]

        def count(event: str, _: object) -> None:
            left[0] -= event in STEPS
            if left[0] < 0 and event in STEPS:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        act()

    status = in_child(run)
    assert status == 0 or os.WIFSIGNALED(status)
    counted("kill of a replacement", int(status != 0))
    return status != 0


@pytest.mark.parametrize("present", [True, False])
def test_killed_at_any_step_the_old_or_the_new_one_is_there(tmp_path: Path, present: bool) -> None:
    seen = set()
    for step in range(200):
        folder = tmp_path / str(step) / "table"
        if present:
            write(folder, "old")
        folder.parent.mkdir(exist_ok=True)
        if not killed_at(step, lambda folder=folder: write(folder, "new")):
            break
        assert folders_in(folder.parent) in ([folder], [] if not present else [folder])
        with settled_folder(folder, check):
            seen.add(check(folder) if folder.exists() else None)
        write(folder, "newest")
        assert check(folder) == "newest"
        assert sorted(path.name for path in folder.parent.iterdir()) == [".table.lock", "table"]
    assert 10 < step < 199
    assert seen == ({"old", "new"} if present else {None, "new"})


def test_a_kill_while_a_kill_is_mended_loses_nothing(tmp_path: Path) -> None:
    for step in range(200):
        folder = tmp_path / str(step) / "table"
        write(folder, "old")
        folder.rename(folder.parent / ".table.old")  # killed between the two renames

        def settle(folder: Path = folder) -> None:
            with settled_folder(folder, check):
                pass

        if not killed_at(step, settle):
            break
        settle()
        assert check(folder) == "old"
    assert step > 1


def test_a_disk_that_is_full_at_any_byte_leaves_the_old_one(tmp_path: Path) -> None:
    folder, text = tmp_path / "table", "x" * 5000
    write(folder, "old")
    for most in range(0, 5000, 250):

        def act(most: int = most) -> None:
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            write(folder, text)

        assert os.waitstatus_to_exitcode(in_child(act)) == 1
        assert check(folder) == "old"
        counted("full disk")
        assert sorted(path.name for path in tmp_path.iterdir()) == [".table.lock", "table"]


@pytest.mark.parametrize("calls", range(6))
def test_a_disk_that_tells_late_that_it_is_full_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    folder, left = tmp_path / "table", [calls]
    write(folder, "old")
    with monkeypatch.context() as patched:

        def fsync(_: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")

        patched.setattr(os, "fsync", fsync)
        try:
            write(folder, "new")
        except OSError:
            assert check(folder) == "old"
        else:  # a folder that cannot be synced is left alone
            assert check(folder) == "new"
    write(folder, "newest")


def test_what_cannot_be_opened_does_not_stay(tmp_path: Path) -> None:
    def broken(name: str) -> None:
        with replace_folder(tmp_path / name, check) as fresh:
            (fresh / "a").write_text("a alone")

    write(tmp_path / "old", "old")
    for name in ("old", "none"):
        with pytest.raises(FileNotFoundError):
            broken(name)
    assert folders_in(tmp_path) == [tmp_path / "old"]
    assert check(tmp_path / "old") == "old"


def test_replacements_at_once_follow_each_other(tmp_path: Path) -> None:
    folder, children = tmp_path / "count", []

    def add() -> None:
        for _ in range(10):
            with replace_folder(folder, check) as fresh:
                text = check(folder)
                for part in PARTS:
                    (fresh / part).write_text(text + "x")

    write(folder, "")
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                add()
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert check(folder) == "x" * 40
