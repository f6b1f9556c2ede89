"""Distillation losses: pure functions, and the training loss that adds them up."""

from nasbench_kd.live.distillation.embeddings import correlation_congruence, pkt, rkd, rkd_angle, rkd_distance
from nasbench_kd.live.distillation.features import (
    attention_transfer,
    fsp,
    hint,
    normalise_channels,
    nst,
    nst_normalised,
    similarity_preserving,
    vid,
)
from nasbench_kd.live.distillation.logits import kd
from nasbench_kd.live.distillation.objective import WEIGHTS, Distillation
from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.distillation.regressors import VID, Hint

__all__ = [
    "VID",
    "WEIGHTS",
    "Distillation",
    "Hint",
    "Outputs",
    "attention_transfer",
    "correlation_congruence",
    "fsp",
    "hint",
    "kd",
    "normalise_channels",
    "nst",
    "nst_normalised",
    "pkt",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
    "vid",
]
