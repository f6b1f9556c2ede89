"""Adapter: any Optuna sampler over the coordinates of the space."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nasbench_kd import Evaluation, Optimizer, Query, SearchView
from nasbench_kd.errors import MissingDependencyError, UnknownNameError, nearest
from nasbench_kd.simulation.parameters import a_fidelity, parameter, with_parameters
from nasbench_kd.spaces.space import Architecture
from nasbench_kd.tasks.fidelity import TARGET

if TYPE_CHECKING:
    import optuna

MAX_REPEATS = 100
"""Repeats of evaluated cells in a row after which a random new cell is taken."""


@with_parameters
class OptunaSearch(Optimizer):
    """Runs an Optuna sampler with one categorical parameter for each edge.

    The default is the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) with
    Optuna's own constants (Akiba et al., KDD 2019). Where the sampler repeats a cell it is told
    the known value at once and asked again, so that repeats cost neither budget nor time; where it
    repeats a running one, it is told when that one ends. A training that diverged has the value of
    chance.

    Args:
        fidelity: how every cell is trained.
        sampler: name of a class in `optuna.samplers`.
        arguments: for the sampler's constructor; the seed comes from the run.
    """

    paper = "Akiba et al., KDD 2019"
    fidelity: str = parameter(TARGET, a_fidelity)
    sampler: str = "TPESampler"
    arguments: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _sampler_class(self.sampler, self.arguments or {})

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Create the study, seeded from the run."""
        import optuna

        super().setup(view, rng)
        self.known: dict[int, float] = {}
        self.waiting: dict[int, list[int]] = {}
        self.space: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(choices)
            for name, choices in zip(view.space.coordinates, view.space.choices, strict=True)
        }
        kind = _sampler_class(self.sampler, self.arguments or {})
        sampler = kind(seed=int(rng.integers(2**31)), **(self.arguments or {}))
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self.study = optuna.create_study(direction="maximize", sampler=sampler)
        finally:
            optuna.logging.set_verbosity(verbosity)

    def ask(self) -> Query:
        """Ask the sampler until it names a cell that is neither known nor running."""
        for _ in range(MAX_REPEATS):
            cell, number = self._suggest()
            if cell.index in self.known:
                self.study.tell(number, self.known[cell.index])
            elif cell.index in self.waiting:
                self.waiting[cell.index].append(number)
            else:
                self.waiting[cell.index] = [number]
                return Query(cell, self.fidelity)
        return self._ask_new_cell()

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Tell the study the accuracy, for every trial of the cell."""
        self.keep_best(query, evaluation)
        value = self.worth(evaluation)
        self.known[query.cell.index] = value
        for number in self.waiting.pop(query.cell.index, []):
            self.study.tell(number, value)

    def _suggest(self) -> tuple[Architecture, int]:
        trial = self.study.ask(self.space)
        space = self.view.space
        codes = [
            names.index(trial.params[name]) for name, names in zip(self.space, space.choices, strict=True)
        ]
        return space.closest(codes), trial.number

    def _ask_new_cell(self) -> Query:
        """Enqueue a random cell without an evaluation; once the space is exhausted, any cell."""
        new = np.setdiff1d(np.arange(len(self.view.space)), [*self.known, *self.waiting])
        cell = self.view.space[int(self.rng.choice(new))] if new.size else self.random_cell()
        self.study.enqueue_trial(dict(zip(self.space, cell.choices, strict=True)))
        self.waiting.setdefault(cell.index, []).append(self._suggest()[1])
        return Query(cell, self.fidelity)


def _sampler_class(name: str, arguments: Mapping[str, Any]) -> Callable[..., optuna.samplers.BaseSampler]:
    """Return the class that takes a seed; raises `UnknownNameError` for a wrong name or argument."""
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError(
            "the optuna optimizer needs the package optuna: pip install 'nasbench-kd[search]'"
        ) from error
    found: dict[str, Any] = {known: getattr(optuna.samplers, known) for known in optuna.samplers.__all__}
    kinds = [
        known
        for known, kind in found.items()
        if inspect.isclass(kind) and "seed" in inspect.signature(kind).parameters
    ]
    if name not in kinds:
        raise UnknownNameError(
            f"no Optuna sampler {name!r} that takes a seed: expected {', '.join(sorted(kinds))}."
            f"{nearest(name, kinds)}"
        )
    known_arguments = set(inspect.signature(found[name]).parameters) - {"seed"}
    for argument in arguments:
        if argument not in known_arguments:
            raise UnknownNameError(
                f"{name} has no argument {argument!r}: expected {', '.join(sorted(known_arguments))}."
                f"{nearest(argument, known_arguments)}"
            )
    kind: Callable[..., optuna.samplers.BaseSampler] = found[name]
    return kind
