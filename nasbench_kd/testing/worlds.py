"""KD worlds: synthetic benchmarks with a dial from "distillation helps" over "useless" to "misleads"."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.opening import load
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tasks.fidelity import TARGET
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.testing.tables import table_benchmark

FULL_SECONDS = 1800.0
"""Mean price of a full training in every world, about that of CIFAR-10 in NAS-Bench-201."""


def kd_world(
    agreement: float,
    *,
    plain_agreement: float = 0.5,
    cost_ratio: float = 0.05,
    noise: float = 0.3,
    seed: int = 0,
    task: str = "cifar10",
) -> Benchmark:
    """Open a made-up task over a whole space with its target (such as `none@200`), `none@12` and `nst@12`.

    Every landscape is a sum of random effects of single coordinates and of pairs of them. That of a
    short training is `agreement` times the full one plus an independent remainder, so `agreement`
    is the correlation of the latent qualities: 1 is a perfect guide, 0 none, -1 a liar. Accuracies
    are a monotone, saturating function of the quality, so the order of the cells is the quality's.

    Args:
        agreement: correlation of `nst@12` with the target, from -1 to 1.
        plain_agreement: correlation of `none@12` with the target, from -1 to 1.
        cost_ratio: price of `nst@12` in units of the target; `none@12` costs 1/1.3 of that.
        noise: standard deviation of training noise in the quality, whose own deviation is 1.
        seed: of everything that is random; the same arguments give the same world for ever.
        task: whose name, space, target, teacher and number of classes the world takes.

    Raises `ValueError` where an agreement lies outside -1..1.
    """
    for name, value in (("agreement", agreement), ("plain_agreement", plain_agreement)):
        if not -1 <= value <= 1:
            raise ValueError(f"{name} is a correlation from -1 to 1, not {value}")
    rng = np.random.default_rng(seed)
    space = find_task(task).space
    full = _landscape(rng, space)
    plain = plain_agreement * full + np.sqrt(1 - plain_agreement**2) * _independent(rng, space, full)
    distilled = agreement * full + np.sqrt(1 - agreement**2) * _independent(rng, space, full)

    def trained(quality: npt.NDArray[np.float64], level: float) -> npt.NDArray[np.float64]:
        noisy = quality[:, None] + noise * rng.standard_normal((len(space), 2))
        return np.clip(level - 6 * np.exp(-0.7 * noisy), 10, None)

    seconds = FULL_SECONDS * rng.uniform(0.6, 1.4, len(space))
    return table_benchmark(
        task,
        {
            TARGET: (trained(full, 95), seconds),
            "none@12": (trained(plain, 75), seconds * cost_ratio / 1.3),
            "nst@12": (trained(distilled, 80), seconds * cost_ratio),
        },
    )


def beside_real_results(task: str, fidelities: Sequence[str], *, seed: int = 0) -> Benchmark:
    """Open a task on the shipped results of its full training, with made-up entries at other fidelities beside them.

    The made-up accuracies rise with the epochs of their schedule and agree with the real ones:
    their correlation with the standardised full accuracies is 0.9 where they distil, else 0.6, before the
    training noise, 0.3 deviations. A made-up epoch costs what a real one does, 1.3 times that where it
    distils. The same arguments give the same entries for ever. Raises `FidelityError` and
    `UnknownNameError`.
    """
    about = find_task(task)
    full = load(task, data="embedded").evaluate_many(np.arange(len(about.space)))
    quality = _scaled(full.valid_accuracy)
    entries = {}
    for fidelity in map(about.fidelity, fidelities):
        distils = fidelity.distillation != "none"
        agreement = 0.9 if distils else 0.6
        # Epochs of one schedule are one training: they share the remainder.
        rng = np.random.default_rng((seed, zlib.crc32(str(fidelity.curve).encode())))
        trained = agreement * quality + np.sqrt(1 - agreement**2) * _independent(rng, about.space, quality)
        noisy = trained[:, None] + 0.3 * rng.standard_normal((len(about.space), 2))
        level = 30 + 20 * fidelity.epochs / fidelity.schedule_epochs
        seconds = full.seconds * (1.3 if distils else 1.0) * fidelity.epochs / about.target.epochs
        entries[str(fidelity)] = (np.clip(level + 4 * noisy, 1, 99), seconds)
    beside = [
        table
        for table in tables("embedded", about)
        if any(column.fidelity == about.target for column in table.select(task, "valid"))
    ]
    return table_benchmark(task, entries, beside=beside)


def _landscape(rng: np.random.Generator, space: SearchSpace) -> npt.NDArray[np.float64]:
    """Quality of every cell, mean 0 and deviation 1: effects of coordinates, half as strong ones of pairs."""
    codes, counts = space.codes, [len(names) for names in space.choices]
    quality = np.zeros(len(space))
    for place, count in enumerate(counts):
        quality += rng.standard_normal(count)[codes[:, place]]
        for other in range(place):
            pair = rng.standard_normal((count, counts[other])) / 2
            quality += pair[codes[:, place], codes[:, other]]
    return _scaled(quality)


def _independent(
    rng: np.random.Generator, space: SearchSpace, of: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """A landscape that is uncorrelated with another one, mean 0 and deviation 1."""
    drawn = _landscape(rng, space)
    drawn -= (drawn @ of) / (of @ of) * of
    return _scaled(drawn)


def _scaled(quality: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    scaled: npt.NDArray[np.float64] = (quality - quality.mean()) / quality.std()
    return scaled
