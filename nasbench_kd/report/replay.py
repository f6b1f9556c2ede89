"""A sample of runs, step by step, as compact JSON values for the page."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.execution.runs import SCHEMA, RunsFile
from nasbench_kd.report.prefixes import SOURCES, Prefixes
from nasbench_kd.report.readings import BATCH, Readings
from nasbench_kd.tasks.registry import find_task

MOST_STEPS = 30_000
"""Steps embedded in a page, which bounds it to some 2 MB."""
MOST_STEPS_OF_A_RUN = 1000
DRAWN = "nas-bench-201"
"""The space whose architectures `replay.js` draws."""
MOST_REPETITIONS = 50


def sample(file: RunsFile, readings: Readings, scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    """Encode the first repetitions of every optimizer on every task, as many as fit into `MOST_STEPS`.

    The first repetition is always there. Times are whole seconds; values and regret are rounded to
    three decimals; `regret` is the report's knowledge, which the search did not have.
    """
    repetitions = np.unique(readings.repetition)[:MOST_REPETITIONS]
    rows: list[pa.RecordBatch] = []
    for batch in file.batches(SCHEMA.names, BATCH):
        wanted = pc.is_in(batch["repetition"], pa.array(repetitions, pa.int32()))
        kept = batch.filter(wanted)
        rows += [kept.slice(number, 1) for number in range(len(kept))]
    fidelities: dict[str, int] = {}
    signals: dict[str, int] = {}
    runs: list[dict[str, Any]] = []
    steps = 0
    for repetition in repetitions:
        here = [row for row in rows if row["repetition"][0].as_py() == repetition]
        steps += sum(min(len(row["spent"][0].as_py()), MOST_STEPS_OF_A_RUN) for row in here)
        if runs and steps > MOST_STEPS:
            break
        runs += [_encode(row, readings, scorers, fidelities, signals) for row in here]
    used: dict[int, set[int]] = {}
    for run in runs:
        used.setdefault(run["task"], set()).update(
            cell for cell in (*run["cell"], *run["answer"]) if cell >= 0
        )
    spaces = {number: find_task(readings.tasks[number]).space for number in used}
    drawn = {cell: spaces[number] for number in used if spaces[number].name == DRAWN for cell in used[number]}
    return {
        "runs": sorted(runs, key=lambda run: (run["optimizer"], run["task"], run["repetition"])),
        "total": len(readings.optimizer),
        "fidelities": list(fidelities),
        "signals": list(signals),
        "sources": list(SOURCES),
        # The page draws architectures of one space from their codes; those of others are told in words.
        "codes": {
            cell: "".join(map(str, space[cell].codes))
            for cell, space in sorted(drawn.items(), key=itemgetter(0))
        },
        "texts": {
            number: {cell: str(spaces[number][cell]) for cell in sorted(cells)}
            for number, cells in used.items()
            if spaces[number].name != DRAWN
        },
    }


def _encode(
    row: pa.RecordBatch,
    readings: Readings,
    scorers: Mapping[str, Scorer],
    fidelities: dict[str, int],
    signals: dict[str, int],
) -> dict[str, Any]:
    (run,) = row.to_pylist()
    count = min(len(run["spent"]), MOST_STEPS_OF_A_RUN)
    task = readings.tasks.index(run["task"])
    scorer = scorers[run["task"]]
    prefixes = Prefixes(row, as_told=True)
    scores = prefixes.scores(np.arange(1, count + 1)[None, :], np.zeros(1, dtype=np.int64), [scorer])[0]
    seconds = {
        name: [round(value / 1e6) for value in run[name][:count]]
        for name in ("start", "finish", "charged", "teacher")
    }
    timed = readings.budgets[0].unit == "seconds"
    return {
        "optimizer": readings.optimizers.index(run["optimizer"]),
        "task": task,
        "repetition": run["repetition"],
        "seed": run["seed"],
        "ending": run["ending"],
        "reason": run["reason"],
        "steps": len(run["spent"]),
        "cell": run["cell"][:count],
        "answer": run["answer"][:count],
        "fidelity": [fidelities.setdefault(name, len(fidelities)) for name in run["fidelity"][:count]],
        "training_seed": run["training_seed"][:count],
        "signal": [signals.setdefault(name, len(signals)) for name in run["signal"][:count]],
        "value": [_rounded(value) for value in run["value"][:count]],
        "source": [SOURCES.index(name) for name in run["source"][:count]],
        "spent": [round(value / 1e6) if timed else value for value in run["spent"][:count]],
        "regret": [_rounded(scorer.best - value) for value in scores],
        **seconds,
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)
