"""What a short distilled training is worth, beside its controls; the protocol is in PROTOCOL.md.

    python reports/distillation-worth/report.py

Reads the embedded tables and the controls beside this file, all measured. Writes `worth.csv`, `worth.png`, `top.png`
and the tables of README.md.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.files import write_between
from nasbench_kd.live.fill import class_order
from nasbench_kd.plotting import save, style
from nasbench_kd.spaces.complexity import multiply_accumulates, parameters
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, all_cells, isomorphism_classes
from nasbench_kd.stats.statistics import kendall
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.table import Column, Table
from nasbench_kd.tasks.fidelity import Fidelity

Array = npt.NDArray[np.float64]
FOLDER = Path(__file__).parent
CHEAP = "@1 images=2500 batch=32 size=16 channels=8 cells=1"
DEAR = "@1 images=2500 batch=32 size=16"
TASKS = ("cifar10", "cifar100", "imagenet16-120")
MEASURED = ("cifar10", "cifar100")
CANDIDATES = ("valid_accuracy", "train_accuracy", "train_loss", "train_distillation")
DRAWS = 1000
FOLDS = 10
SHARES = (0.05, 0.10)
UNTRAINED = ("parameters", "MACs", "convolutions")
COLOURS = {"plain": "#0173b2", "distilled": "#de8f05", "untrained": "grey"}
PICKED, POOL = 5, 50
"""The top-of-50 exercise: the best accuracy among the five of 50 random classes that a reading likes best."""


class Readings:
    """Readings as arrays over the 15,625 cells, NaN where there is none; larger is better."""

    def __init__(self) -> None:
        self.tables = {
            name: Table.open(EMBEDDED_FOLDER / name) for name in ("kd_readings", "nas_bench_201_12_epochs")
        }
        self.controls = Table.open(FOLDER / "controls")

    def read(self, task: str, fidelity: str, signal: str, *, seed: int = 777, teacher: str = "") -> Array:
        """Values of a signal for each cell; losses with a minus sign."""
        columns = self.controls.columns if teacher or seed != 777 else self.tables["kd_readings"].columns
        (column,) = [each for each in columns if _is(each, task, fidelity, seed, teacher)]
        return self._spread(column, signal)

    def seconds(self, task: str, fidelity: str) -> float:
        """Mean price in seconds of the table's clock."""
        (column,) = [c for c in self.tables["kd_readings"].columns if _is(c, task, fidelity, 777, "")]
        return float(column.rows["microseconds"].mean() / 1e6)

    def twelve_epochs(self, task: str) -> tuple[Array, float]:
        """Validation accuracy of none@12 and its mean price."""
        twelve = Fidelity.parse("none@12")
        (column,) = [
            c
            for c in self.tables["nas_bench_201_12_epochs"].columns
            if (c.task, c.fidelity) == (task, twelve)
        ]
        return self._spread(column, "valid_accuracy"), float(column.rows["microseconds"].mean() / 1e6)

    def _spread(self, column: Column, signal: str) -> Array:
        spread = np.full(SPACE_SIZE, np.nan)
        values = column.values(signal)
        spread[column.rows["cell"]] = values if signal.endswith("accuracy") else -values
        return spread


def _is(column: Column, task: str, fidelity: str, seed: int, teacher: str) -> bool:
    kind = column.provenance.get("teacher", {}).get("kind", "")
    return (
        (column.task, str(column.fidelity)) == (task, fidelity)
        and seed in column.rows["seed"]
        and (kind.startswith(teacher) if teacher else not kind.startswith(("random", "shuffled")))
    )


def partial_tau(x: Array, y: Array, z: Array) -> float:
    """Kendall's partial tau of x and y given z."""
    xy, xz, yz = kendall(x, y), kendall(x, z), kendall(y, z)
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / np.sqrt(rest) if rest > 0 else np.nan


def interval(values: list[float] | Array) -> str:
    """The 95 % percentile interval as text."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return f"[{low:.2f}, {high:.2f}]"


def resampled(statistic, size: int, draws: int = DRAWS) -> Array:  # type: ignore[no-untyped-def]
    """A statistic of index arrays over bootstrap samples of classes."""
    rng = np.random.default_rng(0)
    return np.array([statistic(rng.integers(0, size, size)) for _ in range(draws)])


def top(score: Array, truth: Array, share: float) -> float:
    """Best 200-epoch accuracy among the share of classes that the score likes best."""
    count = max(1, round(share * len(truth)))
    return float(truth[np.argsort(-score, kind="stable")[:count]].max())


def five_of_fifty(score: Array, truth: Array) -> float:
    """Mean best accuracy among the five of 50 random classes that the score likes best (2,000 draws)."""
    rng = np.random.default_rng(1)
    pools = np.array([rng.choice(len(truth), POOL, replace=False) for _ in range(2000)])
    chosen = np.take_along_axis(pools, np.argsort(-score[pools], axis=1, kind="stable")[:, :PICKED], axis=1)
    return float(truth[chosen].max(1).mean())


def out_of_class(features: list[Array], truth: Array) -> Array:
    """Ten-fold predictions of a linear model on ranks; every class is a representative of its own."""
    columns = np.stack([rankdata(feature) for feature in features], 1)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    predicted: Array = cross_val_predict(model, columns, rankdata(truth), cv=folds)
    return predicted


def row(name: str, score: Array, truth: Array, size: Array, price: float | None) -> dict[str, object]:
    """One line of the main table; the classes are those that have the score."""
    known = np.isfinite(score)
    score, truth, size = score[known], truth[known], size[known]
    upper, tenth = truth >= np.median(truth), truth >= np.quantile(truth, 0.9)
    taus = resampled(lambda pick: kendall(score[pick], truth[pick]), len(truth))
    return {
        "reading": name,
        "classes": len(truth),
        "tau": kendall(score, truth),
        "interval": interval(taus),
        "better half": kendall(score[upper], truth[upper]),
        "best tenth": kendall(score[tenth], truth[tenth]),
        "given parameters": partial_tau(score, truth, size) if name != "parameters" else np.nan,
        "best of top 5 %": top(score, truth, SHARES[0]),
        "best of top 10 %": top(score, truth, SHARES[1]),
        "best 5 of 50": five_of_fifty(score, truth),
        "seconds": price,
    }


def markdown(frame: pd.DataFrame) -> str:
    """A Markdown table with two or three digits."""
    formats = {
        "tau": ".3f",
        "better half": ".2f",
        "best tenth": ".2f",
        "given parameters": ".2f",
        "seconds": ".3g",
    }
    shown = frame.copy()
    for name in shown.columns:
        if shown[name].dtype.kind == "f":
            code = formats.get(name, ".2f")
            shown[name] = [("" if np.isnan(v) else format(v, code)) for v in shown[name]]
    return str(shown.to_markdown(index=False, disable_numparse=True))


def write(section: str, text: str) -> None:
    """Put a table between the marks of its section in README.md."""
    write_between(FOLDER / "README.md", (f"<!-- {section} -->", f"<!-- end of {section} -->"), f"{text}\n")


def main() -> None:
    """Make every table and figure."""
    data = Readings()
    order = [cell.index for cell in class_order()]
    choosing, reporting = np.array(order[0::2]), np.array(order[1::2])
    cells = all_cells()
    size = {task: np.array([parameters(cell, 10) for cell in cells], float) for task in TASKS}
    macs = np.array([multiply_accumulates(cell, 10) for cell in cells], float)
    convolutions = np.array(
        [sum(op.startswith("nor_conv") for op in cell.operations) for cell in cells], float
    )
    truth = {task: np.nanmean(open_scorer(task).valid, axis=1) for task in TASKS}
    assert len(set(isomorphism_classes()[order].tolist())) == len(order)

    chosen = {
        signal: np.mean(
            [
                kendall(data.read(task, f"nst{CHEAP}", signal)[choosing], truth[task][choosing])
                for task in MEASURED
            ]
        )
        for signal in CANDIDATES
    }
    primary = max(chosen, key=lambda signal: chosen[signal])
    lines = [f"| {signal} | {tau:.3f} |" for signal, tau in chosen.items()]
    write("choice", "\n".join(["| reading | mean tau, choosing half |", "|---|---|", *lines]))

    frames, gains = [], []
    for task in TASKS:
        judge = truth[task][reporting]
        sources = MEASURED if task not in MEASURED else (task,)
        own = size[task][reporting]
        twelve, twelve_price = data.twelve_epochs(task)
        rows = [
            row("parameters", own, judge, own, 0.0),
            row("MACs", macs[reporting], judge, own, 0.0),
            row("convolutions", convolutions[reporting], judge, own, 0.0),
            row("none@12, valid accuracy", twelve[reporting], judge, own, twelve_price),
        ]
        for source in sources:
            on = "" if source == task else f" on {source}"
            listed = [
                ("nst", CHEAP, primary, "", "cheap"),
                ("nst", CHEAP, "valid_accuracy", "", "cheap"),
                ("nst", CHEAP, "train_loss", "", "cheap"),
                ("nst", CHEAP, primary, "random", "cheap, random teacher"),
                ("nst", CHEAP, primary, "shuffled", "cheap, shuffled maps"),
                ("none", CHEAP, "valid_accuracy", "", "cheap"),
                ("none", CHEAP, "train_loss", "", "cheap"),
                ("nst", DEAR, primary, "", "dear"),
                ("none", DEAR, "train_loss", "", "dear"),
                ("kd", CHEAP, "train_distillation", "", "cheap"),
                ("kd", CHEAP, "valid_accuracy", "", "cheap"),
                ("kd+nst", CHEAP, "train_distillation_nst", "", "cheap"),
                ("at", CHEAP, "train_distillation", "", "cheap"),
                ("pkt", CHEAP, "train_distillation", "", "cheap"),
                ("sp", CHEAP, "train_distillation", "", "cheap"),
            ]
            if source != task:
                listed = listed[:2]
            for distillation, recipe, signal, teacher, label in listed:
                score = data.read(source, distillation + recipe, signal, teacher=teacher)[reporting]
                price = data.seconds(source, distillation + recipe)
                rows.append(
                    row(f"{distillation} {label}{on}, {signal.replace('_', ' ')}", score, judge, own, price)
                )
            score = data.read(source, f"nst{CHEAP}", primary)
            both = rankdata(score[reporting]) + rankdata(own)
            rows.append(
                row(
                    f"nst cheap{on} + parameters (sum of ranks)",
                    both,
                    judge,
                    own,
                    data.seconds(source, f"nst{CHEAP}"),
                )
            )
            gains.append(gain(task, source, data, primary, reporting, judge, own, macs[reporting]))
        both = rankdata(twelve[reporting]) + rankdata(own)
        rows.append(row("none@12 + parameters (sum of ranks)", both, judge, own, twelve_price))
        frame = pd.DataFrame(rows)
        frame.insert(0, "task", task)
        frames.append(frame)
        write(task, markdown(frame.drop(columns="task")))
    everything = pd.concat(frames)
    everything.to_csv(FOLDER / "worth.csv", index=False, float_format="%.4f")
    write("gain", markdown(pd.DataFrame(gains)))
    write("teachers", markdown(teachers(data, primary, truth, order)))
    write("seeds", markdown(seeds(data, primary, truth, order)))
    write("all classes", markdown(all_classes(data, primary, truth, size, order)))
    draw(everything)


def gain(
    task: str,
    source: str,
    data: Readings,
    primary: str,
    rows: npt.NDArray[np.int64],
    judge: Array,
    own: Array,
    macs: Array,
) -> dict[str, object]:
    """The primary outcome: what the primary reading adds to size and plain training, out of class."""
    plain = [
        data.read(source, f"none{CHEAP}", signal)[rows]
        for signal in ("valid_accuracy", "train_loss", "train_accuracy")
    ]
    base = [own, macs, *plain]
    without = out_of_class(base, judge)
    with_it = out_of_class([*base, data.read(source, f"nst{CHEAP}", primary)[rows]], judge)
    upper = judge >= np.median(judge)
    difference = resampled(
        lambda pick: kendall(with_it[pick], judge[pick]) - kendall(without[pick], judge[pick]),
        len(judge),
        300,
    )
    halves = resampled(
        lambda pick: (
            kendall(with_it[upper][pick], judge[upper][pick])
            - kendall(without[upper][pick], judge[upper][pick])
        ),
        int(upper.sum()),
    )
    return {
        "task": task,
        "trained on": source,
        "tau without": kendall(without, judge),
        "tau with": kendall(with_it, judge),
        "gain": kendall(with_it, judge) - kendall(without, judge),
        "95 %": interval(difference),
        "gain, better half": kendall(with_it[upper], judge[upper]) - kendall(without[upper], judge[upper]),
        "95 % ": interval(halves),
        "best 5 of 50 without": five_of_fifty(without, judge),
        "best 5 of 50 with": five_of_fifty(with_it, judge),
        "s plain": data.seconds(source, f"none{CHEAP}"),
        "s distilled": data.seconds(source, f"nst{CHEAP}"),
    }


def teachers(data: Readings, primary: str, truth: dict[str, Array], order: list[int]) -> pd.DataFrame:
    """The same classes under three teachers, and the difference to the trained one."""
    found = []
    for task in MEASURED:
        trained = data.read(task, f"nst{CHEAP}", primary)
        for teacher in ("random", "shuffled"):
            other = data.read(task, f"nst{CHEAP}", primary, teacher=teacher)
            cells = np.array([cell for cell in order if np.isfinite(other[cell])])
            x, y, z = trained[cells], other[cells], truth[task][cells]
            difference = resampled(
                lambda p, x=x, y=y, z=z: kendall(x[p], z[p]) - kendall(y[p], z[p]), len(z), 500
            )
            found.append(
                {
                    "task": task,
                    "control": {"random": "random teacher", "shuffled": "maps of other images"}[teacher],
                    "classes": len(z),
                    "tau, trained teacher": kendall(x, z),
                    "tau, control": kendall(y, z),
                    "trained over control": kendall(x, z) - kendall(y, z),
                    "95 %": interval(difference),
                }
            )
    return pd.DataFrame(found)


def seeds(data: Readings, primary: str, truth: dict[str, Array], order: list[int]) -> pd.DataFrame:
    """Agreement of two seeds, what their mean is worth, and tau freed of the noise of one seed."""
    found = []
    for task in MEASURED:
        first = data.read(task, f"nst{CHEAP}", primary)
        second = data.read(task, f"nst{CHEAP}", primary, seed=888)
        cells = np.array([cell for cell in order if np.isfinite(second[cell])])
        x, y, z = first[cells], second[cells], truth[task][cells]
        pearson = lambda a, b: float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])  # noqa: E731
        found.append(
            {
                "task": task,
                "classes": len(z),
                "tau between seeds": kendall(x, y),
                "tau, one seed": (kendall(x, z) + kendall(y, z)) / 2,
                "tau, mean of two": kendall(rankdata(x) + rankdata(y), z),
                "Spearman, one seed": (pearson(x, z) + pearson(y, z)) / 2,
                "Spearman, disattenuated": (pearson(x, z) + pearson(y, z)) / 2 / np.sqrt(pearson(x, y)),
            }
        )
    return pd.DataFrame(found)


def all_classes(
    data: Readings, primary: str, truth: dict[str, Array], size: dict[str, Array], order: list[int]
) -> pd.DataFrame:
    """Taus over all 6,466 classes, no halves: for those who want one number."""
    found = []
    for task in TASKS:
        z = truth[task][order]
        upper, tenth = z >= np.median(z), z >= np.quantile(z, 0.9)
        scores = {"parameters": size[task][order], "none@12": data.twelve_epochs(task)[0][order]}
        for source in MEASURED:
            scores[f"nst cheap on {source}, {primary.replace('_', ' ')}"] = data.read(
                source, f"nst{CHEAP}", primary
            )[order]
        for name, score in scores.items():
            found.append(
                {
                    "task": task,
                    "reading": name,
                    "tau": kendall(score, z),
                    "better half": kendall(score[upper], z[upper]),
                    "best tenth": kendall(score[tenth], z[tenth]),
                }
            )
    return pd.DataFrame(found)


def draw(frame: pd.DataFrame) -> None:
    """Tau against price with labelled points and the line of size; and what the best five of 50 are worth."""
    style()
    figure, panels = plt.subplots(1, 3, figsize=(16, 6), sharey=True)
    bars, boxes = plt.subplots(1, 3, figsize=(16, 6))
    for panel, box, task in zip(panels, boxes, TASKS, strict=True):
        rows = frame[frame.task == task].sort_values("tau")
        line = float(rows[rows.reading == "parameters"].tau.iloc[0])
        panel.axhline(line, color="grey", linestyle="--", linewidth=1)
        panel.text(1e9, line, "parameters", color="grey", ha="right", va="bottom", fontsize=8)
        timed = rows[rows.seconds > 0]
        for cheap in (True, False):
            some = timed[(timed.seconds < 1) == cheap]
            places = spread(some.tau.tolist())
            for reading, seconds, tau, y in zip(some.reading, some.seconds, some.tau, places, strict=True):
                panel.plot(seconds, tau, "o", color=COLOURS[kind(reading)], markersize=5)
                x = 0.5 if cheap else 3e4
                panel.plot([seconds, x], [tau, y], color="lightgrey", linewidth=0.5, zorder=0)
                panel.text(x * 1.1, y, reading, fontsize=7, va="center")
        panel.set(
            title=task, xscale="log", xlabel="price, seconds of the table's clock (log)", xlim=(0.015, 2e9)
        )
        panel.set_xticks([0.1, 1, 10, 100, 1000])
        shown = rows[rows.classes == rows.classes.max()].sort_values("best 5 of 50")
        box.barh(
            shown.reading, shown["best 5 of 50"], color=[COLOURS[kind(reading)] for reading in shown.reading]
        )
        box.set_xlim(shown["best 5 of 50"].min() - 0.5, shown["best 5 of 50"].max() + 0.2)
        box.set(title=task, xlabel="best 200-epoch accuracy, % (more is better)")
        box.tick_params(axis="y", labelsize=8)
    panels[0].set_ylabel("Kendall's tau with the 200-epoch accuracy (more is better)")
    for each, name in ((figure, "worth"), (bars, "top")):
        each.tight_layout()
        save(each, FOLDER / name)


def kind(reading: str) -> str:
    """Whether a reading is of a plain training, a distilled one or of none."""
    first = reading.split()[0].split("@")[0].rstrip(",")
    return "plain" if first == "none" else "untrained" if first in UNTRAINED else "distilled"


def spread(values: list[float]) -> list[float]:
    """Rising heights for labels of rising values, at least 0.035 apart."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + 0.035) if places else value)
    shift = (sum(places) - sum(values)) / max(1, len(values)) / 2
    return [place - shift for place in places]


if __name__ == "__main__":
    main()
