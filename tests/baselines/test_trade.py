"""TRADE: the state machine by hand, the joint sample against the dense posterior, and the search."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError
from nasbench_kd.spaces.complexity import multiply_accumulates
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, code_matrix
from nasbench_kd.spaces.vision_transformers import AUTOFORMER
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd.testing.worlds import kd_world
from nasbench_kd_baselines.common.trust_region import TrustRegion
from nasbench_kd_baselines.models.gaussian_process import GaussianProcess, covariance_table
from nasbench_kd_baselines.trade import (
    Trade,
    sample_grid_prior,
    sample_posterior,
    sample_prior,
    student_codes,
)


def record(region, outcomes):
    for outcome in outcomes:
        region.record(outcome == "+")


def test_the_region_grows_after_three_successes_in_a_row_up_to_its_maximum():
    region = TrustRegion()
    record(region, "++-++")
    assert (region.length, region.radius) == (0.8, 5)
    record(region, "+")
    assert (region.length, region.radius, region.successes) == (1.6, 6, 0)
    record(region, "+++")
    assert region.length == 1.6


def test_the_region_shrinks_after_six_failures_in_a_row():
    region = TrustRegion()
    record(region, "-----+-----")
    assert region.length == 0.8
    record(region, "-")
    assert (region.length, region.radius, region.failures) == (0.4, 2, 0)
    record(region, "------")
    assert (region.length, region.radius) == (0.2, 1)
    record(region, "+++")
    assert (region.length, region.radius) == (0.4, 2)


def test_the_region_is_over_below_its_minimum():
    region = TrustRegion()
    record(region, "-" * 36)
    assert region.length == 0.8 / 2**6
    assert not region.over
    record(region, "-" * 6)
    assert region.length == 0.00625
    assert region.over
    assert region.radius == 1


def fitted_model():
    model = GaussianProcess(code_matrix())
    model.logarithms = np.array([0.3, -1.5, -0.5, -2.0, -1.0, -0.2, -3.0, -2.0])
    model.condition([5, 17, 300, 4711])
    return model, np.array([1.0, -0.5, 0.3, 0.0])


def dense(model, points):
    return covariance_table(model.hyperparameters)[model.patterns(points)[:, points]]


def test_a_prior_draw_has_the_covariance_of_the_table():
    model, _ = fitted_model()
    table = covariance_table(model.hyperparameters)
    codes = code_matrix()
    rng = np.random.default_rng(0)
    patterns = np.zeros(SPACE_SIZE, dtype=int)
    for edge in range(6):
        patterns |= (codes[:, edge] != codes[0, edge]).astype(int) << edge
    draws = np.array([sample_grid_prior(table, rng, SPACE) for _ in range(1200)])
    measured = draws.T @ draws[:, 0] / len(draws)
    by_pattern = np.bincount(patterns, measured) / np.bincount(patterns)
    assert by_pattern == pytest.approx(table, abs=0.15 * table[0])
    assert (draws**2).mean() == pytest.approx(table[0], rel=0.05)


def test_a_posterior_draw_has_the_textbook_mean_and_covariance():
    model, targets = fitted_model()
    rng = np.random.default_rng(1)
    points = [5, 17, 18, 300, 9000]
    draws = np.array([sample_posterior(model, targets, rng, SPACE)[points] for _ in range(1200)])
    seen = [5, 17, 300, 4711]
    everything = dense(model, points + seen)
    across, within = everything[:5, 5:], everything[5:, 5:] + model.hyperparameters.noise * np.eye(4)
    mean = across @ np.linalg.solve(within, targets)
    covariance = everything[:5, :5] - across @ np.linalg.solve(within, across.T)
    assert draws.mean(axis=0) == pytest.approx(mean, abs=0.12)
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.16)


def test_a_sample_without_a_grid_is_drawn_with_the_same_covariance():
    model = GaussianProcess(AUTOFORMER.codes[:30])
    covariance = covariance_table(model.hyperparameters, model.coordinates)[model.patterns(range(30))]
    rng = np.random.default_rng(0)
    draws = np.array([sample_prior(covariance, rng) for _ in range(2000)])
    assert draws.T @ draws / len(draws) == pytest.approx(covariance, abs=0.15 * covariance[0, 0])


class CountingTrade(Trade):
    """Counts the regions that were started."""

    regions = 0

    def _new_region(self):
        self.regions += 1
        super()._new_region()


def test_queries_stay_in_the_ball_around_the_regions_best():
    optimizer = CountingTrade(initial_length=0.3, success_tolerance=100)
    radii = []
    world = kd_world(0.9)
    optimizer.setup(view_of(world), np.random.default_rng(0))
    for step in range(40):
        query = optimizer.ask()
        if step >= 12 and optimizer.regions == 1:
            centre = optimizer.students[int(np.argmax(optimizer.values))]
            distance = sum(
                a != b for a, b in zip(query.cell.codes, nk.Cell.from_index(centre).codes, strict=True)
            )
            assert 1 <= distance <= optimizer.region.radius
            radii.append(optimizer.region.radius)
        optimizer.tell(query, world.evaluate(*query))
    assert radii[0] == 2


def view_of(world):
    return nk.SearchView(
        "cifar10",
        10,
        1,
        world.fidelities,
        tuple(map(world.mean_seconds, world.fidelities)),
        0.0,
        space=SPACE,
        target=FULL,
    )


def test_a_used_up_region_gives_way_to_a_new_one():
    flat = np.full(SPACE_SIZE, 50.0)
    bench = table_benchmark("cifar10", {"none@200": (flat, 100.0), "nst@12": (flat, 10.0)})
    optimizer = CountingTrade()
    run = nk.search(optimizer, task=bench, budget="130 evaluations", seed=0)
    # On a plateau everything fails: 12 + 42 evaluations, or fewer where a ball is used up first.
    assert run.ending == "budget"
    assert optimizer.regions >= 3
    assert len({step.cell for step in run.steps}) == 130


@pytest.mark.parametrize("workers", [1, 4])
def test_it_finds_better_students_than_random_cells(workers):
    gains = []
    for seed in range(4):
        world = kd_world(0.9, seed=seed)
        accuracies = world.evaluate_many(np.arange(SPACE_SIZE), "nst@12").valid_accuracy
        run = nk.search(
            Trade(), task=world, budget="60 evaluations", seed=seed, workers=workers, bill_teacher=False
        )
        assert run.ending == "budget", run.reason
        assert {step.fidelity for step in run.steps} == {"nst@12"}
        rng = np.random.default_rng(seed)
        random = np.mean([rng.choice(accuracies, 60).max() for _ in range(200)])
        gains.append(accuracies[run.answer.index] - random)
    assert np.mean(gains) > 0.2


def test_after_the_maximum_the_best_students_are_trained_in_full():
    world = kd_world(0.9, seed=1)
    run = nk.search(Trade(maximum=20), task=world, budget="45 evaluations", seed=0, bill_teacher=False)
    assert run.ending == "budget", run.reason
    distilled, full, after = run.steps[:20], run.steps[20:40], run.steps[40:]
    assert {step.fidelity for step in distilled} == {"nst@12"}
    assert {step.fidelity for step in full} == {"none@200"}
    ranked = sorted(distilled, key=lambda step: -step.valid_accuracy)
    assert [step.cell for step in full] == [step.cell for step in ranked]
    # All 20 have been trained in full: one new student at a time, which then is, too.
    assert [step.fidelity for step in after] == ["nst@12", "none@200", "nst@12", "none@200", "nst@12"]
    assert after[0].cell == after[1].cell
    assert full[0].answer == full[0].cell
    best = max(
        (step for step in run.steps if step.fidelity == "none@200"), key=lambda step: step.valid_accuracy
    )
    assert run.answer.index == best.cell


def test_the_cost_target_buys_smaller_cells():
    def cost(**arguments):
        costs = []
        for seed in range(3):
            run = nk.search(
                Trade(**arguments),
                task=kd_world(0.9, seed=seed),
                budget="40 evaluations",
                seed=seed,
                bill_teacher=False,
            )
            costs.append(multiply_accumulates(run.answer, 10) / 1e6)
        return np.mean(costs)

    assert cost(cost_target=40.0, cost_exponent=-0.5) < cost() / 2


def test_the_penalty_is_the_closed_form():
    optimizer = Trade(cost_target=100.0)
    optimizer.setup(view_of(kd_world(0.9)), np.random.default_rng(0))
    cell = nk.Cell.from_operations(["nor_conv_3x3"] * 6)
    assert optimizer.penalty(cell, optimizer.trainings[0]) == pytest.approx((220.12 / 100) ** -0.07, rel=1e-4)


def test_the_dearest_distilled_fidelity_is_the_default_and_its_lack_is_named():
    flat = np.linspace(20, 80, SPACE_SIZE)
    entries = {"none@200": (flat, 100.0), "nst@12": (flat, 9.0), "kd@4/12": (flat, 7.0)}
    run = nk.search(
        Trade(), task=table_benchmark("cifar10", entries), budget="3 evaluations", bill_teacher=False
    )
    assert {step.fidelity for step in run.steps} == {"nst@12"}
    bench = table_benchmark("cifar10", {"none@200": (flat, 100.0)})
    run = nk.search(Trade(), task=bench, budget="3 evaluations")
    assert "cifar10 has no fidelity with distillation; it has none@200" in run.reason
    assert nk.search(Trade(fidelity="none@200"), task=bench, budget="3 evaluations").ending == "budget"


def test_a_pickled_search_goes_on_the_same():
    world = kd_world(0.9)
    first = Trade()
    first.setup(view_of(world), np.random.default_rng(0))
    for step in range(30):
        if step == 18:
            second = pickle.loads(pickle.dumps(first))
        queries = [one.ask() for one in ((first,) if step < 18 else (first, second))]
        assert len(set(queries)) == 1
        for one in (first,) if step < 18 else (first, second):
            one.tell(queries[0], world.evaluate(*queries[0]))


FAMILIES = ("nst@12", "nst@12 channels=8")


def family_world(narrow_seconds=5.0):
    """A cell's accuracies in two families, alike but not in the same order, at prices of their own."""
    rng = np.random.default_rng(4)
    wide = kd_world(0.9).evaluate_many(np.arange(SPACE_SIZE), "nst@12").valid_accuracy
    narrow = wide - 4 + rng.normal(scale=0.5, size=SPACE_SIZE)
    narrow_times = narrow_seconds + np.arange(SPACE_SIZE) % 7
    entries = {
        "none@200": (wide, 100.0),
        FAMILIES[0]: (wide, 10.0 + np.arange(SPACE_SIZE) % 3),
        FAMILIES[1]: (narrow, narrow_times),
    }
    return table_benchmark("cifar10", entries)


@pytest.mark.parametrize("workers", [1, 4])
def test_each_student_of_two_families_is_told_and_paid_as_itself(workers):
    world, optimizer = family_world(), CountingTrade(families=FAMILIES, cost_target=40.0)
    run = nk.search(
        optimizer, task=world, budget="30 evaluations", seed=0, workers=workers, bill_teacher=False
    )
    assert run.ending == "budget", run.reason
    assert {step.fidelity for step in run.steps} == set(FAMILIES)
    assert len({(step.cell, step.fidelity) for step in run.steps}) == 30
    objectives = []
    for step in run.steps:
        entry = world.evaluate(nk.Cell.from_index(step.cell), step.fidelity)
        assert (step.valid_accuracy, step.charged / 1e6) == (entry.valid_accuracy, entry.seconds)
        # 7.78 M and so on are for 16 channels; widths enter squared but for stem and classifier.
        channels, convolutions = 8 if "channels" in step.fidelity else 16, nk.Cell.from_index(step.cell).codes
        pointwise = 28 + 15 * convolutions.count(2) + 135 * convolutions.count(3)
        cost = 32**2 * (27 * channels + pointwise * channels**2) + (4 * channels + 1) * 10
        objectives.append(entry.valid_accuracy * (cost / 40e6) ** -0.07)
    model = dict(zip(optimizer.students, optimizer.values, strict=True))
    assert optimizer.regions == 1
    for step, objective in zip(run.steps, objectives, strict=True):
        student = FAMILIES.index(step.fidelity) * SPACE_SIZE + step.cell
        assert model[student] == pytest.approx(objective, rel=1e-12)
    best = run.steps[int(np.argmax(objectives))]
    assert (run.answer.index, str(optimizer.incumbent.fidelity)) == (best.cell, best.fidelity)
    assert optimizer.incumbent.worth == best.valid_accuracy


@pytest.mark.parametrize(
    ("arguments", "family"), [({}, 0), ({"cost_target": 10.0, "cost_exponent": -0.5}, 1)]
)
def test_the_cost_decides_between_the_families(arguments, family):
    """The wide one is four points better; at the same cell the narrow one costs a quarter."""
    shares = []
    for seed in range(2):
        run = nk.search(Trade(families=FAMILIES, **arguments), family_world(), "50 evaluations", seed=seed)
        shares.append(np.mean([step.fidelity == FAMILIES[family] for step in run.steps[25:]]))
    assert np.mean(shares) > 0.8


def test_what_one_family_shows_is_believed_of_the_other():
    model = GaussianProcess(student_codes(SPACE, 2))
    model.logarithms = np.array([0.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -2.0, -4.0])
    model.condition([5, 4711])
    mean = model.mean(np.array([1.0, -1.0]))
    assert 0.3 < mean[SPACE_SIZE + 5] < mean[5] < 1
    assert -1 < mean[4711] < mean[SPACE_SIZE + 4711] < -0.3


@pytest.mark.parametrize("families", [2, 3])
def test_a_prior_draw_over_families_has_the_covariance_of_the_table(families):
    logarithms = np.array([0.2, -1.0, -0.5, -2.0, -1.0, -0.2, -3.0, -1.5, -2.0])
    model = GaussianProcess(student_codes(SPACE, families))
    model.logarithms = logarithms
    table = covariance_table(model.hyperparameters)
    rng = np.random.default_rng(0)
    draws = np.array([sample_grid_prior(table, rng, SPACE, families) for _ in range(1000)])
    reference = SPACE_SIZE + 77
    patterns = model.patterns([reference])[0]
    measured = draws.T @ draws[:, reference] / len(draws)
    by_pattern = np.bincount(patterns, measured) / np.bincount(patterns)
    assert by_pattern == pytest.approx(table, abs=0.15 * table[0])


def test_what_a_task_cannot_give_is_said_before_the_first_student():
    def reason(optimizer, task):
        return nk.search(optimizer, task, "3 evaluations").reason

    assert "of a cheaper fidelity than none@200" in reason(Trade(fidelity="target", maximum=9), "cifar10")
    assert "of a cheaper fidelity than kd@240 batch=64" in reason(Trade(maximum=9), "kd-resnet")
    assert "the multiply-accumulates of networks of kd-resnet are not known" in reason(
        Trade(cost_target=9.0), "kd-resnet"
    )


def test_a_pickled_search_of_two_families_goes_on_the_same():
    world = family_world()
    first = nk.search(Trade(families=FAMILIES), world, "30 evaluations", seed=3, workers=2)
    again = nk.search(
        pickle.loads(pickle.dumps(Trade(families=FAMILIES))), world, "30 evaluations", seed=3, workers=2
    )
    assert first.steps == again.steps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cost": float}, "needs a cost_target"),
        ({"cost_exponent": 0.1}, "of at most 0"),
        ({"initial": 1}, "initial is a whole number of at least 2, not 1"),
        ({"maximum": 0}, "maximum is a whole number of at least 1, not 0"),
        ({"fidelity": "nst@12", "families": FAMILIES}, "a fidelity or families, not both"),
        ({"families": ("nst@12",)}, "at least two different fidelities"),
        ({"families": ("nst@12", "nst@12")}, "at least two different fidelities"),
        ({"families": ("nst@12", "nst@4/12 channels=8")}, "differ in channels or cells alone"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Trade(**arguments)
