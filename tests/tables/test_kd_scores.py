"""The shipped scores by shared weights: what is known of them, and how well they rank."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.spaces.nasbench201 import EDGES, SPACE
from nasbench_kd.spaces.training_seconds import seconds_per_image
from nasbench_kd.stats.statistics import kendall
from nasbench_kd.tasks.nasbench201 import TASKS

EVERY = np.arange(len(SPACE))


def is_dead(codes: tuple[int, ...]) -> bool:
    """Whether no path leads from input to output."""
    reached = {0}
    for edge, (source, target) in enumerate(EDGES):
        if source in reached and codes[edge]:
            reached.add(target)
    return 3 not in reached


@pytest.mark.parametrize("task", ["cifar10", "cifar100"])
def test_dead_cells_explain_nothing_and_all_others_something(task: str):
    scores = nk.load(task, data="embedded").evaluate_many(EVERY, "dna", "score").value
    dead = np.array([is_dead(cell.codes) for cell in SPACE])
    assert dead.sum() == 341
    np.testing.assert_allclose(scores[dead], -1, atol=1e-6)
    assert scores[~dead].max() < 0


@pytest.mark.parametrize(
    ("task", "name", "expected"),
    [("cifar10", "dna", 0.58), ("cifar100", "dna", 0.546), ("imagenet16-120", "dna on=cifar100", 0.558)],
)
def test_how_they_rank_all_cells(task: str, name: str, expected: float):
    """The specification's own training has 0.544 on CIFAR-100 and 0.553 on ImageNet16-120, with another seed."""
    bench = nk.load(task, data="embedded")
    found = bench.evaluate_many(EVERY, name, "score")
    truth = np.nanmean(open_scorer(task, "embedded").valid, axis=1)
    assert kendall(found.value, truth) == pytest.approx(expected, abs=0.002)
    passes = [500 * seconds_per_image(cell.codes, 1) / 3 for cell in SPACE]
    np.testing.assert_allclose(found.seconds, passes, atol=1e-6)


def test_a_search_pays_for_teacher_and_stages_before_its_first_score():
    from nasbench_kd_baselines.shared_weights import DNA

    run = nk.search(
        DNA(score="dna on=cifar100", candidates=200), task="imagenet16-120", budget="40 gpu-hours", seed=1
    )
    assert run.ending == "budget"
    scored = [step for step in run.steps if step.fidelity == "dna on=cifar100"]
    full = [step for step in run.steps if step.fidelity == "none@200"]
    assert len(scored) == 200
    stages = next(each.seconds for each in TASKS["cifar100"].prerequisites if each.name == "stages")
    assert [step.teacher for step in scored] == [round(stages * 1e6), *[0] * 199]
    assert sum(step.charged for step in scored) < 10e6  # a scoring pass is a hundredth of a second
    assert run.steps[0].fidelity == "none@200 on=cifar100"  # the teacher
    assert len(full) > 5
    truth = np.nanmean(open_scorer("imagenet16-120", "embedded").valid, axis=1)
    assert truth[[step.cell for step in full]].mean() > truth.mean() + 2
