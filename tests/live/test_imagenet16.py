"""From official downsampled-ImageNet pickles to measured entries of imagenet16-120, plain and distilled."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.live import archives
from nasbench_kd.live.export import write_patch
from nasbench_kd.live.fill import Phase, class_order, work
from nasbench_kd.live.laboratory import Sources
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.store import Store
from nasbench_kd.live.teacher import RESNET_CELL, TeacherFile
from nasbench_kd.tables.patch import merge
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.nasbench201 import TASKS

CURVES = tuple(f"{name}@2 images=256 batch=32 size=8 channels=4 cells=1" for name in ("none", "nst"))


def official_files(folder, monkeypatch):
    """Ten training batches and 6,000 validation images, with labels from 1 and classes beyond 120."""
    rng = np.random.default_rng(0)
    for split, names in archives.IMAGENET16_MD5.items():
        for name in list(names):
            count = 6_300 if split == "valid" else 60
            labels = np.arange(count) % 126 + 1
            shades = (labels * 2)[:, None] + rng.normal(0, 20, (count, 3 * 16 * 16))
            batch = {"data": np.clip(shades, 0, 255).astype(np.uint8), "labels": labels.tolist()}
            content = pickle.dumps(batch, protocol=2)
            (folder / name).write_bytes(content)
            monkeypatch.setitem(names, name, hashlib.md5(content).hexdigest())


def test_official_pickles_become_measured_entries(tmp_path, reference, monkeypatch):
    (tmp_path / "ImageNet16").mkdir()
    official_files(tmp_path / "ImageNet16", monkeypatch)
    teacher = seeded_network(RESNET_CELL, 120, seed=0)
    weights = {name: value.numpy() for name, value in teacher.state_dict().items()}
    np.savez(tmp_path / "teacher.npz", **weights)
    sources = Sources(
        tmp_path,
        reference / "splits",
        {"imagenet16-120": TeacherFile(tmp_path / "teacher.npz", control=True)},
    )
    phase = Phase("imagenet16-120", CURVES, classes=2)
    work(tmp_path / "fill.db", [phase], sources, clock={"scale": 0.5})
    finished = list(Store(tmp_path / "fill.db").finished())
    assert [(entry.status, entry.valid_images) for entry in finished] == [("ok", 2_500)] * 4
    assert write_patch(tmp_path / "patch.json", finished) == 4
    merge([tmp_path / "patch.json"], tmp_path / "table")
    bench = Benchmark(TASKS["imagenet16-120"], [Table.open(tmp_path / "table")])
    correct = {(entry.job.curve, entry.job.cell): entry.valid_correct[-1] for entry in finished}
    for curve in CURVES:
        for cell in class_order()[:2]:
            answer = bench.evaluate(cell, curve, seed=777)
            assert answer.source == "measured"
            assert answer.valid_accuracy == correct[curve, cell.index] / 25
