"""The plain network: parameter names, counts and maps, against closed forms and published weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nasbench_kd.live.network import Network, seeded_network, stage_ends
from nasbench_kd.live.teacher import RESNET_CELL, TeacherFile, load_teacher
from nasbench_kd.spaces.complexity import multiply_accumulates, parameters
from nasbench_kd.spaces.nasbench201 import Cell, all_cells, code_matrix


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_equal_the_closed_form_for_all_cells():
    """One network for each number of 3x3 and 1x1 convolutions; every cell's count depends on these alone."""
    codes = code_matrix()
    pairs = np.stack([(codes == 3).sum(1), (codes == 2).sum(1)], axis=1)
    distinct, first = np.unique(pairs, axis=0, return_index=True)
    built = {}
    with torch.device("meta"):
        for pair, index in zip(distinct, first, strict=True):
            built[tuple(pair)] = count(Network(all_cells()[index], 100))
    for cell, pair in zip(all_cells(), pairs, strict=True):
        n3, n1 = (int(n) for n in pair)
        assert built[n3, n1] == parameters(cell, 100) == 72_656 + 6_500 + 243_040 * n3 + 28_000 * n1


@pytest.mark.parametrize("classes", [10, 100, 120])
def test_parameters_of_random_cells_built_in_full(classes):
    rng = np.random.default_rng(classes)
    with torch.device("meta"):
        for _ in range(20):
            cell = Cell.sample(rng)
            assert count(Network(cell, classes)) == parameters(cell, classes)


def test_multiply_adds_equal_the_closed_form():
    """Counted by hooks on convolutions and the head of two cells, biases of the head included."""
    for index in (0, 11):
        cell, total = Cell.from_index(index), 0

        def add(module, inputs, output):
            nonlocal total
            if isinstance(module, nn.Conv2d):
                total += module.weight.numel() * output.shape[2] * output.shape[3]
            else:
                total += module.weight.numel() + module.bias.numel()

        with torch.device("meta"):
            network = Network(cell, 10)
            for module in network.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.register_forward_hook(add)
            network(torch.empty(1, 3, 32, 32))
        assert total == multiply_accumulates(cell, 10)


def test_names_and_shapes_are_those_of_the_authors_teachers(reference):
    """The module names and shapes of MF-KD's published state dicts, including their order."""
    for task, classes in (("cifar10", 10), ("cifar100", 100)):
        with np.load(reference / "teachers" / f"{task}_resnet_cell.npz") as arrays:
            published = {name: arrays[name].shape for name in arrays.files}
        with torch.device("meta"):
            ours = {name: tuple(v.shape) for name, v in Network(RESNET_CELL, classes).state_dict().items()}
        assert list(ours.items()) == list(published.items())
        file = TeacherFile(reference / "teachers" / f"{task}_resnet_cell.npz")
        load_teacher(file, classes, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(("channels", "cells"), [(16, 5), (8, 1), (4, 2)])
def test_outputs_are_the_stem_every_position_the_pooled_vector_and_the_logits(channels, cells):
    with torch.device("meta"):
        outputs = Network(RESNET_CELL, 7, channels, cells)(torch.empty(2, 3, 16, 16))
    assert len(outputs.maps) == 1 + 3 * cells + 2
    assert outputs.maps[0].shape == (2, channels, 16, 16)
    assert outputs.pooled.shape == (2, 4 * channels)
    assert outputs.logits.shape == (2, 7)
    ends = [tuple(features.shape[1:]) for features in stage_ends(outputs.maps)]
    assert ends == [(channels, 16, 16), (2 * channels, 8, 8), (4 * channels, 4, 4)]
    assert stage_ends(outputs.maps)[2] is outputs.maps[-1]


def test_a_seed_gives_one_network_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first = seeded_network(RESNET_CELL, 10, seed=3, channels=4, cells_per_stage=1).state_dict()
    again = seeded_network(RESNET_CELL, 10, seed=3, channels=4, cells_per_stage=1).state_dict()
    other = seeded_network(RESNET_CELL, 10, seed=4, channels=4, cells_per_stage=1).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])
