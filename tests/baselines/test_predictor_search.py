"""BANANAS and NPENAS: the encoding, the ensemble's gradient and the rounds."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError
from nasbench_kd.spaces.encodings import PATHS
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, code_matrix
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd_baselines.bananas import Bananas
from nasbench_kd_baselines.models.graph_network import GraphNetwork
from nasbench_kd_baselines.models.perceptron_ensemble import PerceptronEnsemble
from nasbench_kd_baselines.npenas import Npenas

METHODS = [Bananas, Npenas]


@pytest.fixture(scope="module")
def bench():
    quality = 6 * (code_matrix() == 3).sum(axis=1) - 8 * (code_matrix() == 0).sum(axis=1)
    noise = np.random.default_rng(0).normal(size=SPACE_SIZE)
    return table_benchmark("cifar10", {"none@200": ((60 + quality + noise).clip(0, 100), 100.0)})


def test_the_path_encoding_by_hand():
    # Codes over the edges 01, 02, 12, 03, 13, 23: paths 03 | 01 13 | 02 23 | 01 12 23.
    cell = nk.Cell.from_codes((1, 2, 3, 4, 0, 1))
    encoding = SPACE.encoding(PATHS)[cell.index]
    expected = {4, 5 + 1 + 5 * 0, 5 + 2 + 5 * 1, 30 + 1 + 5 * 3 + 25 * 1}
    assert encoding.shape == (155,)
    assert set(np.flatnonzero(encoding)) == expected


def test_the_gradient_of_the_ensemble_is_right():
    rng = np.random.default_rng(0)
    ensemble = PerceptronEnsemble(4, rng, members=3, layers=2, width=5)
    features, targets = rng.normal(size=(3, 7, 4)), rng.normal(size=(3, 7))

    def loss():
        return np.abs(ensemble._forward(features)[-1][:, :, 0] - targets).mean(axis=1).sum()

    gradient = ensemble.gradient(features, targets)
    assert gradient.shape == ensemble.flat.shape
    for place in rng.choice(len(gradient), 40, replace=False):
        kept, values = ensemble.flat[place], []
        for step in (1e-6, -1e-6):
            ensemble.flat[place] = kept + step
            values.append(loss())
        ensemble.flat[place] = kept
        assert gradient[place] == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-6)


def test_the_ensemble_learns_and_its_members_differ():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3))
    targets = np.abs(features[:, 0]) - features[:, 1]
    ensemble = PerceptronEnsemble(3, rng, members=3, layers=3, width=20)
    ensemble.fit(features[:150], targets[:150], rng, epochs=60)
    outputs = ensemble.predict(features[150:])
    assert outputs.shape == (3, 50)
    assert np.abs(outputs.mean(axis=0) - targets[150:]).mean() < 0.25 * np.abs(targets).mean()
    assert outputs.std(axis=0).min() > 0


@pytest.mark.parametrize("method", METHODS)
def test_rounds_follow_the_initial_cells(bench, method):
    retrained = []

    class Watched(method):
        def scores(self, candidates):
            retrained.append(len(self.cells))
            assert 0 < len(candidates) <= (100 if method is Npenas else 199)
            assert not {self.identity(cell) for cell in candidates} & self.asked
            return super().scores(candidates)

    run = nk.search(Watched(epochs=5), task=bench, budget="45 evaluations", seed=0)
    assert run.ending == "budget", run.reason
    assert retrained == [10, 20, 30, 40]
    assert len({step.cell for step in run.steps}) == 45


def test_mutants_differ_from_the_best_cell_by_the_mutation_rate(bench):
    optimizer = Bananas(mutation=0.25, candidates=2000, parents=1, epochs=5)
    nk.search(optimizer, task=bench, budget="10 evaluations", seed=0)
    best = optimizer.cells[int(np.argmax(optimizer.accuracies))]
    mutants = [optimizer.mutate(best) for _ in range(2000)]
    changed = np.array([np.array(mutant.codes) != best.codes for mutant in mutants])
    assert changed.mean() == pytest.approx(0.25, abs=0.02)
    others = [mutant.codes[0] for mutant in mutants if mutant.codes[0] != best.codes[0]]
    assert np.bincount(others, minlength=5)[np.arange(5) != best.codes[0]].min() > 80


@pytest.mark.parametrize("method", METHODS)
def test_it_beats_random_search(bench, method):
    accuracies = bench.evaluate_many(np.arange(SPACE_SIZE)).valid_accuracy
    better = []
    for seed in range(3 if method is Bananas else 1):
        run = nk.search(method(), task=bench, budget="50 evaluations", seed=seed)
        better.append((accuracies > accuracies[run.answer.index]).mean())
    assert np.mean(better) < 0.008  # The best of 50 random cells leaves 1 / 51 of the space above it.


@pytest.mark.parametrize("method", METHODS)
def test_bad_arguments_are_named(method):
    with pytest.raises(ArgumentError, match="batch is a whole number of at least 1, not 0"):
        method(batch=0)


def test_npenas_changes_one_operation_of_a_node_drawn_first(bench):
    optimizer = Npenas(epochs=1)
    nk.search(optimizer, task=bench, budget="1 evaluations", seed=0)
    cell = nk.Cell.from_index(4000)
    changed = np.array([np.array(optimizer.mutate(cell).codes) != cell.codes for _ in range(3000)])
    assert (changed.sum(axis=1) == 1).all()
    # Node 1 has one edge, node 2 two (02, 12), node 3 three: 1/3, 1/6 and 1/9 for each.
    assert changed.mean(axis=0) == pytest.approx([1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9], abs=0.03)


def test_npenas_counts_cells_of_the_same_paths_without_none_once(bench):
    optimizer = Npenas(epochs=1)
    # Codes over the edges 01, 02, 12, 03, 13, 23; without 13 and 23 only 03 leads to the output.
    same = [nk.Cell.from_codes(codes) for codes in ((1, 2, 3, 4, 0, 0), (3, 3, 1, 4, 0, 0))]
    assert optimizer.identity(same[0]) == optimizer.identity(same[1]) == ((4,),)
    other = nk.Cell.from_codes((1, 2, 3, 4, 0, 1))
    assert optimizer.identity(other) == ((1, 3, 1), (2, 1), (4,))
    run = nk.search(optimizer, task=bench, budget="60 evaluations", seed=0)
    paths = [optimizer.identity(nk.Cell.from_index(step.cell)) for step in run.steps]
    assert len(set(paths)) == len(paths)


def test_a_none_is_an_isolated_node_of_the_network():
    network = GraphNetwork(SPACE.graph, np.random.default_rng(0))
    # 01 leads nowhere where 12 and 13 are none: its operation is seen by no other node.
    _, passing = network._inputs(
        [nk.Cell.from_codes(codes).index for codes in ((1, 2, 0, 4, 0, 1), (1, 2, 3, 4, 0, 1))]
    )
    assert passing[0][:, 3].tolist() == passing[0][3].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert passing[1][3, 1] == passing[1][6, 3] == 1


def test_bananas_learns_errors_in_percent_where_it_is_told_to(bench, monkeypatch):
    seen = []
    fit = PerceptronEnsemble.fit
    monkeypatch.setattr(
        PerceptronEnsemble, "fit", lambda self, x, y, *rest: (seen.append(y), fit(self, x, y, *rest))[1]
    )
    run = nk.search(Bananas(standardized=False, epochs=2), task=bench, budget="11 evaluations", seed=0)
    assert seen[0] == pytest.approx([step.valid_accuracy - 100 for step in run.steps[:10]])
    nk.search(Bananas(epochs=2), task=bench, budget="11 evaluations", seed=0)
    assert (seen[1].mean(), seen[1].std()) == pytest.approx((0, 1))
