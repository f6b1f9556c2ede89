"""What stored runs had to buy once before some of their evaluations: what they paid for, and what was left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from nasbench_kd.errors import FidelityError
from nasbench_kd.escaping import markdown as markdown_text
from nasbench_kd.report.provenance import StoredOptimizer
from nasbench_kd.report.readings import Readings
from nasbench_kd.report.shipped import shipped_class
from nasbench_kd.simulation.simulation import TEACHER
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import all_prerequisites, find_task


class BoughtOnce(NamedTuple):
    """Names of prerequisites, sorted."""

    billed: tuple[str, ...]
    left_out: tuple[str, ...]
    """What the evaluations rest on, and no run of the optimizer paid for."""


def bought_once(readings: Readings, optimizer: str) -> BoughtOnce:
    """What the runs of an optimizer paid for once, and what they had without paying.

    By all that they asked for; where not all of their steps are kept, by the fidelities that their arguments name, else
    by what their class says of itself, where it ships.
    """
    suite = readings.provenance.suite
    entry = next((each for each in suite.optimizers if each.name == optimizer), None)
    bill = suite.bill_teacher if entry is None else entry.bill_teacher
    given = suite.given if entry is None else entry.given
    every: set[str] = set()
    billed: set[str] = set()
    for task in readings.tasks:
        if readings.provenance.whole:
            asked = readings.asked.get((optimizer, task), frozenset())
            needs = {need for fidelity in asked for need in Fidelity.parse(fidelity).needs}
        else:
            needs = set() if entry is None else _named(entry)
        every |= _with_their_own(task, needs, ())
        billed |= _with_their_own(task, needs, given) if bill else set()
    return BoughtOnce(tuple(sorted(billed)), tuple(sorted(every - billed)))


def _named(entry: StoredOptimizer) -> set[str]:
    """What the fidelities among an entry's arguments need; without any, what its class says."""
    found: list[Fidelity] = []
    for value in entry.arguments.values():
        for each in value if isinstance(value, list) else [value]:
            with suppress(FidelityError):
                found.append(Fidelity.parse(each))
    if not found and (kind := shipped_class(entry.optimizer)) is not None:
        return set(kind.prerequisites)
    return {need for fidelity in found for need in fidelity.needs}


def made_before_any_search(readings: Readings, optimizer: str) -> tuple[str, ...]:
    """What an entry's method starts from that no run pays for, in words; known of classes that ship."""
    for entry in readings.provenance.suite.optimizers:
        kind = shipped_class(entry.optimizer) if entry.name == optimizer else None
        if kind is not None:
            return kind.given
    return ()


def sentences(readings: Readings) -> str:
    """What runs paid for once, and what was left out of their bills, by whom."""
    suite = readings.provenance.suite
    bought = {name: bought_once(readings, name) for name in readings.optimizers}
    left_out = {name: each.left_out for name, each in bought.items() if each.left_out}
    if not suite.bill_teacher:
        line = (
            "**Teacher not billed**: the suite leaves the cost of training the teacher out, and of all else that is "
            "bought once."
        )
    else:
        further = {
            name: [each for each in found.billed if not _is_teacher(each)] for name, found in bought.items()
        }
        taught = np.array(
            [
                any(map(_is_teacher, found.billed)) or not (found.billed or readings.provenance.whole)
                for found in bought.values()
            ],
            dtype=bool,
        )
        paid = int(((readings.teacher_seconds > 0) & taught[readings.optimizer]).sum())
        line = (
            f"Teacher billed: {paid} of {len(readings.optimizer)} runs distilled and paid for its training."
        )
        if any(further.values()):
            line += f" Bought once as well, and billed: {_by_name(further)}."
        if free := sorted(suite.unbilled):
            line += (
                f" **Not billed**, and therefore not ranked: {', '.join(map(markdown_text, free))}, which show what "
                "distillation is worth to those who have a teacher already."
            )
        if suite.given:
            line += f" **Given** to all, by the suite's word: {', '.join(map(markdown_text, sorted(suite.given)))}."
    if left_out:
        line += f" Left out of the bill: {_by_name(left_out)}."
    made_before = {name: made_before_any_search(readings, name) for name in readings.optimizers}
    if any(made_before.values()):
        line += f" Made before any search, and on no bill: {_by_name(made_before)}."
    return line


def _is_teacher(name: str) -> bool:
    return name == TEACHER or name.startswith(f"{TEACHER} of ")


def _by_name(listed: Mapping[str, Sequence[str]]) -> str:
    """Optimizers with what each has, those that have the same together."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, found in listed.items():
        if found:
            names.setdefault(tuple(found), []).append(markdown_text(name))
    return "; ".join(
        f"{', '.join(who)}: {', '.join(map(markdown_text, found))}" for found, who in names.items()
    )


def _with_their_own(task: str, needs: Collection[str], given: Collection[str]) -> set[str]:
    """Prerequisites with what they need themselves, those left out that are given and what only they need."""
    known = all_prerequisites(find_task(task))
    found: set[str] = set()
    left = [need for need in needs if need not in given]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        if name in known:
            each = known[name]
            further = (*each.needs, *(each.training[1].needs if each.training else ()))
            left += [need for need in further if need not in given]
    return found
