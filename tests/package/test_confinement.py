"""A foreign file can end the process that reads it, and nothing else."""

from __future__ import annotations

import bz2
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasbench_kd.confinement import Limits, run_confined
from nasbench_kd.errors import CellError, DataError
from nasbench_kd.pickles import loads, numpy_names

_RUN = "from nasbench_kd.cli import app; app()"
ROOT = Path(__file__).parents[2]
WIDE = Limits(3 << 30, 60)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))


def confined(function, *arguments, limits=WIDE, **options):
    return run_confined(function, *arguments, place="the file", limits=limits, **options)


def add(first, second):
    print("what a library prints is no answer")
    return first + second


def count(last, report):
    for number in range(last):
        report(number, [number])


def refuse(kind):
    raise {"typed": CellError, "other": KeyError}[kind]("no such thing")


def allocate(size):
    try:
        return len(bytes(size))
    except MemoryError as error:
        raise DataError("it is not readable") from error


def die(number):
    os.kill(os.getpid(), number)


def wait(seconds):
    time.sleep(seconds)


def test_results_errors_and_progress_come_back():
    assert confined(add, [1], [2]) == [1, 2]
    seen = []
    assert confined(count, 3, progress=lambda *values: seen.append(values)) is None
    assert seen == [(0, [0]), (1, [1]), (2, [2])]
    with pytest.raises(CellError, match="no such thing"):
        confined(refuse, "typed")
    with pytest.raises(DataError, match="the file cannot be read: KeyError"):
        confined(refuse, "other")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_death_is_an_error(number):
    with pytest.raises(DataError, match=rf"the file was not read: .* died of {number.name}"):
        confined(die, int(number))


def test_memory_and_time_are_limited():
    assert confined(allocate, 1 << 20) == 1 << 20
    with pytest.raises(DataError, match=r"asks for more than 3\.0 GB"):
        confined(allocate, 4 << 30)
    with pytest.raises(DataError, match="took more than 1 s"):
        confined(wait, 60, limits=Limits(3 << 30, 1.0))


def test_our_interrupt_ends_the_reader():
    """An error in what follows the progress leaves no process behind."""

    def stop(number: int, values: object) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        confined(count_and_wait, 1, progress=stop)
    assert time.monotonic() - began < 50


def count_and_wait(last, report):
    count(last, report)
    time.sleep(60)


def packed_gigabytes() -> bytes:
    """Three kB of bzip2 that unpack to a string of 4 GB."""
    size, block = 4 << 30, 1 << 27
    head = b"\x80\x04\x8c\x01x0\x8e" + struct.pack("<Q", size)
    return bz2.compress(head) + bz2.compress(bytes(block)) * (size // block)


START = b"\x80\x04\x8c\x01x0"
"""A text that is thrown away, so that the file is taken for one that is loaded whole."""
FILES = {
    "objects over their own bytes": START
    + b"cnumpy\nndarray\n(K\x01\x85\x8c\x01O\x96\x40"
    + bytes(7)
    + b"A" * 64
    + b"tRK\x00Ns.",
    "pointers as numbers": START
    + b"cnumpy\nndarray\n(K\x01\x85\x8c\x02u8cnumpy\nndarray\n(K\x01\x85\x8c\x01OtRtR.",
    "a stack that is overrun by the hash of a nested key": START + b"})" + b"\x85" * 3_000_000 + b"Ns.",
    "terabytes of bytes": START + b"\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "gigabytes of memo": START + b"Nr" + struct.pack("<I", 0xFFFFFFF0) + b".",
    "packed gigabytes": packed_gigabytes(),
}


@pytest.mark.parametrize(
    ("content", "command"),
    [(content, ["data", "import"]) for content in FILES.values()]
    + [(FILES["pointers as numbers"], ["doctor"])],
    ids=[*FILES, "pointers as numbers, doctor"],
)
def test_files_made_to_do_harm_end_typed(tmp_path, content, command):
    """Through the command line, in a process whose end would show."""
    (tmp_path / "file.pickle").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *command, str(tmp_path / "file.pickle")],
        capture_output=True,
        text=True,
        env={**os.environ, "NASBENCH_KD_DATA": str(tmp_path / "data"), "COLUMNS": "300"},
        timeout=300,
    )
    said = done.stdout + done.stderr
    assert done.returncode == (1 if command == ["doctor"] else 2), said
    assert "file.pickle" in said
    assert "Traceback" not in said
    assert re.search(r"ndarray|died of SIGSEGV|asks for more than|not a readable pickle", said), said
    assert not (tmp_path / "data" / "file").exists()


def exploit(folder: Path, reader: str) -> tuple[Path, str]:
    """Make the pickle of `numpy_exploit` and have it read in the process that it is made for."""
    folder.mkdir()
    (folder / "x").write_text("echo run > command\n")
    script = Path(__file__).parents[1] / "plugins" / "numpy_exploit.py"
    done = subprocess.run(
        [sys.executable, str(script), "exploit.pickle", reader],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return folder / "exploit.pickle", done.stderr


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="lays out memory as CPython does there"
)
def test_a_pickle_that_runs_a_shell_command_through_an_array_does_not(tmp_path):
    """The command runs where the pickle is read as pickles are, and does not where we read it."""
    plain, _ = exploit(tmp_path / "plain", "plain")
    assert plain.with_name("command").exists(), "the pickle is harmless, and shows nothing"
    ours, said = exploit(tmp_path / "ours", "ours")
    assert "DataError: the pickle" in said
    assert not ours.with_name("command").exists()
    test_files_made_to_do_harm_end_typed(
        tmp_path, START + ours.read_bytes()[2:-1] + b"Ns.", ["data", "import"]
    )
    assert not ours.with_name("command").exists()


@pytest.mark.parametrize(
    "call",
    [
        b"cnumpy.testing._private.utils\nrunstring\n",
        b"cnumpy.lib._utils_impl\nsafe_eval\n",
        b"cnumpy\nfromfile\n",
        b"cnumpy\nload\n",
        b"cnumpy.ctypeslib\nload_library\n",
        b"cnumpy\nmemmap\n",
        b"cnumpy\nrecarray\n",
        b"cnumpy\nmatrix\n",
        b"cnumpy\nfrombuffer\n",
        b"cnumpy.lib.stride_tricks\nas_strided\n",
    ],
)
def test_what_numpy_offers_beside_arrays_cannot_be_named(call):
    with pytest.raises(DataError, match="asks for numpy"):
        loads(b"\x80\x04" + call + b".", numpy_names(objects=True), "here")
