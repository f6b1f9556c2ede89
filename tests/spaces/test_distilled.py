"""The tasks with distilled targets: spaces, tables and prices against the sources' files and by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.adapters.export import OptunaObjective
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import DataError
from nasbench_kd.sources import distilled as source
from nasbench_kd.spaces import residual_networks
from nasbench_kd.spaces.vision_transformers import AUTOFORMER, PIT, autoformer_parameters, pit_parameters
from nasbench_kd.stats.statistics import kendall
from nasbench_kd.tasks.distilled import PLAIN_SHARE, TASKS, UNIT_SECONDS, prices
from nasbench_kd_baselines.random_search import RandomSearch

PLAIN = {"kd-resnet": "none@240 batch=64"}
TAU = {
    "autoformer-cifar100": -0.27, "autoformer-flowers": 0.28, "autoformer-chaoyang": -0.08,
    "pit-cifar100": 0.79, "pit-flowers": 0.82, "pit-chaoyang": 0.52, "kd-resnet": 0.836,
}  # fmt: skip
"""Kendall's tau of the accuracy alone with the distilled one, as computed from the sources' files by other code."""


@pytest.fixture(scope="module")
def folder(reference: Path) -> Path:
    return reference / "kd_spaces"


@pytest.fixture(scope="module")
def lines(folder) -> list[dict[str, str]]:
    """Another reading of Auto-Prox's files, made by other code."""
    with (folder / "autoprox_vit_kd.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", TASKS)
def test_plain_and_distilled_accuracies_agree_as_much_as_the_source_says(name):
    bench = nk.load(name, data="embedded")
    plain = bench.task.target.without_distillation()
    both = [cell.index for cell in bench.task.space if bench.seeds(cell, plain)]
    tau = kendall(bench.evaluate_many(both, plain).value, bench.evaluate_many(both).value)
    assert tau == pytest.approx(TAU[name], abs=0.005)


@pytest.mark.parametrize("space", [AUTOFORMER, PIT], ids=str)
def test_networks_and_accuracies_are_those_of_the_source(space, lines):
    mine = [line for line in lines if line["space"] == space.name]
    assert len(mine) == len(space)
    for index, line in enumerate(mine):
        network, text = json.loads(line["arch"]), str(space[index])
        if space is AUTOFORMER:
            expected = {"width": network["hidden_dim"], "depth": network["depth"]}
            expected |= {f"heads{i}": heads for i, heads in enumerate(network["num_heads"], 1)}
            expected |= {f"mlp{i}": ratio for i, ratio in enumerate(network["mlp_ratio"], 1)}
        else:
            expected = {"width": network["base_dim"], "mlp": network["mlp_ratio"]}
            expected |= {f"{kind}{i}": n for kind, key in (("depth", "depth"), ("heads", "num_heads"))
                         for i, n in enumerate(network[key], 1)}  # fmt: skip
        told = dict(word.split("=") for word in text.split())
        assert {key: value for key, value in told.items() if value != "none"} == {
            key: str(value) for key, value in expected.items()
        }
        for short, images in (("c100", "cifar100"), ("flower", "flowers"), ("chaoyang", "chaoyang")):
            bench = nk.load(f"{space.name}-{images}", data="embedded")
            assert bench.evaluate(space[index]).value == pytest.approx(
                float(line[f"{short}_kd_acc"]), abs=1e-4
            )
            plain = bench.task.target.without_distillation()
            told_plain = bench.seeds(space[index], plain)
            assert bool(told_plain) == bool(line[f"{short}_base_acc"])
            if told_plain:
                assert bench.evaluate(space[index], plain).value == pytest.approx(
                    float(line[f"{short}_base_acc"]), abs=1e-4
                )


def test_residual_networks_have_the_accuracies_of_the_source(folder):
    bench = nk.load("kd-resnet", data="embedded")
    for file, fidelity in (("kd", "target"), ("cls", "none@240 batch=64")):
        text = (folder / f"diswot_s1_gt_{file}.txt").read_text()
        known = dict(line.split() for line in text.splitlines())
        assert len(known) == len(bench.task.space) == 64
        for network in bench.task.space:
            assert bench.evaluate(network, fidelity).value == pytest.approx(
                float(known["".join(network.choices)])
            )


def test_the_tables_that_ship_are_rebuilt_from_the_sources_files(folder, tmp_path):
    auto_prox = [folder / f"autoprox_gt_{name}.pth" for name in ("autoformer", "autoformer_2", "pit")]
    diswot = [folder / f"diswot_s1_gt_{name}.txt" for name in ("cls", "kd")]
    for file, path in zip(
        (*source.AUTO_PROX_FILES, *source.DISWOT_FILES), (*auto_prox, *diswot), strict=True
    ):
        assert file.matches(path)
    shipped = [table.sha256 for name in ("pit-cifar100", "kd-resnet") for table in own_tables(name)]
    assert [table.sha256 for table in source.write_tables(tmp_path, auto_prox, diswot)] == shipped
    with pytest.raises(DataError, match="no file of records"):
        source.read_records(diswot[0])


def own_tables(name: str):
    from nasbench_kd.tables.table import Table

    return [Table.open(folder) for folder in TASKS[name].tables]


def test_parameters_are_those_of_the_networks():
    """Counted by hand from the layers of the sources' models."""
    smallest = next(each for each in residual_networks.SPACE if each.choices == ("1", "1", "1"))
    first, second, third = (
        2 * (16 * 16 * 9) + 4 * 16,
        16 * 32 * 9 + 32 * 32 * 9 + 4 * 32,
        32 * 64 * 9 + 64 * 64 * 9,
    )
    shortcuts = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    by_hand = 3 * 16 * 9 + 2 * 16 + first + second + third + 4 * 64 + shortcuts + 65 * 100
    assert residual_networks.parameters(smallest, 100) == by_hand
    torch = pytest.importorskip("torch", reason="layers to count")
    for network in (AUTOFORMER[0], AUTOFORMER[7], PIT[0], PIT[63]):
        assert sum(p.numel() for p in transformer(torch, network).parameters()) == (
            autoformer_parameters if network.space == AUTOFORMER else pit_parameters
        )(network, 100)


def transformer(torch, network):
    """The layers of a network of either space, written again."""
    nn, told = torch.nn, dict(zip(network.space.coordinates, network.choices, strict=True))

    def block(width, ratio):
        hidden = int(width * ratio)
        return nn.ModuleList([nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width),
                              nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)])  # fmt: skip

    def free(*shape):
        return nn.ParameterList([nn.Parameter(torch.zeros(*shape))])

    if network.space == AUTOFORMER:
        width, layers = int(told["width"]), int(told["depth"])
        blocks = [block(width, float(told[f"mlp{i}"])) for i in range(1, layers + 1)]
        return nn.ModuleList([nn.Conv2d(3, width, 16), free(1, 197, width), free(1, 1, width), *blocks,
                              nn.LayerNorm(width), nn.Linear(width, 100)])  # fmt: skip
    widths = [int(told["width"]) * int(told[f"heads{i}"]) for i in (1, 2, 3)]
    blocks = [block(widths[i], int(told["mlp"])) for i in range(3) for _ in range(int(told[f"depth{i + 1}"]))]
    pools = [nn.ModuleList([nn.Conv2d(a, b, 3, groups=a), nn.Linear(a, b)])
             for a, b in ((widths[0], widths[1]), (widths[1], widths[2])) if b % a == 0]  # fmt: skip
    assert len(pools) == 2, "take a network whose widths divide each other"
    return nn.ModuleList([nn.Conv2d(3, widths[0], 16, stride=8), free(1, widths[0], 27, 27), free(1, 1, widths[0]),
                          *blocks, *pools, nn.LayerNorm(widths[2]), nn.Linear(widths[2], 100)])  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_prices_follow_the_stated_rule(name):
    task, bench = TASKS[name], nk.load(name, data="embedded")
    told = np.array([bench.evaluate(network).seconds for network in task.space])
    assert told.mean() == pytest.approx(UNIT_SECONDS)
    assert told == pytest.approx(prices(task), abs=1e-6)
    sizes = np.array([task.sizes(network)["parameters"] for network in task.space])
    assert np.corrcoef(sizes, told)[0, 1] > 0.8
    plain = task.target.without_distillation()
    network = next(each for each in task.space if bench.seeds(each, plain))
    assert bench.evaluate(network, plain).seconds == pytest.approx(
        PLAIN_SHARE * told[network.index], abs=1e-6
    )
    run = nk.search(RandomSearch(fidelity="target"), bench, "3 evaluations")
    assert run.teacher_seconds == UNIT_SECONDS


def test_exports_hold_the_networks():
    frame = nk.load("kd-resnet").to_frame()
    assert len(frame) == 64
    assert frame["architecture"][0] == "blocks1=1 blocks2=1 blocks3=1"
    named = {"blocks1": "3", "blocks2": "1", "blocks3": "7"}
    assert str(OptunaObjective("kd-resnet").cell(named)) == "blocks1=3 blocks2=1 blocks3=7"


def test_answers_are_scored_by_what_searches_are_shown():
    scorer = open_scorer("kd-resnet")
    assert scorer.basis == "shown"
    assert scorer.scores([3, 5], [1, 1]).tolist() == scorer.reference[[3, 5]].tolist()
    best = np.sort(scorer.reference)[::-1]
    # The best of 64 drawn without replacement, by counting.
    chance = [10 / 64]
    for place in range(1, 55):
        chance.append(chance[-1] * (54 - place + 1) / (64 - place))
    assert scorer.random_search().expected(10) == pytest.approx(float(np.dot(chance, best[:55])), abs=0.02)
