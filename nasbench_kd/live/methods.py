"""The methods of others that are trained here by commands or from Python, and are no optimizers that search tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_SUPERNET = "nasbench-kd score supernet"
_DIFFERENTIABLE = "nasbench_kd.live.supernet.differentiable:DifferentiableSearch"


class LiveMethod(NamedTuple):
    """A method, for listings."""

    paper: str
    made_by: str
    """The command that trains it, or the `module:Class` to be used from Python."""
    prerequisites: tuple[str, ...] = ("supernet, trained together with it",)
    """What must be there before its first score: prerequisites of tasks, or what it trains itself, in words."""
    basis: str = ""
    """What it rests on where that is not the paper and its code, or what of the paper is left out."""
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
        "darts-v1": LiveMethod("Liu et al., DARTS, ICLR 2019, first order", _DIFFERENTIABLE),
        "darts-v2": LiveMethod("Liu et al., DARTS, ICLR 2019, second order", _DIFFERENTIABLE),
        "gdas": LiveMethod("Dong and Yang, CVPR 2019", _DIFFERENTIABLE),
        "drnas": LiveMethod(
            "Chen et al., ICLR 2021", _DIFFERENTIABLE, basis="without its progressive stages"
        ),
        "idarts": LiveMethod("Zhang et al., ICML 2021", _DIFFERENTIABLE, basis="two terms of the series"),
        "rc-darts": LiveMethod(
            "Jin et al., arXiv 1912.12814", _DIFFERENTIABLE, basis="its projection, after the abstract"
        ),
        "setn": LiveMethod("Dong and Yang, ICCV 2019", "nasbench_kd.live.supernet.setn:TemplateSearch"),
        "enas": LiveMethod("Pham et al., ICML 2018", "nasbench_kd.live.supernet.enas:ControllerSearch"),
    }
)
"""By name."""
