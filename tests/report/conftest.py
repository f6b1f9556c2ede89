"""A small folder of real runs: healthy optimizers, one that always fails and one that sometimes does."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_kd import Optimizer, Query, load, search
from nasbench_kd.execution.runs import RunRecord, to_table, write_runs
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.run import Run, Step
from nasbench_kd.spaces.nasbench201 import SPACE

TASKS = ("cifar10", "cifar100")
BUDGETS = ("1 gpu-hours", "5 gpu-hours", "20 gpu-hours")
REPETITIONS = 8


class Random(Optimizer):
    def ask(self):
        return Query(self.random_cell())

    def tell(self, query, evaluation):
        self.keep_best(query, evaluation)


class Hillclimb(Random):
    def ask(self):
        return Query(self.random_cell() if self.incumbent is None else self.incumbent.cell.mutate(self.rng))


class Shy(Random):
    """Answers with a cell that it never evaluated."""

    def answer(self):
        return None if self.incumbent is None else self.incumbent.cell.neighbours()[0]


class Broken(Random):
    def ask(self):
        raise RuntimeError("no luck | today")


class Fragile(Random):
    """Fails at its tenth evaluation where its first cell has an even index."""

    def setup(self, view, rng):
        super().setup(view, rng)
        self.told = []

    def tell(self, query, evaluation):
        super().tell(query, evaluation)
        self.told.append(query.cell.index)
        if len(self.told) == 10 and self.told[0] % 2 == 0:
            raise ValueError("singular matrix")


OPTIMIZERS = {kind.__name__.lower(): kind for kind in (Random, Hillclimb, Shy, Broken, Fragile)}


def make_folder(folder: Path, budgets=BUDGETS, workers=1, repetitions=REPETITIONS, tasks=TASKS) -> Path:
    """Run every optimizer on every task and store the runs as a suite does."""
    records, overhead = [], ["optimizer,task,repetition,optimizer_seconds"]
    for task in tasks:
        bench = load(task, data="embedded")
        for number, (name, kind) in enumerate(OPTIMIZERS.items()):
            for repetition in range(repetitions):
                seed = 1000 * number + repetition
                run = search(kind, task=bench, budget=budgets[-1], seed=seed, workers=workers)
                records.append(RunRecord(name, repetition, run))
                overhead.append(f"{name},{task},{repetition},{0.5 + repetition}")
    metadata = {
        "suite": {
            "name": "small",
            "tasks": list(tasks),
            "budgets": list(budgets),
            "optimizers": [{"name": name} for name in OPTIMIZERS],
            "seeds": repetitions,
            "workers": workers,
            "data": "embedded",
            "bill_teacher": True,
        },
        "tables": bench.table_versions,
        "package_version": "0.1.0",
    }
    write_runs(folder / "runs.parquet", to_table(records), metadata)
    (folder / "overhead.csv").write_text("\n".join(overhead) + "\n")
    return folder


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory) -> Path:
    """The folder with budgets in time; do not write into it."""
    return make_folder(tmp_path_factory.mktemp("runs"))


def write_hand_made(
    folder, made, ablations, *, unbilled, unranked=(), planned=(), budgets=("1 gpu-hours",)
) -> None:
    """Store runs on cifar10 given step by step: name -> [[(fidelity, seconds, teacher's seconds, answer)]].

    Every evaluation is of the cell that is then the answer; the seed of a run is its repetition.
    `ablations` are (of, optimizer, without); `unbilled` names entries without the bill and their twins,
    `unranked` those that the suite does not rank, `planned` those that work through a plan.
    """
    records = []
    for name, runs in made.items():
        for repetition, steps in enumerate(runs):
            spent, told = 0, []
            for fidelity, seconds, teacher, answer in steps:
                start, spent = spent, spent + (seconds + teacher) * 1_000_000
                told.append(
                    Step(
                        start=start,
                        finish=spent,
                        cell=answer,
                        fidelity=fidelity,
                        seed=1,
                        value=50.0,
                        charged=seconds * 1_000_000,
                        teacher=teacher * 1_000_000,
                        spent=spent,
                        source="measured",
                        answer=answer,
                    )
                )
            training, paid = (sum(step[place] for step in steps) for place in (1, 2))
            largest = Budget.parse(budgets[-1])
            run = Run(
                "cifar10", SPACE, largest, repetition, 1, tuple(told), "budget", "", training, paid, 0.0
            )
            records.append(RunRecord(name, repetition, run))
    entries = [
        {"name": name, "optimizer": unbilled.get(name, name), "arguments": {}}
        | ({"bill_teacher": False} if name in unbilled else {})
        | ({"ranked": False} if name in unranked else {})
        | ({"anytime": False} if name in planned else {})
        for name in made
    ]
    suite = {
        "name": "by-hand",
        "tasks": ["cifar10"],
        "budgets": list(budgets),
        "optimizers": entries,
        "seeds": len(runs),
        "data": "embedded",
        "bill_teacher": True,
        "ablations": [
            {"of": of, "optimizer": optimizer, "without": without} for of, optimizer, without in ablations
        ],
    }
    versions = load("cifar10", data="embedded").table_versions
    write_runs(folder / "runs.parquet", to_table(records), {"suite": suite, "tables": versions})
