"""Entries of a suite that others are not held against, and those that pay for the same search as one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unbilled(metadata: Mapping[str, Any]) -> frozenset[str]:
    """Names of the entries that do not pay for the teacher in a suite that bills it.

    They show what distillation would do if the teacher were free, and take no part in ranks.
    """
    suite = metadata.get("suite", {})
    if not suite.get("bill_teacher", True):
        return frozenset()
    return frozenset(
        entry["name"] for entry in suite.get("optimizers", []) if entry.get("bill_teacher") is False
    )


def unranked(metadata: Mapping[str, Any]) -> frozenset[str]:
    """Names of the billed entries that a suite shows beside the others and does not rank."""
    entries = metadata.get("suite", {}).get("optimizers", [])
    return frozenset(entry["name"] for entry in entries if entry.get("ranked") is False) - unbilled(metadata)


def twins(metadata: Mapping[str, Any]) -> dict[str, str]:
    """For each entry that is billed, the name of the unbilled one with the same class and arguments."""
    entries = metadata.get("suite", {}).get("optimizers", [])
    free = unbilled(metadata)

    def search(entry: Mapping[str, Any]) -> tuple[Any, Any]:
        return entry.get("optimizer"), entry.get("arguments")

    return {
        billed["name"]: other["name"]
        for billed in entries
        for other in entries
        if billed["name"] not in free and other["name"] in free and search(billed) == search(other)
    }
