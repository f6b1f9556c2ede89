"""Which architectures a training of shared weights draws: uniform, several a step, or fair to every operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS

Codes = tuple[int, ...]
"""Six operation codes."""


def draw_path(generator: torch.Generator) -> Codes:
    """A uniform architecture among those with a path from input to output (SPOS, Guo et al., ECCV 2020)."""
    while True:
        codes = tuple(torch.randint(len(OPERATIONS), (len(EDGES),), generator=generator).tolist())
        if path_edges(codes):
            return codes


def draw_fair_paths(generator: torch.Generator) -> tuple[Codes, ...]:
    """Five architectures in which every edge has every operation once (FairNAS, Chu et al., ICCV 2021).

    With `none` among the operations some of the five may be dead; permutations are drawn anew until all live.
    """
    while True:
        columns = [torch.randperm(len(OPERATIONS), generator=generator).tolist() for _ in EDGES]
        paths = tuple(zip(*columns, strict=True))
        if all(path_edges(codes) for codes in paths):
            return paths


SAMPLERS: Mapping[str, Callable[[torch.Generator], tuple[Codes, ...]]] = MappingProxyType(
    {"uniform": lambda generator: (draw_path(generator),), "fair": draw_fair_paths}
)
"""What a step draws, by name."""
