"""The methods of others that are trained here by commands or from Python, and are no optimizers that search tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from nasbench_kd.errors import ArgumentError, UnknownNameError, nearest
from nasbench_kd.spaces.training_seconds import OPERATION

_SUPERNET = "nasbench-kd score supernet"
_SEARCH = "nasbench-kd search-supernet"


class LiveMethod(NamedTuple):
    """A method, for listings."""

    paper: str
    made_by: str
    """The command that trains it, or the `module:Class` to be used from Python."""
    prerequisites: tuple[str, ...] = ("supernet, trained together with it",)
    """What must be there before its first score: prerequisites of tasks, or what it trains itself, in words."""
    basis: str = ""
    """What it rests on where that is not the paper and its code, or what of the paper is left out."""
    epochs: int | None = None
    """Of its published search, which `search-supernet` takes by default; None where another command makes it."""
    compared: str = ""
    """The document of this project where its results stand beside published numbers; empty where none does."""


METHODS: Mapping[str, LiveMethod] = MappingProxyType(
    {
        "rsps": LiveMethod("Li and Talwalkar, UAI 2019", _SUPERNET, ("supernet",)),
        "spos": LiveMethod("Guo et al., ECCV 2020", _SUPERNET, ("supernet",)),
        "fairnas": LiveMethod("Chu et al., ICCV 2021", f"{_SUPERNET} --paths fair", ("supernet-fair",)),
        "few-shot": LiveMethod(
            "Zhao et al., ICML 2021", f"{_SUPERNET} --paths few-shot", ("supernet-few-shot",)
        ),
        "dna": LiveMethod("Li et al., CVPR 2020", "nasbench-kd score dna", ("teacher", "stages")),
        "rmi-nas": LiveMethod("Zheng et al., CVPR 2022", "nasbench-kd score rmi", ("teacher",)),
        "mngnas": LiveMethod(
            "Chen et al., TPAMI 2023",
            "nasbench_kd.live.several_teachers:NearestMixture",
            ("teachers", "stages"),
            "a reading of the abstract inside DNA's stages",
        ),
        "darts-v1": LiveMethod("Liu et al., DARTS, ICLR 2019, first order", f"{_SEARCH} darts-v1", epochs=50),
        "darts-v2": LiveMethod(
            "Liu et al., DARTS, ICLR 2019, second order", f"{_SEARCH} darts-v2", epochs=50
        ),
        "gdas": LiveMethod("Dong and Yang, CVPR 2019", f"{_SEARCH} gdas", epochs=250),
        "drnas": LiveMethod(
            "Chen et al., ICLR 2021", f"{_SEARCH} drnas", basis="without its progressive stages", epochs=100
        ),
        "idarts": LiveMethod(
            "Zhang et al., ICML 2021", f"{_SEARCH} idarts", basis="two terms of the series", epochs=30
        ),
        "rc-darts": LiveMethod(
            "Jin et al., arXiv 1912.12814",
            f"{_SEARCH} rc-darts",
            basis="its projection, after the abstract; the epochs are DARTS's",
            epochs=50,
        ),
        "setn": LiveMethod("Dong and Yang, ICCV 2019", f"{_SEARCH} setn", epochs=250),
        "enas": LiveMethod(
            "Pham et al., ICML 2018", f"{_SEARCH} enas", basis="with the constants of NATS-Bench", epochs=100
        ),
    }
)
"""By name."""


def searches() -> dict[str, int]:
    """The methods that `search-supernet` runs to an answer, with the epochs of their published search."""
    return {name: each.epochs for name, each in METHODS.items() if each.epochs is not None}


def check_search(method: str, bound: float | None) -> None:
    """Raise `UnknownNameError` where no search has that name, `ArgumentError` where it lacks a bound or knows none."""
    known = searches()
    if method not in known:
        raise UnknownNameError(
            f"no search over shared weights {method!r}: there are {', '.join(known)}.{nearest(method, known)}"
        )
    if method == "rc-darts" and (bound is None or not math.isfinite(bound)):
        mean, most = 6 * sum(OPERATION.values()) / len(OPERATION), 6 * OPERATION["nor_conv_3x3"]
        raise ArgumentError(
            "rc-darts needs a finite bound: the largest expected seconds of its edges for an epoch of 25,000 images; "
            f"those of a mean cell take {mean:.1f} s, six 3x3 convolutions {most:.1f} s"
        )
    if method != "rc-darts" and bound is not None:
        raise ArgumentError(f"{method} knows no bound; rc-darts does")
