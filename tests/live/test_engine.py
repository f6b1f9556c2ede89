"""The fast engine computes what the plain network computes: outputs, gradients, updates, statistics."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nasbench_kd.live.engine import Engine, average_pool, live_edges
from nasbench_kd.live.network import Network, seeded_network
from nasbench_kd.spaces.nasbench201 import Cell, all_cells

CPU = torch.device("cpu")
SPECIAL = [
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|none~0|none~1|none~2|",
    "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
    "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_1x1~2|",
    "|none~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
]
"""All zero, output unreached, a dead branch, only constants, constants mixed in, all identities."""

ONLY_ZEROS = {SPECIAL[3]: {2}, SPECIAL[4]: {2}}
"""Live edges from a node that nothing reaches."""


def some_cells() -> list[Cell]:
    rng = np.random.default_rng(5)
    return [Cell.parse(string) for string in SPECIAL] + [Cell.sample(rng) for _ in range(8)]


def small(cell: Cell, seed: int = 0) -> Network:
    return seeded_network(cell, 10, seed=seed, channels=4, cells_per_stage=2).double()


@pytest.mark.parametrize("cell", some_cells(), ids=lambda cell: str(cell.index))
def test_five_steps_of_training_equal_those_of_the_plain_network(cell):
    """Outputs, and every parameter after SGD with momentum and decay: also those of edges never run."""
    plain = small(cell)
    engine = Engine(plain, torch.float64, CPU)
    plain = copy.deepcopy(plain)
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    first = torch.optim.SGD(plain.parameters(), **options)
    second = torch.optim.SGD(engine.parameters, **options)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        images = torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64)
        labels = torch.randint(10, (6,), generator=generator)
        outputs = plain(images)
        loss = F.cross_entropy(outputs.logits, labels)
        first.zero_grad()
        loss.backward()
        first.step()
        fast = engine.train_forward(images)
        F.cross_entropy(fast.logits, labels).backward()
        second.step()
        second.zero_grad()
        for ours, theirs in zip(fast.maps, outputs.maps, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(fast.logits, outputs.logits, rtol=1e-9, atol=1e-9)
    state, run = engine.state_dict(), set(live_edges(cell)) - ONLY_ZEROS.get(str(cell), set())
    for name, value in plain.state_dict().items():
        idle = ".layers." in name and int(name.split(".layers.")[1][0]) not in run
        if not idle or "running" not in name:
            torch.testing.assert_close(state[name].to(value), value, rtol=1e-9, atol=1e-9, msg=name)
    Network(cell, 10, 4, 2).load_state_dict(state, strict=True)


@pytest.mark.parametrize(
    "cell", [cell for cell in some_cells() if str(cell) not in ONLY_ZEROS], ids=lambda cell: str(cell.index)
)
def test_inference_equals_the_plain_network_in_evaluation_mode(cell):
    """With arbitrary running statistics; a convolution of zeros alone never has any but a mean of 0."""
    network = small(cell)
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs = Engine(network, torch.float64, CPU).compile_inference()(images)
    expected = network.eval()(images)
    torch.testing.assert_close(outputs.maps[-1], expected.maps[-1])
    torch.testing.assert_close(outputs.logits, expected.logits)


def test_bfloat16_stays_near_float32():
    network = seeded_network(all_cells()[11], 10, seed=0, channels=8, cells_per_stage=1)
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exact = Engine(network, torch.float32, CPU).train_forward(images).logits
    coarse = Engine(network, torch.bfloat16, CPU).train_forward(images.bfloat16()).logits
    assert coarse.dtype == torch.float32
    assert torch.corrcoef(torch.stack([exact.flatten(), coarse.flatten()]))[0, 1] > 0.995


@pytest.mark.parametrize("side", [2, 4, 5, 8, 16])
def test_average_pool_equals_the_library(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64).requires_grad_()
    expected = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(average_pool(x), expected)
    assert torch.autograd.gradcheck(average_pool, x)


def test_live_edges_by_hand():
    dead_branch = Cell.parse(SPECIAL[2])
    assert live_edges(dead_branch) == [3]
    assert live_edges(Cell.parse(SPECIAL[1])) == []
    assert live_edges(Cell.parse(SPECIAL[3])) == [2, 5]


def test_state_goes_round():
    cell = all_cells()[11]
    engine = Engine(small(cell), torch.float64, CPU)
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    engine.train_forward(images)
    other = Engine(small(cell, seed=9), torch.float64, CPU)
    other.restore(engine.state())
    assert other.steps == 1
    torch.testing.assert_close(
        other.compile_inference()(images).logits, engine.compile_inference()(images).logits
    )
