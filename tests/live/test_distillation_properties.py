"""What the papers say each distillation loss does not see, and how the losses behave at the edges."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from nasbench_kd.errors import DistillationError  # noqa: E402
from nasbench_kd.live.distillation import (  # noqa: E402
    attention_transfer,
    correlation_congruence,
    fsp,
    hint,
    kd,
    normalise_channels,
    nst,
    nst_normalised,
    pkt,
    rkd,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
    vid,
)


def flow_of_halves(student, teacher):
    """FSP with the two maps cut out of one."""
    return fsp(*student.split(student.shape[1] // 2, 1), *teacher.split(teacher.shape[1] // 2, 1))


def unit_variance_vid(student, teacher):
    return vid(student, teacher, torch.ones(teacher.shape[1]))


ON_MAPS = (nst, attention_transfer, similarity_preserving, hint, flow_of_halves, unit_variance_vid)
ON_VECTORS = (kd, pkt, rkd_distance, rkd_angle, rkd, correlation_congruence)
ALL = ON_MAPS + ON_VECTORS
WIDE_SPACE, WIDE_CHANNELS = (6, 6, 4, 4), (6, 24, 2, 2)


def tensors(loss, seed=0, shape=WIDE_SPACE, dtype=torch.float64):
    """A student's and a teacher's random input of one shape for this loss."""
    generator = torch.Generator().manual_seed(seed)
    shape = shape if loss in ON_MAPS else shape[:2]
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))


def positive(shape, seed=5):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def rotation(size, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


def rotate(features):
    """An orthogonal transform of the channels."""
    return torch.einsum("oc,bc...->bo...", rotation(features.shape[1]), features)


def reorder_space(features):
    order = torch.randperm(features[0, 0].numel(), generator=torch.Generator().manual_seed(9))
    return features.flatten(2)[:, :, order].view_as(features)


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [loss for loss in ALL if loss is not unit_variance_vid])
@pytest.mark.parametrize("shape", [WIDE_SPACE, WIDE_CHANNELS])
def test_zero_at_equality_and_positive_elsewhere(loss, shape):
    for seed in range(5):
        student, teacher = tensors(loss, seed, shape)
        assert loss(student, student.clone()).abs() < 1e-12
        assert loss(student, teacher) > 1e-6


def test_dropping_the_constant_of_nst_takes_off_the_teacher_kernel():
    student, teacher = tensors(nst)
    teacher_kernel = -nst(teacher, teacher, constant=False)
    assert teacher_kernel > 0
    assert_same(nst(student, teacher, constant=False) + teacher_kernel, nst(student, teacher))


@pytest.mark.parametrize("loss", [loss for loss in ALL if loss is not correlation_congruence])
def test_the_order_of_the_batch_does_not_matter(loss):
    student, teacher = tensors(loss)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert_same(loss(student[order], teacher[order]), loss(student, teacher))


def test_correlation_congruence_compares_neighbours_in_the_batch():
    student, teacher = tensors(correlation_congruence)
    expected = correlation_congruence(student, teacher)
    assert_same(correlation_congruence(student.flip(0), teacher.flip(0)), expected)
    assert_same(correlation_congruence(teacher, student), expected)
    assert_same(correlation_congruence(student + 3, teacher + 3), expected)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert abs(correlation_congruence(student[order], teacher[order]) - expected) > 1e-3


def test_kd_does_not_see_a_shift_of_the_logits():
    student, teacher = tensors(kd)
    shift = 50 * positive((6, 1))
    assert_same(kd(student + shift, teacher), kd(student, teacher))
    assert_same(kd(student, teacher - shift), kd(student, teacher))


def test_kd_at_a_high_temperature_compares_centred_logits():
    # Hinton et al., section 2.1: the gradient tends to that of half the mean square over the classes.
    student, teacher = tensors(kd)
    gap = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = gap.square().sum(1).mean() / (2 * student.shape[1])
    torch.testing.assert_close(kd(student, teacher, temperature=1e4), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", [WIDE_SPACE, WIDE_CHANNELS])
@pytest.mark.parametrize("constant", [True, False])
def test_nst_does_not_see_order_sign_and_scale_of_channels(shape, constant):
    student, teacher = tensors(nst, shape=shape)
    expected = nst(student, teacher, constant)
    assert_same(nst(student.flip(1), teacher, constant), expected)
    assert_same(nst(student, teacher.flip(1), constant), expected)
    assert_same(nst(positive((*shape[:2], 1, 1)) * student, teacher, constant), expected)
    assert_same(nst(student, -positive((*shape[:2], 1, 1)) * teacher, constant), expected)
    assert_same(nst(reorder_space(student), reorder_space(teacher), constant), expected)


@pytest.mark.parametrize("channels", [1, 3, 9, 40])
def test_nst_agrees_whichever_products_it_takes(channels):
    generator = torch.Generator().manual_seed(2)
    student, teacher = (torch.randn(3, c, 3, 2, generator=generator).double() for c in (channels, 8))
    x, y = normalise_channels(student), normalise_channels(teacher)
    own, cross = (torch.einsum("bis,bjs->bij", x, other).square().mean() for other in (x, y))
    assert_same(nst(student, teacher, constant=False), own - 2 * cross)


def test_nst_takes_cached_teacher_maps_and_any_memory_layout():
    student, teacher = tensors(nst)
    expected = nst(student, teacher)
    cached = normalise_channels(teacher)
    assert_same(nst_normalised(student.flatten(2), cached), expected)
    assert_same(nst_normalised(normalise_channels(student), cached), expected)
    assert_same(nst(student.to(memory_format=torch.channels_last), teacher), expected)


def test_attention_does_not_see_rotations_of_the_channels_and_scale():
    student, teacher = tensors(attention_transfer)
    expected = attention_transfer(student, teacher)
    assert_same(attention_transfer(student.flip(1), teacher), expected)
    assert_same(attention_transfer(rotate(student), teacher), expected)
    assert_same(attention_transfer(student, positive((6, 1, 1, 1)) * teacher), expected)


def test_similarity_does_not_see_rotations_of_the_channels_scale_and_place():
    student, teacher = tensors(similarity_preserving)
    expected = similarity_preserving(student, teacher)
    assert_same(similarity_preserving(rotate(student), teacher), expected)
    assert_same(similarity_preserving(student, 3 * teacher), expected)
    assert_same(similarity_preserving(reorder_space(student), teacher), expected)


def test_pkt_does_not_see_rotations_and_scale():
    student, teacher = tensors(pkt)
    expected = pkt(student, teacher)
    assert_same(pkt(rotate(student), teacher), expected)
    assert_same(pkt(positive((6, 1)) * student, positive((6, 1), seed=6) * teacher), expected)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, rkd])
def test_rkd_does_not_see_rotation_shift_and_scale(loss):
    student, teacher = tensors(loss)
    expected = loss(student, teacher)
    assert_same(loss(rotate(student), teacher), expected)
    assert_same(loss(student + positive((1, 6)), teacher), expected)
    assert_same(loss(student, 7 * teacher), expected)


def test_rkd_adds_its_parts_in_the_paper_weights():
    student, teacher = tensors(rkd)
    assert_same(rkd(student, teacher), 25 * rkd_distance(student, teacher) + 50 * rkd_angle(student, teacher))


def test_fsp_does_not_see_a_common_order_of_space_or_channels():
    student, teacher = tensors(flow_of_halves)
    expected = flow_of_halves(student, teacher)
    assert_same(flow_of_halves(reorder_space(student), teacher), expected)
    assert_same(flow_of_halves(student.flip(1), teacher.flip(1)), flow_of_halves(student, teacher))


def test_vid_is_least_where_the_variance_is_the_squared_error():
    student, teacher = tensors(hint)
    best = (student - teacher).square().mean((0, 2, 3)).requires_grad_()
    (gradient,) = torch.autograd.grad(vid(student, teacher, best), best)
    assert gradient.abs().max() < 1e-12
    assert vid(student, teacher, best) < vid(student, teacher, best * 1.1)
    assert_same(unit_variance_vid(student, teacher), hint(student, teacher) / 2)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vanishing", ["student", "teacher", "both", "a sample", "a channel"])
def test_finite_where_outputs_vanish(loss, dtype, vanishing):
    student, teacher = tensors(loss, dtype=dtype)
    keep = torch.ones_like(student)
    keep[0 if vanishing == "a sample" else slice(None), 0 if vanishing == "a channel" else slice(None)] = 0
    student = (student * keep if vanishing != "teacher" else student).requires_grad_()
    value = loss(student, teacher * keep if vanishing in ("teacher", "both") else teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


@pytest.mark.parametrize("loss", [nst, attention_transfer, similarity_preserving, pkt, rkd_angle])
def test_outputs_too_small_to_have_a_direction_count_as_zero(loss):
    student, teacher = tensors(loss)
    tiny = (1e-14 * student).requires_grad_()
    value = loss(tiny, teacher)
    value.backward()
    assert_same(value, loss(torch.zeros_like(student), teacher))
    assert tiny.grad.abs().max() == 0


@pytest.mark.parametrize("loss", ALL)
def test_coinciding_samples_give_no_gradient_blow_up(loss):
    student, teacher = tensors(loss, dtype=torch.float32)
    student = student[:1].expand_as(student).clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad.abs().max() < 100


@pytest.mark.parametrize("loss", ALL)
def test_autocast_does_not_cost_precision(loss):
    student, teacher = tensors(loss, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = loss(student, teacher)
    assert under_autocast.dtype == torch.float32
    torch.testing.assert_close(under_autocast, loss(student.float(), teacher.float()), rtol=0, atol=0)
    exact = loss(student.double(), teacher.double())
    torch.testing.assert_close(under_autocast.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ALL)
def test_a_batch_of_one_is_finite(loss):
    student, teacher = (tensor[:1] for tensor in tensors(loss, dtype=torch.float32))
    assert loss(student, teacher).isfinite()


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_kd_survives_extreme_logits(size):
    student, teacher = (size * tensor for tensor in tensors(kd, dtype=torch.float32))
    assert kd(student, teacher).isfinite()
    assert kd(student, teacher) >= -1e-6


@pytest.mark.parametrize("loss", ALL)
def test_different_batches_are_refused(loss):
    student, teacher = tensors(loss)
    with pytest.raises(DistillationError, match=r"\(5, .*\(6, ") as raised:
        loss(student[:5], teacher)
    assert "same images" in str(raised.value)


@pytest.mark.parametrize("loss", [hint, flow_of_halves, vid, correlation_congruence, kd])
def test_different_widths_are_refused_where_they_cannot_be_compared(loss):
    student, teacher = tensors(hint if loss is vid else loss)
    rest = (torch.ones(6),) if loss is vid else ()
    with pytest.raises(DistillationError, match=r"channels.*\(6, .*; (use|put)"):
        loss(student[:, :4], teacher, *rest)


def test_different_widths_are_compared_elsewhere():
    for loss in (nst, attention_transfer, similarity_preserving, pkt, rkd):
        student, teacher = tensors(loss)
        assert loss(student[:, :4], teacher).isfinite()


def test_cached_maps_of_another_size_are_refused():
    student, teacher = tensors(nst)
    with pytest.raises(DistillationError, match="pool the larger map"):
        nst_normalised(student.flatten(2), normalise_channels(teacher[:, :, :2]))
