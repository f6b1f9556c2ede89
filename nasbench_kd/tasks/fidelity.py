"""Fidelity: how a cell is trained, and the short string that names it.

`none@200` is the full NAS-Bench-201 recipe, `nst@12` twelve epochs with neuron selectivity
transfer, `none@12/200` the first twelve epochs of a 200-epoch schedule, and
`kd+nst@4 images=5000 size=16 channels=8 cells=1 batch=32` a small proxy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

from nasbench_kd.errors import FidelityError, nearest

DISTILLATIONS: tuple[str, ...] = (
    "none",
    "kd",
    "nst",
    "at",
    "pkt",
    "sp",
    "hint",
    "fsp",
    "cc",
    "rkd",
    "vid",
)
_KEYS = {
    "images": "train_images",
    "batch": "batch_size",
    "size": "image_size",
    "channels": "channels",
    "cells": "cells_per_stage",
}
_FORM = "DISTILLATION@EPOCHS[/SCHEDULE_EPOCHS] [images=N] [batch=N] [size=N] [channels=N] [cells=N]"
_HEAD = re.compile(r"([^@\s]+)@([0-9]{1,6})(?:/([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a cell is trained; compare, hash, print with `str` and read with `Fidelity.parse`.

    >>> Fidelity.parse("nst@4/12")
    Fidelity('nst@4/12')
    >>> Fidelity.parse("none@200").schedule_epochs
    200
    """

    distillation: str
    """`none`, or names from `DISTILLATIONS` joined by `+` in that order: `kd+nst`."""
    epochs: int
    """Epochs trained before the validation accuracy is read."""
    schedule_epochs: int
    """Epochs over which the cosine learning rate falls to zero; at least `epochs`."""
    train_images: int | None = None
    """Training images used; None is the whole training split of the task."""
    batch_size: int = 256
    """Images per gradient step."""
    image_size: int | None = None
    """Side of the square images in pixels; None is the size of the data set."""
    channels: int = 16
    """Channels of the first stage (C)."""
    cells_per_stage: int = 5
    """Cells in each of the three stages (N)."""
    _text: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        parts = self.distillation.split("+")
        for part in parts:
            if part not in DISTILLATIONS:
                raise FidelityError(
                    f"unknown distillation {part!r}: expected {', '.join(DISTILLATIONS)}, or a sum "
                    f"such as kd+nst.{nearest(part, DISTILLATIONS)}"
                )
        if parts != sorted(set(parts), key=DISTILLATIONS.index) or (len(parts) > 1 and "none" in parts):
            raise FidelityError(
                f"{self.distillation!r} is not in canonical form: each distillation once, in the order "
                f"{', '.join(DISTILLATIONS[1:])}, and none alone"
            )
        for name in ("epochs", "schedule_epochs", *_KEYS.values()):
            value = getattr(self, name)
            if value is None and _DEFAULTS[name] is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise FidelityError(f"{name} must be a whole number of at least 1, not {value!r}")
        if self.epochs > self.schedule_epochs:
            raise FidelityError(
                f"epoch {self.epochs} lies beyond a schedule of {self.schedule_epochs} epochs"
            )
        text = f"{self.distillation}@{self.epochs}"
        if self.schedule_epochs != self.epochs:
            text += f"/{self.schedule_epochs}"
        for key, name in _KEYS.items():
            if getattr(self, name) != _DEFAULTS[name]:
                text += f" {key}={getattr(self, name)}"
        object.__setattr__(self, "_text", text)

    @staticmethod
    def parse(string: str | Fidelity) -> Fidelity:
        """Read the short string form; a `Fidelity` passes through. Raises `FidelityError`."""
        if isinstance(string, Fidelity):
            return string
        if not isinstance(string, str):
            raise FidelityError(f"a fidelity is text of the form {_FORM}, not {type(string).__name__}")
        return _parse(string)

    @property
    def curve(self) -> Fidelity:
        """The whole training run that this fidelity is read from (`epochs` = `schedule_epochs`).

        Two fidelities of one curve are one training, paused and resumed.
        """
        return self if self.epochs == self.schedule_epochs else self.at_epoch(self.schedule_epochs)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the task's prerequisites that must be bought before this training: its teacher."""
        return () if self.distillation == "none" else ("teacher",)

    def at_epoch(self, epochs: int) -> Fidelity:
        """The same training read after another epoch of its schedule; raises `FidelityError`."""
        return replace(self, epochs=epochs)

    def without_distillation(self) -> Fidelity:
        """The same training with plain cross-entropy."""
        return replace(self, distillation="none")

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Fidelity) and self._text == other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Fidelity({str(self)!r})"


_DEFAULTS = {each.name: each.default for each in fields(Fidelity)}

FULL: Fidelity = Fidelity("none", 200, 200)
"""The 200-epoch NAS-Bench-201 result that every search is judged by."""


@lru_cache(maxsize=4096)
def _parse(string: str) -> Fidelity:
    words = string.split()
    head = _HEAD.fullmatch(words[0]) if words else None
    if head is None:
        raise FidelityError(
            f"not a fidelity: {string[:80]!r}; the form is {_FORM}, as in 'none@200' or 'nst@4/12'"
        )
    values: dict[str, int] = {}
    for word in words[1:]:
        key, separator, number = word.partition("=")
        if key not in _KEYS or not separator:
            raise FidelityError(
                f"unknown part {word[:40]!r} in the fidelity {string[:80]!r}: expected "
                f"{', '.join(f'{known}=N' for known in _KEYS)}.{nearest(key, _KEYS)}"
            )
        if _KEYS[key] in values:
            raise FidelityError(f"{key} is given twice in the fidelity {string[:80]!r}")
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise FidelityError(
                f"{key} must be a whole number in the fidelity {string[:80]!r}, not {number[:40]!r}"
            )
        values[_KEYS[key]] = int(number)
    epochs = int(head[2])
    return Fidelity(head[1], epochs, int(head[3]) if head[3] else epochs, **values)
