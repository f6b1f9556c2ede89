"""ENAS: a recurrent controller draws architectures, shared weights judge them, and policy gradients teach it.

Source: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing" (ICML 2018), with the constants of
NATS-Bench (AutoDL-Projects, `search-cell.py` and `search_model_enas_utils.py`): weights as for random search with
shared weights, an LSTM of two layers of 32, 50 updates of the mean of 20 draws after every epoch, baseline decay 0.99,
entropy weight 1e-4, clip 5. NAS-Bench-201's first runs had other constants for the weights (0.05 to 0.0005, batch 128).
Rewards are accuracies on a held-out batch of 512, as there. Where we differ from the code: the baseline follows
every draw, as the paper has it (the code moves it once an epoch); the entropy is a bonus of its own, not a part of the
reward that the baseline follows; a dead architecture is no step of the weights and has the accuracy of a guess as its
reward, without a pass. Trainings of seconds and known answers are what this was tested by; no published accuracy was
reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.batches import ShuffledBatches
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.live.supernet.paths import Codes
from nasbench_kd.live.supernet.supernet import Supernet
from nasbench_kd.live.supernet.training import BATCH, CLIP, SCORED_BATCH, SharedTraining
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, Cell

UPDATES, DRAWS = 50, 20
"""Updates of the controller after an epoch of the weights, and architectures for each."""
DECAY, ENTROPY_WEIGHT = 0.99, 1e-4
LEARNING_RATE, EPSILON = 1e-3, 1e-3
"""Of the controller's Adam, betas (0.5, 0.999)."""
CANDIDATES = 100


class Controller(nn.Module):
    """A policy over architectures: an LSTM that draws the operation of one edge after the other.

    Its weights are uniform in -0.1..0.1 where the source has them so.
    """

    def __init__(
        self, *, width: int = 32, layers: int = 2, temperature: float = 5.0, bound: float = 2.5
    ) -> None:
        super().__init__()
        self.temperature, self.bound = temperature, bound
        self.first = nn.Parameter(torch.empty(1, width))
        self.lstm = nn.LSTM(width, width, layers)
        self.embedding = nn.Embedding(len(OPERATIONS), width)
        self.head = nn.Linear(width, len(OPERATIONS))
        weights = (self.first, self.lstm.weight_hh_l0, self.lstm.weight_ih_l0)
        for each in (*weights, self.embedding.weight, self.head.weight):
            nn.init.uniform_(each, -0.1, 0.1)  # type: ignore[arg-type]

    def draw(self, generator: torch.Generator) -> tuple[Codes, Tensor, Tensor]:
        """An architecture, the logarithm of its probability, and the entropy summed over the edges, scalars."""
        return self._walk(
            lambda _, probabilities: int(torch.multinomial(probabilities, 1, generator=generator))
        )

    def log_probability(self, codes: Codes) -> Tensor:
        """The logarithm of the probability of an architecture, a scalar."""
        return self._walk(lambda edge, _: codes[edge])[1]

    def _walk(self, choose: Any) -> tuple[Codes, Tensor, Tensor]:
        inputs, hidden = self.first, None
        codes: list[int] = []
        total, entropy = torch.zeros(()), torch.zeros(())
        for edge in range(len(EDGES)):
            outputs, hidden = self.lstm(inputs, hidden)
            logits = self.bound * torch.tanh(self.head(outputs[0]) / self.temperature)
            logarithms = logits.log_softmax(0)
            codes.append(choose(edge, logarithms.detach().exp()))
            total = total + logarithms[codes[-1]]
            entropy = entropy - (logarithms.exp() * logarithms).sum()
            inputs = self.embedding(torch.tensor(codes[-1:]))
        return tuple(codes), total, entropy


class ControllerSearch:
    """Trains weights and controller in turn; call `step` or `run_epoch`, then judge `candidates`.

    Args:
        supernet: with its initial weights; trained in place.
        train, held_out: images of the weights and of the rewards.
        epochs: all that will be taken, over `train`.
        seed: of the controller, of order and of architectures drawn.
        updates, draws: of the controller after every epoch, and architectures for each update.

    Attributes:
        baseline: the moving average of rewards; None before the first.
        rewards: mean reward of each epoch's draws, a share of 1.
        passes: all images that went through the supernet so far, and their price.
        steps, epoch_steps, all_steps: of weights and controller taken so far, those of an epoch, and those of all.
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
        updates: int = UPDATES,
        draws: int = DRAWS,
    ) -> None:
        self.supernet = supernet
        self.updates, self.draws = updates, draws
        self.baseline: float | None = None
        self.rewards: list[float] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.controller = Controller()
        self._adam = torch.optim.Adam(
            self.controller.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.999), eps=EPSILON
        )
        self._training = SharedTraining(
            supernet, train, epochs=epochs, seed=seed, batch=batch, sampler=self._draw_live
        )
        self._generator = torch.Generator().manual_seed(seed)
        self._held_out = ShuffledBatches(held_out, SCORED_BATCH, self._generator)
        self.passes = self._training.passes
        self.epoch_steps = self._training.epoch_steps + updates
        self.all_steps = epochs * self.epoch_steps
        self.steps = 0
        self._drawn: list[float] = []

    def run_epoch(self) -> float:
        """Take the steps that an epoch has left; returns the mean cross-entropy of those of the weights."""
        losses = [self.step()]
        while self.steps % self.epoch_steps:
            losses.append(self.step())
        of_weights = [loss for loss in losses if loss is not None]
        return sum(of_weights) / len(of_weights) if of_weights else float("nan")

    def step(self) -> float | None:
        """Take the next step, of the weights or, after their epoch, of the controller.

        Returns the cross-entropy of the former, None for the latter.
        """
        loss = None
        if self.steps % self.epoch_steps < self._training.epoch_steps:
            loss = self._training.step()
        else:
            self._update()
        self.steps += 1
        if self.steps % self.epoch_steps == 0:
            self.rewards.append(sum(self._drawn) / len(self._drawn))
            self._drawn = []
        return loss

    def _update(self) -> None:
        """One step of the controller, by the mean of some draws."""
        losses = []
        for _ in range(self.draws):
            codes, logarithm, entropy = self.controller.draw(self._generator)
            reward = self._reward(codes)
            self._drawn.append(reward)
            before = reward if self.baseline is None else self.baseline
            self.baseline = DECAY * before + (1 - DECAY) * reward
            losses.append(policy_loss(logarithm, reward - self.baseline, entropy))
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(losses).mean())
        nn.utils.clip_grad_norm_(self.controller.parameters(), CLIP)
        self._adam.step()

    def candidates(self, count: int = CANDIDATES) -> list[Cell]:
        """Architectures that the controller draws, one after the other, equal ones among them."""
        with torch.no_grad():
            return [Cell.from_codes(self.controller.draw(self._generator)[0]) for _ in range(count)]

    def state(self) -> dict[str, Any]:
        """All that is needed to go on; `torch.save` keeps it."""
        return {
            "training": self._training.state(),
            "controller": self.controller.state_dict(),
            "adam": self._adam.state_dict(),
            "generator": self._generator.get_state(),
            "held_out": self._held_out.state(),
            "baseline": self.baseline,
            "rewards": list(self.rewards),
            "drawn": list(self._drawn),
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a search of the same kind as if never paused."""
        self._training.restore(state["training"])
        self.controller.load_state_dict(state["controller"])
        self._adam.load_state_dict(state["adam"])
        self._generator.set_state(state["generator"])
        self._held_out.restore(state["held_out"])
        self.baseline, self.rewards = state["baseline"], list(state["rewards"])
        self._drawn, self.steps = list(state["drawn"]), state["steps"]

    def _draw_live(self, generator: torch.Generator) -> tuple[Codes, ...]:
        with torch.no_grad():
            while True:
                codes, _, _ = self.controller.draw(generator)
                if path_edges(codes):
                    return (codes,)

    @torch.no_grad()
    def _reward(self, codes: Codes) -> float:
        """The accuracy of an architecture on one held-out batch, a share of 1."""
        images, labels = self._held_out.batch(augmented=False)
        if not path_edges(codes):
            return 1 / self.supernet.classifier.out_features
        self.passes.count_forward(codes, len(labels))
        return float((self.supernet(images, codes).argmax(1) == labels).float().mean())


def policy_loss(logarithm: Tensor, advantage: float, entropy: Tensor) -> Tensor:
    """REINFORCE with an entropy bonus: its gradient is minus that of the expected advantage, in expectation.

    Args:
        logarithm: of the probability of what was drawn; a scalar, as is the `entropy` of the policy.
        advantage: reward less baseline.
    """
    return -advantage * logarithm - ENTROPY_WEIGHT * entropy
