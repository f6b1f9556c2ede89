"""Searches that learn architecture parameters by gradient, on one supernet: DARTS, GDAS, DrNAS, iDARTS, RC-DARTS.

Every step takes architecture parameters on a batch of held-out images and weights on a batch of training images, in
the order of the published codes (`CONSTANTS`); iDARTS takes four steps of the weights before one of the parameters.
Constants are those of AutoDL-Projects for NAS-Bench-201 (DARTS, GDAS), of DrNAS's script and of iDARTS's notebook;
parameters learn by Adam, 3e-4, betas (0.5, 0.999), weight decay 1e-3, from 1e-3 N(0, 1). The answer is the strongest
operation of every edge, `none` among them. Where we differ: held-out batches come in shuffled rounds, where the codes
draw with replacement; batch norms normalise by the batch (the settings of NATS-Bench; NAS-Bench-201's first runs and
DrNAS kept running averages); DrNAS has no progressive stages, and iDARTS is its paper's, without the two defects of
the notebook (`gradients.implicit`). RC-DARTS's paper has no run on this space: its constants are DARTS's. Trainings of
seconds and known answers are what this was tested by; no published accuracy was reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.live import methods
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.batches import ShuffledBatches
from nasbench_kd.live.supernet.gradients import Loss, first_order, implicit, unrolled
from nasbench_kd.live.supernet.passes import Passes
from nasbench_kd.live.supernet.relaxations import (
    dirichlet,
    gumbel,
    parameter_optimizer,
    project_to_bound,
    seeded_parameters,
    softmax,
    strongest,
    temperature_at,
)
from nasbench_kd.live.supernet.supernet import Supernet
from nasbench_kd.live.supernet.training import (
    BATCH,
    CLIP,
    LEARNING_RATE,
    LOWEST_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
)
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, Cell
from nasbench_kd.spaces.training_seconds import OPERATION

METHODS: Mapping[str, str] = MappingProxyType(
    {
        name: methods.METHODS[name].paper
        for name in ("darts-v1", "darts-v2", "gdas", "drnas", "idarts", "rc-darts")
    }
)
"""Names, and the papers."""


class Constants(NamedTuple):
    """What a published code sets; the defaults are those of NAS-Bench-201's configurations."""

    learning_rate: float = LEARNING_RATE
    weight_decay: float = WEIGHT_DECAY
    nesterov: bool = True
    rate_by_epoch: bool = False
    """Whether the learning rate stays as it is during an epoch; else it is set at every step."""
    weights_first: bool = False
    weight_steps: int = 1
    """Of the weights, for one of the parameters; each on a batch of its own."""


CONSTANTS: Mapping[str, Constants] = MappingProxyType(
    {
        "darts-v1": Constants(weights_first=True),
        "darts-v2": Constants(),
        "gdas": Constants(weights_first=True),
        "drnas": Constants(weight_decay=3e-4, nesterov=False, rate_by_epoch=True),
        "idarts": Constants(learning_rate=0.01, weights_first=True, weight_steps=4),
        "rc-darts": Constants(),
    }
)


class DifferentiableSearch:
    """Learns architecture parameters and weights together; call `step` or `run_epoch`, then `answer`.

    Args:
        method: a name of `METHODS`.
        supernet: with its initial weights; trained in place.
        train, held_out: images of the weights and of the parameters; batches of the latter are drawn anew
            when they are used up. They must be apart from the images that judge answers.
        epochs: all that will be taken: steps of the parameters for as many batches as `train` has.
        bound: of `rc-darts`, the largest expected seconds of its edges for an epoch of 25,000 images.
        seed: of parameters, order and samples.

    Attributes:
        alphas: the parameters (6, 5).
        passes: all images that went through the supernet so far, and their price.
        steps, epoch_steps, all_steps: taken so far, those of an epoch, and those of all.
    """

    def __init__(
        self,
        method: str,
        supernet: Supernet,
        train: DeviceImages,
        held_out: DeviceImages,
        *,
        epochs: int,
        seed: int,
        batch: int = BATCH,
        bound: float = math.inf,
    ) -> None:
        if method not in METHODS:
            raise UnknownNameError(
                f"no differentiable search {method!r}: expected {', '.join(METHODS)}.{nearest(method, METHODS)}"
            )
        self.method, self.supernet = method, supernet
        self.epochs, self.bound = epochs, bound
        self.constants = CONSTANTS[method]
        self.steps = 0
        self.passes = Passes(supernet.cells_per_stage)
        self._generator = torch.Generator().manual_seed(seed)
        self.alphas = nn.Parameter(seeded_parameters(self._generator).to(train.labels.device))
        self._weights = torch.optim.SGD(
            supernet.parameters(),
            lr=self.constants.learning_rate,
            momentum=MOMENTUM,
            nesterov=self.constants.nesterov,
            weight_decay=self.constants.weight_decay,
        )
        self._adam = parameter_optimizer(self.alphas)
        self._costs = torch.tensor([[OPERATION[name] for name in OPERATIONS]] * len(EDGES))
        self._train = ShuffledBatches(train, batch, self._generator)
        self._held_out = ShuffledBatches(held_out, batch, self._generator)
        self.epoch_steps = len(self._train)
        self.all_steps = epochs * self.epoch_steps

    def run_epoch(self) -> float:
        """Take the steps that an epoch has left; returns the mean cross-entropy of the weights' batches."""
        losses = [self.step()]
        while self.steps % self.epoch_steps:
            losses.append(self.step())
        return sum(losses) / len(losses)

    def step(self) -> float:
        """Take one step of the parameters and what belongs to it of the weights; returns their cross-entropy."""
        rate = self._set_rate()
        if self.constants.weights_first:
            for _ in range(self.constants.weight_steps):
                train = self._loss(self._train)
                loss = self._step_weights(train)
            self._step_alphas(train, rate)
        else:
            train = self._loss(self._train)
            self._step_alphas(train, rate)
            loss = self._step_weights(train)
        self.steps += 1
        return loss

    def answer(self) -> Cell:
        """The strongest operation of every edge."""
        return strongest(self.alphas)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on; `torch.save` keeps it."""
        return {
            "supernet": self.supernet.state_dict(),
            "alphas": self.alphas.detach().clone(),
            "weights": self._weights.state_dict(),
            "adam": self._adam.state_dict(),
            "generator": self._generator.get_state(),
            "train": self._train.state(),
            "held_out": self._held_out.state(),
            "steps": self.steps,
            "passes": self.passes.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a search of the same kind as if never paused."""
        self.supernet.load_state_dict(state["supernet"])
        with torch.no_grad():
            self.alphas.copy_(state["alphas"])
        self._weights.load_state_dict(state["weights"])
        self._adam.load_state_dict(state["adam"])
        self._generator.set_state(state["generator"])
        self._train.restore(state["train"])
        self._held_out.restore(state["held_out"])
        self.steps = state["steps"]
        self.passes.restore(state["passes"])

    @property
    def _epoch(self) -> int:
        return self.steps // self.epoch_steps

    def _set_rate(self) -> float:
        """Set the learning rate of the weights, a cosine over all epochs; returns it."""
        share = self._epoch / self.epochs if self.constants.rate_by_epoch else self.steps / self.all_steps
        rate = LOWEST_RATE + (self.constants.learning_rate - LOWEST_RATE) / 2 * (
            1 + math.cos(math.pi * share)
        )
        for group in self._weights.param_groups:
            group["lr"] = rate
        return rate

    def _step_alphas(self, train: Loss, rate: float) -> None:
        self.alphas.grad = self._alpha_gradient(train, self._loss(self._held_out), rate)
        self._adam.step()
        if self.method == "rc-darts":
            moved = project_to_bound(self.alphas, self._costs.to(self.alphas.device), self.bound)
            with torch.no_grad():
                self.alphas.copy_(moved)

    def _step_weights(self, train: Loss) -> float:
        self._weights.zero_grad(set_to_none=True)
        loss = train(list(self.supernet.parameters()), self.alphas.detach())
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.supernet.parameters(), CLIP)
        self._weights.step()
        return float(loss.detach())

    def _alpha_gradient(self, train: Loss, valid: Loss, rate: float) -> Tensor:
        weights = list(self.supernet.parameters())
        if self.method == "darts-v2":
            decay = self.constants.weight_decay
            momenta = [
                MOMENTUM * self._weights.state.get(each, {}).get("momentum_buffer", torch.zeros_like(each))
                for each in weights
            ]
            return unrolled(
                train, valid, weights, self.alphas, rate=rate, weight_decay=decay, momenta=momenta
            )
        if self.method == "idarts":
            before = self.passes.joint
            found = implicit(train, valid, weights, self.alphas, rate=rate)
            # Two exact products with the Hessian, of about two passes each: the pass of the gradient that they
            # differentiate is counted among the four losses already, three are not.
            self.passes.count_joint((self.passes.joint - before) // 4, 3)
            return found
        return first_order(valid, weights, self.alphas)

    def _loss(self, batches: ShuffledBatches) -> Loss:
        """Cross-entropy of the next batch as a function of weights and parameters; counted, samples drawn anew."""
        inputs, labels = batches.batch(augmented=True)
        names = [name for name, _ in self.supernet.named_parameters()]

        def loss(weights: Sequence[Tensor], alphas: Tensor) -> Tensor:
            mixing = self._mixing(alphas)
            if self.method == "gdas":
                self.passes.count_single(strongest(mixing).codes, len(labels))
            else:
                self.passes.count_joint(len(labels))
            run = _Run(self.supernet, hard=self.method == "gdas")
            values = {f"supernet.{name}": value for name, value in zip(names, weights, strict=True)}
            logits: Tensor = torch.func.functional_call(run, values, (inputs, mixing))
            return F.cross_entropy(logits, labels)

        return loss

    def _mixing(self, alphas: Tensor) -> Tensor:
        if self.method == "gdas":
            return gumbel(alphas, temperature_at(self._epoch / max(1, self.epochs - 1)), self._generator)
        if self.method == "drnas":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (1,), generator=self._generator)))
                return dirichlet(alphas)
        return softmax(alphas)


class _Run(nn.Module):
    """A supernet as a module whose call takes mixing weights, for functional calls."""

    def __init__(self, supernet: Supernet, *, hard: bool) -> None:
        super().__init__()
        self.supernet, self.hard = supernet, hard

    def forward(self, images: Tensor, mixing: Tensor) -> Tensor:
        return self.supernet.sampled(images, mixing) if self.hard else self.supernet.joint(images, mixing)
