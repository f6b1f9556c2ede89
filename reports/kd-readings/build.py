"""Build the table of one-epoch trainings, and that of their controls, from what the device measured.

    python reports/kd-readings/build.py

reads every `results/*.npz` beside this file (written by `measure.py`) and writes `nasbench_kd/tables/data/kd_readings`
and `reports/distillation-worth/controls`. The same files give the same bytes. The table takes the trainings of the
first student seed with the trained teacher or none; the controls are those with a random teacher, with shuffled
maps, and with further seeds. The further seeds stay there because validation was not run for them: a search that
draws one of several seeds must find the same readings at each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.live.distillation import WEIGHTS
from nasbench_kd.live.trainer import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from nasbench_kd.opening import load
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, representatives
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.patch import coverage
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity

FOLDER = Path(__file__).parent
CONTROLS = FOLDER.parent / "distillation-worth" / "controls"
FIRST_SEED = 777
SUBSET = "the first of the split in the order of images.subset_order"
TEACHERS = {
    "trained": "trained: MF-KD's authors' weights",
    "random": "random: the same shape at initialisation, seed 1, never trained",
    "shuffled": "shuffled: the trained teacher's outputs of other images of the same set (a fixed permutation)",
}
Arrays = dict[str, npt.NDArray[Any]]


def sweeps() -> tuple[list[tuple[dict[str, Any], Arrays]], tuple[dict[str, Any], npt.NDArray[Any]]]:
    """Every sweep with its arrays, and the clock with the cells that it was measured on."""
    found, clock = [], None
    for path in sorted((FOLDER / "results").glob("*.npz")):
        data = np.load(path)
        for key in [name for name in data.files if name.endswith("/meta")]:
            number, meta = key.split("/")[0], json.loads(str(data[key]))
            arrays = {
                name.split("/")[1]: data[name]
                for name in data.files
                if name.startswith(f"{number}/") and name != key
            }
            if meta.get("clock"):
                clock = meta, arrays["cell"]
            else:
                found.append((meta, arrays))
    assert clock is not None, "no clock was measured"
    return found, clock


def full_seconds() -> npt.NDArray[np.float64]:
    """Seconds of 200 epochs of every cell on cifar10, shape (15625,)."""
    return load("cifar10", data="embedded").evaluate_many(np.arange(SPACE_SIZE)).seconds


def describe_clock(
    meta: Mapping[str, Any], cells: npt.NDArray[Any], full: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Table seconds for one measured second: both train one image of CIFAR-10 through the full network."""
    chosen = cells[: meta["students"]]
    promised = float((full[chosen] / 200 / 25_000 * meta["images"]).sum())
    count = meta["images"] * meta["students"]
    return {
        "scale": promised / meta["together_seconds"],
        "images_per_second": count / meta["together_seconds"],
        "table_images_per_second": count / promised,
        "cells": chosen.tolist(),
        "meaning": "table seconds (NAS-Bench-201's 200-epoch clock) for one measured second: both train one image of "
        f"CIFAR-10 through the full network of these cells, batch 256, no distillation; here {meta['students']} "
        "students side by side, images not augmented",
    }


def joined(found: list[tuple[dict[str, Any], Arrays]]) -> Iterator[tuple[dict[str, Any], Arrays]]:
    """The sweeps of one training together, each class once: that of the longest sweep, which came later."""
    parts: dict[tuple[str, ...], list[tuple[dict[str, Any], Arrays]]] = {}
    for meta, arrays in found:
        key = (meta["task"], meta["fidelity"], str(meta["seed"]), meta["teacher"])
        parts.setdefault(key, []).append((meta, arrays))
    for _, members in sorted(parts.items()):
        members.sort(key=lambda each: -len(each[1]["cell"]))
        kept, known = [], np.empty(0, dtype=int)
        for meta, arrays in members:
            fresh = ~np.isin(arrays["cell"], known)
            if not fresh.any():
                continue
            assert fresh.all(), "two sweeps share some of their classes"
            known = np.concatenate((known, arrays["cell"]))
            kept.append((meta, arrays))
        names = kept[0][1]
        meta = kept[0][0] | {"chunks": [chunk for each, _ in kept for chunk in each["chunks"]]}
        yield meta, {name: np.concatenate([arrays[name] for _, arrays in kept]) for name in names}


def provenance(meta: Mapping[str, Any], clock: Mapping[str, Any]) -> dict[str, Any]:
    """How the trainings of a sweep were made, as JSON values."""
    fidelity, task = Fidelity.parse(meta["fidelity"]), meta["task"]
    low = json.loads((EMBEDDED_FOLDER / "kd_low_fidelity" / "card.json").read_text())
    # The trainings of live mode saw the same images and the same teacher.
    like = next(
        each["provenance"]
        for each in low["columns"]
        if each["task"] == task and each["provenance"].get("teacher", {}).get("weights_sha256")
    )
    sizes = sorted({chunk["students"] for chunk in meta["chunks"]})
    record: dict[str, Any] = {
        "source": "measured",
        "kind": "measured by training",
        "origin": "live mode, many students side by side (live/side_by_side.py)",
        "recipe": {
            "optimizer": "SGD, Nesterov",
            "learning_rate": f"{LEARNING_RATE}, cosine per epoch to 0 over schedule_epochs",
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
        },
        "images": {
            "augmentation": "none",
            "train_images": 2500,
            "train_subset": SUBSET,
            "valid_images": 2500 if meta["validate"] else 0,
            "valid_subset": SUBSET if meta["validate"] else "validation was not run",
            "image_size": fidelity.image_size,
            "resizing": "average pooling",
            "images_sha256": like["images"]["images_sha256"],
        },
        "precision": "bfloat16 activations and convolution weights; float32 parameters, batch-norm statistics, losses "
        "and head; TF32 in float32 matrix products",
        "software": {"python": "3.12", "torch": "2.11.0+cu130", "nasbench-kd": "source tree"},
        "device": f"{meta['device']}, {', '.join(map(str, sizes))} students side by side",
        "seconds": "wall seconds of the training of all students side by side, shared among them in proportion to "
        "their cells' 200-epoch seconds in NAS-Bench-201's table; without validation",
        "measured_seconds": sum(sum(chunk["train"]) for chunk in meta["chunks"]),
        "measured_validation_seconds": sum(sum(chunk["valid"]) for chunk in meta["chunks"]),
        "clock": dict(clock),
    }
    if fidelity.distillation != "none":
        record["teacher"] = {
            "architecture": "cell",
            "kind": TEACHERS[meta["teacher"]],
            "maps": "the last of each stage, average-pooled to the student's side",
            "forward": "full-size images, once for all entries",
            "training_seconds": "not known; bill its 200 epochs from the table",
        }
        if meta["teacher"] != "random":
            record["teacher"]["weights_sha256"] = like["teacher"]["weights_sha256"]
    return record


def column(
    meta: Mapping[str, Any], arrays: Arrays, clock: Mapping[str, Any], full: npt.NDArray[np.float64]
) -> Column:
    """The trainings of a sweep; raises `AssertionError` where the recorded terms do not add up to the loss."""
    fidelity, cells = Fidelity.parse(meta["fidelity"]), arrays["cell"].astype(int)
    terms = [] if fidelity.distillation == "none" else fidelity.distillation.split("+")
    values: Arrays = {"train_accuracy": arrays["train_correct"][:, 0].astype(np.uint32)}
    correct = np.zeros(len(cells), dtype=int)
    for split in ("train", "valid") if meta["validate"] else ("train",):
        complete = (1 - WEIGHTS["kd"] if "kd" in terms else 1.0) * arrays[f"{split}_ce"][:, 0].astype(float)
        values[f"{split}_cross_entropy"] = arrays[f"{split}_ce"][:, 0]
        for term in terms:
            name = f"{split}_distillation" + (f"_{term}" if len(terms) > 1 else "")
            values[name] = arrays[f"{split}_{term}"][:, 0]
            complete += WEIGHTS[term] * arrays[f"{split}_{term}"][:, 0].astype(float)
        if split == "train":
            np.testing.assert_allclose(complete, arrays["train_loss"][:, 0], rtol=2e-3, atol=2e-2)
            values["train_loss"] = arrays["train_loss"][:, 0]
        else:
            values["valid_loss"] = complete.astype(np.float32)
            correct = arrays["valid_correct"][:, 0]
    read = {name: 2500 if name == "train_accuracy" else None for name in sorted(values)}
    rows = make_rows(
        cells,
        np.full(len(cells), meta["seed"]),
        correct,
        np.round(shared_seconds(meta, cells, full) * clock["scale"] * 1e6),
        {name: values[name] for name in read},
        diverged=~np.isfinite(arrays["train_loss"][:, 0]),
    )
    images = 2500 if meta["validate"] else 0
    return Column(meta["task"], fidelity, "valid", images, rows, provenance(meta, clock), read)


def shared_seconds(
    meta: Mapping[str, Any], cells: npt.NDArray[Any], full: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What each student took of the seconds of all that were trained, by the seconds of its cell in the table.

    All chunks of a training share one rate: a small last one, which leaves the device idle, is no dearer by itself.
    """
    students = sum(chunk["students"] for chunk in meta["chunks"])
    assert students == len(cells), f"{students} students of {len(cells)} classes"
    share = full[cells]
    seconds: npt.NDArray[np.float64] = (
        sum(sum(chunk["train"]) for chunk in meta["chunks"]) * share / share.sum()
    )
    return seconds


def main() -> None:
    """Write both tables."""
    found, (clock_meta, clock_cells) = sweeps()
    full = full_seconds()
    clock = describe_clock(clock_meta, clock_cells, full)
    table, controls = [], []
    for meta, arrays in joined(found):
        first = meta["teacher"] in ("trained", "none") and meta["seed"] == FIRST_SEED
        (table if first else controls).append(column(meta, arrays, clock, full))
    common = {
        "licence": "Apache-2.0",
        "classes": len(representatives()),
        "source": "measured by this project on one NVIDIA H200, many students side by side",
        "rebuild": "python reports/kd-readings/build.py, from the results of reports/kd-readings/measure.py",
    }
    for folder, name, title, columns in (
        (
            EMBEDDED_FOLDER / "kd_readings",
            "kd_readings",
            "One epoch of small trainings, with and without distillation, with all their readings",
            table,
        ),
        (
            CONTROLS,
            "kd_controls",
            "Controls: the same distilled trainings with a random teacher, with shuffled maps, and with two more seeds",
            controls,
        ),
    ):
        card = {"title": title, **common, "coverage": coverage(columns, SPACE)}
        table = write_table(folder, name, columns, card)
        print(f"{folder}: {sum(len(each.rows) for each in columns):,} trainings, {table.sha256}")


if __name__ == "__main__":
    main()
