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
_UNKNOWN = "quoted by a later paper; number of searches and candidates not stated there"
_QUOTED = "a search for each data set, as a later paper (CoLLM-NAS) quotes it"


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
    Answer("GDAS", "89.89 / 93.61", "71.34 / 70.70", "41.59 / 41.71", _ONE),
    Answer("SETN", "84.04 / 87.64", "58.86 / 59.05", "33.06 / 32.52", f"{_ONE}; on one batch of 512", "100"),
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
    Answer("iDARTS", "89.86 ± 0.60 / 93.58 ± 0.32", "70.57 / 70.83", "40.38 / 40.89", _ONE, ours="cell 1462"),
    Answer("DARTS-", "91.03 / 93.80", "71.36 / 71.53", "44.87 / 45.12", _UNKNOWN),
    Answer("FairNAS", "90.07 / 93.23", "70.94 / 71.00", "41.90 / 42.19", _UNKNOWN),
    Answer("PC-DARTS", "89.96 / 93.41", "67.12 / 67.48", "40.83 / 41.31", _UNKNOWN),
    Answer("EG-NAS", "90.12 / 93.56", "70.78 / 70.91", "44.89 / 46.13", _UNKNOWN),
    Answer(
        "RLNAS",
        "89.94 / 93.35",
        "70.98 / 70.71",
        "43.86 / 43.70",
        f"{_UNKNOWN}; no cell has these accuracies",
    ),
    Answer(
        "RMI-NAS",
        "- / 94.28",
        "- / 73.36",
        "- / 46.34",
        "a search for each data set; vote of the best 50",
        "200",
    ),
    Answer(
        "random search",
        "90.96 / 93.83",
        "71.62 / 71.52",
        "45.52 / 45.37",
        _QUOTED,
        "100",
        "best of 100 by 12 epochs",
    ),
    Answer("reinforcement learning", "91.20 / 93.94", "71.51 / 71.78", "45.22 / 45.95", _QUOTED),
    Answer("evolution", "91.33 / 94.23", "72.31 / 72.82", "46.19 / 46.49", _QUOTED, "200"),
    Answer("RZ-NAS", "91.45 / 94.24", "73.35 / 73.30", "46.53 / 46.24", _QUOTED),
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
        "91.41 / 94.18",
        "73.35 / 73.37",
        "46.34 / 46.27",
        "recalled; 12-epoch values on CIFAR-10, 200-epoch values on the others",
        "some 130 to 140",
        "arch2vec with the budget of its paper, on CIFAR-100",
    ),
)
"""As printed; where a method searched once, all three values are one architecture's."""
