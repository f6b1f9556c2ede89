"""What a task is: a data set in a space, and the training by which its answers are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasbench_kd.errors import MissingEntryError
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tasks.fidelity import FULL, TARGET, Fidelity
from nasbench_kd.tasks.prerequisites import Prerequisite

SIZES = "sizes"
"""What a task offers whose networks' sizes are known."""


@dataclass(frozen=True, slots=True)
class Task:
    """A data set with its splits, in a search space.

    Attributes:
        classes: of the data set, among which an untrained network guesses.
        image_size: side of the square images in pixels.
        target: the full training, by which every answer is judged.
        prerequisites: what some fidelities need first, such as a teacher.
        held_out: whether something is known of answers that searches are not shown (test accuracy, other training
            seeds); where nothing is, answers are scored by what searches are shown.
        tables: folders of tables that ship with the task, beside those of the package.
        measure: the sizes of an architecture's network at a fidelity, where they are known: `parameters`, the
            number of those that are trained, and others by name, such as `multiply_accumulates` of an image.
        prices: the rule, in words, where the prices of trainings follow one and are no measured times.
        trainable: whether live mode has a trainer for the networks, so that missing entries can be measured.
        obtain: how users get results of the task, in words, where none ship.
    """

    name: str
    space: SearchSpace
    classes: int
    train_images: int
    valid_images: int
    image_size: int
    target: Fidelity = FULL
    prerequisites: tuple[Prerequisite, ...] = ()
    tables: tuple[Path, ...] = ()
    measure: Callable[[Any, Fidelity, Task], Mapping[str, int]] | None = None
    held_out: bool = True
    prices: str = ""
    trainable: bool = False
    obtain: str = ""

    def fidelity(self, text: str | Fidelity) -> Fidelity:
        """Read a fidelity; the word `target` is the task's. Raises `FidelityError`."""
        return self.target if isinstance(text, str) and text == TARGET else Fidelity.parse(text)

    def sizes(self, architecture: Architecture, fidelity: Fidelity | None = None) -> Mapping[str, int]:
        """Sizes of an architecture's network by name, at a fidelity (by default the target); empty where unknown."""
        return {} if self.measure is None else self.measure(architecture, fidelity or self.target, self)

    @property
    def teacher(self) -> Architecture:
        """The architecture whose training is the teacher; raises `MissingEntryError` where no one is."""
        for each in self.prerequisites:
            if each.name == "teacher" and each.training is not None:
                return self.space[each.training[0]]
        raise MissingEntryError(f"the teacher of the task {self.name} is no architecture of its space")

    @property
    def offers(self) -> tuple[str, ...]:
        """What an optimizer may need: the space itself, encodings of it, sizes of networks, and prerequisites."""
        sizes = () if self.measure is None else (SIZES,)
        return (self.space.name, *self.space.encodings, *sizes, *(each.name for each in self.prerequisites))
