"""Hardware costs of cells (HW-NAS-Bench): latency and energy on six devices, where installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, UnknownNameError, nearest
from nasbench_kd.files import is_special
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import user_folder

FORMAT = "nasbench-kd hardware 1"
FOLDER_NAME = "hw-nas-bench"
COSTS: Mapping[str, str] = MappingProxyType(
    {
        "edgegpu_latency": "ms",
        "edgegpu_energy": "mJ",
        "raspi4_latency": "ms",
        "edgetpu_latency": "ms",
        "pixel3_latency": "ms",
        "eyeriss_latency": "ms",
        "eyeriss_energy": "mJ",
        "eyeriss_arithmetic_intensity": "operations/byte",
        "fpga_latency": "ms",
        "fpga_energy": "mJ",
    }
)
"""Names of the costs and their units (HW-NAS-Bench, Li et al., ICLR 2021)."""
_TASKS = ("cifar10", "cifar100", "imagenet16-120")


@dataclass(frozen=True, slots=True)
class HardwareCosts:
    """The installed costs: `values` has shape (3 tasks, 10 costs, 15625 cells), NaN where not measured."""

    values: npt.NDArray[np.float64]
    card: Mapping[str, Any]

    @staticmethod
    def open(folder: Path | None = None) -> HardwareCosts:
        """Open the installed costs; raises `DataError` where they are absent or altered."""
        folder = folder or user_folder() / FOLDER_NAME
        if special := [path for path in folder.iterdir() if is_special(path)] if folder.is_dir() else []:
            raise DataError(f"{special[0]} of the hardware costs at {folder} is a pipe or a device")
        try:
            card = json.loads((folder / "hardware.json").read_bytes())
            values = np.load(folder / "costs.npy", mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise DataError(
                f"no hardware costs at {folder}; `nasbench-kd data pull {FOLDER_NAME}` installs them"
            ) from error
        except Exception as error:  # NumPy reads the header as Python and raises whatever that raises
            raise DataError(f"the hardware costs at {folder} cannot be read: {error}") from error
        expected = (len(_TASKS), len(COSTS), SPACE_SIZE)
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise DataError(f"the card of the hardware costs at {folder} is not of the format {FORMAT!r}")
        if not values.flags.c_contiguous or values.shape != expected or values.dtype != np.float64:
            raise DataError(f"the hardware costs at {folder} are not in the format {FORMAT!r}")
        if hashlib.sha256(values.data).hexdigest() != card.get("sha256"):
            raise DataError(
                f"the hardware costs at {folder} do not match the checksum in their card; install them again"
            )
        return HardwareCosts(values, card)

    def get(self, task: str, cost: str) -> npt.NDArray[np.float64]:
        """Return one cost for every cell, shape (15625,), in the unit that `COSTS` gives.

        Raises `UnknownNameError` for another task or cost.
        """
        if task not in _TASKS:
            raise UnknownNameError(
                f"unknown task {task!r}: expected {', '.join(_TASKS)}.{nearest(task, _TASKS)}"
            )
        if cost not in COSTS:
            raise UnknownNameError(
                f"unknown cost {cost!r}: expected {', '.join(COSTS)}.{nearest(cost, COSTS)}"
            )
        values: npt.NDArray[np.float64] = self.values[_TASKS.index(task), list(COSTS).index(cost)]
        return values


def write_costs(folder: Path, values: npt.NDArray[np.float64], card: Mapping[str, Any]) -> HardwareCosts:
    """Write costs of the shape that `HardwareCosts` describes into an empty folder, and open them."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "costs.npy", values, allow_pickle=False)
    full_card = {
        "format": FORMAT,
        "name": FOLDER_NAME,
        "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        **card,
        "tasks": list(_TASKS),
        "costs": dict(COSTS),
    }
    (folder / "hardware.json").write_text(json.dumps(full_card, indent=1) + "\n", encoding="utf-8")
    return HardwareCosts.open(folder)
