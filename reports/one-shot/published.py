"""What papers print of weight sharing on NAS-Bench-201, as quotations; validation / test accuracy in percent."""

from __future__ import annotations

from typing import NamedTuple

WALL_CLOCK: dict[str, tuple[str, float]] = {
    "RSPS": ("250 epochs of single paths, with a forward pass of the validation batch", 7587.0),
    "DARTS-V1": ("50 epochs of 2 joint passes", 10889.87),
    "DARTS-V2": ("50 epochs of 5 joint passes", 29901.67),
    "GDAS": ("250 epochs of 2 sampled passes", 28925.91),
    "SETN": (
        "250 epochs of a single path and a joint pass; what is printed is recalled, not read again",
        31009.81,
    ),
    "iDARTS": ("30 epochs of 391 steps of 11 joint passes, batch 64", 86430.0),
    "RMI-NAS": ("200 cells of 150 steps of 32 images, its teacher left out", 1258.0),
}
"""Passes behind a bill, and the GPU-seconds that are printed: NAS-Bench-201's paper, iDARTS's log, RMI-NAS's README."""
KNOWN: dict[str, int] = {
    "DARTS-V1, DARTS-V2 and ENAS on CIFAR-10": 1835,
    "DARTS on CIFAR-100": 2299,
    "DrNAS, beta-DARTS, Lambda-DARTS": 9930,
    "iDARTS's notebook, NATS-Bench's ENAS on CIFAR-10 and ImageNet16-120": 1462,
    "SETN on CIFAR-10 (84.04 ± 0.28 / 87.64 ± 0): the cell that fits, and its twins": 9935,
}
"""Published results without spread, and the cell that has their accuracies."""
_ONE = "one search on CIFAR-10, looked up on all three"
_UNKNOWN = "quoted by a later paper; searches, candidates and the epochs that judged them not stated there"
_QUOTED = "a search for each data set, as a later paper (CoLLM-NAS) quotes it; epochs that judged not stated"


class Answer(NamedTuple):
    """What is printed of a method: validation / test accuracy of its answers in percent, means."""

    method: str
    cifar10: str
    cifar100: str
    imagenet: str
    protocol: str
    candidates: str = ""
    """How many architectures were scored for an answer, where that is known."""
    ours: str = ""
    """What here is nearest to it: a rule of the tables above, or the cell that has exactly its accuracies."""


ANSWERS = (
    Answer(
        "DARTS-V1, DARTS-V2, ENAS", "39.77 / 54.30", "15.03 / 15.61", "16.43 / 16.32", _ONE, ours="cell 1835"
    ),
    Answer(
        "GDAS",
        "89.89 ± 0.08 / 93.61 ± 0.09",
        "71.34 ± 0.04 / 70.70 ± 0.30",
        "41.59 ± 1.33 / 41.71 ± 0.98",
        _ONE,
    ),
    Answer(
        "SETN",
        "84.04 ± 0.28 / 87.64 ± 0",
        "58.86 / 59.05",
        "33.06 / 32.52",
        f"{_ONE}; on one batch of 512",
        "100",
        "cell 9935",
    ),
    Answer(
        "SNAS",
        "90.10 ± 1.04 / 92.77 ± 0.83",
        "69.69 ± 2.39 / 69.34 ± 1.98",
        "42.84 ± 1.79 / 43.16 ± 2.64",
        _UNKNOWN,
    ),
    Answer(
        "DSNAS",
        "89.66 ± 0.29 / 93.08 ± 0.13",
        "30.87 ± 16.40 / 31.01 ± 16.38",
        "40.61 ± 0.09 / 41.07 ± 0.09",
        _UNKNOWN,
    ),
    Answer(
        "RSPS, GDAS, SETN, ENAS of NATS-Bench",
        "- / 91.05, 93.23, 92.72, 93.76",
        "- / 68.26, 68.17, 69.36, 70.67",
        "- / 40.69, 39.40, 39.51, 41.44",
        "recalled; a search for each data set, batch statistics",
    ),
    Answer(
        "RSPS",
        "- / 87.66",
        "- / 58.33 ± 4.34",
        "- / 31.14 ± 3.88",
        f"{_ONE}; on one batch of 512; the older supernet, with running statistics",
        "100",
        "best of 100 by one-shot, published, on CIFAR-10",
    ),
    Answer(
        "DrNAS, beta-DARTS, Lambda-DARTS",
        "91.55 / 94.36",
        "73.49 / 73.51",
        "46.37 / 46.34",
        "alphas on the data set's own training half (DrNAS)",
        ours="cell 9930",
    ),
    Answer(
        "iDARTS",
        "89.86 ± 0.60 / 93.58 ± 0.32",
        "70.57 ± 0.24 / 70.83 ± 0.48",
        "40.38 ± 0.59 / 40.89 ± 0.68",
        _ONE,
        ours="cell 1462",
    ),
    Answer(
        "DARTS-",
        "91.03 ± 0.44 / 93.80 ± 0.40",
        "71.36 ± 1.51 / 71.53 ± 1.51",
        "44.87 ± 1.46 / 45.12 ± 0.82",
        _UNKNOWN,
    ),
    Answer(
        "FairNAS",
        "90.07 ± 0.57 / 93.23 ± 0.18",
        "70.94 ± 0.94 / 71.00 ± 1.46",
        "41.90 ± 1.00 / 42.19 ± 0.31",
        _UNKNOWN,
    ),
    Answer(
        "PC-DARTS",
        "89.96 ± 0.15 / 93.41 ± 0.30",
        "67.12 ± 0.39 / 67.48 ± 0.89",
        "40.83 ± 0.08 / 41.31 ± 0.22",
        _UNKNOWN,
    ),
    Answer(
        "EG-NAS",
        "90.12 ± 0.05 / 93.56 ± 0.02",
        "70.78 ± 0.12 / 70.91 ± 0.07",
        "44.89 ± 0.29 / 46.13 ± 0.46",
        _UNKNOWN,
    ),
    Answer(
        "RLNAS",
        "89.94 / 93.35",
        "70.98 / 70.71",
        "43.86 / 43.70",
        f"{_UNKNOWN}; no cell has these accuracies, 46.86 is printed for 43.86",
    ),
    Answer(
        "RMI-NAS",
        "- / 94.28 ± 0.10",
        "- / 73.36 ± 0.19",
        "- / 46.34 ± 0",
        "a search for each data set; vote of the best 50",
        "200",
    ),
    Answer(
        "random search",
        "90.96 ± 0.24 / 93.83 ± 0.09",
        "71.62 ± 0.73 / 71.52 ± 0.93",
        "45.52 ± 0.48 / 45.37 ± 0.54",
        _QUOTED,
        "100",
        "best of 100 by 12 epochs",
    ),
    Answer(
        "reinforcement learning",
        "91.20 ± 0.41 / 93.94 ± 0.25",
        "71.51 ± 0.93 / 71.78 ± 1.20",
        "45.22 ± 0.79 / 45.95 ± 0.76",
        _QUOTED,
    ),
    Answer(
        "evolution",
        "91.33 ± 0.35 / 94.23 ± 0.25",
        "72.31 ± 1.07 / 72.82 ± 0.87",
        "46.19 ± 0.46 / 46.49 ± 0.60",
        _QUOTED,
        "200",
    ),
    Answer(
        "RZ-NAS",
        "91.45 ± 0.10 / 94.24 ± 0.12",
        "73.35 ± 0.14 / 73.30 ± 0.21",
        "46.53 ± 0.24 / 46.24 ± 0.23",
        _QUOTED,
    ),
    Answer(
        "ZiCo / Zen / Synflow",
        "- / 93.35, 93.76, 93.48",
        "- / 70.71, 70.67, 71.35",
        "- / -, 41.44, 45.12",
        _UNKNOWN,
    ),
    Answer("RANK-NOSH", "- / 94.26", "- / 73.51", "- / 46.34", "292 / 5,550 / 5,550 epochs in all"),
    Answer(
        "arch2vec, Bayesian optimization",
        "91.41 ± 0.22 / 94.18 ± 0.24",
        "73.35 ± 0.32 / 73.37 ± 0.30",
        "46.34 ± 0.18 / 46.27 ± 0.37",
        "recalled; 12-epoch values on CIFAR-10, 200-epoch values on the others",
        "some 130 to 140",
        "arch2vec with the budget of its paper, on CIFAR-100",
    ),
)
"""As printed, mean ± deviation where that is known. Where a method searched once, its values are one architecture's."""
