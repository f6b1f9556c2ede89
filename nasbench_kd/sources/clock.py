"""The table's clock: NAS-Bench-201's 200-epoch training times, taken from the embedded table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tasks.fidelity import FULL

CLOCK_NOTE = (
    "Times are the embedded table's 200-epoch times in proportion to the epochs. NATS-Bench also bills one "
    "validation pass for each query; its length is public for three cells only (about 3 % of a 12-epoch "
    "training on cifar10, 0.3 % on cifar100), so it is not billed here."
)


def training_microseconds(task: str, epochs: int = 200) -> npt.NDArray[np.int64]:
    """Return the time of training each cell for some epochs, shape (15625,), in index order.

    NAS-Bench-201's times are constant over epochs and seeds, so they are in proportion to the
    epochs. Raises `DataError` where the embedded table does not hold the task.
    """
    for table in tables("embedded"):
        for column in table.select(task, "valid"):
            if column.fidelity == FULL:
                times = np.zeros(SPACE_SIZE, dtype=np.int64)
                times[column.rows["cell"]] = column.rows["microseconds"]
                return np.asarray(np.rint(times * (epochs / 200)), dtype=np.int64)
    raise DataError(f"the embedded tables hold no 200-epoch times of {task}")
