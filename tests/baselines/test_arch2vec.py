"""arch2vec: what its encoder keeps, its regressions and its policy against known answers."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.simulation import Simulation
from nasbench_kd.spaces.nasbench201 import SPACE, isomorphism_classes
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd_baselines.arch2vec import Arch2vec, embedded, log_expected_improvement
from nasbench_kd_baselines.arch2vec_reinforce import Arch2vecReinforce
from nasbench_kd_baselines.models.deep_network_regression import predict_by_network, predict_by_process
from nasbench_kd_baselines.models.graph_autoencoder import SHIPPED, Pretraining, embeddings, pretrain

TOY = SearchSpace("toy of arch2vec", dict.fromkeys("abcd", ("1", "2", "3")))


def test_the_shipped_embeddings_are_those_of_their_card_and_tell_cells_apart():
    found = embeddings(SPACE)
    card = json.loads((SHIPPED / "nas-bench-201.json").read_text())
    values = np.rint(found * 1e4).astype(np.int16)
    assert hashlib.sha256(values.tobytes()).hexdigest() == card["sha256 of the values"]
    assert card["pretraining"] == Pretraining()._asdict()
    assert card["held-out graphs reconstructed"] > 0.99
    assert len(np.unique(values, axis=0)) == len(SPACE)


def test_embeddings_keep_how_often_each_operation_stands_in_a_cell():
    inputs = np.column_stack([embeddings(SPACE), np.ones(len(SPACE))])
    for operation in range(5):
        counts = (SPACE.codes == operation).sum(axis=1)
        left = counts - inputs @ np.linalg.lstsq(inputs, counts, rcond=None)[0]
        assert left.var() < 0.1 * counts.var()


def test_an_encoder_follows_its_seed_and_leaves_the_global_generator_alone():
    torch = pytest.importorskip("torch")
    how, state = Pretraining(epochs=1, batch=16, width=8), torch.random.get_rng_state()
    (nodes, share), (again, _) = (pretrain.__wrapped__(TOY, how) for _ in range(2))
    other, _ = pretrain.__wrapped__(TOY, how._replace(seed=4))
    assert nodes.shape == (81, 6, 16)
    assert 0 <= share <= 1
    assert (nodes == again).all()
    assert (nodes != other).any()
    assert (torch.random.get_rng_state() == state).all()


def test_twins_share_the_mean_of_their_embeddings():
    view = Simulation(nk.load("cifar10"), Budget.parse("1 evaluations"), 0).view()
    apart, shared = embedded(view, None, twins=False), embedded(view, None, twins=True)
    members = isomorphism_classes() == isomorphism_classes()[0]
    assert members.sum() > 1
    assert np.ptp(apart[members], axis=0).max() > 0
    assert np.allclose(shared[members], apart[members].mean(axis=0))


def test_expected_improvement_by_hand():
    found = np.exp(log_expected_improvement(np.array([70.0, 72.0, 69.0]), np.array([1.0, 1e-6, 2.0]), 70.0))
    values = np.linspace(-12, 12, 200_001)
    density = np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)
    integral = (np.maximum(0, 2 * values - 1) * density).sum() * (values[1] - values[0])
    assert found == pytest.approx([1 / math.sqrt(2 * math.pi), 2.0, integral], rel=1e-6)


def test_expected_improvement_tells_apart_what_is_far_below_the_best():
    means, deviations = np.array([50.0, 51.0, 50.0, 5.0]), np.array([1.0, 1.0, 2.0, 0.01])
    found = log_expected_improvement(means, deviations, 100.0)
    assert np.isfinite(found).all()
    assert np.argsort(-found).tolist() == [2, 1, 0, 3]
    # For z far below 0 the expectation is the deviation times the density over z squared.
    assert found[0] == pytest.approx(-(50**2) / 2 - 0.5 * math.log(2 * math.pi) - 2 * math.log(50), abs=2e-3)


def test_with_the_authors_perfect_incumbent_different_cells_are_chosen():
    search = Arch2vec(units=8, epochs=20)
    chosen = [
        [step.cell for step in nk.search(search, "cifar100", "19 evaluations", seed=seed).steps][16:]
        for seed in (0, 1)
    ]
    assert chosen[0] != chosen[1]
    assert min(chosen[0]) > 2


@pytest.mark.parametrize("predict", [predict_by_process, predict_by_network])
def test_regressions_rank_a_smooth_function_and_doubt_what_is_far_away(predict):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4))
    features[-1] = 12.0
    values = 60 + 5 * features[:, 0] - 3 * np.tanh(features[:, 1])
    observed = np.arange(60)
    settings = {"units": 32, "epochs": 60} if predict is predict_by_network else {}
    mean, deviation = predict(features, observed, values[observed], seed=0, **settings)
    assert np.corrcoef(mean[60:-1], values[60:-1])[0, 1] > 0.95
    assert deviation[-1] > 3 * np.median(deviation[observed])


def test_with_a_gaussian_process_its_choices_are_better_than_its_random_cells():
    search = Arch2vec(model="gaussian-process", improve_on="best")
    run = nk.search(search, "cifar100", "26 evaluations", seed=0)
    accuracies = [step.valid_accuracy for step in run.steps]
    assert len({step.cell for step in run.steps}) == 26
    assert np.mean(accuracies[16:]) > np.mean(accuracies[:16])


def test_a_step_of_the_policy_makes_rewarded_actions_likelier():
    pytest.importorskip("torch")
    search = Arch2vecReinforce(episode=4, units=8, baseline=0.0)
    view = Simulation(nk.load("cifar10"), Budget.parse("9 evaluations"), 0).view()
    search.setup(view, np.random.default_rng(0))
    queries = [search.ask() for _ in range(4)]
    assert search.ask() is nk.WAIT
    states, actions = list(search.states), np.array(search.actions)

    def distances():
        search.states = states
        means = [each.detach().numpy() for each in search.means()]
        return ((actions - np.array(means)) ** 2).sum(axis=1)

    before = distances()
    for query, accuracy in zip(queries, (90.0, 10.0, 10.0, 10.0), strict=True):
        search.tell(query, Evaluation(accuracy, "valid_accuracy", 1.0, 0, "measured"))
    assert search.actions == []
    gains = before - distances()
    assert gains[0] > 0
    assert gains @ np.array([0.9, 0.1, 0.1, 0.1]) > 0
    assert len({query.cell for query in queries}) == 4
