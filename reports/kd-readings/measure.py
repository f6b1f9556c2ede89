"""Train classes of cells side by side on a GPU, with every reading, and keep what was found as it is found.

    python reports/kd-readings/measure.py reports/kd-readings/sweeps.txt --images FOLDER --splits FOLDER --out results

A sweep is a line of the file: task, fidelity, student seed, teacher (`trained`, `none`, `random` for an untrained one
of the same shape, `shuffled` for the outputs of other images), classes of `live.fill.class_order` from and to, and
`valid` where validation is run. The folder of images holds `teachers/TASK.npz`. First the clock is measured: the full
recipe for `--clock` students side by side. Each sweep is one file of `--out`, rewritten after every part of its
classes; a sweep whose file has all of them is skipped, and no part is begun that would not end within `--seconds`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.engine import Engine
from nasbench_kd.live.fill import class_order
from nasbench_kd.live.images import STATISTICS, ImageTask, load_task, subset_order
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.side_by_side import Lessons, SideBySide, TeacherOutputs
from nasbench_kd.live.teacher import RESNET_CELL, TeacherFile, load_teacher
from nasbench_kd.live.workbench import Workbench
from nasbench_kd.tasks.fidelity import Fidelity

VALID_IMAGES = 2500
MEMORY = 0.7
"""Share of the device's memory that the activations of the students may take."""
SHUFFLE_SEED = 201
RANDOM_TEACHER_SEED = 1


class Setup:
    """Images, teachers and their outputs on one device, each made once."""

    def __init__(self, images: Path, splits: Path, device: str, dtype: torch.dtype) -> None:
        self.images, self.splits = images, splits
        self.device, self.dtype = torch.device(device), dtype
        self.task = cache(lambda name: load_task(name, images, splits))
        self.lessons = cache(self._lessons)

    def bench(self, task: str, fidelity: Fidelity) -> Workbench:
        """The images of a fidelity on the device."""
        return Workbench(
            self.task(task), fidelity, valid_images=VALID_IMAGES, dtype=self.dtype, device=self.device
        )

    def _lessons(self, task: str, count: int, kind: str) -> Lessons:
        """What a teacher says of the training and validation images."""
        images, outputs = self.task(task), []
        teacher = self._teacher(task, kind)
        for pixels, labels, size in (
            (images.train_images, images.train_labels, count),
            (images.valid_images, images.valid_labels, VALID_IMAGES),
        ):
            rows = subset_order(len(labels))[:size]
            full = DeviceImages(
                pixels[rows],
                labels[rows],
                images.statistics,
                size=images.side,
                dtype=self.dtype,
                device=self.device,
            )
            generator = torch.Generator().manual_seed(SHUFFLE_SEED)
            shuffle = torch.randperm(size, generator=generator) if kind == "shuffled" else None
            outputs.append(TeacherOutputs(teacher, full, shuffle))
        return Lessons(*outputs)

    def _teacher(self, task: str, kind: str) -> Any:
        classes = STATISTICS[task].classes
        if kind == "random":
            network = seeded_network(RESNET_CELL, classes, seed=RANDOM_TEACHER_SEED)
            return Engine(network, self.dtype, self.device).compile_inference()
        file = TeacherFile(self.images / "teachers" / f"{task}.npz")
        return load_teacher(file, classes, self.device, self.dtype)


def students_that_fit(setup: Setup, fidelity: Fidelity) -> int:
    """How many students' activations the memory holds."""
    pixels = (fidelity.image_size or 32) ** 2
    number = torch.finfo(setup.dtype).bits // 8
    each = fidelity.batch_size * fidelity.channels * pixels * number * (35 + 50 * fidelity.cells_per_stage)
    on_gpu = setup.device.type == "cuda"
    total = torch.cuda.get_device_properties(0).total_memory if on_gpu else 4e9
    return max(1, int(MEMORY * total / each))


def train(setup: Setup, spec: dict[str, Any], cells: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Readings (students, epochs) by name, and seconds, of some classes side by side."""
    fidelity = Fidelity.parse(spec["fidelity"])
    distils = fidelity.distillation != "none"
    lessons = setup.lessons(spec["task"], fidelity.train_images, spec["teacher"]) if distils else None
    side = SideBySide(setup.bench(spec["task"], fidelity), cells, fidelity, spec["seed"], lessons)
    while not side.done:
        side.run_epoch(validate=spec["validate"])
    curves, found = side.curves, {}
    for split in ("train", "valid") if spec["validate"] else ("train",):
        parts = getattr(curves, f"{split}_parts")
        found |= {f"{split}_{name}": torch.stack([each[name] for each in parts], 1) for name in parts[0]}
        found[f"{split}_correct"] = torch.stack(getattr(curves, f"{split}_correct"), 1).int()
    found["train_loss"] = torch.stack(curves.train_loss, 1)
    arrays = {
        name: values.numpy().astype(np.float32 if values.is_floating_point() else np.int32)
        for name, values in found.items()
    }
    seconds = {
        "students": len(cells),
        "train": list(curves.train_seconds),
        "valid": list(curves.valid_seconds),
    }
    return arrays, seconds


def write(path: Path, meta: dict[str, Any], cells: list[Any], arrays: dict[str, Any]) -> None:
    """One sweep as a file, whole or not at all."""
    held = {f"0/{name}": values for name, values in arrays.items()}
    held["0/meta"] = np.array(json.dumps(meta))
    held["0/cell"] = np.array([cell.index for cell in cells], dtype=np.int16)
    with path.with_suffix(".writing").open("wb") as file:
        np.savez(file, **held)
    os.replace(path.with_suffix(".writing"), path)


def sweep(setup: Setup, path: Path, spec: dict[str, Any], deadline: float, most: int) -> bool:
    """Train all classes of a sweep in equal parts; False where the time did not suffice for all."""
    cells = class_order()[slice(*spec["classes"])]
    fitting = min(most, students_that_fit(setup, Fidelity.parse(spec["fidelity"])), len(cells))
    size = -(-len(cells) // -(-len(cells) // fitting))
    parts: list[tuple[dict[str, Any], dict[str, Any]]] = []
    last = 0.0
    for at in range(0, len(cells), size):
        if time.monotonic() + 1.05 * last > deadline:
            return False
        begin = time.monotonic()
        parts.append(train(setup, spec, cells[at : at + size]))
        last = time.monotonic() - begin
        arrays = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
        write(path, spec | {"chunks": [part[1] for part in parts]}, cells[: at + size], arrays)
    return True


def measure_clock(setup: Setup, path: Path, students: int) -> None:
    """Seconds of the second epoch of the full recipe on 512 random images, all students side by side."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (512, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, 512)
    task = ImageTask("cifar10", STATISTICS["cifar10"], pixels, labels, pixels[:2], labels[:2])
    fidelity, cells = Fidelity.parse("none@2 images=512"), class_order()[:students]
    bench = Workbench(task, fidelity, dtype=setup.dtype, device=setup.device)
    side = SideBySide(bench, cells, fidelity, 0)
    for _ in range(2):
        side.run_epoch(validate=False)
    seconds = side.curves.train_seconds[1]
    meta = {"clock": True, "images": 512, "students": students, "together_seconds": seconds}
    write(path, meta, cells, {})


def main() -> None:
    """Measure the clock, then every sweep that is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--students", type=int, default=2048)
    parser.add_argument("--clock", type=int, default=16)
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    torch.set_float32_matmul_precision("high")
    setup = Setup(arguments.images, arguments.splits, arguments.device, torch.bfloat16)
    device = torch.cuda.get_device_name() if setup.device.type == "cuda" else "CPU"
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not (arguments.out / "clock.npz").exists():
        measure_clock(setup, arguments.out / "clock.npz", arguments.clock)
    lines = [line for line in arguments.sweeps.read_text().splitlines() if line and not line.startswith("#")]
    for number, line in enumerate(lines):
        task, fidelity, seed, teacher, classes, valid = (part.strip() for part in line.split("|"))
        spec = {
            "task": task,
            "fidelity": str(Fidelity.parse(fidelity)),
            "seed": int(seed),
            "teacher": teacher,
            "classes": [int(end) for end in classes.split(":")],
            "validate": valid == "valid",
            "dtype": "bfloat16",
            "device": device,
        }
        path = arguments.out / f"sweep_{number:02}.npz"
        if path.exists() and len(np.load(path)["0/cell"]) == len(class_order()[slice(*spec["classes"])]):
            continue
        if not sweep(setup, path, spec, deadline, arguments.students):
            print(f"out of time at {line}")
            break
        print(f"{line}: done", flush=True)


if __name__ == "__main__":
    main()
