"""Write README.md's tables: what scores by shared weights are worth, beside the controls that they must beat.

    nasbench-kd data pull few-shot-nas nats-bench-test       # what does not ship: a supernet's scores, test accuracies
    nasbench-kd run reports/one-shot/answers.toml --output reports/one-shot/answers
    python reports/one-shot/report.py

Scores are read from the package's own tables and from few-shot-nas, test accuracies from nats-bench-test (without it,
those on CIFAR-10 are of models trained on half of the images), and the searches' answers from their leaderboards.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from itertools import product
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
from nasbench_kd.spaces.nasbench201 import OPERATIONS, SPACE, Cell
from nasbench_kd.spaces.training_seconds import FORWARD, joint_seconds_per_image, mean_seconds_per_image
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import all_prerequisites, find_task
from nasbench_kd_baselines.common.neighbourhoods import smoothed
from nasbench_kd_baselines.common.votes import best_share, vote
from nasbench_kd_baselines.models.deep_network_regression import predict_by_network, predict_by_process
from nasbench_kd_baselines.models.graph_autoencoder import embeddings
from published import ANSWERS, KNOWN, WALL_CLOCK

Floats = npt.NDArray[np.float64]
FOLDER = Path(__file__).parent
TASKS = ("cifar10", "cifar100", "imagenet16-120")
EVERY = np.arange(len(SPACE))
DRAWS, RESAMPLES, FEWEST, FITS = 2000, 200, 30, 10
PUBLISHED = ("one-shot", "few-shot")
"""Fidelities of published supernets."""
SEARCHES = {
    "Answers at equal bill": "answers",
    "arch2vec with the budget of its paper": "arch2vec",
    "arch2vec with 130 trainings": "arch2vec-queries",
}
"""Titles of the tables of searches, and their folders."""
TRAINED_ON = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "cifar100"}
"""Where the scores that a task is ranked by were made: ImageNet16-120's images are not at hand."""


class Bench:
    """One task: truth, controls and scores as arrays over the space; NaN where a cell has none."""

    def __init__(self, task: str) -> None:
        self.task = task
        scorer = open_scorer(task, "installed")
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
        for name in PUBLISHED:
            if (found := published(name)) is not None:
                self.scores[f"{name}, published, on CIFAR-10"] = found
        for name in ("dna", "dna-random-teacher", "rmi", "rmi-random-teacher", "nwot", "jacov", "synflow"):
            if (found := self._score(name)) is not None:
                self.scores[name] = found
        if "dna" in self.scores:
            dna = rankdata(self.scores["dna"])
            self.scores["dna + convolutions"] = dna + rankdata(convolutions)
            self.scores["dna + parameters"] = dna + rankdata(size)
            self.scores["2 x 12 epochs + parameters + dna"] = 2 * rankdata(short) + rankdata(size) + dna
            self.scores["dna, mean of the 24 neighbours"] = smoothed(self.scores["dna"], SPACE)
        if "jacov" in self.scores:
            self.scores["jacov + parameters"] = ranks(self.scores["jacov"]) + ranks(
                self.scores["jacov"], size
            )
        if "nwot" in self.scores:
            self.scores["12 epochs + nwot"] = ranks(self.scores["nwot"], short) + ranks(self.scores["nwot"])

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


def published(name: str) -> Floats | None:
    """A published supernet's scores by index, the same for all tasks; None where they are not installed."""
    for table in tables("installed", find_task("cifar10")):
        for column in table.columns:
            if str(column.fidelity) == name and column.task == "cifar10":
                return column.values("score")
    return None


def ranks(there: Floats, values: Floats | None = None) -> Floats:
    """Ranks of values (by default the score itself) among the cells that have a score; NaN for the others."""
    known = ~np.isnan(there)
    found = np.full(len(there), np.nan)
    found[known] = rankdata((there if values is None else values)[known])
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


def generator(*names: str) -> np.random.Generator:
    """Randomness of its own for a row or a table, so that it does not depend on which others there are."""
    return np.random.default_rng(zlib.crc32(repr(names).encode()))


def worth(bench: Bench) -> pd.DataFrame:
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
                "95 %": interval(values, truth, generator(bench.task, name)),
                "better half": tau(values[half], truth[half]),
                "best tenth": tau(values[tenth], truth[tenth]),
                "given parameters": partial(values, truth, sizes),
                "parameters, same cells": tau(sizes, truth),
            }
        )
    return pd.DataFrame(rows)


def rules(bench: Bench) -> pd.DataFrame:
    """What answers are worth: mean and deviation of test accuracy over draws of candidates."""
    short = bench.scores["12 epochs"]
    rng = generator(bench.task)
    drawn = np.array([rng.choice(len(SPACE), 1000, replace=False) for _ in range(DRAWS)])
    rows: list[tuple[str, float, float]] = [
        ("a random cell", float(bench.test.mean()), float(bench.test.std()))
    ]

    def add(name: str, answers: npt.NDArray[np.int64]) -> None:
        rows.append((name, float(bench.test[answers].mean()), float(bench.test[answers].std())))

    def best(score: Floats, candidates: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return candidates[np.arange(len(candidates)), np.argmax(score[candidates], axis=1)]

    for count in (50, 100, 250, 500):
        add(f"best of {count} by 12 epochs", best(short, drawn[:, :count]))
    for count in (100, 400):
        cells = drawn[:, :count]
        votes = np.array([[voted(short, row, share) for share in (0.1, 0.2)] for row in cells])
        if count == 100:
            add("vote of the best fifth of 100 by 12 epochs", votes[:, 1])
        else:
            add(f"best of {count} by 12 epochs", best(short, cells))
        add(
            f"best of {count} and of the votes of their best tenth and fifth, by 12 epochs",
            best(short, np.concatenate([cells, votes], axis=1)),
        )
    flat = (24 * smoothed(short, SPACE) + short) / 25
    for count in (4, 10, 20):
        add(f"NA-RS: {count} cells and their neighbours by 12 epochs", best(flat, drawn[:, :count]))
    for queries in (100, 250, 500):
        half, count = queries // 2, round(queries / 2 / 24)
        order = np.argsort(-short[drawn[:, :half]], axis=1, kind="stable")[:, :count]
        add(
            f"{half} random cells, then the neighbours of the best {count}, by 12 epochs",
            best(flat, np.take_along_axis(drawn, order, 1)),
        )
    add("best of all by 12 epochs, mean of the 24 neighbours", np.array([np.argmax(smoothed(short, SPACE))]))
    for name in (
        "parameters",
        "dna",
        "dna-random-teacher",
        "dna + parameters",
        *(f"{name}, published, on CIFAR-10" for name in PUBLISHED),
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
            np.array([voted(score, EVERY, 0.1)]),
        )
    return pd.DataFrame(rows, columns=["answer", "test accuracy", "deviation"])


def rules_of_some(bench: Bench) -> pd.DataFrame:
    """The same for scores that some cells have: parameters and trainings choose among these cells, too."""
    rng, rows = generator(bench.task, "some"), []
    for name, others in (("rmi", ("parameters", "12 epochs")), ("rmi-random-teacher", ())):
        if name not in bench.scores:
            continue
        there = np.flatnonzero(~np.isnan(bench.scores[name]))
        drawn = np.array([rng.choice(there, 100, replace=False) for _ in range(DRAWS)])
        for score in (name, *others):
            best = bench.test[drawn[np.arange(DRAWS), np.argmax(bench.scores[score][drawn], axis=1)]]
            rows.append((f"best of 100 by {score}, of {len(there):,} classes", best.mean(), best.std()))
    return pd.DataFrame(rows, columns=["answer", "test accuracy", "deviation"])


def voted(score: Floats, cells: npt.NDArray[np.int64], share: float) -> int:
    """Index of the cell that the best share of some cells elects."""
    return SPACE.from_codes(vote(SPACE.codes[cells[best_share(score[cells], share)]])).index


def biases(bench: Bench) -> pd.DataFrame:
    """By how much shared weights prefer an operation: mean rank beyond the truth's, in shares of the space."""
    truth = rankdata(bench.truth) / len(SPACE)
    rows = []
    for name, score in bench.scores.items():
        if np.isnan(score).any() or not name.startswith(("dna", *PUBLISHED, "parameters")) or "+" in name:
            continue
        beyond = rankdata(score) / len(SPACE) - truth
        places = (SPACE.codes == code for code in range(len(OPERATIONS)))
        rows.append((name, *(float((beyond[:, None] * place).sum() / place.sum()) for place in places)))
    return pd.DataFrame(rows, columns=["score", *OPERATIONS])


def searched(folder: Path) -> pd.DataFrame:
    """Answers of searches at one bill, the best first, from a leaderboard; by test accuracy in percent."""
    board = pd.read_csv(folder / "leaderboard.csv")
    regret = ["median_regret", "median_regret_low", "median_regret_high"]
    columns = ["task", "budget", "optimizer", "runs", *regret, "accuracy_mean", "accuracy_deviation"]
    board["size"] = board["budget"].str.split().str[0].astype(float)
    found = board.sort_values(["task", "size", "median_regret"], kind="stable")[columns]
    return found.rename(columns=lambda name: name.replace("_", " "))


def bills() -> pd.DataFrame:
    """Counted passes times the table's clock for 25,000 images of CIFAR-10, beside the seconds that papers print."""
    cell, joint = 25_000 * mean_seconds_per_image(), 25_000 * joint_seconds_per_image()
    counted: Mapping[str, Callable[[], float]] = {
        "RSPS": lambda: 250 * cell * (1 + FORWARD),
        "DARTS-V1": lambda: 50 * 2 * joint,
        "DARTS-V2": lambda: 50 * 5 * joint,
        "GDAS": lambda: 250 * 2 * cell,
        "SETN": lambda: 250 * (cell + joint),
        "iDARTS": lambda: 30 * 391 * 64 / 25_000 * 11 * joint,
        "RMI-NAS": lambda: 200 * 4800 / 25_000 * cell,
    }
    rows = [
        (name, what, counted[name](), seconds, seconds / counted[name]())
        for name, (what, seconds) in WALL_CLOCK.items()
    ]
    return pd.DataFrame(rows, columns=["method", "passes", "billed, s", "printed, s", "ratio"])


def who_pays() -> pd.DataFrame:
    """What a search of CIFAR-100 pays for each score: once, with what must be there first, and for every cell."""
    bench = nk.load("cifar100", data="installed")
    known = all_prerequisites(bench.task)

    def once(name: str) -> dict[str, float]:
        each = known[name]
        if each.training is None:
            own = each.seconds or 0.0
        else:
            own = bench.evaluate(bench.task.space[each.training[0]], each.training[1]).seconds
        return {name: own} | {key: value for need in each.needs for key, value in once(need).items()}

    rows = []
    for name in (
        "none@12",
        "nwot",
        "dna",
        "dna-random-teacher",
        "rmi",
        "rmi-random-teacher",
        "one-shot on=cifar10",
    ):
        if Fidelity.parse(name) not in bench.fidelities:
            continue
        bought = {key: value for need in Fidelity.parse(name).needs for key, value in once(need).items()}
        cell = bench.mean_seconds(name)
        told = ", ".join(f"{key} {value:,.0f}" for key, value in bought.items())
        total = sum(bought.values())
        rows.append((name, told, total, cell, total + 100 * cell, total + 1000 * cell))
    return pd.DataFrame(
        rows, columns=["score", "bought once, s", "in all, s", "a cell, s", "100 cells, s", "1,000 cells, s"]
    )


def beside(answered: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Published answers, with the test accuracy here of what is nearest to them."""
    rows = []
    for each in ANSWERS:
        here = []
        for task, frame in answered.items():
            if each.ours.startswith("cell "):
                here.append(f"{open_scorer(task, 'installed').reference[int(each.ours.split()[1])]:.2f}")
            elif each.ours in frame["answer"].tolist():
                here.append(f"{frame.set_index('answer')['test accuracy'][each.ours]:.2f}")
        accuracies = (each.cifar10, each.cifar100, each.imagenet)
        rows.append((each.method, *accuracies, each.protocol, each.candidates, each.ours, " / ".join(here)))
    names = ["method", *TASKS, "protocol", "candidates", "nearest here", "its test accuracy"]
    return pd.DataFrame(rows, columns=names)


def known() -> pd.DataFrame:
    """Published answers without spread, and the cell that they are: its validation / test accuracy."""
    scorers = {task: open_scorer(task, "installed") for task in TASKS}
    rows = [
        (
            name,
            index,
            str(Cell.from_index(index)).replace("|", " ").strip(),
            *(
                f"{np.nanmean(each.valid[index]):.2f} / {each.reference[index]:.2f}"
                for each in scorers.values()
            ),
        )
        for name, index in KNOWN.items()
    ]
    return pd.DataFrame(rows, columns=["published as", "cell", "operations", *TASKS])


def regressors() -> pd.DataFrame:
    """Tau over all cells of regressions on 100 random 200-epoch trainings: by embeddings, and by plain operations."""
    inputs = {
        "arch2vec's 16 numbers": embeddings(SPACE),
        "plain operations": np.eye(len(OPERATIONS))[SPACE.codes].reshape(len(SPACE), -1),
    }
    models: Mapping[str, Callable[..., tuple[Floats, Floats]]] = {
        "Gaussian process": predict_by_process,
        "DNGO": lambda *given, **seed: predict_by_network(*given, units=128, epochs=100, **seed),
    }
    rows = []
    for (inputs_name, features), (model, predict) in product(inputs.items(), models.items()):
        row = {"regression": model, "on": inputs_name}
        for task in TASKS:
            truth = np.nanmean(open_scorer(task, "embedded").valid, axis=1)
            bench, taus = nk.load(task, data="embedded"), []
            for seed in range(FITS):
                seen = np.random.default_rng(seed).choice(len(SPACE), 100, replace=False)
                shown = np.array(
                    [bench.draw(SPACE[int(cell)], find_task(task).target, seed).value for cell in seen]
                )
                taus.append(tau(predict(features, seen, shown, seed=seed)[0], truth))
            row[task] = f"{np.mean(taus):.2f} ± {np.std(taus, ddof=1):.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Write the tables."""
    parts, frames = [], []
    answers: dict[str, pd.DataFrame] = {}
    for task in TASKS:
        bench = Bench(task)
        ranked, answered = worth(bench), pd.concat([rules(bench), rules_of_some(bench)])
        answers[task] = answered
        frames.append(ranked.assign(task=task))
        parts += [
            f"### {task}: how scores rank",
            ranked.to_markdown(index=False, floatfmt=".3f"),
            f"### {task}: what answers are worth",
            answered.to_markdown(index=False, floatfmt=".2f"),
            f"### {task}: which operations scores prefer",
            biases(bench).to_markdown(index=False, floatfmt=".3f"),
        ]
    for title, name in SEARCHES.items():
        if (FOLDER / name / "leaderboard.csv").exists():
            parts += [f"### {title}", searched(FOLDER / name).to_markdown(index=False, floatfmt=".2f")]
    parts += [
        f"### What embeddings tell a regression of 100 trainings: tau over all cells, {FITS} draws",
        regressors().to_markdown(index=False),
        "### Answers that are known exactly: validation / test accuracy",
        known().to_markdown(index=False),
        "### Who pays for what",
        who_pays().to_markdown(index=False, floatfmt=",.2f"),
        "### Bills",
        bills().to_markdown(index=False, floatfmt=".1f"),
        "### Published",
        beside(answers).to_markdown(index=False),
    ]
    pd.concat(frames).to_csv(FOLDER / "scores.csv", index=False, float_format="%.4f", lineterminator="\n")
    write_between(FOLDER / "README.md", ("<!-- tables -->", "<!-- /tables -->"), "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
