"""Searches that learn architecture parameters by gradient, on one supernet: DARTS, GDAS, DrNAS, iDARTS, RC-DARTS.

Every step takes architecture parameters on a batch of held-out images, then weights on a batch of training images;
iDARTS takes parameters after every fourth step of the weights. The
optimizers are those of NAS-Bench-201's configurations: weights by SGD (`training`), parameters by Adam, 3e-4, betas
(0.5, 0.999), weight decay 1e-3, from 1e-3 N(0, 1). The answer is the strongest operation of every edge, `none` among
them. Trainings of seconds and known answers are what this was tested by; no published accuracy was reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasbench_kd.errors import UnknownNameError, nearest
from nasbench_kd.live import methods
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.gradients import first_order, implicit, unrolled
from nasbench_kd.live.supernet.held_out import HeldOut
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
from nasbench_kd.spaces.training_seconds import OPERATION, joint_seconds_per_image, seconds_per_image

METHODS: Mapping[str, str] = MappingProxyType(
    {
        name: methods.METHODS[name].paper
        for name in ("darts-v1", "darts-v2", "gdas", "drnas", "idarts", "rc-darts")
    }
)
"""Names, and the papers."""


WEIGHT_STEPS: Mapping[str, int] = MappingProxyType({"idarts": 4})
"""Steps of the weights between two of the parameters, where there is more than one."""


class DifferentiableSearch:
    """Learns architecture parameters and weights together; call `run_epoch`, then `answer`.

    Args:
        method: a name of `METHODS`.
        supernet: with its initial weights; trained in place.
        train, held_out: images of the weights and of the parameters; batches of the latter are drawn anew
            when they are used up. They must be apart from the images that judge answers.
        epochs: all that will be taken, over `train`.
        bound: of `rc-darts`, the largest expected seconds of its edges for an epoch of 25,000 images.
        seed: of parameters, order and samples.

    Attributes:
        alphas: the parameters (6, 5).
        seconds: price so far, in seconds of the table's clock.
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
        self.train = train
        self.epochs, self.batch, self.bound = epochs, batch, bound
        self.done = 0
        self.seconds = 0.0
        self._steps = 0
        self._generator = torch.Generator().manual_seed(seed)
        self.alphas = nn.Parameter(seeded_parameters(self._generator).to(train.labels.device))
        self._weights = torch.optim.SGD(
            supernet.parameters(),
            lr=LEARNING_RATE,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=WEIGHT_DECAY,
        )
        self._adam = parameter_optimizer(self.alphas)
        self._costs = torch.tensor([[OPERATION[name] for name in OPERATIONS]] * len(EDGES))
        self._held_out = HeldOut(held_out, batch, self._generator)

    def run_epoch(self) -> float:
        """Take the steps of one epoch; returns the mean cross-entropy of the weights' batches."""
        order = torch.randperm(len(self.train), generator=self._generator)
        batches = torch.split(order, self.batch)
        total = 0.0
        for number, rows in enumerate(batches):
            share = (self.done + number / len(batches)) / self.epochs
            rate = LOWEST_RATE + (LEARNING_RATE - LOWEST_RATE) / 2 * (1 + math.cos(math.pi * share))
            for group in self._weights.param_groups:
                group["lr"] = rate
            total += self._step(rows.to(self.train.labels.device), rate) * len(rows)
        self.done += 1
        return total / len(order)

    def answer(self) -> Cell:
        """The strongest operation of every edge."""
        return strongest(self.alphas)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on after an epoch; `torch.save` keeps it."""
        return {
            "supernet": self.supernet.state_dict(),
            "alphas": self.alphas.detach().clone(),
            "weights": self._weights.state_dict(),
            "adam": self._adam.state_dict(),
            "generator": self._generator.get_state(),
            "held_out": self._held_out.state(),
            "done": self.done,
            "steps": self._steps,
            "seconds": self.seconds,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a search of the same kind as if never paused."""
        self.supernet.load_state_dict(state["supernet"])
        with torch.no_grad():
            self.alphas.copy_(state["alphas"])
        self._weights.load_state_dict(state["weights"])
        self._adam.load_state_dict(state["adam"])
        self._generator.set_state(state["generator"])
        self._held_out.restore(state["held_out"])
        self.done, self._steps, self.seconds = state["done"], state["steps"], state["seconds"]

    def _step(self, rows: Tensor, rate: float) -> float:
        train = self._loss(self.train, rows)
        between = WEIGHT_STEPS.get(self.method, 1)
        if self._steps % between == 0 and self._steps >= between - 1:
            valid = self._loss(self._held_out.images, self._held_out.rows())
            self.alphas.grad = self._alpha_gradient(train, valid, rate, len(rows))
            self._adam.step()
            if self.method == "rc-darts":
                with torch.no_grad():
                    self.alphas.copy_(
                        project_to_bound(self.alphas, self._costs.to(self.alphas.device), self.bound)
                    )
        self._weights.zero_grad(set_to_none=True)
        loss = train(list(self.supernet.parameters()), self.alphas.detach())
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.supernet.parameters(), CLIP)
        self._weights.step()
        self._steps += 1
        return float(loss.detach())

    def _alpha_gradient(self, train: Any, valid: Any, rate: float, images: int) -> Tensor:
        weights = list(self.supernet.parameters())
        if self.method == "darts-v2":
            momenta = [
                MOMENTUM * self._weights.state.get(each, {}).get("momentum_buffer", torch.zeros_like(each))
                for each in weights
            ]
            return unrolled(
                train, valid, weights, self.alphas, rate=rate, weight_decay=WEIGHT_DECAY, momenta=momenta
            )
        if self.method == "idarts":
            # Two exact products with the Hessian, of about two passes each, beside the losses that are counted.
            self.seconds += 4 * images * joint_seconds_per_image(self.supernet.cells_per_stage)
            return implicit(train, valid, weights, self.alphas, rate=rate)
        return first_order(valid, weights, self.alphas)

    def _loss(self, images: DeviceImages, rows: Tensor) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
        """Cross-entropy of a batch as a function of weights and parameters; counted in the bill, samples drawn anew."""
        inputs = images.augmented_batch(rows, self._generator) if images.padding else images.batch(rows)
        labels = images.labels.index_select(0, rows)
        names = [name for name, _ in self.supernet.named_parameters()]

        def loss(weights: Sequence[Tensor], alphas: Tensor) -> Tensor:
            mixing = self._mixing(alphas)
            self.seconds += len(rows) * self._pass_seconds(mixing)
            run = _Run(self.supernet, hard=self.method == "gdas")
            values = {f"supernet.{name}": value for name, value in zip(names, weights, strict=True)}
            logits: Tensor = torch.func.functional_call(run, values, (inputs, mixing))
            return F.cross_entropy(logits, labels)

        return loss

    def _pass_seconds(self, mixing: Tensor) -> float:
        """Price of forward and backward for an image: of the sampled architecture, or of all operations."""
        cells = self.supernet.cells_per_stage
        if self.method == "gdas":
            return seconds_per_image(strongest(mixing).codes, cells)
        return joint_seconds_per_image(cells)

    def _mixing(self, alphas: Tensor) -> Tensor:
        if self.method == "gdas":
            return gumbel(alphas, temperature_at(self.done / max(1, self.epochs - 1)), self._generator)
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
