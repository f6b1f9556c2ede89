"""Published figures that the reproduction is compared with: mean and standard deviation in percent.

The rows of the two papers were recalled, not read again from the papers; take them as a guide.
"""

from __future__ import annotations

from collections.abc import Mapping

Pairs = tuple[tuple[float, float], ...]
ORACLE: Mapping[tuple[str, int], Pairs] = {
    ("random", 100): ((93.85, 0.20), (71.58, 0.77), (45.67, 0.67)),
    ("random", 200): ((93.96, 0.19), (71.97, 0.72), (45.98, 0.57)),
    ("evolution", 100): ((94.14, 0.22), (72.60, 0.79), (46.39, 0.58)),
    ("evolution", 200): ((94.29, 0.14), (73.14, 0.47), (46.76, 0.39)),
    ("local search", 100): ((94.32, 0.14), (73.42, 0.38), (46.83, 0.43)),
    ("local search", 200): ((94.37, 0.04), (73.51, 0.00), (47.05, 0.31)),
}
"""Independent figures, 300 runs: test accuracy as fitness, by method and evaluations, one for each task."""
NAS_BENCH_201: Mapping[str, Pairs] = {
    "random": ((90.93, 0.36), (93.70, 0.36), (70.93, 1.09), (71.04, 1.07), (44.45, 1.10), (44.57, 1.25)),
    "evolution": ((91.19, 0.31), (93.92, 0.30), (71.81, 1.12), (71.84, 0.99), (45.15, 0.89), (45.54, 1.03)),
    "REINFORCE": ((91.09, 0.37), (93.85, 0.37), (71.61, 1.12), (71.71, 1.09), (45.05, 1.02), (45.24, 1.18)),
    "BOHB": ((90.82, 0.53), (93.61, 0.52), (70.74, 1.29), (70.85, 1.28), (44.26, 1.36), (44.42, 1.49)),
}
"""The NAS-Bench-201 paper, 500 runs of 12,000 s on cifar10: validation and test on each task. Recalled."""
NATS_BENCH: Mapping[str, Pairs] = {
    "random": ((91.07, 0.26), (93.86, 0.23), (71.46, 0.97), (71.55, 0.97), (45.03, 0.91), (45.28, 0.97)),
    "evolution": ((91.25, 0.31), (94.02, 0.31), (72.28, 0.95), (72.23, 0.84), (45.71, 0.77), (45.77, 0.80)),
    "REINFORCE": ((91.12, 0.25), (93.90, 0.26), (71.80, 0.94), (71.86, 0.89), (45.37, 0.74), (45.64, 0.78)),
    "BOHB": ((91.17, 0.27), (93.94, 0.28), (72.04, 0.93), (72.00, 0.86), (45.55, 0.79), (45.70, 0.86)),
}
"""The NATS-Bench paper, 500 runs: validation and test, each searched on its own task. Recalled."""
