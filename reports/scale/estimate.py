"""What large undertakings cost in time, storage and money, on paper: `python reports/scale/estimate.py --gpus 64`.

Trainings are what the tables hold, at the seconds of NAS-Bench-201's GPU, brought to another GPU by the rate that was
measured on it. Prices of an hour are arguments: those that stand here are assumptions and nobody's offer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.live.fill import class_order
from nasbench_kd.opening import load
from nasbench_kd.spaces.training_seconds import FORWARD
from nasbench_kd.tables.catalog import tables

HERE = Path(__file__).parent
TASKS = ("cifar10", "cifar100", "imagenet16-120")
GPU_SPEED = 6.31
"""Images a second of one H200, 16 students of the full network side by side, over those of NAS-Bench-201's GPU."""
RUN_SECONDS = 2 * 25 * 60 / 4200
"""Core seconds of a run of the suite `kd`, isolated: its 4,200 runs took 25 minutes on two cores."""
NST_READINGS = "nst@1 images=2500 batch=32 size=16"
PLAIN_READINGS = "none@1 images=2500 batch=32 size=16"


class Line(NamedTuple):
    """One undertaking."""

    what: str
    gpu_hours: float
    core_hours: float
    gigabytes: float


def classes() -> npt.NDArray[np.int64]:
    """The index of one architecture of each class."""
    return np.array([cell.index for cell in class_order()])


def training_hours(fidelity: str) -> dict[str, float]:
    """Hours of NAS-Bench-201's GPU for one training of every class, by task."""
    return {
        task: float(load(task, data="embedded").evaluate_many(classes(), fidelity).seconds.sum()) / 3600
        for task in TASKS
    }


def distilled_over_plain() -> float:
    """Measured seconds of a distilled training of the full network over those of a plain one, without the teacher's."""
    (table,) = (table for table in tables() if table.name == "kd_readings")
    seconds = {
        str(column.fidelity): dict(zip(column.rows["cell"], column.rows["microseconds"], strict=True))
        for column in table.columns
        if column.task == "cifar10" and column.split == "valid"
    }
    both = seconds[NST_READINGS].keys() & seconds[PLAIN_READINGS].keys()
    return float(
        np.mean([int(seconds[NST_READINGS][cell]) / int(seconds[PLAIN_READINGS][cell]) for cell in both])
    )


def teacher_hours() -> tuple[float, float]:
    """Hours of NAS-Bench-201's GPU for one teacher of each task: its training, and its passes for every class.

    The passes are forward ones over the images of twelve epochs, made anew for every class.
    """
    training = passes = 0.0
    for task in TASKS:
        bench = load(task, data="embedded")
        training += bench.evaluate(bench.task.teacher, "none@200").seconds / 3600
        passes += FORWARD * bench.evaluate(bench.task.teacher, "none@12").seconds / 3600
    return training, passes * len(classes())


def measured_again(name: str) -> tuple[float, float]:
    """GPU-hours and core-hours that the entries of a table took where they were measured, by their provenance."""
    gpu = core = 0.0
    (table,) = (table for table in tables() if table.name == name)
    for column in table.columns:
        about, fidelity = column.provenance, column.fidelity
        if isinstance(about.get("measured_seconds"), dict):
            core += sum(value for value in about["measured_seconds"].values() if not isinstance(value, str))
        elif "measured_seconds" in about:
            gpu += about["measured_seconds"] + about["measured_validation_seconds"]
        elif fidelity.epochs == fidelity.schedule_epochs:  # the whole curve; its beginning is part of it
            core += column.rows["microseconds"].sum() / 1e6 / about["clock"]["scale"]
    return gpu / 3600, core / 3600


def undertakings(rates: dict[str, float]) -> Iterator[Line]:
    """The undertakings of the page."""
    runs = 1_000_000
    seconds = RUN_SECONDS + rates["store_seconds"] + rates["export_seconds"] + rates["verify_seconds"]
    stored = rates["store_bytes"] + rates["export_bytes"] + rates["packed_bytes"]
    yield Line(
        "10^6 runs as of `kd`, stored, exported, replayed", 0, runs * seconds / 3600, runs * stored / 1e9
    )
    full, short = (sum(training_hours(fidelity).values()) / GPU_SPEED for fidelity in ("none@200", "none@12"))
    size = _gigabytes("nas-bench-201-12-epochs")
    again = "a second seed of"
    yield Line(
        f"{again} `nas-bench-201` (200 epochs of all classes, three data sets)",
        full,
        0,
        _gigabytes("nas-bench-201"),
    )
    yield Line(f"{again} `nas-bench-201-12-epochs` (all classes, three data sets)", short, 0, size)
    for name in ("kd_readings", "kd_low_fidelity", "kd_scores", "zero_cost"):
        yield Line(f"{again} `{name}`, as much as is measured", *measured_again(name), _gigabytes(name))
    training, passes = (hours / GPU_SPEED for hours in teacher_hours())
    distilled = training + short * distilled_over_plain()
    yield Line("nst@12 of all classes, three data sets, outputs of a teacher shared by the students side by side",
               distilled, 0, size)  # fmt: skip
    yield Line(
        "the same, every student with its own passes of the teacher",
        distilled + passes,
        0,
        size,
    )


def _gigabytes(name: str) -> float:
    folder = HERE.parents[1] / "nasbench_kd" / "tables" / "data" / name.replace("-", "_")
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e9


def table_of(lines: Iterable[Line], gpus: int, cores: int, gpu_price: float, core_price: float) -> str:
    """The undertakings in Markdown."""
    text = [
        f"| undertaking | GPU-hours | core-hours | hours on {gpus} GPUs and {cores} cores | GB | US dollars |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for line in lines:
        hours = max(line.gpu_hours / gpus, line.core_hours / cores)
        dollars = line.gpu_hours * gpu_price + line.core_hours * core_price
        numbers = (line.gpu_hours, line.core_hours, hours, line.gigabytes, dollars)
        shown = (f"{number:,.3g}" if number < 100 else f"{number:,.0f}" for number in numbers)
        text.append(f"| {line.what} | {' | '.join(shown)} |")
    return "\n".join(text)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument(
        "--gpu-price", type=float, default=3.0, help="assumed US dollars for an hour of a GPU"
    )
    parser.add_argument(
        "--core-price", type=float, default=0.05, help="assumed US dollars for an hour of a core"
    )
    args = parser.parse_args()
    rates = json.loads((HERE / "rates.json").read_text(encoding="utf-8"))
    print(table_of(undertakings(rates), args.gpus, args.cores, args.gpu_price, args.core_price))


if __name__ == "__main__":
    main()
