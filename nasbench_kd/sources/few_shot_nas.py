"""Published scores of all cells by weight sharing: the supernets of Few-Shot NAS (Zhao et al., ICML 2021).

aoiang/few-shot-NAS holds the accuracy of every cell on CIFAR-10 with the weights of one supernet (600 epochs of
uniformly drawn paths, batches of 48, on all 50,000 training images), and with those of five supernets, each with the
operation of one edge fixed, which go on from it for 150 epochs. Both were read on CIFAR-10's 10,000 test images, as the
evaluation scripts show and the values confirm (whole hundredths of a per cent). So searches of cifar10 are not shown
them: other tasks are, as `one-shot on=cifar10` and `few-shot on=cifar10`, and reports are. The repository states no
licence.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from nasbench_kd.errors import CellError, DataError
from nasbench_kd.sources.origin import PublicSource, RemoteFile, whole_counts
from nasbench_kd.spaces.nasbench201 import EDGES, SPACE_SIZE, Cell, all_cells
from nasbench_kd.spaces.training_seconds import FORWARD, seconds_per_image
from nasbench_kd.tables.column import READ_ON_TEST, Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity

NAMES = {"one-shot-supernet": "one-shot", "few-shot-supernet": "few-shot"}
"""Names of the repository's files, and the fidelities that their numbers are."""
TEST_IMAGES = 10_000
_OPERATION = re.compile(r"\('([a-z0-9_]+)', ([0-2])\)")


def read_supernet(path: Path, name: str | None = None) -> Column:
    """The column of a file of scores, whose name (by default the path's) says of which supernets.

    Raises `DataError` where the name is neither, or the file does not hold one accuracy for every cell.
    """
    name = name or path.name
    if name not in NAMES:
        raise DataError(
            f"{name} does not say which supernets its scores are of: expected {' or '.join(NAMES)}"
        )
    scores = np.full(SPACE_SIZE, np.nan)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for text, value in content.items():
            scores[_cell(text).index] = float(value)
    except (ValueError, TypeError, AttributeError, RecursionError, CellError) as error:
        raise DataError(f"{name} is no file of a supernet's scores: {error}") from error
    if len(content) != SPACE_SIZE or np.isnan(scores).any() or (scores < 0).any() or (scores > 100).any():
        raise DataError(f"{name} does not hold one accuracy in per cent for each of the {SPACE_SIZE} cells")
    whole_counts(scores, TEST_IMAGES, name)
    seconds = [TEST_IMAGES * seconds_per_image(cell.codes) * FORWARD for cell in all_cells()]
    rows = make_rows(
        np.arange(SPACE_SIZE),
        np.zeros(SPACE_SIZE, int),
        np.zeros(SPACE_SIZE, int),
        np.rint(np.array(seconds) * 1e6).astype(np.int64),
        {"score": scores.astype(np.float32)},
    )
    provenance = {
        "source": "measured",
        "origin": f"aoiang/few-shot-NAS, {name}",
        "statistic": "accuracy in per cent with shared weights, one seed that is not told",
        "read_on": READ_ON_TEST,
        "time": "a forward pass of 10,000 images on the table's clock",
    }
    return Column("cifar10", Fidelity.parse(NAMES[name]), "valid", 0, rows, provenance, {"score": None})


def _cell(text: str) -> Cell:
    edges = _OPERATION.findall(text)
    if [int(source) for _, source in edges] != [source for source, _ in EDGES]:
        raise CellError(f"{text!r:.80} names no cell")
    return Cell.from_operations([name for name, _ in edges])


def _convert(files: tuple[Path, ...], folder: Path) -> None:
    notes = [
        "Read on CIFAR-10's test images: searches of cifar10 are not shown these scores, reports are.",
        "The few-shot column is a further file of the same repository: `nasbench-kd data import few-shot-supernet`.",
    ]
    column = read_supernet(files[0], "one-shot-supernet")
    write_table(folder, SOURCE.name, [column], {**SOURCE.card(), "notes": notes})


SOURCE = PublicSource(
    name="few-shot-nas",
    title="Scores of all cells on CIFAR-10 by a published weight-sharing supernet",
    licence="the repository states none",
    files=(
        RemoteFile(
            "aoiang/few-shot-NAS",
            "d3423c17743468ae3f1520f6e024fd773bab867b",
            "Few-Shot_NasBench201/supernet_info/one-shot-supernet",
            "69c5e90d992b7730b52a0b49849be226843eceb427b50382690a5a8c5cba88a9",
            2_097_363,
        ),
    ),
    convert=_convert,
    optional=True,
)
