"""Score untrained networks of random classes without training: nwot, jacov and synflow, with their CPU-seconds.

    python reports/distillation-worth/zero_cost.py --images FOLDER --splits FOLDER --classes 1000
    python reports/distillation-worth/zero_cost.py --table nasbench_kd/tables/data/zero_cost

Classes are those of the fixed random order of every fill, in the full network (C=16, N=5) with PyTorch's default
initialisation, seed 777. The batch is the first 32 images of the order in which `images=N` takes training images,
unaugmented, at 32 x 32. `synflow` sees no image. Each row is appended to `zero_cost.csv` beside this file as it is
measured, on one core; a run that was stopped goes on where it ended. At the end, and with `--classes 0` at once,
Kendall's tau with the mean 200-epoch validation accuracy is printed beside that of the number of parameters.
`--table` writes what is measured as a table of the fidelities `nwot`, `jacov` and `synflow`, each at its own price.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.live.fill import class_order, keep_freed_memory
from nasbench_kd.live.images import STATISTICS, load_task, subset_order
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.zero_cost import jacov, nwot, synflow
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import Cell, representatives
from nasbench_kd.stats.statistics import kendall_interval
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity

RESULTS = Path(__file__).parent / "zero_cost.csv"
TASKS = ("cifar10", "cifar100")
SCORES = ("nwot", "jacov", "synflow")
COLUMNS = ["task", "cell", *SCORES, *(f"{score}_seconds" for score in SCORES)]
SEED, BATCH = 777, 32
SCALE = 0.16133
"""Seconds of the table's clock for one of the processor's: the clock of kd_low_fidelity, measured on its like."""


def batch(task: str, images: Path, splits: Path) -> Tensor:
    """The normalised training images (32, 3, 32, 32) of a task."""
    loaded = load_task(task, images, splits)
    chosen = loaded.train_images[subset_order(len(loaded.train_images))[:BATCH]]
    normalised = (chosen - np.array(loaded.statistics.mean)) / np.array(loaded.statistics.std)
    return torch.from_numpy(normalised).float().permute(0, 3, 1, 2).contiguous()


def timed(score: Callable[[], float]) -> tuple[float, float]:
    """A score, and the CPU-seconds that it took."""
    start = time.process_time()
    value = score()
    return value, time.process_time() - start


def measure(task: str, cell: Cell, images: Tensor) -> list[object]:
    """One row of the results."""
    network = seeded_network(cell, STATISTICS[task].classes, seed=SEED)
    taken = [
        timed(lambda: nwot(network, images)),
        timed(lambda: jacov(network, images)),
        timed(lambda: synflow(network, images.shape[1:])),
    ]
    values, seconds = zip(*taken, strict=True)
    return [task, cell.index, *(f"{value:.7g}" for value in values), *(f"{spent:.3f}" for spent in seconds)]


def report(results: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau with the 200-epoch accuracy, its interval over classes, and the mean CPU-seconds of each score."""
    rows = []
    for task, measured in results.groupby("task"):
        cells = measured["cell"].to_numpy()
        accuracy = np.nanmean(open_scorer(task, "embedded").valid, axis=1)[cells]
        size = [parameters(Cell.from_index(int(cell)), STATISTICS[task].classes) for cell in cells]
        scores = {"parameters": (size, 0.0)}
        scores |= {name: (measured[name], measured[f"{name}_seconds"].mean()) for name in SCORES}
        for name, (values, seconds) in scores.items():
            tau = kendall_interval(values, accuracy, np.random.default_rng(SEED), resamples=1000)
            rows.append((task, len(cells), name, *tau, seconds))
    return pd.DataFrame(rows, columns=["task", "classes", "score", "tau", "low", "high", "cpu_seconds"])


def write(folder: Path, results: pd.DataFrame) -> None:
    """The scores as a table: a column for each task and score, priced in seconds of the table's clock."""
    columns = []
    for (task, measured), source in product(results.groupby("task"), SCORES):
        cells, values = measured["cell"].to_numpy(), measured[source].to_numpy(dtype=np.float32)
        singular = ~np.isfinite(values)
        rows = make_rows(
            cells,
            np.full(len(cells), SEED),
            np.zeros(len(cells)),
            np.rint(measured[f"{source}_seconds"].to_numpy() * SCALE * 1e6),
            {"score": np.where(singular, np.float32("nan"), values)},
            diverged=singular,
        )
        provenance = {
            "source": "measured",
            "kind": "score of an untrained network",
            "origin": "live mode (live/zero_cost.py)",
            "network": "C=16, N=5, PyTorch's default initialisation, float32",
            "batch": f"the first {BATCH} images in the order of images.subset_order, 32 x 32, not augmented",
            "device": "CPU AMD EPYC, 1 thread",
            "seconds": "processor seconds of one thread, times the scale of the clock",
            "clock": {
                "scale": SCALE,
                "meaning": "that of the trainings of kd_low_fidelity, on the same processor",
            },
        }
        columns.append(Column(task, Fidelity.parse(source), "valid", 0, rows, provenance, {"score": None}))
    title = "Scores without training (nwot, jacov, synflow) of a random sample of the classes, at their price"
    card = {
        "title": title,
        "source": "measured by this project on one thread of a CPU",
        "licence": "Apache-2.0",
        "classes": len(representatives()),
        "rebuild": "python reports/distillation-worth/zero_cost.py --images FOLDER --splits FOLDER --classes 6466; "
        "python reports/distillation-worth/zero_cost.py --table FOLDER",
    }
    write_table(folder, "zero_cost", columns, card)


def main() -> None:
    """Measure what is not there yet, then print the correlations."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--splits", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table is not None:
        write(arguments.table, pd.read_csv(RESULTS))
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    if not RESULTS.exists():
        RESULTS.write_text(",".join(COLUMNS) + "\n")
    known = set(pd.read_csv(RESULTS)[["task", "cell"]].itertuples(index=False, name=None))
    batches = (
        {task: batch(task, arguments.images, arguments.splits) for task in TASKS} if arguments.classes else {}
    )
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for cell in class_order()[: arguments.classes]:
            for task, images in batches.items():
                if (task, cell.index) not in known:
                    writer.writerow(measure(task, cell, images))
                    file.flush()
    print(report(pd.read_csv(RESULTS)).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
