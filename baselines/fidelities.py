"""Chooses default fidelities from what a task has, with an error that says what there is."""

from __future__ import annotations

from nasbench_kd.errors import MissingEntryError
from nasbench_kd.fidelity import FULL, Fidelity
from nasbench_kd.optimizer import SearchView


def distilled_fidelities(view: SearchView) -> tuple[Fidelity, ...]:
    """The task's fidelities with distillation, cheapest first.

    Raises `MissingEntryError`, naming what the task has, where there is none.
    """
    found = tuple(fidelity for fidelity in view.fidelities if fidelity.distillation != "none")
    if not found:
        raise MissingEntryError(
            f"{view.task} has no fidelity with distillation; it has {_listing(view)}. Name another fidelity, "
            "install distilled results (`nasbench-kd data status` lists them), or measure some, as in "
            f"`nasbench-kd fill --task {view.task} --fidelity 'nst@4 images=5000 size=16'`"
        )
    return found


def ladder(view: SearchView, rungs: tuple[str, ...] | None, factor: float) -> tuple[Fidelity, ...]:
    """The fidelities that successive halving climbs, cheapest first.

    `rungs` are taken as they are given. Without them the ladder is made from the task's
    fidelities without distillation: from the full training downwards, each rung the dearest one
    that costs at most 1/`factor` of the rung above. Raises `MissingEntryError`, naming what the
    task has, where that leaves a single rung.
    """
    if rungs is not None:
        return tuple(map(Fidelity.parse, rungs))
    climbed = [FULL]
    for fidelity in reversed(view.fidelities):
        if fidelity.distillation == "none" and view.price(fidelity) <= price(view, climbed[0]) / factor:
            climbed.insert(0, fidelity)
    if len(climbed) == 1:
        raise MissingEntryError(
            f"successive halving needs a fidelity that costs at most 1/{factor:g} of none@200, without "
            f"distillation; {view.task} has {_listing(view)}. Name the rungs, cheapest first, or install "
            "more results (`nasbench-kd data pull`)"
        )
    return tuple(climbed)


def price(view: SearchView, fidelity: Fidelity) -> float:
    """Mean seconds of one evaluation; raises `MissingEntryError`, naming what the task has."""
    if fidelity not in view.fidelities:
        raise MissingEntryError(
            f"the price of {fidelity} on {view.task} is not known, since no entry is; there are {_listing(view)}"
        )
    return view.price(fidelity)


def _listing(view: SearchView) -> str:
    return ", ".join(map(str, view.fidelities)) or "none"
