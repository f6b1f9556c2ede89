"""The training loss that a fidelity's distillation names: its terms, its learned parts and its errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from nasbench_kd.errors import DistillationError, FidelityError  # noqa: E402
from nasbench_kd.live.distillation import WEIGHTS, Distillation, Outputs, kd, normalise_channels, nst  # noqa: E402
from nasbench_kd.tasks.fidelity import DISTILLATIONS  # noqa: E402

LABELS = torch.tensor([1, 0, 3, 3, 2, 1])
TERMS = DISTILLATIONS[1:]


def outputs(seed, channels=4, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator).requires_grad_(requires_grad)

    maps = [normal(6, channels * scale, 8 // scale, 8 // scale) for scale in (1, 2, 4)]
    return Outputs(maps, normal(6, 4 * channels), normal(6, 5))


def objective(string, student, teacher, seed=0):
    result = Distillation.parse(string)
    result.prepare(student, teacher, seed)
    return result


@pytest.mark.parametrize("name", TERMS)
def test_every_distillation_of_a_fidelity_has_a_weighted_term(name):
    student, teacher = outputs(1), outputs(2)
    total, terms = objective(name, student, teacher)(student, teacher, LABELS)
    assert list(terms) == ["ce", name]
    assert name in WEIGHTS
    entropy = F.cross_entropy(student.logits, LABELS)
    torch.testing.assert_close(terms["ce"], entropy * (0.1 if name == "kd" else 1.0))
    torch.testing.assert_close(total, terms["ce"] + terms[name])


def test_terms_add_up_as_in_mf_kd():
    student, teacher = outputs(1), outputs(2)
    total, terms = Distillation.parse("kd+nst")(student, teacher, LABELS)
    selectivity = sum(nst(s, t, constant=False) for s, t in zip(student.maps, teacher.maps, strict=True))
    entropy = F.cross_entropy(student.logits, LABELS)
    expected = 0.1 * entropy + 0.9 * kd(student.logits, teacher.logits, 4.0) + 25 * selectivity
    torch.testing.assert_close(total, expected)
    assert list(terms) == ["ce", "kd", "nst"]


def test_all_terms_at_once():
    student, teacher = outputs(1), outputs(2)
    total, terms = objective("+".join(TERMS), student, teacher)(student, teacher, LABELS)
    assert list(terms) == ["ce", *TERMS]
    torch.testing.assert_close(total, sum(terms.values()))


def test_none_is_cross_entropy_and_needs_no_teacher():
    student = outputs(1)
    total, terms = Distillation.parse("none")(student, None, LABELS)
    torch.testing.assert_close(total, F.cross_entropy(student.logits, LABELS))
    assert list(terms) == ["ce"]


@pytest.mark.parametrize("string", ["", "KD", "nst+kd", "kd+kd", "none+kd", "kd+crd"])
def test_unknown_strings_are_refused(string):
    with pytest.raises(FidelityError):
        Distillation.parse(string)


@pytest.mark.parametrize("name", TERMS)
def test_gradient_reaches_the_student_alone(name):
    student, teacher = outputs(1, requires_grad=True), outputs(2, requires_grad=True)
    distillation = objective(name, student, teacher)
    distillation(student, teacher, LABELS)[1][name].backward()
    reached = [tensor.grad for tensor in (*student.maps, student.pooled, student.logits)]
    assert any(grad is not None and grad.abs().max() > 0 for grad in reached)
    assert all(tensor.grad is None for tensor in (*teacher.maps, teacher.pooled, teacher.logits))
    assert all(parameter.grad.abs().max() > 0 for parameter in distillation.parameters())


def test_cached_normalised_maps_serve_nst():
    student, teacher = outputs(1), outputs(2)
    cached = Outputs([normalise_channels(m) for m in teacher.maps], teacher.pooled, teacher.logits, True)
    distillation = Distillation.parse("kd+nst")
    torch.testing.assert_close(
        distillation(student, cached, LABELS)[0], distillation(student, teacher, LABELS)[0]
    )


@pytest.mark.parametrize("name", ["at", "sp", "hint", "fsp", "vid"])
def test_cached_normalised_maps_serve_nothing_else(name):
    student, teacher = outputs(1), outputs(2)
    cached = Outputs([normalise_channels(m) for m in teacher.maps], teacher.pooled, teacher.logits, True)
    distillation = objective(name, student, teacher)
    with pytest.raises(DistillationError, match="only nst"):
        distillation(student, cached, LABELS)


@pytest.mark.parametrize("name", ["hint", "vid"])
def test_learned_parts_must_be_prepared(name):
    with pytest.raises(DistillationError, match="call prepare before the optimizer"):
        Distillation.parse(name)(outputs(1), outputs(2), LABELS)


@pytest.mark.parametrize("name", ["hint", "vid"])
def test_learned_parts_follow_their_seed_and_no_other(name):
    student, teacher = outputs(1), outputs(2, channels=6)
    state = torch.get_rng_state()
    first, again, other = (objective(name, student, teacher, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    values = [distillation(student, teacher, LABELS)[0] for distillation in (first, again, other)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("name", ["hint", "vid"])
def test_learned_parts_learn(name):
    student, teacher = outputs(1), outputs(2, channels=6)
    distillation = objective(name, student, teacher)
    optimizer = torch.optim.Adam(distillation.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = distillation(student, teacher, LABELS)[1][name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ["nst", "at", "sp", "pkt", "hint", "rkd", "vid"])
def test_a_wider_teacher_with_larger_maps_serves(name):
    student, teacher = outputs(1), outputs(2, channels=6)
    larger = teacher._replace(maps=[m.repeat_interleave(2, 2).repeat_interleave(2, 3) for m in teacher.maps])
    total = objective(name, student, larger)(student, larger, LABELS)[0]
    if name in ("nst", "at", "hint", "vid"):
        torch.testing.assert_close(total, objective(name, student, teacher)(student, teacher, LABELS)[0])
    assert total.isfinite()


@pytest.mark.parametrize("name", ["cc", "fsp"])
def test_a_wider_teacher_is_refused_where_the_loss_needs_one_width(name):
    student, teacher = outputs(1), outputs(2, channels=6)
    with pytest.raises(DistillationError, match=r"needs as many channels.*; use "):
        Distillation.parse(name)(student, teacher, LABELS)


@pytest.mark.parametrize("name", ["nst", "at", "sp", "hint", "fsp", "vid"])
def test_unequal_lists_of_maps_are_refused(name):
    student, teacher = outputs(1), outputs(2)
    distillation = objective(name, student, teacher)
    with pytest.raises(DistillationError, match="3 of the student and 2 of the teacher"):
        distillation(student, teacher._replace(maps=teacher.maps[1:]), LABELS)
    few = 1 if name == "fsp" else 0
    with pytest.raises(DistillationError, match="at least"):
        distillation(
            student._replace(maps=student.maps[:few]), teacher._replace(maps=teacher.maps[:few]), LABELS
        )


def test_a_missing_teacher_is_refused():
    with pytest.raises(DistillationError, match=r"kd\+nst needs the outputs of a teacher"):
        Distillation.parse("kd+nst")(outputs(1), None, LABELS)


@pytest.mark.parametrize("name", ["none", *TERMS])
def test_bfloat16_outputs_under_autocast(name):
    student, teacher = (
        Outputs([m.bfloat16() for m in made.maps], made.pooled.bfloat16(), made.logits.bfloat16())
        for made in (outputs(1), outputs(2))
    )
    distillation = objective(name, student, teacher)
    plain = distillation(student, teacher, LABELS)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = distillation(student, teacher, LABELS)[0]
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, plain, rtol=0.01 if name in ("hint", "vid") else 1e-6, atol=0)
