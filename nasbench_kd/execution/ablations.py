"""The `[[ablations]]` tables of a suite: which optimizer is compared with which simpler form of itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasbench_kd.errors import SuiteError, nearest
from nasbench_kd.toml_values import abbreviated, read_table, text_line


@dataclass(frozen=True, slots=True)
class Ablation:
    """A pair of a suite's entries that reports compare run by run."""

    of: str
    """What the second entry lacks, in words."""
    optimizer: str
    """Name of the entry that has it."""
    without: str
    """Name of the entry that lacks it."""


def read_ablations(value: Any) -> tuple[Ablation, ...]:
    """Read the tables; raises `SuiteError`."""
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        raise SuiteError(
            f"expected [[ablations]] tables with the keys {', '.join(_ABLATION_KEYS)}, not {abbreviated(value)}"
        )
    return tuple(
        read_table(Ablation, entry, _ABLATION_KEYS, f"entry {place}")
        for place, entry in enumerate(value, start=1)
    )


def check_ablations(ablations: Sequence[Ablation], optimizers: Collection[str], origin: str) -> None:
    """Raise `SuiteError` where an ablation does not fit the suite that it stands in."""
    pairs = set()
    for place, ablation in enumerate(ablations, start=1):
        pair = (ablation.optimizer, ablation.without)
        for name in pair:
            if name not in optimizers:
                raise SuiteError(
                    f"{origin}, ablations, entry {place}: the suite has no optimizer {name!r}; it has "
                    f"{', '.join(optimizers)}.{nearest(name, optimizers)}"
                )
        if ablation.optimizer == ablation.without:
            raise SuiteError(f"{origin}, ablations, entry {place}: {pair[0]!r} is compared with itself")
        if pair in pairs:
            raise SuiteError(
                f"{origin}, ablations, entry {place}: {pair[0]!r} against {pair[1]!r} stands there twice"
            )
        pairs.add(pair)


_ABLATION_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "of": text_line,
    "optimizer": text_line,
    "without": text_line,
}
