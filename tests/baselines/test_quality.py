"""On the real results the baselines find what they are known to find."""

from pathlib import Path

import numpy as np
import pytest

from nasbench_kd import Benchmark, Run, load, search
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.testing.tables import table_benchmark

RANDOM = "nasbench_kd_baselines.random_search:RandomSearch"
EVOLUTION = "nasbench_kd_baselines.regularized_evolution:RegularizedEvolution"
LOCAL = "nasbench_kd_baselines.local_search:LocalSearch"
BAYES = "nasbench_kd_baselines.bayesian_optimization:BayesianOptimization"
TPE = "nasbench_kd_baselines.optuna_search:OptunaSearch"


def scores(name: str, benchmark: Benchmark, repetitions: int) -> np.ndarray:
    """Mean of the training seeds that the search was not shown, for each answer after 100 evaluations."""

    def score(run: Run) -> float:
        assert run.answer is not None
        shown = {(step.cell, step.seed) for step in run.steps}
        return float(
            np.mean(
                [
                    benchmark.evaluate(run.answer, seed=seed).valid_accuracy
                    for seed in benchmark.seeds(run.answer)
                    if (run.answer.index, seed) not in shown
                ]
            )
        )

    return np.array(
        [
            score(search(make_optimizer(name), task=benchmark, budget="100 evaluations", seed=seed))
            for seed in range(repetitions)
        ]
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return values.mean() - half, values.mean() + half


@pytest.mark.parametrize("task", ["cifar10", "cifar100", "imagenet16-120"])
def test_guided_searches_beat_random_search(task: str) -> None:
    benchmark = load(task, data="embedded")
    upper = interval(scores(RANDOM, benchmark, 100))[1]
    assert interval(scores(EVOLUTION, benchmark, 40))[0] > upper
    assert interval(scores(LOCAL, benchmark, 40))[0] > upper
    if task == "cifar100":  # one task will do for those that take their time
        assert interval(scores(BAYES, benchmark, 6))[0] > upper
        assert interval(scores(TPE, benchmark, 12))[0] > upper


@pytest.mark.parametrize(
    ("name", "mean", "deviation"), [(RANDOM, 71.58, 0.77), (EVOLUTION, 72.60, 0.79), (LOCAL, 73.42, 0.38)]
)
def test_an_oracle_search_reaches_the_known_accuracy(
    reference: Path, name: str, mean: float, deviation: float
) -> None:
    """Searches on the final test accuracy of CIFAR-100 itself, against an independent implementation's
    mean and standard deviation over 300 runs of 100 evaluations."""
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(reference / "nb201_reference.parquet")
    accuracies = table["cifar100_test_acc_200ep_mean"].to_numpy(dtype=float)
    benchmark = table_benchmark("cifar100", {"none@200": (accuracies, 60.0)})
    reached = []
    for seed in range(100):
        run = search(make_optimizer(name), task=benchmark, budget="100 evaluations", seed=seed)
        assert run.answer is not None
        reached.append(accuracies[run.answer.index])
    assert np.mean(reached) == pytest.approx(mean, abs=3 * deviation * (1 / 100 + 1 / 300) ** 0.5)
