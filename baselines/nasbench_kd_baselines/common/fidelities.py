"""Chooses default fidelities from what a task has, with an error that says what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nasbench_kd.errors import MissingEntryError
from nasbench_kd.simulation.optimizer import SearchView
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.signals import ACCURACY

MEASURED = tuple(map(Fidelity.parse, ("nst-cheap", "nst-cheap on=cifar100", "nst-cheap on=cifar10")))
"""Short distilled trainings of every class, the best first, and the reading that ranks cells best. Chosen for each
CIFAR set by rank correlations on the other one, for all other tasks by those on both (docs/methods.md)."""
MEASURED_READING = "train_distillation"
PLAIN = Fidelity.parse("none@12")
"""The short training without a teacher that NAS-Bench-201 publishes."""
LIVE_DISTILLED = Fidelity.parse("nst-4-epochs")
"""Default short training where trainings are made on demand and the tables have none: the cheapest
proxy of `reports/fidelity-study` that ranks."""


def measured_reading(view: SearchView, argument: str = "fidelity") -> tuple[Fidelity, str]:
    """The default short distilled training and the signal to read it by.

    The first of `MEASURED` that the task has for all cells with that reading; where it has none, the cheapest
    of `distilled_fidelities`, by its accuracy.
    """
    for fidelity in MEASURED:
        if fidelity not in view.partial and MEASURED_READING in view.signals.get(fidelity, ()):
            return fidelity, MEASURED_READING
    return distilled_fidelities(view, argument)[0], ACCURACY


def distilled_fidelities(view: SearchView, argument: str = "fidelity") -> tuple[Fidelity, ...]:
    """The task's fidelities with distillation, cheapest first: of each curve the last epoch that it has.

    Epochs before it are no bargain, since a training that goes on costs the difference alone, and
    accuracies in the middle of a schedule rank cells worse than those at its end. Those that were trained on
    another task's images, or that some cells lack, are left out where there are others, and so are those of a
    single epoch, whose accuracies do not rank cells (`reports/distillation-worth`). Where the target itself
    distils, what counts is what costs less, distilled or not. Where there is none: `LIVE_DISTILLED` if the
    task trains on demand, else `MissingEntryError`, naming what the task has and the search's `argument` that
    chooses another.
    """
    last: dict[Fidelity, Fidelity] = {}
    others = [fidelity for fidelity in view.fidelities if fidelity.curve != view.target.curve]
    distilled = [fidelity for fidelity in others if fidelity.distillation != "none"]
    if view.target.distillation != "none":
        distilled = [each for each in others if view.price(each) < view.price(view.target)] or distilled
    at_home = [each for each in distilled if each.trained_on is None] or distilled
    common = [each for each in at_home if each not in view.partial] or at_home
    for fidelity in [each for each in common if each.schedule_epochs > 1] or common:
        known = last.get(fidelity.curve)
        if known is None or known.epochs < fidelity.epochs:
            last[fidelity.curve] = fidelity
    found = tuple(fidelity for fidelity in view.fidelities if fidelity in last.values())
    if found or view.live:
        return found or (LIVE_DISTILLED,)
    raise MissingEntryError(
        f"{view.task} has no fidelity with distillation; it has {_listing(view)}. Name another fidelity (argument "
        f"`{argument}`), install distilled results (`nasbench-kd data status` lists them, `nasbench-kd data "
        f"pull` installs){_measured(view, LIVE_DISTILLED)}"
    )


def plain_training(view: SearchView) -> Fidelity:
    """The default training without a teacher: `PLAIN`, on a task without it the dearest one below the target.

    Where there is neither, `PLAIN`: a search that asks for it is told what the task has.
    """
    below = [each for each in view.fidelities if each != view.target]
    found = [] if PLAIN in below else _climbed(view, 1.0, below)[:-1]
    return found[-1] if found else PLAIN


def ladder(
    view: SearchView, rungs: Sequence[str] | None, factor: float, argument: str = "rungs"
) -> tuple[Fidelity, ...]:
    """The fidelities that successive halving climbs, cheapest first.

    `rungs` are taken as they are given. Without them the ladder is made from the task's trainings of the full
    network without distillation, on all of its own images, that all cells have: from the full training
    downwards, each rung the dearest one that costs at most 1/`factor` of the rung above. Accuracies of
    reduced trainings are left out: they rank cells worse than the number of parameters (docs/methods.md).
    Where that leaves a single rung, those that only some cells have count as well; where it still does, a task
    that trains on demand gets `LIVE_DISTILLED` without its distillation as the lower one, and on another
    `MissingEntryError` names what the task has and the search's `argument` for the rungs.
    """
    if rungs is not None:
        return tuple(map(view.fidelity, rungs))
    climbed = _climbed(view, factor, [each for each in view.fidelities if each not in view.partial])
    if len(climbed) == 1:
        climbed = _climbed(view, factor, view.fidelities)
    if len(climbed) == 1 and view.live:
        climbed.insert(0, LIVE_DISTILLED.without_distillation())
    if len(climbed) == 1:
        raise MissingEntryError(
            f"successive halving needs a fidelity that costs at most 1/{factor:g} of {view.target}, without "
            f"distillation; {view.task} has {_listing(view)}. Name the rungs, cheapest first (argument "
            f"`{argument}`), install more results (`nasbench-kd data pull`)"
            f"{_measured(view, LIVE_DISTILLED.without_distillation())}"
        )
    return tuple(climbed)


def price(view: SearchView, fidelity: Fidelity) -> float:
    """Mean seconds of one evaluation; raises `MissingEntryError`, naming what the task has.

    Where the task trains on demand, an unknown price is guessed from that of the dearest known
    fidelity, in proportion to epochs, images, pixels, cells and squared channels.
    """
    if fidelity in view.fidelities:
        return view.price(fidelity)
    if not view.live:
        raise MissingEntryError(
            f"the price of {fidelity} on {view.task} is not known, since no entry is; there are {_listing(view)}"
        )
    if not view.fidelities:
        return _work(view, fidelity)
    known = view.fidelities[-1]
    return view.price(known) * _work(view, fidelity) / _work(view, known)


def _measured(view: SearchView, fidelity: Fidelity) -> str:
    """The rest of a sentence on what to do: how a fidelity is measured, where there is a trainer."""
    if not view.trainable:
        return ""
    fill = f"nasbench-kd fill --task {view.task} --fidelity '{fidelity}'"
    return f", measure some (`{fill}`), or open the task with live=True"


def _climbed(view: SearchView, factor: float, fidelities: Sequence[Fidelity]) -> list[Fidelity]:
    """The target, and below it those of `fidelities`, given cheapest first, that are like it and far enough apart."""
    climbed = [view.target]
    for fidelity in reversed(fidelities):
        usable = fidelity.score is None and fidelity == _like_target(view, fidelity)
        if usable and view.price(fidelity) <= price(view, climbed[0]) / factor:
            climbed.insert(0, fidelity)
    return climbed


def _like_target(view: SearchView, fidelity: Fidelity) -> Fidelity:
    """As many epochs of the task's full training, without distillation: all its own images, the full network."""
    epochs, schedule = fidelity.epochs, fidelity.schedule_epochs
    return replace(view.target, distillation="none", epochs=epochs, schedule_epochs=schedule)


def _work(view: SearchView, fidelity: Fidelity) -> float:
    task = find_task(view.task)
    images = fidelity.train_images or task.train_images
    pixels = (fidelity.image_size or task.image_size) ** 2
    return float(fidelity.epochs * images * pixels * fidelity.cells_per_stage * fidelity.channels**2)


def _listing(view: SearchView) -> str:
    return ", ".join(fidelity.alias for fidelity in view.fidelities) or "none"
