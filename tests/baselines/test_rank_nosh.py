"""RANK-NOSH: the pyramid against its closed form, pairs by hand, the network by finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, all_cells, code_matrix
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd_baselines.models.graph_network import GraphNetwork
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker, preferences, ranking_gradient
from nasbench_kd_baselines.rank_nosh import RankNosh

EPOCHS = (12, 50, 100, 200)
RUNGS = tuple(str(nk.Fidelity("none", epochs, 200)) for epochs in EPOCHS)


@pytest.fixture(scope="module")
def bench():
    """One 200-epoch curve, one second an epoch; the levels agree but for noise that fades."""
    rng = np.random.default_rng(0)
    quality = 6 * (code_matrix() == 3).sum(axis=1) - 8 * (code_matrix() == 0).sum(axis=1)
    return table_benchmark(
        "cifar10",
        {
            rung: (
                (60 + quality + rng.normal(size=SPACE_SIZE) * (300 - epochs) / 100).clip(0, 100),
                float(epochs),
            )
            for rung, epochs in zip(RUNGS, EPOCHS, strict=True)
        },
    )


def quick():
    return PairwiseRanker(epochs=20)


def test_level_sizes_and_epochs_are_the_closed_form(bench):
    optimizer = RankNosh(rungs=RUNGS, keep=0.5, proposals=8, initial=16, pool=64, ranker=quick())
    pool, keep, levels = 64, 0.5, len(EPOCHS)
    expected = pool * sum(
        keep**i * (upper - lower) for i, (lower, upper) in enumerate(zip((0, *EPOCHS), EPOCHS, strict=False))
    )
    trainings = round(pool * (1 + keep + keep**2 + keep**3))
    run = nk.search(optimizer, task=bench, budget=f"{trainings} evaluations", seed=0)
    assert run.training_seconds == expected == 64 * 12 + 32 * 38 + 16 * 50 + 8 * 100
    sizes = np.bincount([len(member.worths) for member in optimizer.members.values()], minlength=5)
    closed = [(keep ** (i - 1) - keep**i) * pool for i in range(1, levels)] + [keep ** (levels - 1) * pool]
    assert sizes[1:].tolist() == closed == [32, 16, 8, 8]


def test_shares_hold_after_every_round_even_where_they_are_not_whole(bench):
    optimizer = RankNosh(rungs=RUNGS, keep=0.5, proposals=10, initial=20, ranker=quick())
    nk.search(optimizer, task=bench, budget="130 evaluations", seed=0)
    pool = len(optimizer.members)
    for level in range(2, 5):
        reached = sum(len(member.worths) >= level for member in optimizer.members.values())
        assert abs(reached - 0.5 ** (level - 1) * pool) <= 5
    first = nk.search(
        RankNosh(rungs=RUNGS, initial=20, ranker=quick()), task=bench, budget="37 evaluations", seed=0
    )
    rungs = [step.fidelity for step in first.steps]
    assert [rungs.count(rung) for rung in RUNGS] == [20, 10, 5, 2]


def test_promotions_are_the_best_of_the_whole_level(bench):
    optimizer = RankNosh(rungs=RUNGS, keep=0.5, proposals=8, initial=16, ranker=quick())
    run = nk.search(optimizer, task=bench, budget="75 evaluations", seed=1)
    waiting = {}
    for step in run.steps:
        level = RUNGS.index(step.fidelity)
        if level:
            # The best of a level climbs first, so whoever climbs beats all who remain.
            accuracy = waiting[level - 1].pop(step.cell)
            assert accuracy >= max(waiting[level - 1].values(), default=0)
        waiting.setdefault(level, {})[step.cell] = step.valid_accuracy
    assert run.ending == "budget"


def test_a_complete_pool_is_trained_out_and_then_ends(bench):
    optimizer = RankNosh(rungs=RUNGS, proposals=4, initial=8, pool=12, ranker=quick())
    run = nk.search(optimizer, task=bench, budget="1000 evaluations", seed=0)
    assert run.ending == "stalled"
    assert {len(member.worths) for member in optimizer.members.values()} == {4}
    assert run.training_seconds == 12 * 200


def test_workers_wait_for_a_level(bench):
    run = nk.search(
        RankNosh(rungs=RUNGS, initial=8, ranker=quick()),
        task=bench,
        budget="15 evaluations",
        seed=0,
        workers=3,
    )
    finished = {rung: [step.finish for step in run.steps if step.fidelity == rung] for rung in RUNGS}
    started = {rung: [step.start for step in run.steps if step.fidelity == rung] for rung in RUNGS}
    for lower, upper in ((RUNGS[0], RUNGS[1]), (RUNGS[1], RUNGS[2])):
        assert max(finished[lower]) <= min(started[upper])


def test_the_schedule_can_be_looked_at(bench):
    optimizer = RankNosh(rungs=RUNGS)
    nk.search(optimizer, task=bench, budget="1 evaluations")
    assert [(str(rung), share) for rung, share in optimizer.schedule] == [
        ("none@12/200", 1.0),
        ("none@50/200", 0.5),
        ("none@100/200", 0.25),
        ("none@200", 0.125),
    ]


def test_pairs_are_compared_at_the_deepest_common_level():
    curves = [[50.0, 60.0, 70.0], [55.0, 58.0], [40.0], [52.0], [40.05]]
    expected = np.zeros((5, 5))
    expected[0, [1, 2, 4]] = 1  # 60 > 58 after level 2; 50 > 40 and 50 > 40.05 after level 1.
    expected[1, [2, 3, 4]] = 1
    expected[3, [2, 4]] = 1  # 52 > 50, but cell 0 was promoted: the pair (3, 0) is discrepant.
    assert preferences(curves).tolist() == expected.tolist()
    expected[3, 0] = 0.5
    assert preferences(curves, discrepant_weight=0.5).tolist() == expected.tolist()
    assert preferences(curves, smallest_gap=0.01)[4, 2] == 1


def test_the_ranking_gradient_is_ranknets():
    rng = np.random.default_rng(0)
    scores, weights = rng.normal(size=6), rng.random((6, 6)) * (1 - np.eye(6))

    def loss(values):
        gaps = values[:, None] - values[None, :]
        return (weights * np.log1p(np.exp(-gaps))).sum() / weights.sum()

    steps = 1e-6 * np.eye(6)
    slope = [(loss(scores + step) - loss(scores - step)) / 2e-6 for step in steps]
    assert ranking_gradient(scores, weights) == pytest.approx(slope, abs=1e-8)


def test_the_graph_is_that_of_the_specification():
    nodes = ["input", "01", "02", "12", "03", "13", "23", "output"]
    arrows = {
        "input": ["01", "02", "03"],
        "01": ["12", "13"],
        "02": ["23"],
        "12": ["23"],
        "03": ["output"],
        "13": ["output"],
        "23": ["output"],
        "output": [],
    }
    expected = [[target in arrows[source] for target in nodes] for source in nodes]
    assert SPACE.graph.arrows.tolist() == expected


def test_the_gradient_of_the_network_is_right():
    rng = np.random.default_rng(0)
    network = GraphNetwork(SPACE.graph, rng, width=6, dtype=np.float64)
    inputs = network._inputs(range(12))
    mask = (rng.random((12, 3)) > 0.3) / 0.7
    targets = rng.normal(size=12)

    def loss():
        return 0.5 * ((network._forward(*inputs, mask)[0] - targets) ** 2).sum()

    outputs, cache = network._forward(*inputs, mask)
    network._backward(cache, outputs - targets)
    for place in range(0, len(network.flat), 5):
        kept, values = network.flat[place], []
        for step in (1e-6, -1e-6):
            network.flat[place] = kept + step
            values.append(loss())
        network.flat[place] = kept
        assert network.slope[place] == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-6)


def test_the_ranker_orders_cells_that_it_has_not_seen(reference):
    pandas = pytest.importorskip("pandas")
    column = "cifar100_valid_acc_200ep_seed777"
    full = pandas.read_parquet(reference / "nb201_reference.parquet", columns=[column]).to_numpy()[:, 0]
    cells = all_cells()
    ranker = PairwiseRanker()
    ranker.fit(cells[:100], [[accuracy] for accuracy in full[:100]], np.random.default_rng(0))
    scores = ranker.score(cells[1000:3000])
    ranks = [np.argsort(np.argsort(values)) for values in (scores, full[1000:3000])]
    assert np.corrcoef(ranks)[0, 1] > 0.65


def test_it_finds_better_cells_than_halving_random_ones(bench):
    best = []
    for seed in range(2):
        run = nk.search(
            RankNosh(rungs=RUNGS, ranker=PairwiseRanker(epochs=100)),
            task=bench,
            budget="90 evaluations",
            seed=seed,
        )
        accuracies = [step.valid_accuracy for step in run.steps if step.fidelity == RUNGS[0]]
        best.append(np.mean(accuracies[20:]) - np.mean(accuracies[:20]))
    assert min(best) > 5


def test_a_lacking_ladder_is_named():
    bench = table_benchmark("cifar10", {"none@200": (np.linspace(20, 80, SPACE_SIZE), 100.0)})
    run = nk.search(RankNosh(), task=bench, budget="5 evaluations")
    assert "without distillation; cifar10 has none@200. Name the rungs" in run.reason
    run = nk.search(RankNosh(rungs=RUNGS), task=bench, budget="5 evaluations")
    assert "no entries at the fidelity 'none@12/200' on cifar10; there are: none@200" in run.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 1.0}, "keep is a number above 0 and below 1, not 1.0"),
        ({"proposals": 0}, "proposals is a whole number of at least 1, not 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        RankNosh(**arguments)


def test_a_search_that_is_trained_out_and_answers_with_its_teacher_stalls_instead_of_failing():
    """Its few cells are worse than the teacher, which it may return without having proposed it."""
    rungs = ["nst-cheap", "none@200"]
    search = RankNosh(rungs=rungs, keep=0.5, initial=2, proposals=1, pool=2)
    run = nk.search(search, "cifar100", "200 gpu-hours", seed=0)
    assert run.answer.index not in search.members
    assert run.ending == "stalled", run.reason
