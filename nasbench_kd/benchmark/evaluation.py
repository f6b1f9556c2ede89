"""What one evaluation says, and what many say at once."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import SignalError
from nasbench_kd.tables.resolve import Source
from nasbench_kd.tasks.signals import ACCURACY, find_signal

Floats = npt.NDArray[np.float64]
ValueT = TypeVar("ValueT", float, Floats)


class Evaluation(NamedTuple):
    """What a search is told of a trained cell. It has no test accuracy, by construction."""

    value: float
    """Value of the signal (`nasbench_kd.tasks.signals`); NaN where the training diverged."""
    signal: str
    """The reading that was asked for, by default the validation accuracy in percent."""
    seconds: float
    """Training time on the table's clock: the whole training, or what a search was charged."""
    seed: int | None
    """Training seed of the entry; None where a source gives only the mean over seeds."""
    source: Source
    """Where the number comes from."""

    @property
    def failed(self) -> bool:
        """Whether the training diverged."""
        return self.value != self.value

    @property
    def utility(self) -> float:
        """The value as a number of which more is better: a loss with a minus sign; NaN where it diverged."""
        return self.value if self.signal == ACCURACY else find_signal(self.signal).utility(self.value)

    @property
    def valid_accuracy(self) -> float:
        """Validation accuracy in percent; raises `SignalError` where another signal was asked for."""
        return accuracy_of(self.value, self.signal)


class Batch(NamedTuple):
    """Evaluations of many cells, as arrays of equal length."""

    value: Floats
    """Values of the signal, shape (n,); NaN where a training diverged."""
    seconds: Floats
    """Training time on the table's clock, shape (n,)."""
    signal: str = ACCURACY

    @property
    def valid_accuracy(self) -> Floats:
        """Validation accuracies in percent, shape (n,); raises `SignalError` where another signal was asked for."""
        return accuracy_of(self.value, self.signal)


def accuracy_of(value: ValueT, signal: str) -> ValueT:
    """The value, which is one of the validation accuracy; raises `SignalError` where it is of another signal."""
    if signal != ACCURACY:
        raise SignalError(f"this is the {signal} of a training, not its {ACCURACY}: read `value`")
    return value
