"""How many queries local search needs until it has asked for the best cell, when queries give means over seeds.

    python reports/literature/queries.py

White, Nolen and Savani (arXiv 2005.02960, abstract of version 1) state 127 trained architectures on average on
CIFAR-100.
"""

from __future__ import annotations

import numpy as np

import nasbench_kd as nk

RUNS, MOST = 100, "1000 evaluations"


def main() -> None:
    """Print the mean with its 95 % interval for each data set."""
    for task in ("cifar10", "cifar100", "imagenet16-120"):
        bench = nk.load(task, data="embedded", mean_over_seeds=True)
        best = int(np.argmax(bench.evaluate_many(np.arange(15_625)).value))
        counts = []
        for seed in range(RUNS):
            cells = [
                step.cell for step in nk.search("local-search", task=bench, budget=MOST, seed=seed).steps
            ]
            counts.append(cells.index(best) + 1 if best in cells else len(cells))
        error = 1.96 * np.std(counts, ddof=1) / np.sqrt(RUNS)
        print(f"{task}: {np.mean(counts):.0f} queries, 95 % interval +- {error:.0f}, {RUNS} runs")


if __name__ == "__main__":
    main()
