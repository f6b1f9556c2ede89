"""Hardware costs of architectures (HW-NAS-Bench): latency and energy on six devices, where installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, UnknownNameError, nearest
from nasbench_kd.files import is_special
from nasbench_kd.tables.catalog import user_folder
from nasbench_kd.tasks.registry import find_task, task_names

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


@dataclass(frozen=True, slots=True)
class HardwareCosts:
    """The installed costs: `values` has shape (tasks, costs, architectures), NaN where not measured."""

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
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise DataError(f"the card of the hardware costs at {folder} is not of the format {FORMAT!r}")
        count = _architectures(card, folder)
        expected = (len(card["tasks"]), len(card["costs"]), count)
        if not values.flags.c_contiguous or values.shape != expected or values.dtype != np.float64:
            raise DataError(f"the hardware costs at {folder} are not in the format {FORMAT!r}")
        if hashlib.sha256(values.data).hexdigest() != card.get("sha256"):
            raise DataError(
                f"the hardware costs at {folder} do not match the checksum in their card; install them again"
            )
        return HardwareCosts(values, card)

    def get(self, task: str, cost: str) -> npt.NDArray[np.float64]:
        """Return one cost for every architecture, shape (n,), in the unit that the card gives (`costs`).

        Raises `UnknownNameError` for another task or cost.
        """
        places = []
        for what, name, known in (
            ("task", task, self.card["tasks"]),
            ("cost", cost, list(self.card["costs"])),
        ):
            if name not in known:
                raise UnknownNameError(
                    f"unknown {what} {name!r}: expected {', '.join(known)}.{nearest(name, known)}"
                )
            places.append(known.index(name))
        values: npt.NDArray[np.float64] = self.values[tuple(places)]
        return values


def _architectures(card: Mapping[str, Any], folder: Path) -> int:
    """Size of the space of the card's tasks; raises `DataError` where they are not of one space."""
    tasks, costs = card.get("tasks"), card.get("costs")
    named = (
        isinstance(tasks, list) and isinstance(costs, dict) and all(isinstance(task, str) for task in tasks)
    )
    known = set(tasks or ()) & set(task_names()) if named else set()
    spaces = {find_task(task).space for task in known}
    if not named or len(known) != len(tasks or ()) or len(spaces) != 1:
        raise DataError(f"the card of the hardware costs at {folder} names no tasks of one search space")
    return len(spaces.pop())


def write_costs(
    folder: Path, values: npt.NDArray[np.float64], tasks: Sequence[str], card: Mapping[str, Any]
) -> HardwareCosts:
    """Write costs of the shape that `HardwareCosts` describes, in the order of `COSTS`, into an empty folder.

    Returns them opened.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "costs.npy", values, allow_pickle=False)
    full_card = {
        "format": FORMAT,
        "name": FOLDER_NAME,
        "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        **card,
        "tasks": list(tasks),
        "costs": dict(COSTS),
    }
    (folder / "hardware.json").write_text(json.dumps(full_card, indent=1) + "\n", encoding="utf-8")
    return HardwareCosts.open(folder)
