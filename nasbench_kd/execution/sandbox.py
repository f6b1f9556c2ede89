"""What the process of an isolated optimizer may read and write, where the system enforces it: Landlock of Linux.

It reads Python, the installed libraries, the system's and its own modules, and none of the tables; it writes to one
folder that is gone after its run. It connects to nothing over TCP and signals and traces no process outside, as far as
the kernel knows how to refuse that.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import nasbench_kd
from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.execution.code import code_of, module_place
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER, user_folder
from nasbench_kd.tasks.registry import find_task, task_names

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/nix", "/proc", "/sys")
_DEVICES = ("null", "zero", "full", "random", "urandom")


def why_not() -> str:
    """Why this system cannot keep an optimizer from files; empty where it can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no Landlock"
    try:
        import landlockpy  # noqa: PLC0415  # Linux only

        version = landlockpy.abi_version()
    except (ImportError, OSError) as error:
        return f"Landlock is not there: {error}"
    return "" if version else "Landlock is switched off"


@cache
def readable_paths(module: str) -> tuple[str, ...]:
    """What the process of an optimizer's module may read: files, and folders with all they hold."""
    packages = [Path(each) for each in (*site.getsitepackages(), site.getusersitepackages())]
    libraries = [
        path
        for path in map(Path, sys.path)
        if {"site-packages", "dist-packages"} & set(path.parts) or path in packages
    ]
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    own = {*code_of(module).files, "nasbench_kd", "nasbench_kd_baselines"}
    places = [module_place(name) for name in sorted({name.partition(".")[0] for name in own})]
    wanted = [
        *map(Path, _SYSTEM),
        Path(sys.base_prefix),
        Path(sys.prefix),
        *installed,
        *libraries,
        *(place for place in places if place is not None),
        *map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))),
    ]
    # The references beside the suites hold results, too. Of an editable install they lie apart from the package.
    suites = [Path(each) / "nasbench_kd" / "suites" for each in sys.path]
    hidden = [EMBEDDED_FOLDER, Path(nasbench_kd.__file__).parent / "suites", *suites, user_folder()]
    for name in task_names():
        with suppress(Exception):  # a task of others that cannot be imported
            hidden += find_task(name).tables
    hidden = [path.resolve() for path in hidden]
    found: dict[Path, None] = {}
    for path in wanted:
        found.update(dict.fromkeys(_without(path.resolve(), hidden)))
    return tuple(map(str, found))


def _without(path: Path, hidden: Iterable[Path]) -> Iterator[Path]:
    """A folder, or, where something hidden lies in it, the parts of it that hold nothing hidden."""
    if not path.exists() or any(path.is_relative_to(each) for each in hidden):
        return
    if not any(each.is_relative_to(path) for each in hidden):
        yield path
        return
    with suppress(OSError):
        for part in path.iterdir():
            # A link leads elsewhere: what it leads to is readable where that is.
            if not part.is_symlink():
                yield from _without(part, hidden)


def restrict(readable: Iterable[str], scratch: Path) -> None:
    """Keep this process, and all that it starts, to some files. Raises `NasbenchKDError` where it cannot be done."""
    from landlockpy import AccessFS, LandlockError, Ruleset, Scope  # noqa: PLC0415  # Linux only

    os.environ.update(HOME=str(scratch), TMPDIR=str(scratch))
    tempfile.tempdir = None
    everything = ~AccessFS.NONE
    read = AccessFS.READ_FILE | AccessFS.EXECUTE
    try:
        # Names in folders may be listed everywhere: Python looks for modules so.
        with Ruleset(
            handled_fs=everything & ~AccessFS.READ_DIR, scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL
        ) as rules:
            for path in readable:
                with suppress(FileNotFoundError):
                    rules.allow_path(path, read)
            for name in _DEVICES:
                rules.allow_path(f"/dev/{name}", AccessFS.READ_FILE | AccessFS.WRITE_FILE)
            rules.allow_path(scratch, everything)
            rules.restrict()
    except (LandlockError, OSError) as error:
        raise NasbenchKDError(f"the files cannot be closed to the optimizer: {error}") from error
