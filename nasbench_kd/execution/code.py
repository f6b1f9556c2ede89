"""The code that an optimizer's numbers rest on: its own files and the libraries they import; none of it is run."""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

_ALWAYS = ("nasbench-kd", "numpy")


class Code(NamedTuple):
    """What the module of an optimizer consists of. Modules that are imported by a computed name are not seen."""

    files: dict[str, str]
    """SHA-256 of the source of each module of its own, by the module's name: those of its package and those
    that no installed library brings, as far as it imports them, at the top or within a function."""
    libraries: dict[str, str]
    """Versions of the libraries that these import, by name; nasbench-kd and NumPy are always among them."""
    imports: tuple[str, ...]
    """Names of the libraries' modules as they are imported, the standard library's too."""


@cache
def code_of(module: str) -> Code:
    """Read the code of a module; a module that cannot be found or read has none."""
    own = module.partition(".")[0]
    files: dict[str, str] = {}
    imports: dict[str, None] = {}
    waiting = [module]
    seen = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        top = name.partition(".")[0]
        if top == "nasbench_kd" or (top != own and (top in sys.stdlib_module_names or _is_library(top))):
            imports[name] = None
            continue
        path = _file(name)
        if path is None:
            continue
        with suppress(OSError, SyntaxError, ValueError):
            source = path.read_bytes()
            files[name] = hashlib.sha256(source).hexdigest()
            waiting += _imported(ast.parse(source), name, path.name == "__init__.py")
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    tops = sorted({name.partition(".")[0] for name in imports} - sys.stdlib_module_names - {"nasbench_kd"})
    found = {library for top in tops for library in _distributions(top)}
    return Code(
        dict(sorted(files.items())),
        {library: _version(library) for library in sorted({*_ALWAYS, *found})},
        tuple(name for name in imports if _spec(name) is not None),
    )


def import_libraries(module: str) -> None:
    """Import the libraries of an optimizer's module, those that are installed, and nothing of its own code."""
    for name in code_of(module).imports:
        with suppress(Exception):
            importlib.import_module(name)


def module_place(name: str) -> Path | None:
    """The folder of a package or the file of a module, found without importing it; None where there is none."""
    spec = _spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return None if spec.origin is None else Path(spec.origin)


def _imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Names of what a module imports; some of them are no modules but things in one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and (name := _called_import(node)):
            package = module if is_package else module.rpartition(".")[0]
            with suppress(ImportError):
                yield resolve_name(name, package)


def _called_import(call: ast.Call) -> str:
    """The name that a call such as `importlib.import_module("this.one")` imports; empty where it is another call."""
    called = getattr(call.func, "attr", getattr(call.func, "id", ""))
    first = call.args[0] if call.args else None
    if (
        called in ("import_module", "__import__")
        and isinstance(first, ast.Constant)
        and type(first.value) is str
    ):
        return first.value
    return ""


@cache
def _spec(name: str) -> ModuleSpec | None:
    """Where a module lies, found without importing the packages around it."""
    parent, _, _ = name.rpartition(".")
    if not parent:
        if name in sys.builtin_module_names:
            return ModuleSpec(name, None)
        return PathFinder.find_spec(name)
    around = _spec(parent)
    if around is None or around.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, around.submodule_search_locations)


def _file(name: str) -> Path | None:
    origin = getattr(sys.modules.get("__main__"), "__file__", None) if name == "__main__" else None
    if origin is None:
        spec = _spec(name)
        origin = None if spec is None else spec.origin
    return None if origin is None or not origin.endswith(".py") else Path(origin)


def _is_library(top: str) -> bool:
    spec = _spec(top)
    places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
    return any({"site-packages", "dist-packages"} & set(Path(place).parts) for place in places)


def _distributions(top: str) -> list[str]:
    with suppress(PackageNotFoundError):
        version(top)
        return [top]
    return _packages().get(top, [])


@cache
def _packages() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
