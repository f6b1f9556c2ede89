"""Write README.md's tables: what scores by shared weights are worth, beside the controls that they must beat.

    python reports/one-shot/report.py [--one-shot JSON]

Everything is read from the package's own tables. The scores of a published supernet are added where its file is named:
`supernet_info/one-shot-supernet` of github.com/aoiang/few-shot-NAS (commit d3423c1), which is not shipped.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import kendalltau, rankdata

import nasbench_kd as nk
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.files import write_between
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import SPACE, Cell
from nasbench_kd.spaces.training_seconds import FORWARD, joint_seconds_per_image, mean_seconds_per_image
from nasbench_kd_baselines.common.neighbourhoods import smoothed
from nasbench_kd_baselines.common.votes import best_share, vote
from published import ANSWERS, KNOWN, WALL_CLOCK

Floats = npt.NDArray[np.float64]
FOLDER = Path(__file__).parent
TASKS = ("cifar10", "cifar100", "imagenet16-120")
EVERY = np.arange(len(SPACE))
DRAWS, RESAMPLES, FEWEST = 2000, 200, 30
TRAINED_ON = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "cifar100"}
"""Where the scores that a task is ranked by were made: ImageNet16-120's images are not at hand."""


class Bench:
    """One task: truth, controls and scores as arrays over the space; NaN where a cell has none."""

    def __init__(self, task: str, one_shot: Floats | None) -> None:
        self.task = task
        scorer = open_scorer(task, "embedded")
        self.truth = np.nanmean(scorer.valid, axis=1)
        self.test = scorer.reference
        self.bench = nk.load(task, data="embedded")
        size = np.array([parameters(cell, 100) for cell in SPACE], dtype=float)
        convolutions = np.isin(SPACE.codes, (2, 3)).sum(1).astype(float)
        short = self.bench.evaluate_many(EVERY, "none@12").valid_accuracy
        one_hot = np.eye(5)[SPACE.codes]  # (n, 6, 5)
        marginal = np.einsum("neo,n->eo", one_hot, self.truth) / one_hot.sum(0)
        self.scores: dict[str, Floats] = {
            "12 epochs": short,
            "12 epochs, mean of the 24 neighbours": smoothed(short, SPACE),
            "sum of marginal means of the 200-epoch accuracy": np.einsum("neo,eo->n", one_hot, marginal),
            "convolutions": convolutions,
            "parameters": size,
            "2 x 12 epochs + parameters": 2 * rankdata(short) + rankdata(size),
        }
        if one_shot is not None:
            self.scores["published supernet, on CIFAR-10"] = one_shot
        for name in ("dna", "dna-random-teacher", "rmi", "rmi-random-teacher", "nwot", "jacov", "synflow"):
            if (found := self._score(name)) is not None:
                self.scores[name] = found
        if "dna" in self.scores:
            dna = rankdata(self.scores["dna"])
            self.scores["dna + convolutions"] = dna + rankdata(convolutions)
            self.scores["dna + parameters"] = dna + rankdata(size)
            self.scores["2 x 12 epochs + parameters + dna"] = 2 * rankdata(short) + rankdata(size) + dna

    def _score(self, name: str) -> Floats | None:
        fidelity = name if TRAINED_ON[self.task] == self.task else f"{name} on={TRAINED_ON[self.task]}"
        found = np.full(len(SPACE), np.nan)
        try:
            for cell in SPACE:
                if self.bench.seeds(cell, fidelity):
                    evaluation = self.bench.evaluate(cell, fidelity, "score")
                    if evaluation.source == "measured":  # an isomorphic twin would count a class twice
                        found[cell.index] = evaluation.value
        except MissingEntryError:
            return None
        return found


def tau(score: Floats, truth: Floats) -> float:
    """Kendall's tau-b; NaN for too few cells."""
    return float(kendalltau(score, truth)[0]) if len(score) >= FEWEST else float("nan")


def partial(score: Floats, truth: Floats, size: Floats) -> float:
    """Kendall's partial tau given the size."""
    a, b, c = tau(score, truth), tau(score, size), tau(truth, size)
    return (a - b * c) / np.sqrt((1 - b**2) * (1 - c**2)) if abs(b) < 1 else float("nan")


def interval(score: Floats, truth: Floats, rng: np.random.Generator) -> str:
    """95 % of tau over resampled cells."""
    count = len(score)
    picks = (rng.integers(count, size=min(count, 3000)) for _ in range(RESAMPLES))
    taus = np.array([tau(score[pick], truth[pick]) for pick in picks])
    spread = (taus - taus.mean()) * np.sqrt(
        min(count, 3000) / count
    )  # that of all cells, from samples of 3,000
    low, high = np.quantile(spread, [0.025, 0.975]) + tau(score, truth)
    return f"{low:.2f} to {high:.2f}"


def worth(bench: Bench, rng: np.random.Generator) -> pd.DataFrame:
    """How every score ranks the cells that it has, beside size on the same cells."""
    rows = []
    size = bench.scores["parameters"]
    for name, score in bench.scores.items():
        there = ~np.isnan(score)
        values, truth, sizes = score[there], bench.truth[there], size[there]
        half, tenth = (truth >= np.quantile(truth, share) for share in (0.5, 0.9))
        rows.append(
            {
                "score": name,
                "cells": int(there.sum()),
                "tau": tau(values, truth),
                "95 %": interval(values, truth, rng),
                "better half": tau(values[half], truth[half]),
                "best tenth": tau(values[tenth], truth[tenth]),
                "given parameters": partial(values, truth, sizes),
                "parameters, same cells": tau(sizes, truth),
            }
        )
    return pd.DataFrame(rows)


def rules(bench: Bench, rng: np.random.Generator) -> pd.DataFrame:
    """What answers are worth: mean and deviation of test accuracy over draws of candidates."""
    short = bench.scores["12 epochs"]
    drawn = np.array([rng.choice(len(SPACE), 1000, replace=False) for _ in range(DRAWS)])
    rows: list[tuple[str, float, float]] = [
        ("a random cell", float(bench.test.mean()), float(bench.test.std()))
    ]

    def add(name: str, answers: npt.NDArray[np.int64]) -> None:
        rows.append((name, float(bench.test[answers].mean()), float(bench.test[answers].std())))

    def best(score: Floats, candidates: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return candidates[np.arange(len(candidates)), np.argmax(score[candidates], axis=1)]

    for count in (50, 100):
        add(f"best of {count} by 12 epochs", best(short, drawn[:, :count]))
    for name in (
        "parameters",
        "dna",
        "dna-random-teacher",
        "dna + parameters",
        "published supernet, on CIFAR-10",
    ):
        if name not in bench.scores:
            continue
        score = bench.scores[name]
        order = np.argsort(-score[drawn], axis=1, kind="stable")[:, :50]
        add(f"best of 100 by {name}", best(score, drawn[:, :100]))
        add(
            f"50 of 1,000 by {name}, the best of them by 12 epochs",
            best(short, np.take_along_axis(drawn, order, 1)),
        )
        add(f"best of all by {name}", np.array([np.argmax(score)]))
        add(
            f"vote of the best tenth by {name}",
            np.array([SPACE.from_codes(vote(SPACE.codes[best_share(score, 0.1)])).index]),
        )
    return pd.DataFrame(rows, columns=["answer", "test accuracy", "deviation"])


def bills() -> pd.DataFrame:
    """Counted passes times the table's clock for 25,000 images of CIFAR-10, beside the seconds that papers print."""
    cell, joint = 25_000 * mean_seconds_per_image(), 25_000 * joint_seconds_per_image()
    counted: Mapping[str, Callable[[], float]] = {
        "RSPS": lambda: 250 * cell * (1 + FORWARD),
        "DARTS-V1": lambda: 50 * 2 * joint,
        "DARTS-V2": lambda: 50 * 5 * joint,
        "GDAS": lambda: 250 * 2 * cell,
        "iDARTS": lambda: 30 * 391 * 64 / 25_000 * 11 * joint,
        "RMI-NAS": lambda: 200 * 4800 / 25_000 * cell,
    }
    rows = [
        (name, what, counted[name](), seconds, seconds / counted[name]())
        for name, (what, seconds) in WALL_CLOCK.items()
    ]
    return pd.DataFrame(rows, columns=["method", "passes", "billed, s", "printed, s", "ratio"])


def known() -> pd.DataFrame:
    """Published answers without spread, and the cell of the table that they are."""
    accuracies = {task: np.nanmean(open_scorer(task, "embedded").valid, axis=1) for task in TASKS}
    rows = [
        (
            name,
            index,
            str(Cell.from_index(index)).replace("|", " ").strip(),
            *(round(float(accuracies[task][index]), 2) for task in TASKS),
        )
        for name, index in KNOWN.items()
    ]
    return pd.DataFrame(rows, columns=["published as", "cell", "operations", *TASKS])


def read_one_shot(path: Path) -> Floats:
    """Accuracies of a published supernet, by index."""
    found = np.full(len(SPACE), np.nan)
    for text, value in json.loads(path.read_text()).items():
        edges = [name for node in ast.literal_eval(text) for name, _ in node]
        found[Cell.from_operations(edges).index] = value
    return found


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one-shot", type=Path)
    arguments = parser.parse_args()
    one_shot = read_one_shot(arguments.one_shot) if arguments.one_shot else None
    parts, rng, frames = [], np.random.default_rng(0), []
    for task in TASKS:
        bench = Bench(task, one_shot)
        ranked, answered = worth(bench, rng), rules(bench, rng)
        frames.append(ranked.assign(task=task))
        parts += [
            f"### {task}: how scores rank",
            ranked.to_markdown(index=False, floatfmt=".3f"),
            f"### {task}: what answers are worth",
            answered.to_markdown(index=False, floatfmt=".2f"),
        ]
    parts += [
        "### Answers that are known exactly",
        known().to_markdown(index=False, floatfmt=".2f"),
        "### Bills",
        bills().to_markdown(index=False, floatfmt=".1f"),
        "### Published",
        pd.DataFrame(ANSWERS, columns=["method", *TASKS, "protocol"]).to_markdown(index=False),
    ]
    pd.concat(frames).to_csv(FOLDER / "scores.csv", index=False, float_format="%.4f", lineterminator="\n")
    write_between(FOLDER / "README.md", ("<!-- tables -->", "<!-- /tables -->"), "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
