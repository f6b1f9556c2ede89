"""Map matching: alignment by its definition, a batch chosen by the teacher, and scores that resume."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nasbench_kd.live import map_matching
from nasbench_kd.live.archives import write_packed
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.export import write_patch
from nasbench_kd.live.fill import class_order
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.map_matching import MapMatching, Matched, linear_cka, unit_gram
from nasbench_kd.live.map_matching_scores import MapMatchingScores
from nasbench_kd.live.store import Store
from nasbench_kd.live.teacher import write_random_teacher
from nasbench_kd.spaces.nasbench201 import Cell


def test_alignment_is_that_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(6, 4, 3, 3, generator=generator)
    second = torch.randn(6, 5, 2, 2, generator=generator)

    def norm(left: torch.Tensor, right: torch.Tensor) -> float:
        x, y = (each.double().flatten(1) - each.double().flatten(1).mean(0) for each in (left, right))
        return float((x.T @ y).norm())

    defined = norm(first, second) ** 2 / norm(first, first) / norm(second, second)
    assert float(linear_cka(first, second)) == pytest.approx(defined, rel=1e-5)
    assert float(linear_cka(first, 3 * first + 2)) == pytest.approx(1, abs=1e-5)
    turned = torch.linalg.qr(torch.randn(36, 36, generator=generator))[0]
    assert float(linear_cka(first, (first.flatten(1) @ turned).reshape(6, 4, 3, 3))) == pytest.approx(
        1, abs=1e-5
    )
    assert float(unit_gram(torch.ones(6, 4, 3, 3)).abs().max()) == 0.0


@pytest.fixture
def images(tiny_task) -> DeviceImages:
    return DeviceImages(
        tiny_task.train_images,
        tiny_task.train_labels,
        tiny_task.statistics,
        size=8,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def matching(teacher, images: DeviceImages) -> MapMatching:
    return MapMatching(teacher, images, images, 4, batch=12, dtype=torch.float32)


def test_the_batch_is_what_the_teacher_is_surest_of(tiny_teacher, images):
    rows = torch.arange(len(images))
    losses = F.cross_entropy(tiny_teacher(images.batch(rows)).logits, images.labels, reduction="none")
    assert set(matching(tiny_teacher, images).rows.tolist()) == set(losses.argsort()[:12].tolist())


def test_steps_lower_the_loss_and_a_seed_fixes_it(tiny_teacher, images):
    fixed = matching(tiny_teacher, images)
    cell = Cell.from_index(1462)
    short, long = (fixed.train(cell, steps=steps, seed=1) for steps in (1, 40))
    assert long.loss < 0.5 * short.loss
    assert long.loss == pytest.approx(0.8 * long.matching + 0.2 * long.cross_entropy, rel=1e-5)
    assert 0 <= long.matching < short.matching < 3
    assert fixed.train(cell, steps=40, seed=1) == long
    assert fixed.train(cell, steps=40, seed=2) != long
    assert long.score == -long.loss


def test_a_diverged_training_scores_lowest(tiny_teacher, images, monkeypatch):
    monkeypatch.setattr(map_matching, "LEARNING_RATE", 1e30)
    found = matching(tiny_teacher, images).train(Cell.from_index(1462), steps=30, seed=1)
    assert not math.isfinite(found.loss)
    assert found.score == -math.inf
    assert Matched(0.5, 0.1, 0.2).score == -0.5


def test_scores_are_kept_one_by_one(tmp_path, tiny_task):
    about = {"classes": 4, "mean": tiny_task.statistics.mean, "std": tiny_task.statistics.std, "padding": 1}
    splits = {
        "train": (tiny_task.train_images, tiny_task.train_labels),
        "valid": (tiny_task.valid_images, tiny_task.valid_labels),
    }
    write_packed(tmp_path / "tiny.zip", splits, about)
    teacher = write_random_teacher(tmp_path / "random.npz", 4)
    laboratory = Laboratory(Sources(tmp_path, tmp_path, {"tiny": teacher}), dtype=torch.float32)
    scoring, store = MapMatchingScores(laboratory, "tiny", seed=7), Store(tmp_path / "store.db")
    assert scoring.missing(store, 2) == list(class_order()[:2])
    scoring.score_into(store, class_order()[:1])
    scoring.score_into(store, class_order()[:1])
    assert scoring.missing(store, 2) == [class_order()[1]]
    assert MapMatchingScores(laboratory, "tiny", seed=8).missing(store, 2) == list(class_order()[:2])
    (entry,) = scoring.finished(store)
    assert entry.job.curve == "rmi-random-teacher"
    assert entry.readings["score"].values == scoring.score(class_order()[:1])[0].readings["score"].values
    beside = MapMatchingScores(laboratory, "tiny", seed=7, students=2)
    beside.score_into(store, class_order()[:2])
    assert scoring.missing(store, 2) == []
    kept = [each.provenance["device"] for each in beside.finished(store)]
    assert sorted(device.endswith("2 students side by side") for device in kept) == [False, True]
    assert np.isclose(entry.seconds[0], 75 * 32 / 4 * _seconds(class_order()[0]))
    longer = MapMatchingScores(laboratory, "tiny", seed=7, steps=150)
    assert longer.missing(store, 1) == list(class_order()[:1])
    longer.score_into(store, class_order()[:1])
    (other,) = longer.finished(store)
    assert other.job.curve == "rmi-150-random-teacher"
    assert other.seconds[0] == 2 * entry.seconds[0]
    assert other.readings["score"].values[0] > entry.readings["score"].values[0]  # it learned on
    assert write_patch(tmp_path / "patch.json", [entry, other]) == 2


def _seconds(cell: Cell) -> float:
    counts = {name: cell.operations.count(name) for name in set(cell.operations)}
    edges = 1.73 * counts.get("nor_conv_1x1", 0) + 2.28 * counts.get("nor_conv_3x3", 0)
    edges += 0.83 * counts.get("avg_pool_3x3", 0) - 0.19 * counts.get("skip_connect", 0)
    return (3.55 + edges / 5) / 25_000


def test_networks_side_by_side_score_as_alone(tiny_teacher, images):
    fixed = matching(tiny_teacher, images)
    cells = class_order()[:5]
    alone = [fixed.train(cell, steps=6, seed=3) for cell in cells]
    together = fixed.train_together(cells, steps=6, seed=3)
    np.testing.assert_allclose(together, alone, rtol=2e-4)


def test_one_that_diverges_leaves_the_others_alone(tiny_teacher, images, monkeypatch):
    fixed = matching(tiny_teacher, images)
    cells = class_order()[:3]
    calm = fixed.train_together(cells, steps=3, seed=3)
    monkeypatch.setattr(map_matching, "LEARNING_RATE", 1e30)
    assert [each.score for each in fixed.train_together(cells, steps=8, seed=3)] == [-math.inf] * 3
    assert all(math.isfinite(each.loss) for each in calm)
