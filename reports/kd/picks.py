"""How much of a pick is the sample of classes that have a score? The best-scored of 1,000, with classes resampled.

Run `python reports/kd/picks.py`. It prints a line for each task and score: the mean regret, in points of the mean
200-epoch validation accuracy, of the best-scored of 1,000 of the scored classes, and 95 % over resampled classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasbench_kd import load
from nasbench_kd.errors import MissingEntryError

SCORES = ("rmi", "rmi-random-teacher", "nwot")
CELLS, RESAMPLES, PICKS = 1000, 2000, 10


def scored(task: str, score: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scores of the classes that have one, and their regrets in points."""
    bench = load(task, data="embedded")
    classes = [bench.task.space[int(index)] for index in bench.task.space.representatives]
    accuracies = [bench.evaluate(cell, "target").value for cell in classes]
    best = max(accuracies)
    pairs = []
    for cell, accuracy in zip(classes, accuracies, strict=True):
        try:
            pairs.append((bench.evaluate(cell, score, signal="score").value, best - accuracy))
        except MissingEntryError:
            continue
    found = np.array(pairs)
    return found[:, 0], found[:, 1]


def main() -> None:
    """Print the lines."""
    for task in ("cifar10", "cifar100"):
        for score in SCORES:
            scores, regrets = scored(task, score)
            rng = np.random.default_rng(0)

            def pick(places: npt.NDArray[np.int64]) -> float:
                chosen = rng.choice(places, min(CELLS, len(places)), replace=False)  # noqa: B023  # called at once
                return float(regrets[chosen[np.argmax(scores[chosen])]])  # noqa: B023

            every = np.arange(len(scores))
            mean = np.mean([pick(every) for _ in range(RESAMPLES)])
            resampled = [
                np.mean([pick(drawn) for _ in range(PICKS)])
                for drawn in (np.unique(rng.choice(every, len(every))) for _ in range(RESAMPLES))
            ]
            low, high = np.percentile(resampled, (2.5, 97.5))
            print(f"{task} {score}, {len(scores)} classes: {mean:.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
