"""The training loss of a distillation: cross-entropy plus the weighted terms that its string names."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.errors import DistillationError
from nasbench_kd.live.distillation.embeddings import correlation_congruence, pkt, rkd
from nasbench_kd.live.distillation.features import (
    attention_transfer,
    fsp,
    nst,
    nst_normalised,
    similarity_preserving,
)
from nasbench_kd.live.distillation.logits import kd
from nasbench_kd.live.distillation.outputs import Outputs, require_maps
from nasbench_kd.live.distillation.precision import widen
from nasbench_kd.live.distillation.regressors import VID, Hint
from nasbench_kd.tasks.fidelity import Fidelity

WEIGHTS: dict[str, float] = {
    "kd": 0.9,
    "nst": 25.0,
    "at": 1000.0,
    "pkt": 3e4,
    "sp": 3000.0,
    "hint": 100.0,
    "fsp": 50.0,
    "cc": 0.02,
    "rkd": 1.0,
    "vid": 1.0,
}
"""The weight of each term: MF-KD's for kd to sp, RepDistiller's defaults for the others."""


class Distillation(nn.Module):
    """A training loss, as the distillation of a `Fidelity` names it; build it with `parse`.

    Cross-entropy, plus each named term times its weight in `WEIGHTS`. `kd` (weight a) takes its share
    from the cross-entropy, which is left with 1 - a. `nst` (without its constant), `at` and `vid` are
    summed over all maps, `fsp` over all neighbouring maps; `hint` compares the map in the middle, `sp`
    the last; `pkt`, `cc` and `rkd` compare the pooled vectors. `hint` and `vid` learn: call `prepare`
    once, then give `parameters()` to the optimizer beside the student's.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.learned = nn.ModuleDict()

    @staticmethod
    def parse(string: str) -> Distillation:
        """Read `none`, `kd`, `kd+nst`, ...; raises `FidelityError` on anything else."""
        distillation = Fidelity(string, 1, 1).distillation
        return Distillation(() if distillation == "none" else tuple(distillation.split("+")))

    def prepare(self, student: Outputs, teacher: Outputs, seed: int) -> None:
        """Make the learned parts, if any, for outputs of these shapes, on their device, from the seed.

        Raises `DistillationError` where they need maps that cannot be compared.
        """
        generator = torch.Generator().manual_seed(seed)
        for name in self.names:
            if name in _LEARNED:
                self.learned[name] = _LEARNED[name](student, teacher, generator).to(student.logits.device)

    def forward(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and its terms, weighted so that they add up to it; labels are class indices (B,).

        No gradient reaches the teacher, which may be None if the distillation is `none`. Raises
        `DistillationError` where outputs are absent or cannot be compared.
        """
        entropy = F.cross_entropy(widen(student.logits), labels)
        terms = {"ce": (1 - WEIGHTS["kd"]) * entropy if "kd" in self.names else entropy}
        if self.names and teacher is None:
            raise DistillationError(
                f"{'+'.join(self.names)} needs the outputs of a teacher; give them, or use none"
            )
        if teacher is not None:
            teacher = teacher.detach()
            for name in self.names:
                terms[name] = WEIGHTS[name] * self._loss(name)(student, teacher)
        return torch.stack(list(terms.values())).sum(), terms

    def _loss(self, name: str) -> Callable[[Outputs, Outputs], Tensor]:
        if name not in _LEARNED:
            return _LOSSES[name]
        if name not in self.learned:
            raise DistillationError(f"{name} has parts that learn: call prepare before the optimizer is made")
        return self.learned[name]


def _nst(student: Outputs, teacher: Outputs) -> Tensor:
    require_maps("nst", student, teacher)
    pairs = zip(student.maps, teacher.maps, strict=True)
    if teacher.normalised:
        return _sum([nst_normalised(own.flatten(2), other, constant=False) for own, other in pairs])
    return _sum([nst(own, other, constant=False) for own, other in pairs])


def _at(student: Outputs, teacher: Outputs) -> Tensor:
    require_maps("at", student, teacher)
    return _sum([attention_transfer(*pair) for pair in zip(student.maps, teacher.maps, strict=True)])


def _sp(student: Outputs, teacher: Outputs) -> Tensor:
    require_maps("sp", student, teacher)
    return similarity_preserving(student.maps[-1], teacher.maps[-1])


def _fsp(student: Outputs, teacher: Outputs) -> Tensor:
    require_maps("fsp", student, teacher, fewest=2)
    flows = zip(pairwise(student.maps), pairwise(teacher.maps), strict=True)
    return _sum([fsp(*own, *others) for own, others in flows])


def _sum(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).sum()


_LEARNED: dict[str, type[Hint] | type[VID]] = {"hint": Hint, "vid": VID}
_LOSSES: dict[str, Callable[[Outputs, Outputs], Tensor]] = {
    "kd": lambda student, teacher: kd(student.logits, teacher.logits),
    "nst": _nst,
    "at": _at,
    "pkt": lambda student, teacher: pkt(student.pooled, teacher.pooled),
    "sp": _sp,
    "fsp": _fsp,
    "cc": lambda student, teacher: correlation_congruence(student.pooled, teacher.pooled),
    "rkd": lambda student, teacher: rkd(student.pooled, teacher.pooled),
}
