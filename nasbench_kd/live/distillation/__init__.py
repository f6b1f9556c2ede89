"""Distillation losses: pure functions, and the training loss that adds them up."""

from nasbench_kd.live.distillation.features import normalise_channels, nst, nst_normalised
from nasbench_kd.live.distillation.logits import kd
from nasbench_kd.live.distillation.outputs import Outputs

__all__ = ["Outputs", "kd", "normalise_channels", "nst", "nst_normalised"]
