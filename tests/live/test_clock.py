"""The scale between this machine's clock and the table's is kept as it was measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import nasbench_kd as nk
from nasbench_kd.live import clock


def test_the_scale_is_not_rounded(monkeypatch):
    class Trained:
        def __init__(self, bench, cell, fidelity, seed):
            self.curve = SimpleNamespace(train_seconds=[9.0, 17.0 + cell.index])

        def run_epoch(self):
            pass

    monkeypatch.setattr(clock, "Training", Trained)
    cells = [nk.Cell.from_index(index) for index in (3, 700)]
    found = clock.measure_clock(cells, device="cpu")
    bench = nk.load("cifar10")
    promised = sum(bench.evaluate(cell).seconds / 200 / 25_000 * 512 for cell in cells)
    assert found["scale"] == pytest.approx(promised / (2 * 17 + 703), rel=1e-12)
    assert found["table_images_per_second"] == pytest.approx(1024 / promised, rel=1e-12)
    assert found["images_per_second"] == pytest.approx(1024 / 737, rel=1e-12)
