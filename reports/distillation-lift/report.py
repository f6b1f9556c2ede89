"""What distillation adds to the measured low fidelities, at equal epochs and at equal cost.

    python reports/distillation-lift/report.py

Reads the embedded tables of low fidelities and two patches of live mode beside this file: `none-4-epochs.json` (plain
trainings of the cheap proxy that cost about what distilled ones of three epochs do) and `second-seeds.json` (60 classes
of the dearer proxy with another seed). Writes `lift.csv`, `lift.png` and the tables of README.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.files import write_between
from nasbench_kd.opening import load
from nasbench_kd.plotting import save, style
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import Cell, one_hot_matrix
from nasbench_kd.stats.order_statistics import RandomSearchCurve
from nasbench_kd.stats.statistics import kendall
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.patch import read_patch
from nasbench_kd.tables.table import Column, Table
from nasbench_kd.tasks.fidelity import FULL, Fidelity

FOLDER = Path(__file__).parent
SEED, OTHER_SEED, DRAWS = 777, 888, 1000
SAMPLES = 8
SCREENED = (10, 30, 100, 300)
"""Cells trained without distillation, whose cost the distilled trainings get as well."""
COLOURS = {"none": "#0173b2", "nst": "#de8f05"}
SMALL, LARGE = "3 x 2,500, C=8", "4 x 5,000, C=16"
PROXIES = {
    Fidelity.parse("none@3 images=2500 batch=32 size=16 channels=8 cells=1"): SMALL,
    Fidelity.parse("none@4 images=2500 batch=32 size=16 channels=8 cells=1"): SMALL,
    Fidelity.parse("none@4 images=5000 batch=32 size=16 cells=1"): LARGE,
}
"""Plain trainings by the proxy that they belong to: epochs x images and channels."""
LINES = {SMALL: "--", LARGE: "-"}
KEYS = ["task", "proxy", "distillation"]


def read(columns: list[Column], seed: int) -> pd.DataFrame:
    """One row for each training and epoch of one seed, with the cell's mean 200-epoch accuracy."""
    frames = []
    for column in columns:
        rows = column.rows[column.rows["seed"] == seed]
        frame = pd.DataFrame(
            {
                "task": column.task,
                "proxy": PROXIES[column.fidelity.curve.without_distillation()],
                "distillation": column.fidelity.distillation,
                "epoch": column.fidelity.epochs,
                "schedule": column.fidelity.schedule_epochs,
                "cell": rows["cell"].astype(int),
                "accuracy": rows["correct"] * (100 / column.images),
                "seconds": rows["microseconds"] / 1e6,
            }
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True).drop_duplicates([*KEYS, "epoch", "schedule", "cell"])


def truth(frame: pd.DataFrame) -> pd.Series:
    """Mean over seeds of the 200-epoch validation accuracy of each row's cell."""
    benches = {task: load(task) for task in frame.task.unique()}
    known: dict[tuple[str, int], float] = {}
    for task, index in frame[["task", "cell"]].drop_duplicates().itertuples(index=False):
        bench, cell = benches[task], Cell.from_index(index)
        values = [bench.evaluate(cell, FULL, seed=seed).valid_accuracy for seed in bench.seeds(cell)]
        known[task, index] = float(np.mean(values))
    return pd.Series([known[pair] for pair in zip(frame.task, frame.cell, strict=True)], index=frame.index)


def paired(first: pd.DataFrame, second: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracies of the cells that both hold, and their 200-epoch accuracy."""
    both = first.merge(second, on="cell", suffixes=("", "_second"))
    return both.accuracy.to_numpy(), both.accuracy_second.to_numpy(), both.truth.to_numpy()


def interval(values: list[float]) -> str:
    """The 95 % percentile interval, as text with signs where it can be negative."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return f"[{low:.2f}, {high:.2f}]"


def tau_row(plain: pd.DataFrame, distilled: pd.DataFrame) -> str:
    """Cells of a Markdown row: classes, both taus, their paired difference, both costs."""
    x, y, z = paired(plain, distilled)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(z), (DRAWS, len(z)))
    taus = np.array([(kendall(x[pick], z[pick]), kendall(y[pick], z[pick])) for pick in draws])
    lift = taus[:, 1] - taus[:, 0]
    return (
        f"{len(z)} | {kendall(x, z):.2f} {interval(list(taus[:, 0]))} | {kendall(y, z):.2f} "
        f"{interval(list(taus[:, 1]))} | **{kendall(y, z) - kendall(x, z):+.2f}** {interval(list(lift))} | "
        f"{plain.seconds.mean():.2f} | {distilled.seconds.mean():.2f}"
    )


def equal_epochs(frame: pd.DataFrame) -> str:
    """Tau of plain and distilled trainings after each epoch of the same schedule."""
    lines = [
        "| task | proxy | epoch | classes | tau plain | tau distilled | distilled over plain | s plain | s distilled |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (task, proxy, epoch), group in frame.groupby(["task", "proxy", "epoch"]):
        row = tau_row(group[group.distillation == "none"], group[group.distillation == "nst"])
        lines.append(f"| {task} | {proxy} | {epoch} | {row} |")
    return "\n".join(lines)


def partial_spearman(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> float:
    """Spearman's correlation of two arrays with what a third one explains taken out of both."""
    (_, xy, xs), (_, _, ys), _ = np.corrcoef([rankdata(x), rankdata(y), rankdata(size)])
    return float((xy - xs * ys) / np.sqrt((1 - xs**2) * (1 - ys**2)))


def equal_size(frame: pd.DataFrame) -> str:
    """Partial Spearman correlation with 200 epochs given the number of parameters, at the end of each schedule."""
    lines = [
        "| task | proxy | classes | tau of parameters alone | plain, given parameters | distilled, given parameters | "
        "distilled over plain |",
        "|---|---|---|---|---|---|---|",
    ]
    for (task, proxy), every in frame.groupby(["task", "proxy"]):
        group = every[every.epoch == every.epoch.max()]
        both = group[group.distillation == "none"].merge(group[group.distillation == "nst"], on="cell")
        x, y, z = (both[name].to_numpy() for name in ("accuracy_x", "accuracy_y", "truth_x"))
        size = np.array([parameters(Cell.from_index(int(cell)), 10) for cell in both.cell])
        draws = np.random.default_rng(0).integers(0, len(z), (DRAWS, len(z)))
        pairs = [[partial_spearman(each[pick], z[pick], size[pick]) for each in (x, y)] for pick in draws]
        plain, distilled = (partial_spearman(each, z, size) for each in (x, y))
        plains, lasts = np.transpose(pairs)
        lines.append(
            f"| {task} | {proxy} | {len(z)} | {kendall(size, z):.2f} | {plain:.2f} {interval(list(plains))} | "
            f"{distilled:.2f} {interval(list(lasts))} | **{distilled - plain:+.3f}** {interval(list(lasts - plains))} |"
        )
    return "\n".join(lines)


def equal_cost(frame: pd.DataFrame, longer: pd.DataFrame) -> str:
    """Tau of distilled trainings of three epochs beside plain ones of four."""
    lines = [
        "| task | proxy | classes | tau plain, 4 epochs | tau distilled, 3 epochs | distilled over plain | s plain | "
        "s distilled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    plainly = pd.concat((frame[frame.distillation == "none"], longer))
    for (task, proxy), distilled in frame[(frame.distillation == "nst") & (frame.epoch == 3)].groupby(
        ["task", "proxy"]
    ):
        plain = plainly[(plainly.task == task) & (plainly.proxy == proxy) & (plainly.epoch == 4)]
        row = tau_row(plain, distilled[distilled.cell.isin(plain.cell)])
        lines.append(f"| {task} | {proxy} | {row} |")
    return "\n".join(lines)


def picked(group: pd.DataFrame, count: float) -> float:
    """Expected 200-epoch accuracy of the best of `count` random cells by their cheap accuracy."""
    curve = RandomSearchCurve.from_table(group.accuracy.to_numpy()[:, None], group.truth.to_numpy()[:, None])
    return curve.expected(min(count, curve.cells))


def screening(frame: pd.DataFrame) -> str:
    """What screening random cells with one or the other finds for the same cost, the teacher's left out."""
    lines = [
        "| task | proxy | screened, plain and distilled | pick's 200-epoch accuracy, plain | distilled | difference |",
        "|---|---|---|---|---|---|",
    ]
    last = frame[frame.epoch == frame.schedule]
    for (task, proxy), group in last.groupby(["task", "proxy"]):
        plain, distilled = (group[group.distillation == name].set_index("cell") for name in ("none", "nst"))
        both = plain.index.intersection(distilled.index)
        plain, distilled = plain.loc[both], distilled.loc[both]
        ratio = plain.seconds.mean() / distilled.seconds.mean()
        for count in (count for count in SCREENED if count < len(both)):
            rng, draws = np.random.default_rng(0), []
            for pick in rng.integers(0, len(both), (DRAWS // 5, len(both))):
                draws.append(picked(distilled.iloc[pick], ratio * count) - picked(plain.iloc[pick], count))
            one, other = picked(plain, count), picked(distilled, ratio * count)
            lines.append(
                f"| {task} | {proxy} | {count}, {ratio * count:.0f} | {one:.2f} | {other:.2f} | "
                f"**{other - one:+.2f}** {interval(draws)} |"
            )
    return "\n".join(lines)


def noise(frame: pd.DataFrame, other: pd.DataFrame) -> str:
    """How far two trainings of one cell with different seeds lie apart."""
    lines = [
        "| task | proxy | distillation | classes | sd between seeds | sd between classes | tau between seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    ends = frame[frame.epoch == frame.schedule]
    again = other[other.epoch == other.schedule][[*KEYS, "cell", "accuracy"]]
    for key, both in ends.merge(again, on=[*KEYS, "cell"], suffixes=("", "_other")).groupby(KEYS):
        apart = float(np.sqrt(((both.accuracy - both.accuracy_other) ** 2).mean() / 2))
        lines.append(
            f"| {' | '.join(key)} | {len(both)} | {apart:.2f} | {both.accuracy.std():.2f} | "
            f"{kendall(both.accuracy, both.accuracy_other):.2f} |"
        )
    return "\n".join(lines)


def smoothed(group: pd.DataFrame, count: int) -> float:
    """Tau with 200 epochs of a ridge regression from operations to cheap accuracy, on cells it has not seen.

    By cross-validation within `count` cells at a time, the mean over eight samples of them: what a search learns
    that fits a model to its evaluations.
    """
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 3, 9)))
    taus = []
    for repetition in range(SAMPLES):
        part = group.sample(count, random_state=repetition)
        folds = KFold(5, shuffle=True, random_state=repetition)
        predicted = cross_val_predict(model, one_hot_matrix()[part.cell], part.accuracy, cv=folds)
        taus.append(kendall(predicted, part.truth))
    return float(np.mean(taus))


def beside_draws(frame: pd.DataFrame, drawn: pd.DataFrame) -> str:
    """What the surrogate's draws say, on the classes that were not measured, beside what trainings say on theirs."""
    lines = [
        "| task | proxy | distillation | entries | classes | tau, all | better half | best fifth | smoothed "
        "| pick of 10 | of 30 | of 100 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    both = pd.concat((frame.assign(entries="measured"), drawn.assign(entries="drawn")))
    ends = both[both.epoch == both.schedule]
    fewest = ends.groupby([*KEYS, "entries"]).size().groupby(KEYS).min()
    for key, group in ends.groupby([*KEYS, "entries"]):
        full = np.nanmean(open_scorer(key[0], "embedded").valid, axis=1)
        parts = [group[group.truth >= np.quantile(full, part)] for part in (0, 0.5, 0.8)]
        taus = " | ".join(f"{kendall(part.accuracy, part.truth):.2f}" for part in parts)
        picks = " | ".join(f"{picked(group, count):.2f}" for count in SCREENED[:3])
        smooth = smoothed(group, fewest[key[:-1]])
        lines.append(f"| {' | '.join(key)} | {len(group)} | {taus} | {smooth:.2f} | {picks} |")
    return "\n".join(lines)


def draw(frame: pd.DataFrame) -> None:
    """Tau against cost by epoch, and the pick's accuracy against the cost of screening."""
    with style() as (plt, _):
        tasks = list(frame.task.unique())
        figure, axes = plt.subplots(2, len(tasks), figsize=(4.6 * len(tasks), 6.8), squeeze=False)
        for column, task in enumerate(tasks):
            top, bottom = axes[:, column]
            for (proxy, name), group in frame[frame.task == task].groupby(["proxy", "distillation"]):
                points = []
                for _, rows in group.groupby("epoch"):
                    x, z = rows.accuracy.to_numpy(), rows.truth.to_numpy()
                    rng = np.random.default_rng(0)
                    taus = [kendall(x[p], z[p]) for p in rng.integers(0, len(z), (200, len(z)))]
                    points.append((rows.seconds.mean(), kendall(x, z), *np.quantile(taus, [0.025, 0.975])))
                cost, tau, low, high = np.array(points).T
                looks = {"color": COLOURS[name], "linestyle": LINES[proxy]}
                top.errorbar(cost, tau, [tau - low, high - tau], marker="o", capsize=3, **looks)
                last = group[group.epoch == group.schedule]
                counts = np.geomspace(1, len(last) / 2, 40)
                values = [picked(last, count) for count in counts]
                bottom.plot(counts * last.seconds.mean(), values, label=f"{name}, {proxy}", **looks)
            top.set(
                title=task,
                xscale="log",
                xlabel="seconds for one cell, epoch by epoch",
                ylabel="tau with 200 epochs" if column == 0 else "",
            )
            bottom.set(
                xscale="log",
                xlabel="seconds of screening",
                ylabel="200-epoch accuracy of the pick (%)" if column == 0 else "",
            )
            top.set_xticks([0.1, 0.2, 0.5, 1, 2], labels=["0.1", "0.2", "0.5", "1", "2"])
            top.minorticks_off()
            top.axhline(0, color="0.6", linewidth=0.8)
        handles, labels = axes[1, 0].get_legend_handles_labels()
        figure.tight_layout(rect=(0, 0.08, 1, 1))
        figure.legend(handles, labels, frameon=False, ncols=2, loc="lower center")
        save(figure, FOLDER / "lift")
        plt.close(figure)


def shipped(name: str) -> list[Column]:
    """The columns of an embedded table that belong to a proxy."""
    return [
        column
        for column in Table.open(EMBEDDED_FOLDER / name).columns
        if column.fidelity.distillation in COLOURS and column.fidelity.curve.without_distillation() in PROXIES
    ]


def main() -> None:
    """Write everything."""
    columns = shipped("kd_low_fidelity")
    frame = read(columns, SEED)
    frame["truth"] = truth(frame)
    other = read([*columns, *read_patch(FOLDER / "second-seeds.json")], OTHER_SEED)
    drawn = read([column for column in shipped("kd_surrogate") if column.task in set(frame.task)], SEED)
    drawn["truth"] = truth(drawn)
    longer = read(read_patch(FOLDER / "none-4-epochs.json"), SEED)
    longer["truth"] = truth(longer)
    frame.groupby([*KEYS, "epoch"])[["accuracy", "seconds"]].agg(["count", "mean", "std"]).to_csv(
        FOLDER / "lift.csv"
    )
    draw(frame)
    tables = {
        "equal epochs": equal_epochs(frame),
        "equal cost": equal_cost(frame, longer),
        "equal size": equal_size(frame),
        "screening": screening(frame),
        "noise": noise(frame, other),
        "draws": beside_draws(frame, drawn),
    }
    for name, table in tables.items():
        write_between(FOLDER / "README.md", (f"<!-- {name} -->", f"<!-- end of {name} -->"), table + "\n")


if __name__ == "__main__":
    main()
