"""Zero-cost scores against values computed by hand, and against published ones of the same names."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.network import seeded_network
from nasbench_kd.live.teacher import RESNET_CELL
from nasbench_kd.live.zero_cost import jacov, nwot, synflow
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.stats.statistics import kendall

DEAD = Cell.from_operations(["none"] * 6)
LOWEST = -(math.log(1e-5) + 1e5)


class Layers(nn.Module):
    """Layers in a row, as a network."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        logits = self.layers(images)
        return Outputs([], logits, logits)


def draw(count: int, side: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def small(cell: Cell = RESNET_CELL, seed: int = 1):
    return seeded_network(cell, 10, seed=seed, channels=4, cells_per_stage=1)


@pytest.fixture
def two_layers():
    """12 inputs, 5 ReLUs, 2 logits, in float64: small enough to do by hand in NumPy."""
    torch.manual_seed(3)
    return Layers(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)).double()


def arrays(network):
    """The weights and biases of `two_layers`."""
    return [parameter.detach().numpy() for parameter in network.parameters()]


def test_nwot_is_the_log_determinant_of_agreements_counted_one_by_one(two_layers):
    images = draw(4, side=2).double()
    weight, bias, *_ = arrays(two_layers)
    on = images.flatten(1).numpy() @ weight.T + bias > 0
    kernel = [[sum(a == b for a, b in zip(on[i], on[j], strict=True)) for j in range(4)] for i in range(4)]
    expected = math.log(np.linalg.det(np.array(kernel, float)))
    assert nwot(two_layers, images) == pytest.approx(expected, rel=1e-12)


def test_nwot_adds_the_kernels_of_all_relus():
    """Maps of two layers and of 4 x 4 positions count unit by unit."""
    torch.manual_seed(5)
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
    network = Layers(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(96, 2)).double()
    images = draw(5, side=4).double()
    with torch.no_grad():
        before = [first(images), second(first(images).relu())]
    on = np.concatenate([x.flatten(1).numpy() > 0 for x in before], axis=1)
    kernel = on.shape[1] - (on[:, None] != on[None]).sum(2)
    assert nwot(network, images) == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-12)


def test_jacov_by_hand(two_layers):
    """The gradient of the sum of logits is the sum over open ReLUs; its score from the correlation coefficients."""
    images = draw(4, side=2).double()
    weight, bias, head, _ = arrays(two_layers)
    on = images.flatten(1).numpy() @ weight.T + bias > 0
    gradients = (on * head.sum(0)) @ weight
    eigenvalues = np.linalg.eigvals(np.corrcoef(gradients)).real
    expected = sum(-math.log(v + 1e-5) - 1 / (v + 1e-5) for v in eigenvalues)
    assert jacov(two_layers, images) == pytest.approx(expected, rel=1e-6)


def test_synflow_sums_the_products_along_all_paths():
    """Every path counts once for each of its two layers; the biases carry flow only where a weight passes it on."""
    torch.manual_seed(7)
    network = Layers(nn.Flatten(), nn.Linear(3, 4, bias=False), nn.Linear(4, 2)).double()
    first, second, _ = arrays(network)
    paths = itertools.product(range(3), range(4), range(2))
    through = sum(abs(first[hidden, pixel]) * abs(second[logit, hidden]) for pixel, hidden, logit in paths)
    assert synflow(network, (3, 1, 1)) == pytest.approx(math.log(1 + 2 * through), rel=1e-12)


def test_synflow_leaves_out_batch_norm_and_the_signs_of_weights():
    torch.manual_seed(9)
    conv, head = nn.Conv2d(3, 4, 2), nn.Linear(4, 2)
    plain = Layers(conv, nn.Flatten(), head)
    flipped = copy.deepcopy(plain)
    with torch.no_grad():
        flipped.layers[0].weight.neg_()
    normed = Layers(conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), head)
    assert synflow(normed, (3, 2, 2)) == synflow(flipped, (3, 2, 2)) == synflow(plain, (3, 2, 2)) > 0


def test_a_dead_output_has_the_lowest_scores_and_none_is_nan():
    dead, images = small(DEAD), draw(6)
    assert nwot(dead, images) == -math.inf
    assert jacov(dead, images) == pytest.approx(6 * LOWEST)
    assert synflow(dead, (3, 8, 8)) == 0
    for cell in (RESNET_CELL, Cell.from_operations(["avg_pool_3x3"] * 6)):
        network = small(cell)
        assert math.isfinite(nwot(network, images))
        assert 6 * LOWEST < jacov(network, images) <= -6 * (math.log1p(1e-5) + 1 / (1 + 1e-5))
        assert synflow(network, (3, 8, 8)) > 0


def test_without_relus_and_with_an_image_twice():
    """A linear network: no patterns, and the same gradient for every image, so one eigenvalue of 5 is not 0."""
    linear, images = Layers(nn.Flatten(), nn.Linear(192, 3)), draw(5)
    assert nwot(linear, images) == -math.inf
    alike = 4 * LOWEST - math.log(5 + 1e-5) - 1 / (5 + 1e-5)
    assert jacov(linear, images) == pytest.approx(alike, rel=1e-6)
    assert nwot(small(), torch.cat([images, images[:1]])) == -math.inf


def test_a_seed_gives_a_score_and_the_network_is_left_as_it_was():
    network, images = small().eval(), draw(6)
    before = copy.deepcopy(network.state_dict())
    scores = nwot(network, images), jacov(network, images), synflow(network, (3, 8, 8))
    for other in (small(), network):
        assert (nwot(other, images), jacov(other, images), synflow(other, (3, 8, 8))) == scores
    other = small(seed=2)
    assert all(a != b for a, b in zip((nwot(other, images), jacov(other, images)), scores[:2], strict=True))
    assert not network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not images.requires_grad
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_ranks_agree_with_published_scores(reference):
    """NAS-Bench-Suite-Zero's scores on CIFAR-10: 60 cells, other initialisation, real images in a batch of 64.

    Ours see 16 small images of noise, so that the test is fast and needs no data set.
    """
    names = {score: f"zero_cost_cifar10_{score}" for score in ("nwot", "jacov", "synflow")}
    table = pd.read_parquet(reference / "nb201_reference.parquet", columns=["index", *names.values()])
    published = table.dropna(subset=list(names.values())).sample(60, random_state=0)
    images = draw(16, side=16)
    ours = {score: [] for score in names}
    for index in published["index"]:
        network = seeded_network(Cell.from_index(int(index)), 10, seed=777)
        ours["nwot"].append(nwot(network, images))
        ours["jacov"].append(jacov(network, images))
        ours["synflow"].append(synflow(network, (3, 32, 32)))
    tau = {score: kendall(ours[score], published[column]) for score, column in names.items()}
    assert tau["synflow"] > 0.95
    assert tau["nwot"] > 0.7
    assert tau["jacov"] > 0.5
    difference = np.array(ours["synflow"]) - published[names["synflow"]]
    assert np.abs(difference).median() < 1
