"""An optimizer whose code changes while its name stays: what a gate is there to notice."""

from __future__ import annotations

import os

import numpy as np

from nasbench_kd import Evaluation, Optimizer, Query, SearchView

BEHAVIOUR = "NASBENCH_KD_TEST_BEHAVIOUR"


class Changing(Optimizer):
    """Random search; the environment says how it has changed."""

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        self.behaviour = os.environ.get(BEHAVIOUR, "")
        super().setup(view, rng.spawn(1)[0] if self.behaviour == "other draws" else rng)

    def ask(self) -> Query:
        return Query(self.random_cell())

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        if self.behaviour == "fails" and self.incumbent is not None:
            raise RuntimeError("<forgot> | what to do & \x07")
        if self.behaviour == "first answer" and self.incumbent is not None:
            return
        if self.behaviour == "no answer":
            return
        self.keep_best(query, evaluation)
