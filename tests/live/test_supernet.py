"""The supernet: its modes agree, gradients are those of hand computations, trainings resume, and bills are counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nasbench_kd.errors import UnknownNameError
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.choice_cell import ChoiceCell, path_edges
from nasbench_kd.live.supernet.paths import Fixed, draw_fair_paths, draw_path
from nasbench_kd.live.supernet.supernet import seeded_supernet
from nasbench_kd.live.supernet.training import SharedTraining, count_correct, one_batch_scores
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.training_seconds import seconds_per_image

CODES = Cell.from_index(9930).codes


@pytest.fixture
def images(tiny_task) -> DeviceImages:
    return DeviceImages(
        tiny_task.train_images,
        tiny_task.train_labels,
        tiny_task.statistics,
        size=8,
        dtype=torch.float32,
        device=torch.device("cpu"),
        padding=1,
    )


def batch(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("index", [9930, 1462, 1835, 3, 77])
def test_the_modes_agree_where_one_operation_has_all_the_weight(index: int):
    supernet = seeded_supernet(5, seed=1, channels=4, cells_per_stage=2).double()
    codes = Cell.from_index(index).codes
    hard = F.one_hot(torch.tensor(codes), 5).double()
    path = supernet(batch(), codes)
    assert path.shape == (4, 5)
    assert torch.allclose(supernet.joint(batch(), hard), path, atol=1e-10)
    assert torch.allclose(supernet.sampled(batch(), hard), path, atol=1e-10)


def test_joint_is_the_weighted_sum_of_all_operations():
    cell = ChoiceCell(3).double()
    weights = torch.rand(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def edge(number: int, features: torch.Tensor) -> torch.Tensor:
        return sum(weights[number, code] * cell.operate(number, code, features) for code in range(1, 5))

    first = edge(0, x)
    second = edge(1, x) + edge(2, first)
    expected = edge(3, x) + edge(4, first) + edge(5, second)
    assert torch.allclose(cell.joint(x, weights), expected, atol=1e-10)


def test_sampled_weights_have_the_straight_through_gradient():
    cell = ChoiceCell(3).double()
    codes = (1, 0, 0, 3, 2, 0)  # 0-1 skip, 0-3 and 1-3 convolutions, the rest none
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = F.one_hot(torch.tensor(codes), 5).double().requires_grad_()
    coefficients = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad((coefficients * cell.sampled(x, weights)).sum(), weights)
    direct = (coefficients * cell.operate(3, 3, x)).sum()
    assert float(found[3, 3]) == pytest.approx(float(direct.detach()), rel=1e-9)
    others = float(coefficients.sum())  # an operation that is not run counts as ones
    assert found[3, [0, 1, 2, 4]].tolist() == pytest.approx([others] * 4, rel=1e-9)
    pointwise = float((coefficients * cell.operate(4, 2, x)).sum().detach())
    assert float(found[4, 2]) == pytest.approx(pointwise, rel=1e-9)


def test_what_is_not_on_the_path_has_no_gradient():
    supernet = seeded_supernet(5, seed=1, channels=4, cells_per_stage=1).double()
    codes = (3, 0, 0, 1, 0, 2)  # only 0-3 is on a path: the convolutions lead nowhere or come from nowhere
    assert path_edges(codes) == (3,)
    supernet(batch(), codes).sum().backward()
    in_cells = [value for name, value in supernet.named_parameters() if ".convolutions." in name]
    assert {value.grad is None for value in in_cells} == {True}


def test_paths_are_live_and_fair_ones_have_every_operation_once():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_path(generator) for _ in range(2000)]
    assert all(path_edges(codes) for codes in drawn)
    shares = np.array([[np.mean(np.array(drawn)[:, e] == code) for code in range(5)] for e in range(6)])
    assert np.abs(shares - 0.2).max() < 0.05
    for _ in range(20):
        paths = draw_fair_paths(generator)
        assert all(path_edges(codes) for codes in paths)
        assert [sorted(column) for column in zip(*paths, strict=True)] == [list(range(5))] * 6


@pytest.mark.parametrize(("sampler", "paths"), [("uniform", 1), ("uniform", 3), ("fair", 5)])
def test_a_training_learns_resumes_and_bills_what_it_ran(images, sampler: str, paths: int):
    def start() -> SharedTraining:
        supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
        return SharedTraining(supernet, images, epochs=4, seed=2, sampler=sampler, batch=32, paths=paths)

    whole = start()
    losses = [whole.run_epoch() for _ in range(4)]
    assert losses[-1] < losses[0]
    first, second = start(), start()
    first.run_epoch()
    first.step()  # in the middle of the second epoch
    second.restore(first.state())
    second.run_epoch()
    assert [second.run_epoch() for _ in range(2)] == losses[2:]
    assert second.passes.seconds == whole.passes.seconds
    assert whole.passes.single == 4 * 96 * paths
    generator = torch.Generator().manual_seed(2)
    expected = 0.0
    for _ in range(4):
        torch.randperm(96, generator=generator)
        for _ in range(3):
            images.augmented_batch(torch.arange(32), generator)
            drawn = draw_fair_paths(generator) if paths == 5 else [draw_path(generator) for _ in range(paths)]
            expected += 32 * sum(seconds_per_image(codes, 1) for codes in drawn)
    assert whole.passes.seconds == pytest.approx(expected)


def test_a_sub_supernet_draws_and_moves_one_operation_of_its_edge(images):
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    fixed = Fixed(edge=3, code=2)
    training = SharedTraining(supernet, images, epochs=2, seed=2, fixed=fixed, batch=16)
    training.run_epoch()
    training.run_epoch()
    for name, value in supernet.state_dict().items():
        if ".convolutions.3." in name:
            assert bool((value != before[name]).any()) == ("nor_conv_1x1" in name)
    generator = torch.Generator().manual_seed(0)
    assert {draw_path(generator, fixed)[3] for _ in range(50)} == {2}


def test_an_unknown_sampler_is_named(images):
    with pytest.raises(UnknownNameError, match="Did you mean 'uniform'"):
        SharedTraining(seeded_supernet(4, seed=1), images, epochs=1, seed=1, sampler="unifrm")


def test_scores_are_those_of_the_whole_set_and_dead_cells_guess(images):
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    rows = torch.arange(96)
    plain = (supernet(images.batch(rows), CODES).argmax(1) == images.labels).sum()
    assert count_correct(supernet, images, CODES) == float(plain)
    assert count_correct(supernet, images, CODES, batch=90) == float(
        plain
    )  # six images join the batch before
    assert count_correct(supernet, images, (0,) * 6) == 24.0


def test_the_published_judges_see_one_batch_each(images, monkeypatch):
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    cells = [Cell.from_codes(CODES), Cell.from_codes((0,) * 6), Cell.from_codes(CODES)]
    whole = count_correct(supernet, images, CODES)
    found = one_batch_scores(lambda _: supernet, images, cells, seed=3)
    assert found == [pytest.approx(100 * whole / 96), 25.0, pytest.approx(100 * whole / 96)]
    monkeypatch.setattr("nasbench_kd.live.supernet.training.SCORED_BATCH", 32)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(3))
    expected = [100 * count_correct(supernet, images, CODES, rows=order[at : at + 32]) / 32 for at in (0, 64)]
    found = one_batch_scores(lambda _: supernet, images, cells, seed=3)
    assert [found[0], found[2]] == expected
