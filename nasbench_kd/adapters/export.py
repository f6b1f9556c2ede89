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
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, SPACE, SPACE_SIZE, Cell, all_cells
from nasbench_kd.tables.catalog import Data
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.tasks.signals import ACCURACY, SIGNALS, find_signal

PARAMETERS: tuple[str, ...] = tuple(f"edge_{source}_{target}" for source, target in EDGES)
"""Names of the six categorical parameters of an Optuna study; their values are operation names."""
_SYNE_TUNE_PARAMETERS = tuple(f"hp_x{edge}" for edge in range(len(EDGES)))
ERROR, ELAPSED, EPOCH = "metric_valid_error", "metric_elapsed_time", "hp_epoch"
"""Syne Tune's names: the validation error as a fraction, seconds since the start, and the epoch."""


def cell_of(parameters: Mapping[str, str]) -> Cell:
    """Return the cell that parameters name; their order does not matter. Raises `CellError`."""
    if set(parameters) != set(PARAMETERS):
        raise CellError(
            f"a cell has the parameters {', '.join(PARAMETERS)}, not {', '.join(map(str, parameters))}"
        )
    return Cell.from_operations([parameters[name] for name in PARAMETERS])


def curve_epochs(bench: Benchmark, training: str | Fidelity = FULL) -> tuple[Fidelity, ...]:
    """Return the fidelities of one training that the task holds, earliest epoch first.

    Raises `MissingEntryError` where there is none, and `ArgumentError` on a task of another space than NAS-Bench-201.
    """
    if bench.task.space != SPACE:
        raise ArgumentError(
            f"exports name the operations of a cell's six edges; {bench.task.name} searches "
            f"{bench.task.space.name}, and its entries are in `to_frame()` of the opened task"
        )
    curve = Fidelity.parse(training).curve
    found = [fidelity for fidelity in bench.fidelities if fidelity.curve == curve]
    if not found:
        bench.mean_seconds(curve)  # raises, and says which fidelities there are
    return tuple(sorted(found, key=lambda fidelity: fidelity.epochs))


def export_syne_tune(
    folder: Path | str,
    tasks: Sequence[str] = tuple(TASKS),
    training: str | Fidelity = FULL,
    data: Data = "installed",
) -> npt.NDArray[np.float32]:
    """Write a folder that Syne Tune's `blackbox_tabular.deserialize` opens, and return its values.

    The values have shape (tasks, 15625 cells, seeds, epochs, 2 + k): validation error as a fraction,
    seconds of training until that epoch on the table's clock, and the k further readings that every entry has,
    as `metric_train_loss` and so on. The epochs are those of one training
    that every task holds, the seeds those that every cell has, so that nothing is imputed. Raises
    `MissingEntryError` where the tasks share no such epoch or seed.
    """
    opened = [load(task, data=data) for task in tasks]
    shared = set.intersection(*(set(curve_epochs(bench, training)) for bench in opened))
    if not shared:
        raise MissingEntryError(f"no epoch of {training} is there on each of {', '.join(tasks)}")
    epochs = sorted(shared, key=lambda fidelity: fidelity.epochs)
    seeds = sorted(
        set.intersection(
            *(
                set(bench.seeds(cell, fidelity))
                for bench in opened
                for fidelity in epochs
                for cell in all_cells()
            )
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
    values = np.empty((len(opened), SPACE_SIZE, len(seeds), len(epochs), 2 + len(further)), dtype=np.float32)
    sources: Counter[str] = Counter()
    for task, bench in enumerate(opened):
        for step, fidelity in enumerate(epochs):
            for place, seed in enumerate(seeds):
                for cell in all_cells():
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
    parameters = {
        name: [cell.operations[edge] for cell in all_cells()]
        for edge, name in enumerate(_SYNE_TUNE_PARAMETERS)
    }
    with atomic_write(folder / "hyperparameters.parquet") as file:
        pq.write_table(pa.table(parameters), file, compression="gzip")
    with atomic_write(folder / "objectives_evaluations.npy") as file:
        np.save(file, values, allow_pickle=False)
    with atomic_write(folder / "fidelities_values.npy") as file:
        np.save(file, np.array([fidelity.epochs for fidelity in epochs]), allow_pickle=False)
    operations = _domain("Categorical", categories=list(OPERATIONS))
    space = dict.fromkeys(_SYNE_TUNE_PARAMETERS, operations)
    write_text(folder / "configspace.json", json.dumps(space))
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

    Each trial suggests one operation for each edge (`PARAMETERS`). Where the task holds several
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
        training: str | Fidelity = FULL,
        *,
        seed: int | None = None,
        data: Data = "installed",
        signal: str = ACCURACY,
    ) -> None:
        self._bench = load(task, data=data)
        self._epochs = curve_epochs(self._bench, training)
        self._seed = seed
        self._signal = find_signal(signal)

    def __call__(self, trial: Any) -> float:
        """Evaluate a trial; raises `optuna.TrialPruned` where its pruner says so."""
        cell = cell_of({name: trial.suggest_categorical(name, OPERATIONS) for name in PARAMETERS})
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
