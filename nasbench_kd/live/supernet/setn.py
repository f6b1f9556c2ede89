"""SETN: weights learn on uniform architectures, architecture parameters on the mixture of all operations.

Source: Dong and Yang, "One-Shot Neural Architecture Search via Self-Evaluated Template Network" (ICCV 2019), and
AutoDL-Projects (`search_model_setn.py`, NATS-Bench's `search-cell.py`). The parameters choose candidates, the shared
weights judge them. Where we differ from the code: dead architectures are neither drawn nor candidates, and held-out
batches come in shuffled rounds. A training of seconds and known answers are what this was tested by; no published
accuracy was reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.batches import ShuffledBatches
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.live.supernet.relaxations import parameter_optimizer, seeded_parameters, softmax
from nasbench_kd.live.supernet.supernet import Supernet
from nasbench_kd.live.supernet.training import BATCH, SharedTraining
from nasbench_kd.spaces.nasbench201 import EDGES, Cell, code_matrix

CANDIDATES = 100


class TemplateSearch:
    """Learns weights and architecture parameters in turn; call `step` or `run_epoch`, then judge `candidates`.

    Args:
        supernet: with its initial weights; trained in place.
        train, held_out: images of the weights and of the parameters.
        epochs: all that will be taken, over `train`.
        seed: of parameters, order and architectures drawn.

    Attributes:
        alphas: the parameters (6, 5).
        passes: all images that went through the supernet so far, and their price.
        epoch_steps, all_steps: those of an epoch, and those of all.
    """

    def __init__(
        self,
        supernet: Supernet,
        train: DeviceImages,
        held_out: DeviceImages,
        *,
        epochs: int,
        seed: int,
        batch: int = BATCH,
    ) -> None:
        self.supernet = supernet
        self._training = SharedTraining(supernet, train, epochs=epochs, seed=seed, batch=batch)
        self._generator = torch.Generator().manual_seed(seed)
        self.alphas = nn.Parameter(seeded_parameters(self._generator).to(train.labels.device))
        self._adam = parameter_optimizer(self.alphas)
        self._held_out = ShuffledBatches(held_out, batch, self._generator)
        self.passes = self._training.passes
        self.epoch_steps, self.all_steps = self._training.epoch_steps, self._training.all_steps

    @property
    def steps(self) -> int:
        """Taken so far, of the weights and of the parameters each."""
        return self._training.steps

    def run_epoch(self) -> float:
        """Take the steps that an epoch has left; returns the mean cross-entropy of the weights' batches."""
        losses = [self.step()]
        while self.steps % self.epoch_steps:
            losses.append(self.step())
        return sum(losses) / len(losses)

    def step(self) -> float:
        """Take one step of the weights and one of the parameters; returns the cross-entropy of the former."""
        found = self._training.step()
        images, labels = self._held_out.batch(augmented=True)
        loss = F.cross_entropy(self.supernet.joint(images, softmax(self.alphas)), labels)
        (self.alphas.grad,) = torch.autograd.grad(loss, [self.alphas])
        self._adam.step()
        self.passes.count_joint(len(labels))
        return found

    def candidates(self, count: int = CANDIDATES) -> list[Cell]:
        """The live architectures of the highest product of probabilities, the most probable first."""
        codes = torch.tensor(code_matrix().tolist())
        logarithms = self.alphas.detach().cpu().double().log_softmax(1)
        order = logarithms[torch.arange(len(EDGES)), codes].sum(1).argsort(descending=True, stable=True)
        found = []
        for index in order.tolist():
            if path_edges(tuple(codes[index].tolist())):
                found.append(Cell.from_index(index))
            if len(found) == count:
                break
        return found

    def state(self) -> dict[str, Any]:
        """All that is needed to go on; `torch.save` keeps it."""
        return {
            "training": self._training.state(),
            "alphas": self.alphas.detach().clone(),
            "adam": self._adam.state_dict(),
            "generator": self._generator.get_state(),
            "held_out": self._held_out.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a search of the same kind as if never paused."""
        self._training.restore(state["training"])
        with torch.no_grad():
            self.alphas.copy_(state["alphas"])
        self._adam.load_state_dict(state["adam"])
        self._generator.set_state(state["generator"])
        self._held_out.restore(state["held_out"])
