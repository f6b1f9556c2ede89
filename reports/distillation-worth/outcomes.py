"""The outcomes of the protocol: the gain beside size and plain training, and what teachers and seeds change."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import pandas as pd
from measures import five_of_fifty, interval, out_of_class, resampled
from readings import CHEAP, DEAR, MEASURED, SCORES, TASKS, Array, Readings
from scipy.stats import rankdata

from nasbench_kd.stats.order_statistics import noise_ceiling
from nasbench_kd.stats.statistics import kendall


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
    """The same classes under other teachers, and the difference to the authors' trained one."""
    found = []
    for task in MEASURED:
        trained = data.read(task, f"nst{CHEAP}", primary)
        controls = {
            "random teacher": data.read(task, f"nst{CHEAP}", primary, teacher="random"),
            "maps of other images": data.read(task, f"nst{CHEAP}", primary, teacher="shuffled"),
            **data.other_teachers(task, primary),
        }
        for control, other in controls.items():
            cells = np.array([cell for cell in order if np.isfinite(other[cell])])
            x, y, z = trained[cells], other[cells], truth[task][cells]
            difference = resampled(
                lambda p, x=x, y=y, z=z: kendall(x[p], z[p]) - kendall(y[p], z[p]), len(z), 500
            )
            found.append(
                {
                    "task": task,
                    "control": control,
                    "classes": len(z),
                    "tau, trained teacher": kendall(x, z),
                    "tau, control": kendall(y, z),
                    "trained over control": kendall(x, z) - kendall(y, z),
                    "95 %": interval(difference),
                }
            )
    return pd.DataFrame(found)


def ceilings(valid: dict[str, Array], rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Tau of one full training with another of the same classes: what seed noise lets any reading reach.

    `valid` has the 200-epoch accuracies of each task, (cells, seeds).
    """
    found = []
    for task in TASKS:
        rng = np.random.default_rng(0)
        taus = {share: noise_ceiling(valid[task][rows], rng, top=share) for share in (1.0, 0.5, 0.1)}
        found.append(
            {
                "task": task,
                "tau": taus[1.0].estimate,
                "95 %": f"[{taus[1.0].low:.2f}, {taus[1.0].high:.2f}]",
                "better half": taus[0.5].estimate,
                "best tenth": taus[0.1].estimate,
            }
        )
    return pd.DataFrame(found)


def seeds(data: Readings, primary: str, truth: dict[str, Array], order: list[int]) -> pd.DataFrame:
    """Agreement of two and three seeds, what their mean is worth, and tau freed of the noise of one seed."""
    found = []
    for task, others in product(MEASURED, ((888,), (888, 999))):
        read = [data.read(task, f"nst{CHEAP}", primary)]
        read += [data.read(task, f"nst{CHEAP}", primary, seed=seed) for seed in others]
        cells = np.array([cell for cell in order if all(np.isfinite(each[cell]) for each in read)])
        z = truth[task][cells]
        each = [values[cells] for values in read]
        pairs = list(combinations(each, 2))
        pearson = lambda a, b: float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])  # noqa: E731
        one, reliability = np.mean([pearson(x, z) for x in each]), np.mean([pearson(*pair) for pair in pairs])
        found.append(
            {
                "task": task,
                "seeds": len(each),
                "classes": len(z),
                "tau between seeds": np.mean([kendall(*pair) for pair in pairs]),
                "tau, one seed": np.mean([kendall(x, z) for x in each]),
                "tau, mean of seeds": kendall(np.sum([rankdata(x) for x in each], axis=0), z),
                "Spearman, one seed": one,
                "Spearman, disattenuated": one / np.sqrt(reliability),
            }
        )
    return pd.DataFrame(found)


def all_classes(
    data: Readings, primary: str, truth: dict[str, Array], size: dict[str, Array], order: list[int]
) -> pd.DataFrame:
    """Taus over all classes that have a reading, no halves: for those who want one number."""
    found = []
    for task in TASKS:
        scores = {"parameters": size[task], "none@12": data.twelve_epochs(task)[0]}
        for source in MEASURED:
            on = "" if source == task else f" on {source}"
            for recipe, name in ((CHEAP, "nst-cheap"), (DEAR, "nst-dear")):
                scores[f"{name}{on}, {primary.replace('_', ' ')}"] = data.read(
                    source, f"nst{recipe}", primary
                )
            scores |= {f"{name}{on}": data.score(source, name)[0] for name in SCORES}
        for name, score in scores.items():
            known = np.array(order)[np.isfinite(score[order])]
            values, z = score[known], truth[task][known]
            upper, tenth = z >= np.median(z), z >= np.quantile(z, 0.9)
            found.append(
                {
                    "task": task,
                    "reading": name,
                    "classes": len(known),
                    "tau": kendall(values, z),
                    "better half": kendall(values[upper], z[upper]),
                    "best tenth": kendall(values[tenth], z[tenth]),
                    "parameters on these": kendall(size[task][known], z),
                }
            )
    return pd.DataFrame(found)
