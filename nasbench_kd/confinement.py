"""Reads foreign files in a process of their own, under limits on memory and time.

What no reader can prevent (a few bytes that ask for gigabytes, nesting that overruns the stack, a
fault in a library) ends that process and nothing else: its death becomes a `DataError`. What it
says to us is JSON; results of any size are files that it leaves, which we open as any other.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from nasbench_kd import errors
from nasbench_kd.errors import DataError, NasbenchKDError

_GB: Final = 1 << 30
_LONGEST_LINE: Final = 1 << 24
# -I keeps the user's environment and working folder out; the path is the one that found us.
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from nasbench_kd.confinement import serve; serve()"
)


class Limits(NamedTuple):
    """What reading a file may take."""

    memory_bytes: int
    """Address space of the process, its libraries included (2 GB hold an average table)."""
    seconds: float

    @staticmethod
    def of(*paths: Path) -> Limits:
        """Enough for any honest file: 3 GB and six times its size, two minutes and one hour for each GB."""
        files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,))]
        size = sum(file.stat().st_size for file in files if file.is_file())
        return Limits(3 * _GB + 6 * size, 120 + 3600 * size / 1e9)


def run_confined(
    function: Callable[..., Any],
    *arguments: Any,
    place: str,
    limits: Limits,
    progress: Callable[..., None] | None = None,
) -> Any:
    """Call an importable function with JSON arguments in a process of its own, and return its JSON result.

    With `progress`, the function gets one more argument: a function whose (JSON) arguments are handed
    on to `progress`. What it raises of `nasbench_kd.errors` is raised here; everything else that can
    happen to it is a `DataError` that begins with `place`. Windows knows no limit on memory.
    """
    request = {
        "function": [function.__module__, function.__qualname__],
        "arguments": arguments,
        "limits": limits,
        "progress": progress is not None,
    }
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _START, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    ) as process:
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limits.seconds, end)
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            outcome = _talk(process.stdin, process.stdout, json.dumps(request).encode(), progress)
        finally:
            timer.cancel()
            process.kill()
        if outcome is None:
            status = process.wait()
            cause = f"it took more than {limits.seconds:.0f} s" if late.is_set() else _death(status)
            raise DataError(f"{place} was not read: {cause}. It is damaged, or made to do harm")
    return _result(outcome, place, limits)


def _talk(
    asked: IO[bytes], told: IO[bytes], request: bytes, progress: Callable[..., None] | None
) -> dict[str, Any] | None:
    """Hand over the request and follow the answers; None where the process ends without a last one."""
    try:
        asked.write(request + b"\n")
        asked.close()
    except OSError:
        return None
    while line := told.readline(_LONGEST_LINE):
        try:
            message = json.loads(line)
        except ValueError:
            return None
        if not isinstance(message, dict):
            return None
        if "progress" not in message:
            return dict(message)
        if progress is not None:
            progress(*message["progress"])
    return None


def _result(outcome: dict[str, Any], place: str, limits: Limits) -> Any:
    if "result" in outcome:
        return outcome["result"]
    kind, text = str(outcome.get("error")), str(outcome.get("text"))
    error = getattr(errors, kind, None)
    if isinstance(error, type) and issubclass(error, NasbenchKDError):
        raise error(text)
    if kind == "MemoryError":
        raise DataError(
            f"{place} was not read: it asks for more than {limits.memory_bytes / _GB:.1f} GB of memory"
        )
    raise DataError(f"{place} cannot be read: {kind}: {text}")


def _death(status: int) -> str:
    if status >= 0:
        return f"the process that read it ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"the process that read it died of {name}"


def serve() -> None:
    """Answer one request from standard input on standard output: the other side of `run_confined`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    def say(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    request = json.loads(sys.stdin.readline())
    try:
        module, name = request["function"]
        function = getattr(importlib.import_module(module), name)
        _limit(Limits(*request["limits"]))
        extra = [lambda *values: say(progress=values)] if request["progress"] else []
        result = function(*request["arguments"], *extra)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MemoryError):
            cause = cause.__cause__
        kind = "MemoryError" if cause is not None else type(error).__name__
        say(error=kind, text=str(error)[:10_000])
    else:
        say(result=result)


def _limit(limits: Limits) -> None:
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: int(limits.seconds) + 1,
        resource.RLIMIT_CORE: 0,
    }
    for what, value in wanted.items():
        _, most = resource.getrlimit(what)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(what, (value, value))
