"""The speed gate: ratios that performance tests measured, against the least that is stored for them.

A ratio compares two programs within one run on one machine, so that it means the same on a slow
machine. Tests record it with pytest-benchmark: `benchmark.extra_info["times <peer>"] = ratio`, larger
being faster.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nasbench_kd.errors import GateError
from nasbench_kd.files import write_text

FORMAT = "nasbench-kd speed ratios 1"
_PREFIX = "times "
_LARGEST = 1e12


class RatioName(NamedTuple):
    """Which ratio: the test that measured it and what it compares with."""

    test: str
    peer: str


class Stored(NamedTuple):
    """A ratio when it was stored, and the least that later ones may be."""

    measured: float
    at_least: float


@dataclass(frozen=True, slots=True)
class SpeedComparison:
    """One ratio now, beside what is stored."""

    name: RatioName
    ratio: float
    stored: Stored | None
    """None for a ratio that nothing is stored for yet."""

    @property
    def verdict(self) -> Literal["kept", "worse", "new"]:
        """Worse where the ratio is below the least."""
        if self.stored is None:
            return "new"
        return "kept" if self.ratio >= self.stored.at_least else "worse"


def compare_speed(results: Path, ratios: Path) -> list[SpeedComparison]:
    """Compare the JSON of a pytest-benchmark run with stored ratios, in the order of the results.

    Raises `GateError` where a file cannot be read, nothing was measured, or a stored ratio was not.
    """
    measured, stored = read_results(results), read_ratios(ratios)
    missing = [name for name in stored if name not in measured]
    if missing:
        raise GateError(
            f"{results} lacks {len(missing)} of the ratios in {ratios}, such as {missing[0].test} in times "
            f"{missing[0].peer}: the test did not run, or was renamed. Store the ratios again if that is meant"
        )
    return [SpeedComparison(name, ratio, stored.get(name)) for name, ratio in measured.items()]


def save_ratios(results: Path, ratios: Path, tolerance: float) -> dict[RatioName, Stored]:
    """Store what a run measured; later ratios may be smaller by a share, 0.5 being half.

    Raises `GateError` where nothing was measured.
    """
    stored = {
        name: Stored(ratio, ratio * (1 - tolerance)) for name, ratio in sorted(read_results(results).items())
    }
    listed: dict[str, dict[str, Any]] = {}
    for name, entry in stored.items():
        listed.setdefault(name.test, {})[name.peer] = entry._asdict()
    write_text(ratios, json.dumps({"format": FORMAT, "ratios": listed}, indent=2) + "\n")
    return stored


def read_results(path: Path) -> dict[RatioName, float]:
    """Ratios in the JSON file of a pytest-benchmark run; raises `GateError`."""
    document = _read(path, "pytest tests/performance --benchmark-json FILE")
    found = {}
    for entry in _list(document.get("benchmarks")):
        info = entry.get("extra_info")
        if not isinstance(entry.get("name"), str) or not isinstance(info, dict):
            continue
        for key, value in info.items():
            if key.startswith(_PREFIX) and _is_ratio(value):
                found[RatioName(entry["name"], key.removeprefix(_PREFIX))] = float(value)
    if not found:
        raise GateError(f"nothing was measured: {path} holds no ratio, which tests record as 'times <peer>'")
    return found


def read_ratios(path: Path) -> dict[RatioName, Stored]:
    """Stored ratios; raises `GateError`."""
    document = _read(path, "nasbench-kd gate-speed RESULTS --save")
    found = {}
    listed = document.get("ratios")
    for test, peers in listed.items() if isinstance(listed, dict) else ():
        for peer, entry in peers.items() if isinstance(peers, dict) else ():
            values: list[Any] = (
                [entry.get(name) for name in Stored._fields] if isinstance(entry, dict) else [None, None]
            )
            if not all(map(_is_ratio, values)):
                raise GateError(
                    f"{path}: the entry of {test!r} in times {peer!r} needs positive numbers `measured` and `at_least`"
                )
            found[RatioName(test, peer)] = Stored(*(float(value) for value in values))
    if document.get("format") != FORMAT or not found:
        raise GateError(f"{path} holds no ratios of the format {FORMAT!r}")
    return found


def _read(path: Path, maker: str) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise GateError(f"there is no file {path}; `{maker}` writes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise GateError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise GateError(f"{path} holds a {type(document).__name__}, not an object")
    return document


def _list(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _is_ratio(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST
