"""Small files of the official structure, made with the official packages' own classes.

The accuracies after 200 epochs are those of the embedded table, the curves before are drawn; each
is a whole number of images, as in the real files. Which sets exist at which epoch follows the
archives that NATS-Bench ships: after 200 epochs `x-valid` at every epoch on cifar10-valid alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from nasbench_kd import Benchmark, Cell, load
from nasbench_kd.spaces.nasbench201 import all_cells

IMAGES = {
    ("cifar10-valid", "x-valid"): 25_000,
    ("cifar10-valid", "ori-test"): 10_000,
    ("cifar10", "ori-test"): 10_000,
    ("cifar100", "x-valid"): 5_000,
    ("cifar100", "x-test"): 5_000,
    ("cifar100", "ori-test"): 10_000,
    ("ImageNet16-120", "x-valid"): 3_000,
    ("ImageNet16-120", "x-test"): 3_000,
    ("ImageNet16-120", "ori-test"): 6_000,
}
TASK = {"cifar10-valid": "cifar10", "cifar10": "cifar10", "cifar100": "cifar100"}
TASK["ImageNet16-120"] = "imagenet16-120"


@cache
def embedded(task: str) -> Benchmark:
    """The task with the embedded table alone."""
    return load(task, data="embedded")


def build(cells: Iterable[Cell], utilities: Any) -> dict[int, dict[str, Any]]:
    """Return `{index: {"12": state, "200": state}}` made with a package's own classes."""
    rng = np.random.default_rng(0)
    return {
        cell.index: {str(epochs): _arch_results(cell, epochs, utilities, rng) for epochs in (12, 200)}
        for cell in cells
    }


def whole_file(states: dict[int, dict[str, Any]], names: tuple[str, str] = ("12", "200")) -> dict[str, Any]:
    """Return the content of a one-file archive; NAS-Bench-201 names the schedules `less` and `full`."""
    renamed = {
        index: dict(zip(names, schedules.values(), strict=True)) for index, schedules in states.items()
    }
    return {
        "meta_archs": [str(cell) for cell in all_cells()],
        "arch2infos": renamed,
        "evaluated_indexes": set(states),
        "total_archs": len(all_cells()),
    }


def _arch_results(cell: Cell, epochs: int, utilities: Any, rng: np.random.Generator) -> dict[str, Any]:
    results = utilities.ArchResults(cell.index, str(cell))
    for dataset, task in TASK.items():
        bench = embedded(task)
        seeds = (111, 777) if dataset == "cifar10-valid" else (111,)
        for seed in bench.seeds(cell) if epochs == 200 else seeds:
            results.update(dataset, seed, _trial(cell, dataset, epochs, seed, utilities, rng))
    return results.state_dict()


def _trial(cell: Cell, dataset: str, epochs: int, seed: int, utilities: Any, rng: np.random.Generator) -> Any:
    config = {"channel": 16, "num_cells": 5, "arch_str": str(cell), "class_num": 10}
    train_images = {"cifar10": 50_000, "cifar10-valid": 25_000, "cifar100": 50_000}.get(dataset, 151_700)
    accuracies = {epoch: (seed + 37 * epoch) * 100 / train_images for epoch in range(epochs)}
    losses = {epoch: seed / (epoch + 1) for epoch in range(epochs)}
    trial = utilities.ResultsCount(dataset, None, accuracies, losses, 1.0, 1.0, config, seed, epochs, None)
    bench = embedded(TASK[dataset])
    seconds = bench.evaluate(cell).seconds / 200 * (2 if dataset == "cifar10" else 1)
    trial.reset_pseudo_train_times(seconds)
    for (name, split), images in IMAGES.items():
        if name != dataset:
            continue
        last_only = epochs == 200 and (name, split) not in (
            ("cifar10-valid", "x-valid"),
            ("cifar10", "ori-test"),
            ("cifar100", "ori-test"),
            ("ImageNet16-120", "ori-test"),
        )
        last_only |= (name, split) == ("cifar10-valid", "ori-test")
        shown = [epochs - 1] if last_only else range(epochs)
        accuracies = {epoch: int(rng.integers(images)) * 100 / images for epoch in shown}
        if epochs == 200 and split == "x-valid":
            accuracies[199] = bench.evaluate(cell, "none@200", seed=seed).valid_accuracy
        trial.update_OLD_eval(split, accuracies, {epoch: 100 - each for epoch, each in accuracies.items()})
        trial.reset_pseudo_eval_times(split, seconds / 3)
    return trial
