"""Each simple baseline does the steps of its paper."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_kd import Cell, Evaluation, Optimizer, Query, SearchView, load, search
from nasbench_kd.errors import UnknownNameError
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, code_matrix
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd_baselines.bayesian_optimization import BayesianOptimization
from nasbench_kd_baselines.local_search import LocalSearch
from nasbench_kd_baselines.optuna_search import MAX_REPEATS, OptunaSearch
from nasbench_kd_baselines.regularized_evolution import RegularizedEvolution
from nasbench_kd_baselines.reinforce import Reinforce

ROOT = Path(__file__).parents[2]
TARGET = Cell.from_index(1234)
DISTANCE = (code_matrix() != np.array(TARGET.codes)).sum(axis=1)


def ready(optimizer: Any, seed: int = 0) -> Any:
    view = SearchView("cifar10", 10, 1, (FULL,), (60.0,), 0.0, space=SPACE, target=FULL)
    optimizer.setup(view, np.random.default_rng(seed))
    return optimizer


def tell(optimizer: Optimizer, cell: Cell, accuracy: float) -> None:
    optimizer.tell(Query(cell, "none@200"), Evaluation(accuracy, "valid_accuracy", 60.0, 777, "measured"))


def test_evolution_mutates_the_best_of_the_living() -> None:
    # Tournaments this large always hold the best member, so that the parent is known.
    evolution = ready(RegularizedEvolution(population=5, tournament=200))
    first = [evolution.ask().cell for _ in range(5)]
    for cell, accuracy in zip(first, (50, 90, 60, 70, 80), strict=True):
        tell(evolution, cell, accuracy)
    assert evolution.ask().cell in first[1].neighbours()
    tell(evolution, Cell.from_index(0), 10)  # the oldest, 50, retires
    assert evolution.ask().cell in first[1].neighbours()
    tell(evolution, Cell.from_index(1), 11)  # the best, 90, retires although it is the best
    children = [evolution.ask().cell for _ in range(20)]
    assert all(child in first[4].neighbours() for child in children)
    assert evolution.answer() is first[1]


def test_evolution_draws_tournaments_with_replacement() -> None:
    # The worst of five wins a tournament of two only when drawn twice: once in 25.
    evolution = ready(RegularizedEvolution(population=5, tournament=2))
    cells = [Cell.from_codes([operation] * 6) for operation in range(5)]
    for accuracy, cell in enumerate(cells):
        evolution.ask()
        tell(evolution, cell, accuracy)
    children = [evolution.ask().cell for _ in range(2500)]
    share = [sum(child in cell.neighbours() for child in children) / 2500 for cell in cells]
    np.testing.assert_allclose(share, np.array([1, 3, 5, 7, 9]) / 25, atol=0.03)


@pytest.mark.parametrize("workers", [1, 3])
def test_local_search_climbs_to_the_top_and_restarts(workers: int) -> None:
    bench = table_benchmark("cifar10", {"none@200": (90 - 10.0 * DISTANCE, 60.0)})
    run = search(LocalSearch(), task=bench, budget="400 evaluations", seed=4, workers=workers)
    cells = [step.cell for step in run.steps]
    assert len(set(cells)) == len(cells) == 400
    assert run.answer is TARGET
    # At most 24 neighbours for each of 6 improvements, and the neighbours of the top before a restart.
    top = cells.index(TARGET.index)
    assert top < 10 + 6 * 24
    climb = 10
    distances = DISTANCE[cells[:10]].min()
    for cell in cells[climb : top + 1]:
        assert DISTANCE[cell] <= distances + workers, "a neighbour lies one step away"
        distances = min(distances, DISTANCE[cell])
    neighbours = {cell.index for cell in TARGET.neighbours()}
    assert neighbours <= set(cells[: top + 25 + workers]), "the top's neighbours are tried before a restart"


def test_local_search_moves_on_first_improvement() -> None:
    climber = ready(LocalSearch(starts=2))
    first, second = climber.ask().cell, climber.ask().cell
    tell(climber, first, 40.0)
    tell(climber, second, 50.0)
    better = climber.ask().cell
    assert better in second.neighbours()
    tell(climber, better, 51.0)
    following = [climber.ask().cell for _ in range(5)]
    assert all(cell in better.neighbours() for cell in following)


@pytest.mark.parametrize("learning_rate", [0.01, 0.5])
def test_reinforce_agrees_with_torch(learning_rate: float) -> None:
    torch = pytest.importorskip("torch")
    policy = ready(Reinforce(learning_rate=learning_rate))
    logits = torch.nn.Parameter(torch.tensor(policy.logits.copy()))
    optimizer = torch.optim.Adam([logits], lr=learning_rate)
    rng = np.random.default_rng(1)
    numerator = denominator = 0.0
    for _ in range(20):
        cell, reward = Cell.sample(rng), float(rng.uniform(10, 90))
        numerator, denominator = 0.9 * numerator + 0.1 * reward, 0.9 * denominator + 0.1
        log_probability = (
            torch.distributions.Categorical(logits=logits).log_prob(torch.tensor(cell.codes)).sum()
        )
        optimizer.zero_grad()
        (-log_probability * (reward - numerator / denominator)).backward()
        optimizer.step()
        tell(policy, cell, reward)
        np.testing.assert_allclose(policy.logits, logits.detach().numpy(), atol=1e-6)


def test_reinforce_samples_its_policy() -> None:
    policy = ready(Reinforce())
    policy.logits = np.log(np.tile([0.1, 0.2, 0.3, 0.4, 1e-9], (6, 1)))
    drawn = np.array([policy.ask().cell.codes for _ in range(3000)])
    for edge in range(6):
        share = np.bincount(drawn[:, edge], minlength=5) / 3000
        np.testing.assert_allclose(share, [0.1, 0.2, 0.3, 0.4, 0.0], atol=0.04)


def test_tpe_never_spends_on_a_repeat_and_learns_of_every_one() -> None:
    bench = table_benchmark("cifar10", {"none@200": (90 - 10.0 * DISTANCE, 60.0)})
    tpe = OptunaSearch()
    run = search(tpe, task=bench, budget="250 evaluations", seed=0)
    assert len({step.cell for step in run.steps}) == len(run.steps) == 250
    trials = tpe.study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.value is not None]
    assert len(finished) > 250, "the sampler repeated cells, and was told"
    for trial in finished:
        cell = Cell.from_operations([trial.params[name] for name in tpe.space])
        assert trial.value == pytest.approx(90 - 10 * DISTANCE[cell.index])


def test_a_sampler_that_only_repeats_gets_a_new_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = ready(OptunaSearch(sampler="RandomSampler"))
    known = stubborn.ask().cell
    tell(stubborn, known, 50.0)
    fixed = dict(zip(stubborn.space, known.operations, strict=True))
    ask = stubborn.study.ask
    asks = 0

    def repeat(space: Any) -> Any:
        nonlocal asks
        asks += 1
        if asks <= MAX_REPEATS:
            stubborn.study.enqueue_trial(fixed)
        return ask(space)

    monkeypatch.setattr(stubborn.study, "ask", repeat)
    assert stubborn.ask().cell is not known
    assert asks == MAX_REPEATS + 1


def test_optuna_arguments_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'TPESampler'"):
        OptunaSearch(sampler="TPESamplr")
    with pytest.raises(UnknownNameError, match="Did you mean 'multivariate'"):
        OptunaSearch(arguments={"multivarate": True})


def test_bayesian_optimization_asks_each_class_once_while_evaluations_run() -> None:
    bayes = ready(BayesianOptimization(initial=4))
    asked: list[Cell] = []
    for step in range(40):
        asked.append(bayes.ask().cell)
        if step >= 3:  # three evaluations keep running
            tell(bayes, asked[step - 3], 90 - 10 * float(DISTANCE[asked[step - 3].index]))
    modelled = [cell.isomorphism_class for cell in asked[4:]]
    assert len(set(modelled)) == len(modelled)


def test_bayesian_optimization_answers_with_the_posterior_mean() -> None:
    # A lucky training in a bad neighbourhood loses against a good one in a good neighbourhood.
    bayes = ready(BayesianOptimization())
    rng = np.random.default_rng(2)
    for index in rng.choice(SPACE_SIZE, size=120, replace=False).tolist():
        bayes.ask()
        cell = Cell.from_index(index)
        bayes.running = [int(bayes.class_of_cell[index])]
        tell(bayes, cell, 80.0 + 2 * (cell.codes[0] == 3) + 2 * (cell.codes[5] == 3))
    lucky = Cell.from_codes([0, 1, 2, 4, 1, 0])
    bayes.running = [int(bayes.class_of_cell[lucky.index])]
    tell(bayes, lucky, 84.4)
    bayes.ask()
    assert bayes.incumbent.cell is lucky
    assert (bayes.answer().codes[0], bayes.answer().codes[5]) == (3, 3)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (RegularizedEvolution, {"population": 0}),
        (LocalSearch, {"starts": 0}),
        (Reinforce, {"learning_rate": 0.0}),
        (Reinforce, {"momentum": 1.0}),
        (BayesianOptimization, {"initial": 1}),
        (BayesianOptimization, {"beta": -1.0}),
        (BayesianOptimization, {"refit_growth": 0.5}),
    ],
)
def test_bad_constants_are_refused(kind: type[Optimizer], arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        kind(**arguments)


def test_every_baseline_names_its_paper_and_fidelity() -> None:
    for kind in (RegularizedEvolution, LocalSearch, Reinforce, BayesianOptimization, OptunaSearch):
        assert kind.paper
        run = search(kind(fidelity="none@200"), task=load("cifar10", data="embedded"), budget="3 evaluations")
        assert {step.fidelity for step in run.steps} == {"none@200"}


def test_every_registered_method_has_its_row_in_the_table_of_sources() -> None:
    table = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert all(len(row) == 5 for row in rows)
    named = [name.strip(" `") for row in rows for name in row[0].split(",")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(named) == sorted(project["entry-points"]["nasbench_kd.optimizers"])
    assert all(row[1].strip() and row[3].strip() for row in rows)
