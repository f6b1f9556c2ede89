"""A search space, a task and a search method of another package; its table lies beside this file."""

from __future__ import annotations

from pathlib import Path

import nasbench_kd as nk

SPACE = nk.SearchSpace(
    "toy", {"depth": ("1", "2", "3", "4", "5"), "width": ("8", "16", "32", "64"), "kernel": ("1", "3", "5")}
)
TASK = nk.Task(
    "toy-letters",
    SPACE,
    classes=26,
    train_images=1000,
    valid_images=500,
    image_size=16,
    target=nk.Fidelity.parse("kd@30"),
    prerequisites=(nk.Prerequisite("teacher", seconds=900.0),),
    tables=(Path(__file__).parent / "toy_table",),
    measure=lambda cell, _fidelity, _task: {"parameters": 100 * (1 + cell.codes[0]) * 4 ** cell.codes[1]},
)


class Climb(nk.Optimizer):
    """Moves to a better neighbour of the incumbent, and tells nothing of the space."""

    def ask(self):
        if self.incumbent is None or self.rng.random() < 0.2:
            return nk.Query(self.random_cell())
        return nk.Query(self.incumbent.cell.mutate(self.rng))

    def tell(self, query, evaluation):
        self.keep_best(query, evaluation)


class NeedsPaths(Climb):
    """Needs an encoding that the toy space does not have."""

    needs = ("paths",)
