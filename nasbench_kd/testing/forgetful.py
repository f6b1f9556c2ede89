"""An optimizer with a planted loss: it ignores what it observes with some probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView, Wait
from nasbench_kd.simulation.registry import make_optimizer


class Forgetful(Optimizer):
    """Passes each observation on to another optimizer, or keeps it to itself.

    The answer is the best of all observations. At probability 0 the run is that of the other
    optimizer with this answer, to the byte; at 1 the other one searches blindly.

    Args:
        optimizer: a registered name or `package.module:Class`.
        probability: with which an observation is kept.
        arguments: of the other optimizer's constructor.
    """

    def __init__(
        self, optimizer: str, probability: float, arguments: Mapping[str, Any] | None = None
    ) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability lies between 0 and 1, not at {probability}")
        self.inner = make_optimizer(optimizer, arguments)
        self.probability = probability

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Give the other optimizer the run's generator and forget by a child of it, which takes no draws."""
        super().setup(view, rng.spawn(1)[0])
        self.inner.setup(view, rng)

    def ask(self) -> Query | Wait:
        """Ask the other optimizer."""
        return self.inner.ask()

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Tell the other optimizer, or not."""
        self.keep_best(query, evaluation)
        if self.rng.random() >= self.probability:
            self.inner.tell(query, evaluation)
