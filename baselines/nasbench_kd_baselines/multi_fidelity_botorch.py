"""BoTorch's multi-fidelity model with max-value entropy search over candidates: the library's standard."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import ArgumentError, MissingDependencyError
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import (
    a_signal,
    different_fidelities,
    integer,
    parameter,
    real,
    with_parameters,
)
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.signals import ACCURACY
from nasbench_kd_baselines.common.fidelities import ladder, price


@with_parameters
class MultiFidelityBoTorch(Optimizer):
    """Cost-aware multi-fidelity Bayesian optimization with BoTorch (Balandat et al., NeurIPS 2020).

    The model is `SingleTaskMultiFidelityGP` on the one-hot features and the fidelity; the
    acquisition is multi-fidelity max-value entropy (Takeno et al., ICML 2020) for each second,
    which scores a list of candidates and so needs no relaxation of the discrete space (the
    knowledge gradient optimizes over a continuous one). The fidelity's value is its price
    as a share of the highest one's. Needs the `botorch` package. Cells that are still being
    trained are left out, but their outcomes are not imagined.

    Ours: information for each second alone buys the cheapest fidelity for ever, where it is hundreds of times
    cheaper, so that the answer would stay one of the initial cells; after `cheap_in_row` evaluations below the
    highest fidelity the acquisition chooses a cell for the highest one. The model's parameters are fitted
    when the evaluations have grown by `refit_growth`; in between it learns the outcomes alone.

    Args:
        fidelities: cheapest first, the last is the one that the answer is chosen by; by default
            those without distillation that the task has, spaced by 3 (`fidelities.ladder`).
        initial: random cells at the start, this many at each fidelity. Ours.
        candidates: random cells that are scored with the neighbours of the incumbent. Ours.
        cheap_in_row: evaluations below the highest fidelity after which one at the highest follows.
        refit_growth: growth of the evaluations at which the parameters are fitted again; 1.0 fits for every ask.
        maximum_observations: the latest evaluations that the model sees, which bounds its time.
        maximum: evaluations after which no more models are fitted: all cells are ranked by the last
            posterior mean and trained at the highest fidelity in that order. For budgets that buy
            thousands of asks. Ours; None fits a model for every ask.
        signal: what evaluations below the full training are judged by, where their fidelity records it
            (`nasbench_kd.tasks.signals`); full trainings are judged by validation accuracy.
            Targets are then standardised for each fidelity, all together without.

    Raises `ArgumentError` on a maximum within the initial cells.
    """

    paper = "Takeno et al., ICML 2020; Balandat et al., NeurIPS 2020"
    fidelities: Sequence[str] | None = parameter(None, different_fidelities(2))
    initial: int = parameter(5, integer(1))
    candidates: int = parameter(200, integer(1))
    cheap_in_row: int = parameter(10, integer(0))
    refit_growth: float = parameter(1.2, real(1))
    maximum_observations: int = parameter(200, integer(2))
    maximum: int | None = parameter(None, integer(1))
    signal: str = parameter(ACCURACY, a_signal)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.maximum is not None and self.maximum <= 2 * self.initial:
            raise ArgumentError(
                f"maximum is more than the initial cells of two fidelities ({2 * self.initial}), or None, not "
                f"{self.maximum}"
            )

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Settle the fidelities; raises `MissingEntryError` or `MissingDependencyError`."""
        super().setup(view, rng)
        import_botorch()
        self.ladder = ladder(view, self.fidelities, 3.0, "fidelities")
        self.settle_signal(self.ladder)
        self.covered = [frozenset(view.covered(rung).tolist()) for rung in self.ladder]
        """Indices of the cells that have an entry at each fidelity."""
        self.asked: set[tuple[int, int]] = set()
        self.observed: list[tuple[int, int]] = []
        self.worths: list[float] = []
        self.ranked: list[int] | None = None
        self.cheap = 0
        self.parameters: dict[str, Any] = {}
        self.next_fit = 0.0

    def ask(self) -> Query:
        """Return a random initial cell, else the candidate and fidelity that tell most for each second."""
        started = len(self.asked)
        if started < self.initial * len(self.ladder):
            return self._random(started // self.initial)
        if len(self.observed) < 2 or len(self.asked) >= sum(map(len, self.covered)):
            return self._random(len(self.ladder) - 1)
        if self.maximum is not None and started >= self.maximum:
            return self._next_ranked()
        drawn = self.rng.choice(
            len(self.view.space), min(self.candidates, len(self.view.space)), replace=False
        )
        near = () if self.incumbent is None else self.incumbent.cell.neighbours()
        cells = sorted({*drawn.tolist(), *(cell.index for cell in near)})
        top = len(self.ladder) - 1
        pairs = [
            (cell, rung)
            for rung in range(top if self.cheap >= self.cheap_in_row else 0, top + 1)
            for cell in cells
            if (cell, rung) not in self.asked and cell in self.covered[rung]
        ]
        gains = np.round(self._gains(cells, pairs), 6)
        return self._query(*pairs[int(self.rng.choice(np.flatnonzero(gains == gains.max())))])

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn an outcome; a training that diverged counts as chance."""
        rung = self.ladder.index(self.view.fidelity(query.fidelity))
        self.keep_best(query, evaluation)
        self.observed.append((query.cell.index, rung))
        self.worths.append(self.worth(evaluation))

    def level(self, fidelity: Fidelity) -> int:
        """The last fidelity is what answers are chosen by; a teacher's full training is above it."""
        return 2 if fidelity == self.view.target else int(fidelity == self.ladder[-1])

    def _random(self, rung: int) -> Query:
        return self._query(self.random_cell(self.ladder[rung]).index, rung)

    def _query(self, cell: int, rung: int) -> Query:
        self.asked.add((cell, rung))
        self.cheap = 0 if rung == len(self.ladder) - 1 else self.cheap + 1
        return self.query(self.view.space[cell], self.ladder[rung])

    def _next_ranked(self) -> Query:
        """Return the cell with the best posterior mean that the highest fidelity has not been asked for."""
        top = len(self.ladder) - 1
        if self.ranked is None:
            with import_botorch().random.fork_rng(devices=[]):
                inputs = self._inputs([(cell, top) for cell in range(len(self.view.space))]).unsqueeze(1)
                means = np.round(self._model().posterior(inputs).mean.detach().numpy().ravel(), 6)
            self.ranked = np.lexsort((self.rng.random(len(self.view.space)), means)).tolist()
        while self.ranked:
            cell = self.ranked.pop()
            if (cell, top) not in self.asked and cell in self.covered[top]:
                return self._query(cell, top)
        return self._random(top)

    def _gains(self, cells: list[int], pairs: list[tuple[int, int]]) -> npt.NDArray[np.float64]:
        """Information about the best accuracy for each unit of price, for every pair, (n,)."""
        torch = import_botorch()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.rng.integers(2**31)))
            model = self._model()
            with torch.no_grad():
                gains = multi_fidelity_entropy(self, model, cells)(self._inputs(pairs).unsqueeze(1))
        return np.asarray(gains.numpy(), dtype=float)

    def _model(self) -> Any:
        """The model of the latest evaluations, with new parameters where it is time to fit them."""
        if len(self.observed) < self.next_fit:
            return make_model(self)
        model = fit_model(self)
        self.parameters = {name: value.detach().clone() for name, value in model.named_parameters()}
        self.next_fit = len(self.observed) * self.refit_growth
        # The fit leaves its graphs of gradients in circles of references, which only a collection frees.
        del model
        gc.collect()
        return make_model(self)

    def _inputs(self, pairs: list[tuple[int, int]]) -> Any:
        """One-hot codes and the fidelity's value as a double tensor, (n, 31)."""
        prices = np.array([price(self.view, rung) for rung in self.ladder])
        shares = np.minimum(prices / prices[-1], 1.0)
        rows, rungs = np.array(pairs).T
        return import_botorch().as_tensor(np.column_stack((self.view.space.one_hot[rows], shares[rungs])))

    def _targets(self, chosen: slice) -> npt.NDArray[np.float64]:
        """What the model is fitted to, (n,): worths, in units of their fidelity's deviation where signals differ."""
        targets = np.array(self.worths[chosen])
        if self.signal != ACCURACY:
            rungs = np.array([rung for _, rung in self.observed[chosen]])
            for rung in np.unique(rungs):
                mine = targets[rungs == rung]
                targets[rungs == rung] = (mine - mine.mean()) / (mine.std() or 1.0)
        return targets


def multi_fidelity_entropy(optimizer: MultiFidelityBoTorch, model: Any, cells: list[int]) -> Any:
    """BoTorch's acquisition over these cells."""
    torch = import_botorch()
    from botorch.acquisition.cost_aware import InverseCostWeightedUtility
    from botorch.acquisition.max_value_entropy_search import qMultiFidelityMaxValueEntropy
    from botorch.acquisition.utils import project_to_target_fidelity
    from botorch.models.cost import AffineFidelityCostModel

    top = len(optimizer.ladder) - 1
    fidelity = optimizer.view.space.one_hot.shape[1]
    costs = AffineFidelityCostModel(fidelity_weights={fidelity: 1.0}, fixed_cost=1e-3)
    return qMultiFidelityMaxValueEntropy(
        model,
        candidate_set=optimizer._inputs([(cell, top) for cell in cells]),
        cost_aware_utility=InverseCostWeightedUtility(cost_model=costs),
        project=lambda inputs: project_to_target_fidelity(inputs, {fidelity: 1.0}, fidelity + 1),
        num_fantasies=1,
    ).to(torch.double)


def make_model(optimizer: MultiFidelityBoTorch) -> Any:
    """`SingleTaskMultiFidelityGP` of an optimizer's latest evaluations, with its parameters if it has any."""
    torch = import_botorch()
    from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP
    from botorch.models.transforms import Standardize

    latest = slice(-optimizer.maximum_observations, None)
    targets = torch.as_tensor(optimizer._targets(latest), dtype=torch.double).unsqueeze(1)
    inputs = optimizer._inputs(optimizer.observed[latest])
    model = SingleTaskMultiFidelityGP(
        inputs, targets, data_fidelities=[inputs.shape[1] - 1], outcome_transform=Standardize(m=1)
    )
    model.load_state_dict(optimizer.parameters, strict=False)
    return model.eval()


def fit_model(optimizer: MultiFidelityBoTorch) -> Any:
    """The model with parameters fitted from where the last fit ended."""
    from botorch.fit import fit_gpytorch_mll
    from gpytorch.mlls import ExactMarginalLogLikelihood

    model = make_model(optimizer)
    fit_gpytorch_mll(
        ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs={"options": {"maxiter": 50}}
    )
    return model


def import_botorch() -> Any:
    """Return the `torch` module; raises `MissingDependencyError` where BoTorch is not installed."""
    try:
        import botorch  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingDependencyError("this search needs BoTorch: pip install botorch") from error
    return torch
