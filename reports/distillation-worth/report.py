"""What a short distilled training is worth, beside its controls; the protocol is in PROTOCOL.md.

    python reports/distillation-worth/report.py
    python reports/distillation-worth/report.py --all-classes

Reads the embedded tables and the controls beside this file, all measured. Writes `worth.csv`, `worth.png`, `top.png`
and the tables of README.md; `--all-classes` only prints the taus of the primary reading over all classes, beside those
of parameters, none@12 and the scores without training.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from figures import draw
from measures import row
from outcomes import all_classes, ceilings, gain, seeds, teachers
from readings import CHEAP, DEAR, FOLDER, MEASURED, SCORES, TASKS, Readings
from scipy.stats import rankdata

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.files import write_between
from nasbench_kd.live.fill import class_order
from nasbench_kd.spaces.complexity import multiply_accumulates, parameters
from nasbench_kd.spaces.nasbench201 import all_cells, isomorphism_classes
from nasbench_kd.stats.statistics import kendall

CANDIDATES = ("valid_accuracy", "train_accuracy", "train_loss", "train_distillation")


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
    """Make every table and figure, or print the taus over all classes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all-classes", action="store_true")
    only_all = parser.parse_args().all_classes
    data = Readings()
    order = [cell.index for cell in class_order()]
    choosing, reporting = np.array(order[0::2]), np.array(order[1::2])
    cells = all_cells()
    size = {task: np.array([parameters(cell, 10) for cell in cells], float) for task in TASKS}
    macs = np.array([multiply_accumulates(cell, 10) for cell in cells], float)
    convolutions = np.array(
        [sum(op.startswith("nor_conv") for op in cell.operations) for cell in cells], float
    )
    valid = {task: open_scorer(task).valid for task in TASKS}
    truth = {task: np.nanmean(accuracies, axis=1) for task, accuracies in valid.items()}
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
    if only_all:
        print(markdown(all_classes(data, primary, truth, size, order)))
        return
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
            for name in SCORES:
                score, price = data.score(source, name)
                rows.append(row(f"{name}{on}", score[reporting], judge, own, price))
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
    everything.to_csv(FOLDER / "worth.csv", index=False)
    write("gain", markdown(pd.DataFrame(gains)))
    write("teachers", markdown(teachers(data, primary, truth, order)))
    write("seeds", markdown(seeds(data, primary, truth, order)))
    write("all classes", markdown(all_classes(data, primary, truth, size, order)))
    ceiling = ceilings(valid, reporting)
    write("ceiling", markdown(ceiling))
    draw(everything, dict(zip(ceiling["task"], ceiling["tau"], strict=True)))


if __name__ == "__main__":
    main()
