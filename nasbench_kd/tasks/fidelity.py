"""Fidelity: how a cell is trained, and the short string that names it.

`none@200` is the full NAS-Bench-201 recipe, `nst@12` twelve epochs with neuron selectivity
transfer, `none@12/200` the first twelve epochs of a 200-epoch schedule, and
`kd+nst@4 images=5000 size=16 channels=8 cells=1 batch=32` a small proxy. `nst@12 on=cifar100` is a
training on another data set than the task's, `nwot` a score of the network before any training, and
`nst-cheap` the alias of a recipe with a long string (`RECIPES`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from types import MappingProxyType

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
SCORES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nwot": (),
        "jacov": (),
        "synflow": (),
        "dna": ("stages",),
        "dna-random-teacher": ("stages of a random teacher",),
        "rmi": ("teacher",),
        "rmi-150": ("teacher",),
        "one-shot": ("one-shot supernet",),
        "few-shot": ("few-shot supernets",),
        "rmi-random-teacher": (),
        "rmi-150-random-teacher": (),
        "supernet": ("supernet",),
        "supernet-fair": ("supernet-fair",),
        "supernet-few-shot": ("supernet-few-shot",),
        "supernet-small": ("supernet-small",),
        "supernet-small-fair": ("supernet-small-fair",),
        "supernet-small-few-shot": ("supernet-small-few-shot",),
    }
)
"""Scores of a network that no fidelity trains, by name, with the prerequisites that each needs.

`nwot`, `jacov` and `synflow` look at an untrained network; `dna` reads weights that all architectures share
(`nasbench_kd.live.block_wise`), `rmi` takes 75 and `rmi-150` 150 steps towards a teacher's maps
(`nasbench_kd.live.map_matching`); `one-shot` and `few-shot` are published accuracies with shared weights (`data pull
few-shot-nas`), a `supernet` is such an accuracy measured here (`nasbench_kd.tasks.shared_weights`). Controls learn
from a teacher of the same shape that was never trained.
"""
RECIPES: Mapping[str, str] = MappingProxyType(
    {
        "cheap": "@1 images=2500 batch=32 size=16 channels=8 cells=1",
        "dear": "@1 images=2500 batch=32 size=16",
        "3-epochs": "@3 images=2500 batch=32 size=16 channels=8 cells=1",
        "4-epochs": "@4 images=5000 batch=32 size=16 cells=1",
    }
)
"""Aliases: `nst-cheap` stands for `nst` and this text, and `nst-4-epochs@1` for that training after one epoch."""
_KEYS = {
    "images": "train_images",
    "batch": "batch_size",
    "size": "image_size",
    "channels": "channels",
    "cells": "cells_per_stage",
}
_ON = "on"
_FORM = (
    "DISTILLATION@EPOCHS[/SCHEDULE_EPOCHS] [on=DATA_SET] [images=N] [batch=N] [size=N] [channels=N] [cells=N], "
    f"DISTILLATION-RECIPE with one of the recipes {', '.join(RECIPES)}, or a score: {', '.join(SCORES)}"
)
_HEAD = re.compile(r"([^@\s]+)@([0-9]{1,6})(?:/([0-9]{1,6}))?")
_ALIAS = re.compile(r"([^@\s-]+)-([^@\s]+?)(?:@([0-9]{1,6}))?")
_WORD = re.compile(
    rf"(?:{'|'.join(DISTILLATIONS)})(?:\+[a-z+]+)?-({'|'.join(map(re.escape, RECIPES))})(?![\w-])"
)
_DATA_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a cell is trained; compare, hash, print with `str` and read with `Fidelity.parse`.

    >>> Fidelity.parse("nst@4/12")
    Fidelity('nst@4/12')
    >>> Fidelity.parse("none@200").schedule_epochs
    200
    >>> Fidelity.parse("nst-dear on=cifar100")
    Fidelity('nst@1 on=cifar100 images=2500 batch=32 size=16')
    """

    distillation: str
    """`none`, or names from `DISTILLATIONS` joined by `+` in that order: `kd+nst`."""
    epochs: int
    """Epochs trained before the validation accuracy is read; 0 for a score."""
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
    trained_on: str | None = None
    """Task whose images, teacher and classes the training has; None is the task that is searched."""
    score: str | None = None
    """Name from `SCORES` where nothing is trained: then there are 0 epochs, without distillation."""
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
        if self.trained_on is not None and not (
            isinstance(self.trained_on, str) and _DATA_SET.fullmatch(self.trained_on)
        ):
            raise FidelityError(f"{self.trained_on!r:.80} is no name of a data set to be trained on")
        if self.score is not None and self.score not in SCORES:
            raise FidelityError(
                f"unknown score {self.score!r}: expected {', '.join(SCORES)}.{nearest(self.score, SCORES)}"
            )
        self._check_numbers()
        object.__setattr__(self, "_text", self._written())

    def _check_numbers(self) -> None:
        numbers = {name: getattr(self, name) for name in ("epochs", "schedule_epochs", *_KEYS.values())}
        if self.score is not None:
            untrained = {name: _DEFAULTS[name] for name in _KEYS.values()} | {
                "epochs": 0,
                "schedule_epochs": 0,
            }
            if numbers != untrained or self.distillation != "none":
                raise FidelityError(
                    f"the score {self.score} has no distillation, epochs or sizes: only {_ON}="
                )
            return
        for name, value in numbers.items():
            if value is None and _DEFAULTS[name] is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise FidelityError(f"{name} must be a whole number of at least 1, not {value!r}")
        if self.epochs > self.schedule_epochs:
            raise FidelityError(
                f"epoch {self.epochs} lies beyond a schedule of {self.schedule_epochs} epochs"
            )

    def _written(self) -> str:
        text = self.score or f"{self.distillation}@{self.epochs}"
        if self.schedule_epochs != self.epochs:
            text += f"/{self.schedule_epochs}"
        if self.trained_on is not None:
            text += f" {_ON}={self.trained_on}"
        for key, name in _KEYS.items():
            if getattr(self, name) != _DEFAULTS[name]:
                text += f" {key}={getattr(self, name)}"
        return text

    @staticmethod
    def parse(string: str | Fidelity) -> Fidelity:
        """Read the short string form or an alias; a `Fidelity` passes through. Raises `FidelityError`."""
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
        """Names of the task's prerequisites that must be bought first: the teacher of the data set trained on."""
        needs = SCORES[self.score] if self.score else () if self.distillation == "none" else ("teacher",)
        return needs if self.trained_on is None else tuple(f"{need} of {self.trained_on}" for need in needs)

    @property
    def alias(self) -> str:
        """The shortest name: with an alias of `RECIPES` where there is one, else the string itself."""
        return _aliased(self)

    def at_epoch(self, epochs: int) -> Fidelity:
        """The same training read after another epoch of its schedule; raises `FidelityError`."""
        return replace(self, epochs=epochs)

    def on(self, data_set: str | None) -> Fidelity:
        """The same training on the images of another task; None is the task that is searched."""
        return replace(self, trained_on=data_set)

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
"""The 200-epoch NAS-Bench-201 result: what searches of its tasks are judged by."""
TARGET = "target"
"""The word for the full training of whatever task it is said of (`Task.target`)."""


@lru_cache(maxsize=4096)
def _parse(string: str) -> Fidelity:
    words = string.split()
    score = words[0] if words and words[0] in SCORES else None
    if score:
        values: dict[str, int] = {}
        distillation, epochs, schedule = "none", 0, 0
    else:
        distillation, epochs, schedule, values = _head(string, words)
    trained_on: str | None = None
    for word in words[1:]:
        key, separator, value = word.partition("=")
        if not separator or (key not in _KEYS and key != _ON):
            raise FidelityError(
                f"unknown part {word[:40]!r} in the fidelity {string[:80]!r}: expected {_ON}=DATA_SET, "
                f"{', '.join(f'{known}=N' for known in _KEYS)}.{nearest(key, [*_KEYS, _ON])}"
            )
        if (trained_on is not None) if key == _ON else _KEYS[key] in values:
            raise FidelityError(f"{key} is given twice in the fidelity {string[:80]!r}")
        if key == _ON:
            trained_on = value
        else:
            values[_KEYS[key]] = _number(string, key, value)
    return Fidelity(distillation, epochs, schedule, **values, trained_on=trained_on, score=score)


def _head(string: str, words: list[str]) -> tuple[str, int, int, dict[str, int]]:
    """Distillation, epochs, epochs of the schedule, and what an alias says beyond them."""
    head = _HEAD.fullmatch(words[0]) if words else None
    alias = _ALIAS.fullmatch(words[0]) if words and (head is None or "-" in head[1]) else None
    if alias is not None:
        if alias[2] not in RECIPES:
            raise FidelityError(
                f"unknown recipe {alias[2][:40]!r} in the fidelity {string[:80]!r}: expected "
                f"{', '.join(RECIPES)}.{nearest(alias[2], RECIPES)}"
            )
        recipe = _parse("none" + RECIPES[alias[2]])
        values = {
            name: getattr(recipe, name) for name in _KEYS.values() if getattr(recipe, name) != _DEFAULTS[name]
        }
        return alias[1], int(alias[3] or recipe.epochs), recipe.schedule_epochs, values
    if head is None:
        hint = nearest(words[0], SCORES) if words else ""
        raise FidelityError(
            f"not a fidelity: {string[:80]!r}; the form is {_FORM}, as in 'none@200' or 'nst@4/12'.{hint}"
        )
    return head[1], int(head[2]), int(head[3] or head[2]), {}


def _number(string: str, key: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise FidelityError(
            f"{key} must be a whole number in the fidelity {string[:80]!r}, not {value[:40]!r}"
        )
    return int(value)


@lru_cache(maxsize=4096)
def _aliased(fidelity: Fidelity) -> str:
    plain = replace(fidelity.curve.without_distillation(), trained_on=None)
    for name, recipe in RECIPES.items():
        if fidelity.score is None and plain == _parse("none" + recipe):
            text = f"{fidelity.distillation}-{name}"
            if fidelity.epochs != fidelity.schedule_epochs:
                text += f"@{fidelity.epochs}"
            return text if fidelity.trained_on is None else f"{text} {_ON}={fidelity.trained_on}"
    return str(fidelity)


def legend(texts: Iterable[str]) -> tuple[str, ...]:
    """What each alias that appears in some texts stands for."""
    words = {word for text in texts for word in _WORD.findall(text)}
    used = [name for name in RECIPES if name in words]
    return tuple(f"X-{name} stands for X{RECIPES[name]}" for name in used)
