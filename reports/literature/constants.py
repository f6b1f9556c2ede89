"""BANANAS and NPENAS with their authors' rounds of 10, and with the rounds of 40 of earlier versions of this project.

    python reports/literature/constants.py

Interquartile mean and mean of the regret on CIFAR-100 after 100 GPU-hours, over 20 runs.
"""

from __future__ import annotations

import numpy as np

import nasbench_kd as nk
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.stats.statistics import iqm

RUNS, BUDGET = 20, "100 gpu-hours"


def main() -> None:
    """Print one line for each."""
    bench, scorer = nk.load("cifar100", data="embedded"), open_scorer("cifar100", "embedded")
    for name in ("bananas", "npenas"):
        for arguments in ({}, {"batch": 40, "epochs": 100}):
            regrets = np.array(
                [
                    scorer.best
                    - scorer.reference[
                        nk.search(make_optimizer(name, arguments), bench, BUDGET, seed=seed).answer.index
                    ]
                    for seed in range(RUNS)
                ]
            )
            print(f"{name} {arguments or 'as its authors'}: {iqm(regrets):.2f} (mean {regrets.mean():.2f})")


if __name__ == "__main__":
    main()
