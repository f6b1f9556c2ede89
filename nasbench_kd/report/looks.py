"""One look for one method in all charts: a family of variants shares a colour, and its members stand together."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from nasbench_kd.plotting import PALETTE
from nasbench_kd.report.readings import Readings
from nasbench_kd.simulation.registry import registered


class Look(NamedTuple):
    """How a method is drawn."""

    family: str
    """The registered name of its class, or `package.module:Class`."""
    colour: int
    """Number of the family's colour in `PALETTE`: its place in the registry, so the same in every report."""
    variant: int
    """Which one of this suite it is in its colour, from 0: there are more families than colours."""


def looks_of(readings: Readings) -> dict[str, Look]:
    """The look of every optimizer of the runs, families together in the order in which the suite names them."""
    entries = {entry.name: entry.optimizer for entry in readings.provenance.suite.optimizers}
    by_class = {point.value: name for name, point in registered().items()}
    places = {name: place for place, name in enumerate(registered())}
    seen: Counter[int] = Counter()
    looks = {}
    for name in readings.optimizers:
        asked = entries.get(name) or name
        family = by_class.get(asked, asked)
        colour = places.get(family, zlib.crc32(family.encode())) % len(PALETTE)
        looks[name] = Look(family, colour, seen[colour])
        seen[colour] += 1
    order = list(dict.fromkeys(look.family for look in looks.values()))
    return dict(sorted(looks.items(), key=lambda item: order.index(item[1].family)))


def rows_of(names: Sequence[str], looks: dict[str, Look], most: int, rows: int) -> list[list[str]]:
    """Names in rows of about equal length: at most `most` each, or more where that would need more than `rows`.

    A family is split only where it is longer than a row.
    """
    count = min(rows, -(-len(names) // most))
    target = -(-len(names) // max(1, count))
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(looks[name].family, []).append(name)
    found: list[list[str]] = [[]]
    for members in families.values():
        for start in range(0, len(members), target):
            part = members[start : start + target]
            if found[-1] and len(found[-1]) + len(part) > target and len(found) < count:
                found.append([])
            found[-1] += part
    return found
