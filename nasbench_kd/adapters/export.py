"""Takes tasks to where users already are: Syne Tune's blackbox folder and an Optuna objective."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import ArgumentError, CellError, MissingEntryError
from nasbench_kd.files import atomic_write, write_text
from nasbench_kd.opening import load
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tables.catalog import Data
from nasbench_kd.tasks.fidelity import TARGET, Fidelity
from nasbench_kd.tasks.signals import ACCURACY, SIGNALS, find_signal

ERROR, ELAPSED, EPOCH = "metric_valid_error", "metric_elapsed_time", "hp_epoch"
"""Syne Tune's names: the validation error as a fraction, seconds since the start, and the epoch."""


def cell_of(space: SearchSpace, parameters: Mapping[str, str]) -> Architecture:
    """Return the architecture that parameters name: a choice for each coordinate, in any order.

    Raises `CellError` where they name none, or one that is not in the space.
    """
    if set(parameters) != set(space.coordinates):
        raise CellError(
            f"an architecture of {space.name} has the parameters {', '.join(space.coordinates)}, not "
            f"{', '.join(map(str, parameters))}"
        )
    codes = []
    for name, choices in zip(space.coordinates, space.choices, strict=True):
        if parameters[name] not in choices:
            raise CellError(f"{name} is one of {', '.join(choices)}, not {parameters[name]!r:.80}")
        codes.append(choices.index(parameters[name]))
    return space.from_codes(codes)


def curve_epochs(bench: Benchmark, training: str | Fidelity = TARGET) -> tuple[Fidelity, ...]:
    """Return the fidelities of one training that the task holds, earliest epoch first.

    Raises `MissingEntryError` where there is none.
    """
    curve = bench.task.fidelity(training).curve
    found = [fidelity for fidelity in bench.fidelities if fidelity.curve == curve]
    if not found:
        bench.mean_seconds(curve)  # raises, and says which fidelities there are
    return tuple(sorted(found, key=lambda fidelity: fidelity.epochs))


def export_syne_tune(
    folder: Path | str,
    tasks: Sequence[str],
    training: str | Fidelity = TARGET,
    data: Data = "installed",
) -> npt.NDArray[np.float32]:
    """Write a folder that Syne Tune's `blackbox_tabular.deserialize` opens, and return its values.

    The tasks are of one search space; its coordinates are `hp_x0`, `hp_x1` and so on. The values have shape
    (tasks, architectures, seeds, epochs, 2 + k): validation error as a fraction,
    seconds of training until that epoch on the table's clock, and the k further readings that every entry has,
    as `metric_train_loss` and so on. The epochs are those of one training
    that every task holds, the seeds those that every cell has, so that nothing is imputed. Raises
    `MissingEntryError` where the tasks share no such epoch or seed, and `ArgumentError` where they are of several
    spaces.
    """
    opened = [load(task, data=data) for task in tasks]
    space, *others = dict.fromkeys(bench.task.space for bench in opened)
    if others:
        raise ArgumentError(
            f"a blackbox is of one search space, and these tasks are of {space.name} and "
            f"{', '.join(each.name for each in others)}: export those of each space to a folder of their own"
        )
    shared = set.intersection(*(set(curve_epochs(bench, training)) for bench in opened))
    if not shared:
        raise MissingEntryError(f"no epoch of {training} is there on each of {', '.join(tasks)}")
    epochs = sorted(shared, key=lambda fidelity: fidelity.epochs)
    seeds = sorted(
        set.intersection(
            *(set(bench.seeds(cell, fidelity)) for bench in opened for fidelity in epochs for cell in space)
        ),
        key=lambda seed: -1 if seed is None else seed,
    )
    if not seeds:
        raise MissingEntryError(
            f"no training seed is there for every cell at {', '.join(map(str, epochs))} on {', '.join(tasks)}"
        )
    further = [
        signal
        for signal in SIGNALS
        if signal != ACCURACY
        and all(signal in bench.common_signals(fidelity) for bench in opened for fidelity in epochs)
    ]
    values = np.empty((len(opened), len(space), len(seeds), len(epochs), 2 + len(further)), dtype=np.float32)
    sources: Counter[str] = Counter()
    for task, bench in enumerate(opened):
        for step, fidelity in enumerate(epochs):
            for place, seed in enumerate(seeds):
                for cell in space:
                    entry = bench.evaluate(cell, fidelity, seed=seed)
                    sources[entry.source] += 1
                    more = [bench.evaluate(cell, fidelity, each, seed=seed).value for each in further]
                    values[task, cell.index, place, step] = (
                        1 - entry.valid_accuracy / 100,
                        entry.seconds,
                        *more,
                    )
    _write_syne_tune(Path(folder), tasks, epochs, seeds, values, opened, sources, further)
    return values


def _write_syne_tune(
    folder: Path,
    tasks: Sequence[str],
    epochs: Sequence[Fidelity],
    seeds: Sequence[int | None],
    values: npt.NDArray[np.float32],
    opened: Sequence[Benchmark],
    sources: Mapping[str, int],
    further: Sequence[str],
) -> None:
    space = opened[0].task.space
    parameters = {
        f"hp_x{place}": [choices[code] for code in space.codes[:, place].tolist()]
        for place, choices in enumerate(space.choices)
    }
    with atomic_write(folder / "hyperparameters.parquet") as file:
        pq.write_table(pa.table(parameters), file, compression="gzip")
    with atomic_write(folder / "objectives_evaluations.npy") as file:
        np.save(file, values, allow_pickle=False)
    with atomic_write(folder / "fidelities_values.npy") as file:
        np.save(file, np.array([fidelity.epochs for fidelity in epochs]), allow_pickle=False)
    domains = {
        name: _domain("Categorical", categories=list(choices))
        for name, choices in zip(parameters, space.choices, strict=True)
    }
    write_text(folder / "configspace.json", json.dumps(domains))
    schedule = epochs[0].schedule_epochs
    write_text(
        folder / "fidelityspace.json", json.dumps({EPOCH: _domain("Integer", lower=1, upper=schedule)})
    )
    metadata = {
        "metric_elapsed_time": ELAPSED,
        "metric_default": ERROR,
        "time_attr": EPOCH,
        "objectives_names": [ERROR, ELAPSED, *(f"metric_{signal}" for signal in further)],
        "task_names": list(tasks),
        "training": str(epochs[0].curve),
        "seeds": list(seeds),
        "tables": {name: sha256 for bench in opened for name, sha256 in bench.table_versions.items()},
        "sources": dict(sources),
        "split": "validation; no test accuracy is exported",
    }
    write_text(folder / "metadata.json", json.dumps(metadata, indent=1))


def _domain(kind: str, **arguments: Any) -> dict[str, Any]:
    """A domain as Syne Tune's `config_space_to_json_dict` writes it."""
    return {"domain_cls": kind, "domain_kwargs": arguments, "sampler_cls": "Uniform", "sampler_kwargs": {}}


class OptunaObjective:
    """An objective for `optuna.Study.optimize` that returns a signal, by default validation accuracy in percent.

    An accuracy is to be maximized, a loss minimized.

    Each trial suggests a choice for each coordinate of the space. Where not every combination is there, the
    architecture that is closest is evaluated (`SearchSpace.closest`); `cell` gives it. Where the task holds several
    epochs of the training, they are reported in turn, so that pruners work. The trial's user
    attributes hold the cell's index, what it cost (`seconds` of training on the table's clock), and every
    reading of the last epoch by the name of its signal.

    >>> import optuna
    >>> study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    >>> study.optimize(OptunaObjective("cifar100"), n_trials=3)
    """

    def __init__(
        self,
        task: str,
        training: str | Fidelity = TARGET,
        *,
        seed: int | None = None,
        data: Data = "installed",
        signal: str = ACCURACY,
    ) -> None:
        self._bench = load(task, data=data)
        self._epochs = curve_epochs(self._bench, training)
        self._seed = seed
        self._signal = find_signal(signal)

    def cell(self, parameters: Mapping[str, str]) -> Architecture:
        """The architecture that is evaluated for a trial's parameters, such as `study.best_params`."""
        space = self._bench.task.space
        codes = [
            choices.index(parameters[name])
            for name, choices in zip(space.coordinates, space.choices, strict=True)
        ]
        return space.closest(codes)

    def __call__(self, trial: Any) -> float:
        """Evaluate a trial; raises `optuna.TrialPruned` where its pruner says so."""
        space = self._bench.task.space
        for name, choices in zip(space.coordinates, space.choices, strict=True):
            trial.suggest_categorical(name, choices)
        cell = self.cell(trial.params)
        trial.set_user_attr("cell", cell.index)
        for fidelity in self._epochs:
            entry = self._bench.evaluate(cell, fidelity, self._signal.name, seed=self._seed)
            trial.set_user_attr("seconds", entry.seconds)
            for signal in self._bench.common_signals(fidelity):
                read = self._bench.evaluate(cell, fidelity, signal, seed=entry.seed)
                trial.set_user_attr(signal, read.value)
            trial.report(entry.value, fidelity.epochs)
            if fidelity != self._epochs[-1] and trial.should_prune():
                from optuna import TrialPruned  # noqa: PLC0415

                raise TrialPruned
        return entry.value
