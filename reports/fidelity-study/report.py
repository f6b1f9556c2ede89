"""Write the study's tables and figure from its CSV, after adding what databases of trainings hold.

    python reports/fidelity-study/report.py [study.db fill.db ...]

Only CIFAR-10 entries with seed 777 on the first 60 classes of the fill's order enter; rows with fewer than 30
classes are left out of the table and the figure. The table of the best proxy alone is of `patch.json`, which
holds more classes of it, and CIFAR-100.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from nasbench_kd import Cell
from nasbench_kd.files import write_between
from nasbench_kd.live.fill import class_order
from nasbench_kd.live.store import Store
from nasbench_kd.opening import load
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.tables.patch import read_patch
from nasbench_kd.tasks.fidelity import FULL, Fidelity

FOLDER = Path(__file__).parent
SEED, CLASSES, DRAWS, FEWEST = 777, 60, 2000, 30
COLOURS = {"none": "#0173b2", "kd": "#029e73", "nst": "#de8f05", "kd+nst": "#cc78bc"}
MARKERS = {"none": "o", "kd": "s", "nst": "D", "kd+nst": "^"}


def collect(databases: list[Path]) -> pd.DataFrame:
    """One row for each training."""
    first = {cell.index for cell in class_order()[:CLASSES]}
    rows = []
    for database in databases:
        for entry in Store(database).finished():
            job = entry.job
            if job.task != "cifar10" or job.seed != SEED or job.cell not in first:
                continue
            rows.append(
                {
                    "curve": job.curve,
                    "cell": job.cell,
                    "seed": job.seed,
                    "valid_accuracy": 100 * entry.valid_correct[-1] / entry.valid_images,
                    "train_seconds": sum(entry.seconds),
                    "valid_seconds": sum(entry.valid_seconds),
                    "status": entry.status,
                }
            )
    return pd.DataFrame(rows)


def full_accuracies(task: str, cells: list[int]) -> dict[int, list[float]]:
    """The 200-epoch validation accuracies of cells, one for each seed."""
    bench, found = load(task), {}
    for cell in map(Cell.from_index, cells):
        found[cell.index] = [
            bench.evaluate(cell, FULL, seed=seed).valid_accuracy for seed in bench.seeds(cell)
        ]
    return found


def tau(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(x, y).statistic)


def interval(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The 95 % bootstrap interval of tau over classes."""
    draws = [tau(x[rows], y[rows]) for rows in rng.integers(0, len(x), (DRAWS, len(x)))]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def summarise(frame: pd.DataFrame, truth: dict[int, float]) -> pd.DataFrame:
    """One row for each curve: tau over all classes and over the better half by truth, and the cost."""
    rows = []
    for curve, group in frame[frame.status == "ok"].groupby("curve"):
        rng = np.random.default_rng(0)
        x, y = group.valid_accuracy.to_numpy(), group.cell.map(truth).to_numpy()
        better = y >= np.median(y)
        cost = (group.train_seconds + group.valid_seconds).mean()
        low, high = interval(x, y, rng)
        top_low, top_high = interval(x[better], y[better], rng)
        rows.append((curve, len(x), tau(x, y), low, high, tau(x[better], y[better]), top_low, top_high, cost))
        rows[-1] += (x.mean(), x.std(ddof=1))
    columns = [
        "curve",
        "classes",
        "tau",
        "low",
        "high",
        "top",
        "top_low",
        "top_high",
        "cost",
        "mean",
        "spread",
    ]
    return pd.DataFrame(rows, columns=columns).sort_values("cost")


def lifts(frame: pd.DataFrame, truth: dict[int, float]) -> str:
    """What distillation adds to tau over plain training of the same classes, paired bootstrap, in Markdown."""
    lines = ["| fidelity | over plain training | classes |", "|---|---|---|"]
    ok = frame[frame.status == "ok"].pivot(index="cell", columns="curve", values="valid_accuracy")
    for curve in ok.columns:
        plain = str(Fidelity.parse(curve).without_distillation())
        pair = ok[[curve, plain]].dropna() if plain in ok and plain != curve else ok.iloc[:0]
        if len(pair) < FEWEST:
            continue
        known = [truth[cell] for cell in pair.index]
        lines.append(f"| `{curve}` | {_lift(pair[curve], pair[plain], known)} | {len(pair)} |")
    return "\n".join(lines)


def _lift(distilled: pd.Series, plain: pd.Series, truth: list[float]) -> str:
    """Difference of the taus with its 95 % interval by paired bootstrap."""
    x, y, z = distilled.to_numpy(), plain.to_numpy(), np.array(truth)
    rng = np.random.default_rng(0)
    draws = [tau(x[r], z[r]) - tau(y[r], z[r]) for r in rng.integers(0, len(z), (DRAWS, len(z)))]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return f"{tau(x, z) - tau(y, z):+.2f} [{low:+.2f}, {high:+.2f}]"


def ceiling(seeds: dict[int, list[float]]) -> float:
    """Tau between one full training and the mean of the others, over the classes with several."""
    several = [values for values in seeds.values() if len(values) > 1]
    return tau(np.array([v[0] for v in several]), np.array([np.mean(v[1:]) for v in several]))


def table(summary: pd.DataFrame) -> str:
    """The summary in Markdown."""
    lines = [
        "| number | fidelity | classes | tau [95 %] | tau, better half [95 %] | CPU-s | accuracy, mean and spread |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, row in enumerate(summary.itertuples(), start=1):
        lines.append(
            f"| {number} | `{row.curve}` | {row.classes} | {row.tau:.2f} [{row.low:.2f}, {row.high:.2f}] | "
            f"{row.top:.2f} [{row.top_low:.2f}, {row.top_high:.2f}] | {row.cost:.1f} | "
            f"{row.mean:.1f}, {row.spread:.1f} |"
        )
    return "\n".join(lines)


def draw(summary: pd.DataFrame, known: list[tuple[float, float]]) -> None:
    """Tau against cost, one point for each fidelity with its number in the table, over all classes and the better half.

    `known` are, for each, the taus of one more full training and of the number of parameters.
    """
    plt.rc("font", size=8)
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 4.0), sharey=True, layout="constrained")
    distillation = summary.curve.map(lambda curve: Fidelity.parse(curve).distillation)
    titles = ("all classes", "the better half")
    for axes, name, classes, (limit, size) in zip(panels, ("tau", "top"), titles, known, strict=True):
        low, high = ("low", "high") if name == "tau" else ("top_low", "top_high")
        for kind, colour in COLOURS.items():
            group = summary[distillation == kind]
            errors = [group[name] - group[low], group[high] - group[name]]
            axes.errorbar(
                group.cost,
                group[name],
                yerr=errors,
                fmt=MARKERS[kind],
                ms=4,
                color=colour,
                elinewidth=0.8,
                label=kind,
            )
        for number, row in enumerate(summary.itertuples(), start=1):
            axes.annotate(
                number,
                (row.cost, getattr(row, name)),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize=6,
            )
        axes.axhline(0, color="black", linewidth=0.5)
        axes.axhline(limit, linestyle="--", color="grey", label="one more full training")
        axes.axhline(size, linestyle=":", color="grey", label="number of parameters")
        axes.set(xlabel="cost (CPU-seconds a cell)", title=classes, xscale="log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xticks([1, 2, 5, 10])
        axes.xaxis.set_minor_formatter("")
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Kendall tau with 200 epochs\n(95 % interval, higher is better)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(FOLDER / "tau_against_cost.png", dpi=160)


def best_proxy() -> str:
    """Tau of the best proxy on both tasks over all classes of `patch.json`, and distillation's lift, in Markdown."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for column in read_patch(FOLDER / "patch.json"):
        if column.fidelity == column.fidelity.curve:
            accuracies = zip(column.rows["cell"].tolist(), column.accuracies().tolist(), strict=True)
            found.setdefault((column.task, str(column.fidelity)), {}).update(accuracies)
    lines = [
        "| task | fidelity | classes | tau [95 %] | over plain training of the same classes | accuracy, mean, spread |",
        "|---|---|---|---|---|---|",
    ]
    for (task, curve), accuracies in sorted(
        found.items(), key=lambda item: (item[0][0], "none" not in item[0][1], item[0])
    ):
        truth = full_accuracies(task, list(accuracies))
        x, y = (
            np.array(values)
            for values in (list(accuracies.values()), [np.mean(truth[c]) for c in accuracies])
        )
        low, high = interval(x, y, np.random.default_rng(0))
        plain = found[task, str(Fidelity.parse(curve).without_distillation())]
        pair = pd.DataFrame({curve: accuracies, "plain": plain}).dropna()
        lift = (
            ""
            if plain is accuracies
            else _lift(pair[curve], pair["plain"], [np.mean(truth[c]) for c in pair.index])
        )
        lines.append(
            f"| {task} | `{curve}` | {len(x)} | {tau(x, y):.2f} [{low:.2f}, {high:.2f}] | {lift} | "
            f"{x.mean():.1f}, {x.std(ddof=1):.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Write the CSV, the figure and the tables of README.md."""
    databases = [Path(name) for name in sys.argv[1:]]
    path = FOLDER / "trainings.csv"
    frame, seeds = (
        pd.read_csv(path),
        full_accuracies("cifar10", [cell.index for cell in class_order()[:CLASSES]]),
    )
    if databases:
        both = pd.concat([frame, collect(databases)]).drop_duplicates(["curve", "cell", "seed"])
        frame = both.sort_values(["curve", "cell"]).reset_index(drop=True)
        frame.to_csv(path, index=False)
    truth = {index: float(np.mean(values)) for index, values in seeds.items()}
    summary = summarise(frame, truth)
    summary = summary[summary.classes >= FEWEST]
    middle = np.median(list(truth.values()))
    better = {index: values for index, values in seeds.items() if truth[index] >= middle}
    (limit, size), (top_limit, top_size) = known = [
        (ceiling(some), _of_parameters(some)) for some in (seeds, better)
    ]
    draw(summary, known)
    remarks = (
        f"Ceiling, one more full training on the first 60 classes: {limit:.2f} ({top_limit:.2f} in the better "
        f"half). The number of parameters alone, on the same 60: {size:.2f} ({top_size:.2f}); over all 6,466 classes "
        f"{_of_parameters_everywhere():.3f}."
    )
    page = f"{table(summary)}\n\n{remarks}\n"
    tables = {"taus": page, "lifts": f"{lifts(frame, truth)}\n", "best proxy": f"{best_proxy()}\n"}
    for name, text in tables.items():
        write_between(FOLDER / "README.md", (f"<!-- {name} -->", f"<!-- end of {name} -->"), text)


def _of_parameters(seeds: dict[int, list[float]]) -> float:
    counts = np.array([parameters(Cell.from_index(index), 10) for index in seeds])
    return tau(counts, np.array([np.mean(values) for values in seeds.values()]))


def _of_parameters_everywhere() -> float:
    return _of_parameters(full_accuracies("cifar10", [cell.index for cell in class_order()]))


if __name__ == "__main__":
    main()
