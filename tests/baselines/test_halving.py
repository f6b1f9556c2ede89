"""Successive halving, Hyperband, BOHB and ASHA against schedules and densities worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, code_matrix
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd_baselines.asha import ASHA
from nasbench_kd_baselines.bohb import BOHB, Density
from nasbench_kd_baselines.hyperband import Hyperband, hyperband_brackets
from nasbench_kd_baselines.successive_halving import SuccessiveHalving, halving

RUNGS = ("nst@1/12", "nst@4/12", "nst@12", "none@200")
METHODS = [SuccessiveHalving, Hyperband, BOHB, ASHA]


@pytest.fixture(scope="module")
def bench():
    """Accuracy grows with the number of 3x3 convolutions; all rungs agree but for a little noise."""
    rng = np.random.default_rng(0)
    quality = 10 * (code_matrix() == 3).sum(axis=1) + rng.normal(size=SPACE_SIZE)
    seconds = {"nst@1/12": 10.0, "nst@4/12": 40.0, "nst@12": 120.0, "none@200": 1000.0, "none@12": 100.0}
    return table_benchmark(
        "cifar10",
        {name: (20 + quality + rng.normal(size=SPACE_SIZE), price) for name, price in seconds.items()},
    )


def asked(run):
    """Steps without the teacher's, which was paid for and not asked for."""
    return [step for step in run.steps if not step.teacher]


def by_fidelity(run):
    steps = {}
    for step in asked(run):
        steps.setdefault(step.fidelity, []).append(step)
    return steps


def test_a_bracket_halves_and_promotes_the_best(bench):
    run = nk.search(
        SuccessiveHalving(rungs=RUNGS, eta=2, initial=8), task=bench, budget="16 evaluations", seed=1
    )
    steps = by_fidelity(run)
    assert [len(steps[rung]) for rung in RUNGS] == [8, 4, 2, 1]
    for lower, upper in itertools.pairwise(RUNGS):
        ranked = sorted(steps[lower], key=lambda step: -step.valid_accuracy)
        assert [step.cell for step in steps[upper]] == [step.cell for step in ranked[: len(steps[upper])]]
    assert run.answer.index == steps["none@200"][0].cell


def test_a_resumed_training_costs_the_difference(bench):
    run = nk.search(
        SuccessiveHalving(rungs=RUNGS, eta=2, initial=8), task=bench, budget="16 evaluations", seed=1
    )
    charged = {rung: {step.charged / 1e6 for step in steps} for rung, steps in by_fidelity(run).items()}
    assert charged == {"nst@1/12": {10.0}, "nst@4/12": {30.0}, "nst@12": {80.0}, "none@200": {1000.0}}


def test_workers_wait_for_the_end_of_a_rung(bench):
    optimizer = SuccessiveHalving(rungs=RUNGS, eta=2, initial=4)
    run = nk.search(optimizer, task=bench, budget="8 evaluations", seed=0, workers=3)
    steps = by_fidelity(run)
    for lower, upper in itertools.pairwise(RUNGS[:3]):
        assert max(step.finish for step in steps[lower]) <= min(step.start for step in steps[upper])


def test_another_bracket_follows_with_new_cells(bench):
    run = nk.search(
        SuccessiveHalving(rungs=RUNGS, eta=2, initial=8), task=bench, budget="31 evaluations", seed=1
    )
    steps = by_fidelity(run)
    assert [len(steps[rung]) for rung in RUNGS] == [16, 8, 4, 2]
    assert len({step.cell for step in steps[RUNGS[0]]}) == 16


def test_the_schedule_can_be_looked_at(bench):
    optimizer = SuccessiveHalving(rungs=RUNGS)
    nk.search(optimizer, task=bench, budget="1 evaluations")
    assert [(str(fidelity), size) for fidelity, size in optimizer.schedule] == [
        ("nst@1/12", 32),
        ("nst@4/12", 16),
        ("nst@12", 8),
        ("none@200", 4),
    ]
    assert halving(range(4), 10, 3) == [(0, 10), (1, 3), (2, 1), (3, 1)]


def test_hyperband_has_the_brackets_of_the_paper():
    """Table 1 of Li et al.: R = 81, eta = 3, five brackets."""
    assert [[size for _, size in bracket] for bracket in hyperband_brackets(5, 3)] == [
        [81, 27, 9, 3, 1],
        [34, 11, 3, 1],
        [15, 5, 1],
        [8, 2],
        [5],
    ]
    assert [bracket[0][0] for bracket in hyperband_brackets(5, 3)] == [0, 1, 2, 3, 4]


def test_hyperband_runs_its_brackets_in_turns(bench):
    optimizer = Hyperband(rungs=RUNGS[:3])
    run = nk.search(optimizer, task=bench, budget="36 evaluations", seed=0)
    expected = ["nst@1/12"] * 9 + ["nst@4/12"] * 3 + ["nst@12"] + ["nst@4/12"] * 5 + ["nst@12"] * 4
    assert [step.fidelity for step in asked(run)] == (expected * 2)[:35]
    assert optimizer.brackets == hyperband_brackets(3, 3)


def test_asha_promotes_as_soon_as_it_can(bench):
    """Algorithm 2 with eta = 2, one worker: worked out from the accuracies that it was told."""
    run = nk.search(ASHA(rungs=RUNGS[:3], eta=2), task=bench, budget="40 evaluations", seed=3)
    finished, climbed = [[], [], []], [set(), set(), set()]
    for step in asked(run):
        promotable = None
        for rung in (1, 0):
            top = sorted(finished[rung], reverse=True)[: len(finished[rung]) // 2]
            promotable = next(((rung, cell) for _, cell in top if cell not in climbed[rung]), None)
            if promotable:
                break
        rung = RUNGS.index(step.fidelity)
        assert rung == (promotable[0] + 1 if promotable else 0)
        if promotable:
            assert step.cell == promotable[1]
            climbed[promotable[0]].add(step.cell)
        finished[rung].append((step.valid_accuracy, step.cell))


def test_asha_keeps_every_worker_busy(bench):
    run = nk.search(ASHA(rungs=RUNGS, eta=4), task=bench, budget="60 evaluations", seed=0, workers=4)
    teacher = max(step.teacher for step in run.steps) / 1e6
    assert 4 * max(step.finish for step in run.steps) / 1e6 < run.training_seconds + 4 * teacher + 4 * 1000


def test_the_density_is_the_product_of_aitchison_aitken_kernels():
    data = np.array([[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 1], [0, 2, 2, 3, 0, 1]])
    density = Density(data, (5,) * 6, 0.3, 0.8)
    std = data.std(axis=0)
    bandwidth = np.clip(1.06 * std * 3 ** (-0.1), 0.3, 0.8)
    assert density.bandwidth == pytest.approx(bandwidth)
    assert bandwidth[4] == 0.8
    assert bandwidth[0] == 0.3
    assert 0.3 < bandwidth[1] < 0.8
    point, total = (0, 1, 2, 3, 4, 1), 0.0
    for row in data:
        kernel = 1.0
        for edge in range(6):
            kernel *= 1 - bandwidth[edge] if row[edge] == point[edge] else bandwidth[edge] / 4
        total += kernel / 3
    assert density(np.array([point])) == pytest.approx([total])
    assert density(code_matrix().astype(int)).sum() == pytest.approx(1.0)


def test_draws_keep_an_edge_with_the_kernels_probability():
    density = Density(np.tile([3, 3, 3, 3, 3, 3], (8, 1)), (5,) * 6, 0.3, None)
    drawn = density.sample(20_000, np.random.default_rng(0))
    assert (drawn == 3).mean() == pytest.approx(0.7 + 0.3 / 5, abs=0.01)


def test_bohb_proposes_better_cells_than_random_ones(bench):
    gains = []
    for seed in range(8):
        means = []
        for kind in (BOHB(rungs=RUNGS[:3], samples=64), Hyperband(rungs=RUNGS[:3])):
            run = nk.search(kind, task=bench, budget="240 evaluations", seed=seed)
            means.append(np.mean([step.valid_accuracy for step in by_fidelity(run)["nst@1/12"]][18:]))
        gains.append(means[0] - means[1])
    assert np.mean(gains) > 3


def test_the_default_ladder_is_plain_and_spaced_by_eta(bench):
    optimizer = Hyperband()
    nk.search(optimizer, task=bench, budget="1 evaluations")
    assert [str(fidelity) for fidelity in optimizer.ladder] == ["none@12", "none@200"]


@pytest.mark.parametrize("method", METHODS)
def test_a_lacking_ladder_is_named(method):
    bench = table_benchmark("cifar10", {"none@200": (np.linspace(20, 80, SPACE_SIZE), 100.0)})
    run = nk.search(method, task=bench, budget="5 evaluations")
    assert "without distillation; cifar10 has none@200. Name the rungs" in run.reason
    run = nk.search(method(rungs=["nst@12", "none@200"]), task=bench, budget="5 evaluations")
    assert "no entries at the fidelity 'nst@12' on cifar10; there are: none@200" in run.reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 1}, "eta is a number above 1, not 1"),
        ({"rungs": []}, "at least one"),
        ({"rungs": ["none@12", "none@12"]}, "rungs are different fidelities"),
    ],
)
def test_bad_arguments_are_named(method, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        method(**arguments)


class PlainASHA(ASHA):
    """Algorithm 2 to the letter: every rung is sorted for every ask."""

    def ask(self):
        for rung in range(len(self.ladder) - 2, -1, -1):
            ranked = sorted(self.ranked[rung], key=lambda result: result[0])
            for worth, _, cell in ranked[: math.floor(len(ranked) / self.eta)]:
                if cell not in self.climbed[rung] and worth < math.inf:
                    self.climbed[rung].add(cell)
                    return self.query(self.view.space[cell], self.ladder[rung + 1])
        return self.query(self.new_cell(), self.ladder[0])


@pytest.mark.parametrize(("rungs", "eta"), [(["none-cheap", "none@12", "none@200"], 10.0), (None, 1.5)])
def test_asha_promotes_as_if_it_sorted_its_rungs_for_every_ask(rungs, eta):
    arguments = {"rungs": rungs, "eta": eta}
    quick, plain = (
        nk.search(kind(**arguments), "cifar10", "400 evaluations", workers=3) for kind in (ASHA, PlainASHA)
    )
    assert len(quick.steps) == 400
    assert quick.steps == plain.steps
