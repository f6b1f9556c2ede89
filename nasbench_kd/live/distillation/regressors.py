"""The losses that learn: the hint and VID with the regressors that lead from student to teacher."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.live.distillation.features import hint, vid
from nasbench_kd.live.distillation.outputs import Outputs, require_maps
from nasbench_kd.live.distillation.precision import widen

VID_INITIAL_VARIANCE = 5.0
VID_SMALLEST_VARIANCE = 1e-5


class Hint(nn.Module):
    """`hint` on the map in the middle, after a learned 1x1 convolution to the teacher's channels.

    The regressor is linear: a NAS-Bench-201 cell ends in a sum, which takes both signs, so that a
    rectifier could not reach it. It is made for outputs of these shapes, from the generator.
    """

    def __init__(self, student: Outputs, teacher: Outputs, generator: torch.Generator) -> None:
        super().__init__()
        require_maps("hint", student, teacher)
        self.middle = len(student.maps) // 2
        channels = student.maps[self.middle].shape[1], teacher.maps[self.middle].shape[1]
        self.regressor = _pointwise(*channels, generator, bias=True)

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The loss; raises `DistillationError` on unequal batches or lists of maps."""
        require_maps("hint", student, teacher)
        return hint(self.regressor(widen(student.maps[self.middle])), teacher.maps[self.middle])


class VID(nn.Module):
    """The sum of `vid` over all maps, each after three learned 1x1 convolutions to the teacher's channels.

    Each teacher channel has a learned variance, softplus(scale) + 1e-5, which starts at 5 (Ahn et
    al., 2019, and their code). It is made for outputs of these shapes, from the generator.
    """

    def __init__(self, student: Outputs, teacher: Outputs, generator: torch.Generator) -> None:
        super().__init__()
        require_maps("vid", student, teacher)
        start = math.log(math.expm1(VID_INITIAL_VARIANCE - VID_SMALLEST_VARIANCE))
        self.regressors = nn.ModuleList()
        self.scales = nn.ParameterList()
        for narrow, wide in zip(student.maps, teacher.maps, strict=True):
            width = wide.shape[1]
            self.regressors.append(
                nn.Sequential(
                    _pointwise(narrow.shape[1], width, generator, bias=False),
                    nn.ReLU(),
                    _pointwise(width, width, generator, bias=False),
                    nn.ReLU(),
                    _pointwise(width, width, generator, bias=False),
                )
            )
            self.scales.append(nn.Parameter(torch.full((width,), start)))

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The loss; raises `DistillationError` on unequal batches or lists of maps."""
        require_maps("vid", student, teacher)
        losses = [
            vid(regressor(widen(features)), target, F.softplus(scale) + VID_SMALLEST_VARIANCE)
            for regressor, scale, features, target in zip(
                self.regressors, self.scales, student.maps, teacher.maps, strict=True
            )
        ]
        return torch.stack(losses).sum()


def _pointwise(inputs: int, outputs: int, generator: torch.Generator, bias: bool) -> nn.Module:
    """A 1x1 convolution, its weights He-initialised from the generator and its bias zero."""
    convolution = nn.Conv2d(inputs, outputs, kernel_size=1, bias=bias, device="meta").to_empty(device="cpu")
    for name, parameter in convolution.named_parameters():
        if name == "weight":
            nn.init.kaiming_normal_(parameter, generator=generator)
        else:
            nn.init.zeros_(parameter)
    return convolution
