"""The public sources that `nasbench-kd data pull` installs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nasbench_kd.sources import hw_nas_bench, mf_kd, nats_bench_test, nb201_12_epochs, nb201_means
from nasbench_kd.sources.origin import PublicSource

SOURCES: Mapping[str, PublicSource] = MappingProxyType(
    {
        module.SOURCE.name: module.SOURCE
        for module in (nats_bench_test, nb201_12_epochs, nb201_means, hw_nas_bench, mf_kd)
    }
)
