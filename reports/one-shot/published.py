"""What papers print of weight sharing on NAS-Bench-201, as quotations; validation / test accuracy in percent."""

from __future__ import annotations

WALL_CLOCK: dict[str, tuple[str, float]] = {
    "RSPS": ("250 epochs of single paths, with a forward pass of the validation batch", 7587.0),
    "DARTS-V1": ("50 epochs of 2 joint passes", 10889.87),
    "DARTS-V2": ("50 epochs of 5 joint passes", 29901.67),
    "GDAS": ("250 epochs of 2 sampled passes", 28925.91),
    "iDARTS": ("30 epochs of 391 steps of 11 joint passes, batch 64", 86430.0),
    "RMI-NAS": ("200 cells of 150 steps of 32 images, its teacher left out", 1258.0),
}
"""Passes behind a bill, and the GPU-seconds that are printed: NAS-Bench-201's paper, iDARTS's log, RMI-NAS's README."""
KNOWN: dict[str, int] = {
    "DARTS-V1, DARTS-V2 and ENAS on CIFAR-10": 1835,
    "DARTS on CIFAR-100": 2299,
    "DrNAS, beta-DARTS, Lambda-DARTS": 9930,
    "iDARTS's notebook": 1462,
}
"""Published results without spread, and the cell that has exactly their accuracies."""
_ONE = "one search on CIFAR-10, looked up on all three"
_UNKNOWN = "quoted by a later paper; number of searches not stated there"
ANSWERS: tuple[tuple[str, str, str, str, str], ...] = (
    ("GDAS", "89.89 / 93.61", "71.34 / 70.70", "41.59 / 41.71", _ONE),
    ("SETN", "84.04 / 87.64", "58.86 / 59.05", "33.06 / 32.52", f"{_ONE}; best of 100 on a batch of 512"),
    ("RSPS", "- / 87.66", "- / 58.33", "- / 31.14", f"{_ONE}; best of 100 on a batch of 512"),
    (
        "DrNAS",
        "91.55 / 94.36",
        "73.49 / 73.51",
        "46.37 / 46.34",
        "alphas on the data set's own training half",
    ),
    ("iDARTS", "89.86 / 93.58", "70.57 / 70.83", "40.38 / 40.89", _ONE),
    ("DARTS-", "91.03 / 93.80", "71.36 / 71.53", "44.87 / 45.12", _UNKNOWN),
    ("FairNAS", "90.07 / 93.23", "70.94 / 71.00", "41.90 / 42.19", _UNKNOWN),
    ("PC-DARTS", "89.96 / 93.41", "67.12 / 67.48", "40.83 / 41.31", _UNKNOWN),
    ("EG-NAS", "90.12 / 93.56", "70.78 / 70.91", "44.89 / 46.13", _UNKNOWN),
    ("RMI-NAS", "- / 94.28", "- / 73.36", "- / 46.34", "a search for each data set; vote of the best 50"),
)
"""Means as printed."""
