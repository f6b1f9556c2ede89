"""Finds optimizers by registered name (entry points) or as `package.module:Class`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from nasbench_kd.errors import ProtocolError, UnknownNameError, nearest
from nasbench_kd.simulation.optimizer import Optimizer
from nasbench_kd.simulation.own_modules import looked_in

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "nasbench_kd.optimizers"


@cache
def registered() -> Mapping[str, EntryPoint]:
    """Entry points of the group `nasbench_kd.optimizers`, by name."""
    from importlib.metadata import entry_points  # noqa: PLC0415  # deferred: slow to import

    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def optimizer_class(name: str) -> type[Optimizer]:
    """Return the class behind a registered name or `package.module:Class`; raises `UnknownNameError`."""
    if ":" not in name:
        if name not in registered():
            raise UnknownNameError(
                f"unknown optimizer {name!r}: registered are {', '.join(registered()) or 'none'}; "
                f"your own is named as 'package.module:Class'.{nearest(name, registered())}"
            )
        name = registered()[name].value
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        classes = [point.value for point in registered().values()]
        raise UnknownNameError(
            f"the optimizer {name!r} cannot be imported: {error}.{_looked_in(error, module_name)}"
            f"{nearest(name, classes)}"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, Optimizer)):
        raise ProtocolError(f"{name!r} is not a subclass of nasbench_kd.Optimizer")
    return found


@cache
def methods_for(offers: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the registered optimizers that need no more than a task offers (`Task.offers`).

    Those that cannot be imported are left out.
    """
    found = []
    for name in registered():
        with suppress(Exception):  # whatever a package of others does when it is imported
            if set(optimizer_class(name).needs) <= set(offers):
                found.append(name)
    return tuple(found)


def _looked_in(error: Exception, module: str) -> str:
    """Where a module was looked for, beside the installed ones; nothing where it was found."""
    if not isinstance(error, ModuleNotFoundError) or error.name != module.partition(".")[0]:
        return ""
    return f" It was looked for among the installed packages and in {', '.join(looked_in()) or 'no folder'}."


def class_name(kind: type[Optimizer]) -> str:
    """The name by which `optimizer_class` finds a class: `package.module:Class`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def check_arguments(kind: type[Optimizer], arguments: Mapping[str, Any]) -> None:
    """Raise `UnknownNameError` where the constructor does not take one of the arguments."""
    known = inspect.signature(kind).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in arguments:
        if name not in known:
            raise UnknownNameError(
                f"{kind.__name__} has no argument {name!r}: expected {', '.join(known) or 'none'}."
                f"{nearest(name, known)}"
            )


def make_optimizer(name: str, arguments: Mapping[str, Any] | None = None) -> Optimizer:
    """Construct an optimizer from its name and arguments; raises `UnknownNameError`."""
    kind = optimizer_class(name)
    check_arguments(kind, arguments or {})
    return kind(**(arguments or {}))
