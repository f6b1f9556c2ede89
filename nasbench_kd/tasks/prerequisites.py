"""Prerequisites: what must be bought once before some fidelities exist, such as a teacher."""

from __future__ import annotations

from typing import NamedTuple

from nasbench_kd.tasks.fidelity import Fidelity


class Prerequisite(NamedTuple):
    """Something that a search pays for once, with the first training that needs it (`Fidelity.needs`).

    One that is a training of the space is an evaluation like any other: a search that pays for it is
    told its outcome, and a search that has paid for that training already does not pay again.
    """

    name: str
    needs: tuple[str, ...] = ()
    """Names of the prerequisites that must be bought before this one."""
    training: tuple[int, Fidelity] | None = None
    """Index of the cell and its fidelity, where it is a training of the space: its price is in the tables."""
    seconds: float | None = None
    """Its price on the table's clock, where it is not."""
    counts: str = ""
    """What was counted for these seconds, in words: passes of images, which the clock turns into seconds."""
