"""Distillation from the teacher's feature maps (B, C, H, W)."""

from __future__ import annotations

from torch import Tensor

from nasbench_kd.errors import DistillationError
from nasbench_kd.live.distillation.precision import (
    full_precision,
    inverse_length,
    require_batches,
    require_width,
    same_size,
    unit,
    widen,
)


@full_precision
def nst(student: Tensor, teacher: Tensor, constant: bool = True) -> Tensor:
    """Neuron selectivity transfer: the squared MMD of the two sets of channel activations.

    k(s, s) - 2 k(s, t) + k(t, t), where k(x, y) is the mean over the batch and over pairs of
    channels of <x_i, y_j>^2, each channel L2-normalised over space (Huang and Wang, "Like What You
    Like", 2017, polynomial kernel of degree 2). The term k(t, t) has no gradient; MF-KD drops it,
    as `constant=False` does, so that its losses go below zero. Channels may differ in number; the
    larger map is pooled to the smaller. Raises `DistillationError` on unequal batches.
    """
    require_batches("nst", student, teacher, dims=4)
    student, teacher = same_size(student, teacher)
    return nst_normalised(student.flatten(2), normalise_channels(teacher), constant)


@full_precision
def nst_normalised(student: Tensor, teacher: Tensor, constant: bool = True) -> Tensor:
    """`nst` with a teacher's map that went through `normalise_channels`, as a cache of outputs holds it.

    Both are (B, C, H * W) of one H * W; the student's channels may have any length. Raises
    `DistillationError` on unequal batches or H * W.
    """
    require_batches("nst_normalised", student, teacher, dims=3)
    if student.shape[2] != teacher.shape[2]:
        raise DistillationError(
            f"nst_normalised compares channels over one space, not {tuple(student.shape)} with "
            f"{tuple(teacher.shape)}; pool the larger map before normalise_channels, as nst does"
        )
    # |X Y'|^2 = <X'X, Y'Y>: the sum over pairs of channels costs C^2 HW products or 2 C (HW)^2.
    channels, others, space = student.shape[1], teacher.shape[1], student.shape[2]
    wide = channels * others > space * (channels + others)
    own, cross = (_kernels_over_space if wide else _kernels_over_channels)(student, teacher)
    loss = own - 2 * cross
    return loss + (teacher @ teacher.mT).square().mean() if constant else loss


def normalise_channels(features: Tensor) -> Tensor:
    """Flatten a map (B, C, H, W) to (B, C, H * W), every channel of length 1 (or zero), in float32."""
    return unit(widen(features).flatten(2))


def _kernels_over_channels(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """k(s, s) and k(s, t) by C x C products, whose diagonal has the lengths that normalise the student."""
    # Transposed, a channels-last map is contiguous, and so is the gradient that returns to it.
    pixels = student.mT
    own, cross = pixels.mT @ pixels, teacher @ pixels
    scale = inverse_length(own.diagonal(dim1=1, dim2=2))
    own, cross = own * scale[:, :, None] * scale[:, None], cross * scale[:, None]
    return own.square().mean(), cross.square().mean()


def _kernels_over_space(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """k(s, s) and k(s, t) by H * W x H * W products, of which the channels take the mean."""
    student = unit(student)
    own = student.mT @ student / student.shape[1]
    other = teacher.mT @ teacher / teacher.shape[1]
    return own.square().sum((1, 2)).mean(), (own * other).sum((1, 2)).mean()


@full_precision
def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the attention maps: the mean of f^2 over channels, L2-normalised.

    Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017, p = 2; mean over batch and
    space as in MF-KD. Channels may differ in number; the larger map is pooled to the smaller.
    Raises `DistillationError` on unequal batches.
    """
    require_batches("attention_transfer", student, teacher, dims=4)
    student, teacher = same_size(student, teacher)
    return (_attention(student) - _attention(teacher)).square().mean()


def _attention(features: Tensor) -> Tensor:
    return unit(features.square().mean(1).flatten(1))


@full_precision
def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared Frobenius distance of the similarity matrices of the batch, over B^2.

    The matrix holds the inner products of all pairs of flattened maps, its rows L2-normalised (Tung
    and Mori, "Similarity-Preserving Knowledge Distillation", 2019). Channels and size may differ.
    Raises `DistillationError` on unequal batches.
    """
    require_batches("similarity_preserving", student, teacher, dims=4)
    return (_similarity(student) - _similarity(teacher)).square().mean()


def _similarity(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return unit(flat @ flat.mT)


@full_precision
def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two maps, the larger pooled to the smaller.

    Romero et al., "FitNets", 2015; the student's map has gone through a regressor
    (`regressors.Hint`). Raises `DistillationError` on unequal batches or channels.
    """
    require_batches("hint", student, teacher, dims=4)
    require_width("hint", student, teacher, "put the student's map through regressors.Hint")
    student, teacher = same_size(student, teacher)
    return (student - teacher).square().mean()


@full_precision
def vid(student: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """Mean over all values of ((student - teacher)^2 / variance + log variance) / 2.

    The negative log-likelihood of the teacher's map, less its constant, under a Gaussian around the
    student's prediction of it, with one positive variance per channel (C,) (Ahn et al., "Variational
    Information Distillation", 2019); it may go below zero. The larger map is pooled to the smaller.
    Raises `DistillationError` on unequal batches or channels.
    """
    require_batches("vid", student, teacher, dims=4)
    require_width("vid", student, teacher, "put the student's map through regressors.VID")
    student, teacher = same_size(student, teacher)
    variance = variance[:, None, None]
    return ((student - teacher).square() / variance + variance.log()).mean() / 2


@full_precision
def fsp(student_lower: Tensor, student_upper: Tensor, teacher_lower: Tensor, teacher_upper: Tensor) -> Tensor:
    """Mean squared difference of the flows between two maps of the student and two of the teacher.

    A flow is the matrix of the means over space of lower_i * upper_j, the larger map pooled to the
    smaller (Yim et al., "A Gift from Knowledge Distillation", 2017; there a stage of its own before
    training, here a term of the loss). Raises `DistillationError` on unequal batches or channels.
    """
    for student, teacher in ((student_lower, teacher_lower), (student_upper, teacher_upper)):
        require_batches("fsp", student, teacher, dims=4)
        require_width("fsp", student, teacher, "use nst or at, or a teacher of the student's width")
    return (_flow(student_lower, student_upper) - _flow(teacher_lower, teacher_upper)).square().mean()


def _flow(lower: Tensor, upper: Tensor) -> Tensor:
    lower, upper = (features.flatten(2) for features in same_size(lower, upper))
    return lower @ upper.mT / lower.shape[2]
