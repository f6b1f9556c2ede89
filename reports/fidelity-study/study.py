"""Measure candidate proxies on the first classes of the fill's order; resumable, any prefix is useful.

    python reports/fidelity-study/study.py measure --images FOLDER --splits FOLDER --teacher FILE \\
        --database study.db --plan PLAN.toml
"""

from __future__ import annotations

import argparse
import ctypes
import os
import tomllib
from pathlib import Path

import torch

from nasbench_kd.fidelity import Fidelity
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.images import load_task
from nasbench_kd.live.store import Finished, Job, Store
from nasbench_kd.live.teacher import load_teacher, make_cache
from nasbench_kd.live.trainer import Training, Workbench
from nasbench_kd.space import representatives
import numpy as np

SEED = 777


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("images", "splits", "teacher", "database", "plan"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    libc = ctypes.CDLL(None)
    for option, value in ((-3, 1 << 25), (-1, (1 << 31) - 1), (-2, 1 << 26)):
        libc.mallopt(option, value)
    torch.set_num_threads(1)
    order = np.random.default_rng(201).permutation(6466)
    cells = [representatives()[i] for i in order]
    task = load_task("cifar10", args.images, args.splits)
    teacher = load_teacher(args.teacher, 10)
    store = Store(args.database)
    benches: dict[tuple[int, int], Workbench] = {}
    done_lines = -1
    while True:
        plan = tomllib.loads(args.plan.read_text())["round"]
        if done_lines == len(plan):
            break
        done_lines = len(plan)
        for rnd in plan:
            for cell in cells[rnd["from"] : rnd["to"]]:
                for base in rnd["fidelities"]:
                    for name in rnd["distillations"]:
                        fid = Fidelity.parse(f"{name}@{base}")
                        job = Job("cifar10", str(fid), SEED, cell.index)
                        if not store.claim(job):
                            continue
                        key = (fid.train_images, fid.image_size or 32)
                        if key not in benches:
                            if len(benches) > 12:
                                benches.clear()
                            bench = Workbench(task, fid, valid_images=2500)
                            rows = bench.train_rows
                            full = DeviceImages(task.train_images[rows], task.train_labels[rows], task.statistics, size=32, dtype=torch.float32, device=bench.device)
                            bench.cache = make_cache(teacher, full, [bench.size // 2**i for i in range(3)], torch.bfloat16, bench.device)
                            benches[key] = bench
                        training = Training(benches[key], cell, fid, SEED)
                        while not training.done:
                            training.run_epoch()
                        c = training.curve
                        store.finish(Finished(job, 2500, tuple(c.valid_correct), tuple(c.train_seconds), tuple(c.valid_seconds), "diverged" if c.diverged else "ok", {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
