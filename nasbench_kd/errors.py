"""The typed errors of the project, and the wording that they share."""

from __future__ import annotations

from collections.abc import Iterable


class NasbenchKDError(Exception):
    """Base of every error raised on purpose; the command line turns it into exit code 2."""


class CellError(NasbenchKDError, ValueError):
    """A cell string, index, operation list or one-hot array that names no cell."""


class FidelityError(NasbenchKDError, ValueError):
    """A fidelity string or field that names no fidelity."""


class SignalError(NasbenchKDError, ValueError):
    """A value read as one of another signal than it is of."""


class BudgetError(NasbenchKDError, ValueError):
    """A budget that cannot be read or is not positive."""


class MissingEntryError(NasbenchKDError, LookupError):
    """An evaluation that the opened data cannot answer."""


class UnknownNameError(NasbenchKDError, LookupError):
    """A task, optimizer, suite or source that nobody registered."""


class SuiteError(NasbenchKDError, ValueError):
    """A suite file that cannot be run as it stands."""


class DataError(NasbenchKDError):
    """A data file that is absent, altered, truncated or of an unknown format."""


class StoreError(NasbenchKDError):
    """A store of runs that is damaged, busy, or belongs to something else."""


class ClusterError(NasbenchKDError):
    """A cluster that cannot be reached, lacks what the work needs, or loses it."""


class GateError(NasbenchKDError):
    """A comparison that the gate cannot make: no reference, another suite, other tables, nothing measured."""


class ArgumentError(NasbenchKDError, ValueError):
    """An argument of a public function that lies outside what the function takes."""


class ProtocolError(NasbenchKDError):
    """An optimizer that broke the ask/tell protocol."""


class DistillationError(NasbenchKDError, ValueError):
    """A distillation loss asked of outputs whose shapes or kind it cannot compare."""


class DeviceMemoryError(NasbenchKDError):
    """A training that does not fit into the memory of its device."""


class MissingDependencyError(NasbenchKDError, ImportError):
    """An optional package that the requested feature needs and that is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest known name, or an empty string.

    >>> nearest("cifar1000", ["cifar10", "cifar100"])
    " Did you mean 'cifar100'?"
    """
    from difflib import get_close_matches  # noqa: PLC0415  # deferred: only errors need it

    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""
