"""Which architectures a training of shared weights draws: uniform, several a step, or fair to every operation."""

from __future__ import annotations

from typing import NamedTuple

import torch

from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS

Codes = tuple[int, ...]
"""Six operation codes."""


class Fixed(NamedTuple):
    """What all architectures of a sub-supernet share."""

    edge: int
    code: int
    """Of the operation on that edge."""


def draw_path(generator: torch.Generator, fixed: Fixed | None = None) -> Codes:
    """A uniform architecture among those with a path from input to output (SPOS, Guo et al., ECCV 2020).

    With `fixed`, among those of a sub-supernet (few-shot NAS, Zhao et al., ICML 2021): one edge keeps its operation.
    """
    while True:
        codes = torch.randint(len(OPERATIONS), (len(EDGES),), generator=generator).tolist()
        if fixed is not None:
            codes[fixed.edge] = fixed.code
        if path_edges(tuple(codes)):
            return tuple(codes)


def draw_fair_paths(generator: torch.Generator) -> tuple[Codes, ...]:
    """Five architectures in which every edge has every operation once (FairNAS, Chu et al., ICCV 2021).

    With `none` among the operations some of the five may be dead; permutations are drawn anew until all live.
    """
    while True:
        columns = [torch.randperm(len(OPERATIONS), generator=generator).tolist() for _ in EDGES]
        paths = tuple(zip(*columns, strict=True))
        if all(path_edges(codes) for codes in paths):
            return paths


SAMPLERS = ("uniform", "fair")
"""What a step can draw: uniform architectures, or five in which every edge has every operation once."""


def draw_paths(
    sampler: str, generator: torch.Generator, fixed: Fixed | None = None, count: int = 1
) -> tuple[Codes, ...]:
    """What a step of a sampler (a name of `SAMPLERS`) trains; `fixed` and `count` hold for uniform ones."""
    if sampler == "fair":
        return draw_fair_paths(generator)
    return tuple(draw_path(generator, fixed) for _ in range(count))
