"""The distillation losses against float64 NumPy, and their gradients against finite differences."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from nasbench_kd.live import distillation as kd_losses  # noqa: E402
from nasbench_kd.live.distillation import Distillation, Outputs  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
REFERENCE = runpy.run_path(str(GOLDEN / "distillation_reference.py"))
FROZEN = json.loads((GOLDEN / "distillation.json").read_text())
NETWORKS = REFERENCE["networks"]()


def outputs(name, dtype=torch.float64):
    network = NETWORKS[name]
    return Outputs(
        [torch.tensor(features, dtype=dtype) for features in network["maps"]],
        torch.tensor(network["pooled"], dtype=dtype),
        torch.tensor(network["logits"], dtype=dtype),
    )


def variances(channels, dtype):
    return torch.tensor(REFERENCE["variances"](channels), dtype=dtype)


OF_LOGITS = ("kd",)
"""Losses of the logits; the others are of the pooled vectors, or, by its position, of a map."""


def case(key, dtype=torch.float64):
    """The loss that a key of the golden file names, and the student's and teacher's tensors for it."""
    name, teacher_name, *position = key.split()
    student, teacher = outputs("student", dtype), outputs(teacher_name, dtype)
    loss = getattr(kd_losses, name)
    if name in OF_LOGITS:
        return loss, (student.logits,), (teacher.logits,)
    if not position:
        return loss, (student.pooled,), (teacher.pooled,)
    index = int(position[0])
    if name == "fsp":
        return loss, tuple(student.maps[index : index + 2]), tuple(teacher.maps[index : index + 2])
    own, other = student.maps[index], teacher.maps[index]
    if name == "vid":
        return loss, (own,), (other, variances(own.shape[1], dtype))
    return loss, (own,), (other,)


def test_frozen_values_are_what_the_script_computes():
    for part, values in REFERENCE["golden"]().items():
        assert values == pytest.approx(FROZEN[part], rel=1e-9)


def test_every_loss_has_golden_values():
    functions = {key.split()[0] for key in FROZEN["losses"]}
    public = {name for name in kd_losses.__all__ if name.islower()}
    assert public - functions == {"normalise_channels", "nst_normalised", "rkd"}


@pytest.mark.parametrize("key", FROZEN["losses"])
def test_golden_value(key):
    loss, student, teacher = case(key)
    assert loss(*student, *teacher).item() == pytest.approx(FROZEN["losses"][key], rel=1e-9)


@pytest.mark.parametrize("key", FROZEN["losses"])
def test_golden_value_in_single_precision(key):
    loss, student, teacher = case(key, torch.float32)
    assert loss(*student, *teacher).item() == pytest.approx(FROZEN["losses"][key], rel=2e-4, abs=1e-7)


@pytest.mark.parametrize("key", FROZEN["losses"])
def test_gradient(key):
    loss, student, teacher = case(key)
    leaves = [tensor.requires_grad_() for tensor in student]
    assert torch.autograd.gradcheck(lambda *own: loss(*own, *teacher), leaves)


def test_gradient_of_the_variance():
    _, (student,), (teacher, variance) = case("vid same 1")
    assert torch.autograd.gradcheck(
        lambda value: kd_losses.vid(student, teacher, value), variance.requires_grad_()
    )


@pytest.mark.parametrize("string", FROZEN["totals"])
def test_golden_total(string):
    labels = torch.tensor(REFERENCE["LABELS"])
    total, terms = Distillation.parse(string)(outputs("student"), outputs("same"), labels)
    assert total.item() == pytest.approx(FROZEN["totals"][string], rel=1e-9)
    assert sum(term.item() for term in terms.values()) == pytest.approx(total.item(), rel=1e-12)


def test_total_of_the_hint():
    student, teacher = outputs("student"), outputs("same")
    objective = Distillation.parse("hint")
    objective.prepare(student, teacher, seed=3)
    weight, bias = (parameter.detach().numpy() for parameter in objective.double().parameters())
    regressed = REFERENCE["np"].einsum("oi,bihw->bohw", weight[:, :, 0, 0], NETWORKS["student"]["maps"][1])
    expected = REFERENCE["hint"](regressed + bias[:, None, None], NETWORKS["same"]["maps"][1])
    _, terms = objective(student, teacher, torch.tensor(REFERENCE["LABELS"]))
    assert terms["hint"].item() == pytest.approx(100 * expected, rel=1e-9)


def test_total_of_vid_starts_at_a_variance_of_five():
    numpy = REFERENCE["np"]
    student, teacher = outputs("student"), outputs("wider")
    objective = Distillation.parse("vid")
    objective.prepare(student, teacher, seed=3)
    objective.double()
    expected = 0.0
    for index, regressor in enumerate(objective.learned["vid"].regressors):
        features = NETWORKS["student"]["maps"][index]
        for number, weight in enumerate(regressor.parameters()):
            features = numpy.maximum(features, 0) if number else features
            features = numpy.einsum("oi,bihw->bohw", weight.detach().numpy()[:, :, 0, 0], features)
        target = NETWORKS["wider"]["maps"][index]
        expected += REFERENCE["vid"](features, target, numpy.full(target.shape[1], 5.0))
    _, terms = objective(student, teacher, torch.tensor(REFERENCE["LABELS"]))
    assert terms["vid"].item() == pytest.approx(expected, rel=1e-6)
