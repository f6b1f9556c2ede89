"""Scores of an untrained network: cheaper than any training, and the measure of what a cheap training must beat.

Each takes a network at its initialisation, whose call returns `Outputs`, and leaves it as it was; larger should
mean a better architecture. Batch norm normalises by the batch, whatever mode the network is in.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

EIGENVALUE_OFFSET = 1e-5
"""Added to the eigenvalues of `jacov`, as in its source."""


def nwot(network: nn.Module, images: Tensor) -> float:
    """How differently the ReLUs see the images: log determinant of the kernel of their on-off patterns.

    Source: Mellor et al., Neural Architecture Search without Training (ICML 2021), section 3. The kernel (B, B)
    holds, for each pair of images, how many ReLU units are on for both or off for both, over every ReLU that the
    forward pass runs. Larger is better: the images fall into patterns further apart. `images`: (B, 3, H, W),
    normalised. Minus infinity where the kernel is singular: without ReLUs, with a dead output whose ReLUs
    see no image, or with an image twice in the batch.
    """
    untrained = _untrained(network)
    kernel = np.zeros((len(images), len(images)))

    def count(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        on = (inputs[0] > 0).flatten(1).float()
        both = on @ on.T  # exact in float32 below 2^24 units
        each = both.diagonal()
        off_for_both = on.shape[1] - each[:, None] - each + both
        kernel[:] += (both + off_for_both).double().cpu().numpy()

    for module in untrained.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(count)
    with torch.no_grad():
        untrained(images)
    sign, logarithm = np.linalg.slogdet(kernel)
    return float(logarithm) if sign > 0 else -math.inf


def jacov(network: nn.Module, images: Tensor) -> float:
    """How uncorrelated the images' gradients are: minus the sum of log(v + k) + 1 / (v + k), k = 1e-5.

    Source: the first version of Mellor et al. (arXiv 2006.04647v1, section 3), with the sum of the logits as in
    Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021). v are the B eigenvalues of the
    correlation matrix of the gradients of that sum with respect to each of `images`: (B, 3, H, W), normalised.
    Larger is better; at most -B (log(1 + k) + 1 / (1 + k)), where nothing correlates. A gradient without
    variance, such as that of a dead output or of an image that reaches no logit, correlates with nothing, itself
    included: a network without any other has the lowest score there is, -B (log k + 1 / k).
    A linear network scores low, since all its gradients are the same.
    """
    inputs = images.detach().clone().requires_grad_()
    logits = _untrained(network)(inputs).logits
    (gradients,) = torch.autograd.grad(logits.sum(), inputs)
    rows = gradients.flatten(1).double().cpu().numpy()
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    # A correlation matrix has no negative eigenvalue; what rounding leaves below 0 would flip the sign of 1 / v.
    shifted = np.linalg.eigvalsh(rows @ rows.T).clip(min=0) + EIGENVALUE_OFFSET
    return float(-np.sum(np.log(shifted) + 1 / shifted))


def synflow(network: nn.Module, image_shape: Sequence[int]) -> float:
    """How much flows through all weights: log(1 + sum of |w dR/dw|) over convolutions and linear layers.

    Source: Tanaka et al., Pruning Neural Networks without any Data by Iteratively Conserving Synaptic Flow
    (NeurIPS 2020), summed over the network as by Abdelfattah et al. (ICLR 2021). R is the sum of the logits of
    one image of ones of `image_shape`, (3, H, W), when every parameter is replaced by its absolute value and
    batch norm is left out, in float64; no data enters. Larger is better: R sums the products of weights along
    all paths. 0 for a dead output. The logarithm, which changes no rank, is of NAS-Bench-Suite-Zero
    (Krishnakumar et al., NeurIPS 2022).
    """
    positive = _untrained(network).double()
    for module in list(positive.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    weights = [m.weight.requires_grad_() for m in positive.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    device = weights[0].device
    flow = positive(torch.ones(1, *image_shape, dtype=torch.float64, device=device)).logits.sum()
    gradients = torch.autograd.grad(flow, weights, materialize_grads=True)
    saliency = sum(float((w * g).detach().sum()) for w, g in zip(weights, gradients, strict=True))
    return math.log1p(saliency)


def _untrained(network: nn.Module) -> nn.Module:
    """A copy that normalises by the batch and keeps no gradients of its parameters, in the faster memory format."""
    return copy.deepcopy(network).train().requires_grad_(False).to(memory_format=torch.channels_last)
