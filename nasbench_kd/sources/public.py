"""The public sources that `nasbench-kd data pull` installs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nasbench_kd.sources import (
    few_shot_nas,
    hw_nas_bench,
    mf_kd,
    nats_bench_test,
    nb201_12_epochs,
    nb201_means,
)
from nasbench_kd.sources.origin import PublicSource
from nasbench_kd.spaces.nats_size import SPACE
from nasbench_kd.tasks.nats_size import OBTAIN

SOURCES: Mapping[str, PublicSource] = MappingProxyType(
    {
        module.SOURCE.name: module.SOURCE
        for module in (nats_bench_test, nb201_12_epochs, nb201_means, hw_nas_bench, mf_kd, few_shot_nas)
    }
)
BY_HAND: Mapping[str, str] = MappingProxyType({SPACE.name: OBTAIN})
"""Results that have no address to be pulled from, and how users get them, in words."""
